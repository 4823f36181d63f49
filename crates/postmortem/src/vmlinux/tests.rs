//! A program of all kinds of types, compiled with each form of debug information. The expected
//! numbers are the compiler's, in the program's data.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::fake::Fake;
use crate::types::{Tag, Type, TypeId, Types};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vmlinux/tests.c");
/// Address of `_stext` in the dead kernel.
const STEXT: u64 = 0xffff_ffff_9740_0000;
/// The members in `truth` after the sizes.
const MEMBERS: [&str; 16] = [
    "next",
    "other",
    "name",
    "flags",
    "colour",
    "both",
    "deep",
    "letter",
    "inner.second",
    "grid",
    "grid[2]",
    "hidden",
    "call",
    "is_set",
    "real",
    "last",
];
const ID: &str = "00112233445566778899aabbccddeeff00112233";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles the program for a width of pointers.
fn compile(folder: &Path, bits: u32, options: &[&str]) -> PathBuf {
    let path = folder.join(format!("vmlinux{bits}{}", options.concat()));
    let (bits, name) = (format!("-m{bits}"), path.to_str().expect("text"));
    let id = format!("-Wl,--build-id=0x{ID}");
    let common = ["-nostdlib", "-static", "-fno-pie", "-no-pie", "-O1", "-o", name, SOURCE];
    run("cc", &[&[&*bits, &id], &common[..], options].concat());
    path
}

fn dump(bits: u32) -> Dump {
    let mut fake = if bits == 32 { Fake::i386() } else { Fake::amd64() };
    fake.line(&format!("BUILD-ID={ID}"));
    fake.symbol("_stext", if bits == 32 { STEXT & 0xffff_ffff } else { STEXT });
    fake.dump()
}

/// The numbers of a variable of the program.
fn data(path: &Path, name: &str, width: usize) -> Vec<u64> {
    let bytes = std::fs::read(path).expect("the program");
    let elf = object::File::parse(&*bytes).expect("ELF");
    let symbol = elf.symbols().find(|symbol| symbol.name() == Ok(name)).expect("a symbol");
    let section = elf.section_by_index(symbol.section_index().expect("its own")).expect("one");
    let bytes = section.data_range(symbol.address(), symbol.size()).expect("data").expect("data");
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
    bytes.chunks(width).map(number).collect()
}

fn check(path: &Path, bits: u32) {
    let opened = Vmlinux::open(path, &dump(bits)).expect("a vmlinux");
    let (sources, _) = opened.into_sources();
    let types = Types::new(u64::from(bits) / 8, sources);
    let node = types.find("struct node").expect("a struct");
    let size = |name| types.size(types.find(name).expect("a type")).expect("a size");
    let mut found = vec![size("struct node"), size("struct inner"), size("union both")];
    found.push(types.offset("struct inner", "second").expect("a member"));
    found.extend(MEMBERS.map(|member| types.offset("struct node", member).expect("a member")));
    assert_eq!(found, data(path, "truth", 4), "{}", path.display());

    for member in ["low", "middle", "high", "wide"] {
        let field = types.field(node, member).expect("a member");
        let bytes = data(path, &format!("bits_{member}"), 1);
        let is_set = |bit: &u64| bytes[*bit as usize / 8] >> (bit % 8) & 1 != 0;
        let set: Vec<u64> = (0..8 * bytes.len() as u64).filter(is_set).collect();
        let found = field.bits..field.bits + u64::from(field.bit_size.expect("a bitfield"));
        assert_eq!(found.collect::<Vec<_>>(), set, "{member} in {}", path.display());
    }
    check_names(&types, node);
}

/// Names as the program's text has them.
fn check_names(types: &Types, node: TypeId) {
    for (member, name) in [
        ("next", "struct node *"),
        ("other", "node_t *"),
        ("name", "char *"),
        ("grid", "int [3][5]"),
        ("grid[1]", "int [5]"),
        ("hidden", "struct only_declared *"),
        ("is_set", "_Bool"),
        ("real", "double"),
        ("last", "struct inner []"),
        ("colour", "enum colour"),
    ] {
        assert_eq!(types.name(types.field(node, member).expect("a member").of), name, "{member}");
    }
    for (name, value) in [("RED", 0), ("GREEN", 7), ("BLUE", -2), ("NAMELESS", 11), ("LAST", 200)] {
        assert_eq!(types.enumerator(name).ok(), Some(value), "{name}");
    }
    let variable = |name| types.variable(name).map(|of| types.name(of));
    assert_eq!(variable("table").as_deref(), Some("struct node *[4]"));
    assert_eq!(variable("own_colour").as_deref(), Some("enum colour"));
    assert_eq!(variable("absent"), None);
    let high = types.field(node, "high").expect("a member").of;
    assert!(matches!(&*types.get(high).expect("int"), Type::Integer(int) if int.is_signed));
    assert!(types.names().contains(&(Tag::Union, "both".to_owned())));
}

#[test]
fn types_are_those_of_the_compiler() {
    let folder = tempfile::tempdir().expect("a folder");
    for bits in [32, 64] {
        for form in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
            check(&compile(folder.path(), bits, &[form]), bits);
        }
        check(&compile(folder.path(), bits, &["-gdwarf-5", "-gz=zlib"]), bits);
        let plain = compile(folder.path(), bits, &["-g"]);
        let packed = folder.path().join("zstd");
        let names = [&plain, &packed].map(|path| path.to_str().expect("text"));
        run("objcopy", &["--compress-debug-sections=zstd", names[0], names[1]]);
        check(&packed, bits);
    }
}

#[test]
fn symbols_move_with_the_kernel() {
    let folder = tempfile::tempdir().expect("a folder");
    for bits in [32, 64] {
        let path = compile(folder.path(), bits, &["-g"]);
        let found = Vmlinux::open(&path, &dump(bits)).expect("a vmlinux").symbols;
        let bytes = std::fs::read(&path).expect("the program");
        let elf = object::File::parse(&*bytes).expect("ELF");
        let at = |name| elf.symbols().find(|s| s.name() == Ok(name)).expect("a symbol").address();
        let moved = (STEXT & 0xffff_ffff).wrapping_sub(at("_stext"));
        // Below its image, symbols of an x86_64 kernel do not move.
        let moved = if bits == 32 { moved } else { 0 };
        let wanted = (at("truth").wrapping_add(moved)) & 0xffff_ffff;
        assert_eq!(found.get("truth"), Some(wanted), "{bits}");
        assert_eq!(found.find(wanted + 4).map(|symbol| symbol.kind), Some('R'));
    }
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = compile(folder.path(), 64, &["-g"]);
    let refused =
        |path: &Path, dump: &Dump| Vmlinux::open(path, dump).expect_err("refused").to_string();
    let mut other = Fake::amd64();
    other.line("BUILD-ID=ffff");
    let text = refused(&path, &other.dump());
    assert!(
        text.contains(&format!("another kernel: a kernel without a name (build-id {ID})")),
        "{text}"
    );
    assert!(text.ends_with("the dump is of 6.1.0-fake (build-id ffff)"), "{text}");
    assert!(refused(&path, &Fake::amd64().dump()).contains("another kernel"), "no build-id");
    assert!(refused(&path, &dump(32)).contains("no program for i386"));
    run("strip", &["--strip-debug", path.to_str().expect("text")]);
    let text = refused(&path, &dump(64));
    assert!(text.contains("no debug information") && text.contains(ID), "{text}");
    assert!(refused(Path::new(SOURCE), &dump(64)).contains("no vmlinux"));
    assert!(refused(&folder.path().join("absent"), &dump(64)).contains("No such file"));
}
