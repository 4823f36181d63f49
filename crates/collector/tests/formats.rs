//! kdump-compressed and flattened files, put together by hand, and all that `extract` makes of
//! them.

use std::fs;

#[path = "common/linux.rs"]
mod linux;
#[path = "common/program.rs"]
mod program;
use linux::{VMCOREINFO, notes, put, put_log, words};
use program::{collector, printed, refused, shown, text};

const PAGE: usize = 4096;
/// The first page frame of RAM, and the number of its pages.
const FIRST: usize = 0x100;
const PAGES: usize = 7;

/// The pages of RAM: the log; one that is not in the file; the page directory; letters; random
/// bytes; zeros; one that is not in the file.
fn memory() -> Vec<u8> {
    let mut memory = vec![0; PAGES * PAGE];
    put_log(&mut memory);
    // 4 MiB from 0xc0000000 on (Intel's manual, volume 3, 4.3).
    put(&mut memory, 2 * PAGE + 768 * 4, &words(&[0x83]));
    memory[3 * PAGE..4 * PAGE].fill(b'd');
    put(&mut memory, 3 * PAGE, b"abc");
    let mut random = 1_u32;
    for byte in &mut memory[4 * PAGE..5 * PAGE] {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (random >> 24) as u8;
    }
    memory
}

/// `abc` and 4093 times `d` in LZO1X: four literals, a match at distance 1, the end.
fn lzo() -> Vec<u8> {
    let long = 4092 - 2 - 31;
    let mut bytes = b"\x15abcd\x20".to_vec();
    bytes.extend(vec![0; long / 255]);
    bytes.extend([(long % 255) as u8, 0, 0, 0x11, 0, 0]);
    bytes
}

fn zlib(page: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(page).expect("memory");
    encoder.finish().expect("memory")
}

fn vmcoreinfo() -> String {
    format!("{VMCOREINFO}SYMBOL(swapper_pg_dir)=c0102000\nSYMBOL(_stext)=c0100000\n")
}

/// A kdump-compressed file of i386 (makedumpfile, `diskdump_mod.h`), level 31.
fn kdump() -> Vec<u8> {
    let (memory, notes) = (memory(), notes(&vmcoreinfo()));
    let mut file = vec![0; 4 * PAGE];
    put(&mut file, 0, b"KDUMP   \x06\0\0\0Linux");
    put(&mut file, 412, &words(&[3, 4096, 2, 2, (FIRST + PAGES) as u32]));
    put(&mut file, 448, &words(&[1]));
    put(&mut file, 4096 + 4, &words(&[31]));
    put(&mut file, 4096 + 32, &words(&[4096 + 80, 0, notes.len() as u32]));
    put(&mut file, 4096 + 72, &words(&[(FIRST + PAGES) as u32]));
    put(&mut file, 4096 + 80, &notes);
    file.truncate(3 * PAGE);
    for bits in [0b0111_1111, 0b0011_1101] {
        let bitmap = file.len();
        file.resize(bitmap + PAGE, 0);
        file[bitmap + FIRST / 8] = bits;
    }
    let page = |index: usize| memory[index * PAGE..(index + 1) * PAGE].to_vec();
    let snappy = |page: &[u8]| snap::raw::Encoder::new().compress_vec(page).expect("memory");
    let zstd = |page: &[u8]| zstd::bulk::compress(page, 3).expect("memory");
    let pages = [
        (1, zlib(&page(0))),
        (4, snappy(&page(2))),
        (2, lzo()),
        (0, page(4)),
        (0x20, zstd(&page(5))),
    ];
    let mut at = file.len() + 24 * pages.len();
    for (flags, bytes) in &pages {
        file.extend(words(&[at as u32, 0, bytes.len() as u32, *flags, 0, 0]));
        at += bytes.len();
    }
    pages.iter().for_each(|(_, bytes)| file.extend(bytes));
    file
}

/// The same file in records, the last one first.
fn flattened(file: &[u8]) -> Vec<u8> {
    let mut stream = b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01".to_vec();
    stream.resize(PAGE, 0);
    for (index, bytes) in file.chunks(1000).enumerate().rev() {
        stream.extend((1000 * index as u64).to_be_bytes());
        stream.extend((bytes.len() as u64).to_be_bytes());
        stream.extend(bytes);
    }
    stream.extend([0xff; 16]);
    stream
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("kdump"), kdump()).expect("a file");
    fs::write(folder.path().join("flat"), flattened(&kdump())).expect("a file");
    folder
}

/// The memory in an ELF32 core, at the physical address of [`FIRST`] and on.
fn of_core(file: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        u32::from_le_bytes(*file[at..].first_chunk().expect("within the file")) as usize
    };
    assert_eq!(file[..7], *b"\x7fELF\x01\x01\x01");
    let mut memory = vec![0xee; PAGES * PAGE];
    for header in 0..usize::from(file[44]) {
        let header = 52 + 32 * header;
        if word(header) == 1 {
            let [offset, vaddr, paddr, filesz, memsz] =
                [4, 8, 12, 16, 20].map(|at| word(header + at));
            assert_eq!(vaddr, 0xc000_0000 + paddr);
            let at = paddr - FIRST * PAGE;
            memory[at..at + memsz].fill(0);
            memory[at..at + filesz].copy_from_slice(&file[offset..offset + filesz]);
        }
    }
    memory
}

/// The memory that the file stands for: pages that it does not have are zero.
fn kept() -> Vec<u8> {
    let mut memory = memory();
    memory[PAGE..2 * PAGE].fill(0);
    memory
}

#[test]
fn the_log_is_found_in_each_format() {
    let folder = folder();
    for file in ["kdump", "flat"] {
        let log = shown(folder.path(), &["dmesg", file]);
        assert_eq!(log, "[    1.500000] hell\\xc3\\xb6\\x1bX\n");
        let info = shown(folder.path(), &["info", file]);
        let form = if file == "flat" { "kdump-compressed, flattened" } else { "kdump-compressed" };
        assert!(info.starts_with(&format!("vmcore       {form}, i386, ")), "{info}");
        assert!(
            info.contains("level        31, zlib, lzo\npages        5 kept, 2 left out"),
            "{info}"
        );
        assert!(info.contains("kernel       6.1.0-50-686-pae\n"), "{info}");
        assert!(info.contains("0x100000       0x100000         0xc0100000 "), "{info}");
        assert!(info.contains(&format!("extract {file} -o vmcore")), "{info}");
        assert!(info.contains("eip 0xc0123456"), "{info}");
    }
}

/// Each format, made from each, has the same memory again.
#[test]
fn each_format_becomes_each_other() {
    let folder = folder();
    let core = |file: &str| {
        printed(folder.path(), &["extract", file, "core", "--force"]);
        of_core(&fs::read(folder.path().join("core")).expect("a core"))
    };
    for source in ["kdump", "flat"] {
        assert!(core(source) == kept(), "{source}");
        for (format, codec) in [
            ("elf", "none"),
            ("flat-elf", "none"),
            ("kdump", "none"),
            ("kdump", "zlib"),
            ("kdump", "zstd"),
            ("kdump", "snappy"),
            ("flat", "snappy"),
        ] {
            let options = ["--force", "--json", "--format", format, "--compress", codec];
            let said =
                printed(folder.path(), &[&["extract", source, "new"], &options[..]].concat());
            let json: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
            let pages =
                serde_json::json!({"kept": 4, "doubt": 0, "left": {"zero": 1}, "unknown": 2});
            assert_eq!((&json["pages"], &json["level"]), (&pages, &31.into()));
            assert!(core("new") == kept(), "{source} {format} {codec}");
            let [was, is] = [source, "new"].map(|file| printed(folder.path(), &["dmesg", file]));
            assert_eq!(was, is, "{source} {format} {codec}");
        }
        let piped = printed(folder.path(), &["extract", source, "-", "--format", "flat"]);
        fs::write(folder.path().join("piped"), piped).expect("a file");
        assert!(core("piped") == kept());
    }
}

/// Pages that are damaged are named, and zero. All others are there.
#[test]
fn damaged_pages_are_named() {
    let folder = folder();
    let mut file = kdump();
    let descriptor = 5 * PAGE + 2 * 24;
    put(&mut file, descriptor + 12, &words(&[1]));
    fs::write(folder.path().join("file"), &file).expect("a file");
    for format in ["elf", "kdump"] {
        let said =
            refused(folder.path(), &["extract", "file", "new", "--format", format, "--force"]);
        let expected = "new.partial: 4096 bytes of memory could not be read, zero there\n    physical \
                        0x103000+0x1000\n";
        assert!(said.ends_with(expected), "{said}");
        assert!(!folder.path().join("new").exists() && !folder.path().join("new.part").exists());
        printed(folder.path(), &["extract", "new.partial", "core", "--force"]);
        let mut expected = kept();
        expected[3 * PAGE..4 * PAGE].fill(0);
        let core = of_core(&fs::read(folder.path().join("core")).expect("a core"));
        assert!(core == expected, "{format}");
    }
}

#[test]
fn damaged_files_are_refused_by_name() {
    let folder = folder();
    let kdump = kdump();
    let with = |at: usize, value: u32| {
        let mut file = kdump.clone();
        put(&mut file, at, &words(&[value]));
        file
    };
    let flat = flattened(&kdump);
    for (bytes, reason) in [
        (with(4096 + 8, 1), "it is one part of a dump that was split"),
        (with(8, 7), "it has version 7, and versions 1 to 6 are known"),
        (with(416, 8192), "its header is not that of an i386 or x86_64 machine"),
        (with(424, 3), "bitmap_blocks of its header is 0x3"),
        (kdump[..5 * PAGE].to_vec(), "is cut, and its tables are in the missing part"),
        (kdump[..100].to_vec(), "its headers are cut off"),
        (flat[..flat.len() - 20].to_vec(), "it ends in the middle"),
        (flattened(&flat), "is a flattened dump"),
        (flattened(b"text"), "is a text"),
    ] {
        fs::write(folder.path().join("file"), bytes).expect("a file");
        for arguments in [&["info", "file"][..], &["dmesg", "file"], &["extract", "file", "new"]] {
            let said = refused(folder.path(), arguments);
            assert!(said.contains(reason), "{arguments:?}: {said}");
        }
        assert!(!folder.path().join("new").exists());
    }
}

#[test]
fn impossible_wishes_are_refused() {
    let folder = folder();
    let extract = |options: &[&str]| {
        let said = refused(folder.path(), &[&["extract", "kdump"], options].concat());
        assert!(!folder.path().join("new").exists(), "{options:?}");
        said
    };
    let below = "was made at level 31: it lacks pages that level 1 keeps";
    assert!(extract(&["new", "--level", "1"]).contains(below));
    assert!(
        extract(&["new", "--compress", "zlib"]).contains("--format kdump with --compress zlib")
    );
    assert!(extract(&["-"]).contains("--format flat"));
    assert!(extract(&["-", "--format", "kdump"]).contains("--format flat"));
    assert!(extract(&["new", "--dump", "1"]).contains("no dump disk"));
    let usage = collector(folder.path(), &["extract", "kdump", "new", "--level", "32"]);
    assert!(text(&usage.stderr).contains("from 0 (all memory) to 31"));
    // It does not describe its page structs.
    let mut file = kdump();
    put(&mut file, 4096 + 4, &words(&[1]));
    fs::write(folder.path().join("low"), file).expect("a file");
    let said = refused(folder.path(), &["extract", "low", "new", "--level", "31"]);
    assert!(said.contains("cannot be told apart by class"), "{said}");
    printed(folder.path(), &["extract", "low", "new", "--level", "0"]);
}

/// The classes of a dump that was filtered before are not known.
#[test]
fn pages_are_listed_by_class() {
    let folder = folder();
    let expected = "0x100000-0x101000 kept 1\n0x101000-0x102000 left-out 1\n\
                    0x102000-0x106000 kept 4\n0x106000-0x107000 left-out 1\n\
                    pages: 5 kept, 2 left-out in 4 ranges\n";
    assert_eq!(shown(folder.path(), &["info", "--pages", "flat"]), expected);
    let json = printed(folder.path(), &["info", "--pages", "--json", "kdump"]);
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["ranges"][1], serde_json::json!(["0x101000", "0x102000", "left-out", 1]));
    assert_eq!((&json["level"], json["ranges"].as_array().map(Vec::len)), (&31.into(), Some(4)));
    assert_eq!(json["pages"], serde_json::json!({"kept": 5, "left-out": 2}));
    // A core of all memory, of a kernel that does not describe its page structs.
    let mut file = kdump();
    put(&mut file, 4096 + 4, &words(&[0]));
    fs::write(folder.path().join("raw"), file).expect("a file");
    let said = refused(folder.path(), &["info", "--pages", "raw"]);
    assert!(said.contains("cannot be told apart by class"), "{said}");
}
