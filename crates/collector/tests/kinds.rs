//! Files that are no vmcore, or a part of one: each is named by its kind, with the next step.

use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "common/program.rs"]
mod program;
use program::{collector, text};

/// Output of the real programs for "a dump\n": xz 5.4, zstd 1.5, lz4 1.9, bzip2 1.0.
const PACKED: [(&str, &str, &[u8]); 4] = [
    ("an xz file", "xz -dc", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x06a dump\n\0\x88r\x90L\xabm8$\0\x01\x1f\x07\x16.\xb8s\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ"),
    ("a zstd file", "zstd -dc", b"\x28\xb5\x2f\xfd\x24\x07\x39\0\0a dump\n\x0a\xae\x20\x28"),
    ("an lz4 file", "lz4 -dc", b"\x04\x22\x4d\x18\x64\x40\xa7\x07\0\0\x80a dump\n\0\0\0\0\xe1\x03\xa0\xfe"),
    ("a bzip2 file", "bzip2 -dc", b"BZh91AY&SYW\x10\xac\\\0\0\x01Q\x80\0\x10@\0$\x02B\0 \0\"\x0c\x9bB\x18\x08\xd3\x02\x8b\xb2)\xc2\x84\x82\xb8\x85b\xe0"),
];

/// Every command that reads a dump refuses the file, calls it `name`, and prints `next`.
#[track_caller]
fn assert_named(folder: &Path, file: &str, name: &str, next: &str) {
    let commands: [&[&str]; 4] =
        [&["info", file], &["dmesg", file], &["extract", file, "-o", "out"], &["verify", file]];
    assert_named_by(&commands, folder, file, name, next);
}

/// The same of these commands.
#[track_caller]
fn assert_named_by(commands: &[&[&str]], folder: &Path, file: &str, name: &str, next: &str) {
    for arguments in commands {
        let output = collector(folder, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let begins = format!("kdump-collector: {file} is {name}");
        assert!(said.starts_with(&begins) && said.contains(next), "{arguments:?}: {said}");
        assert!(!folder.join("out").exists(), "{arguments:?}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("file"), bytes).expect("a file");
}

#[test]
fn packed_files_are_named_with_what_unpacks_them() {
    let folder = folder();
    for (name, unpack, bytes) in PACKED {
        put(folder.path(), bytes);
        assert_named(folder.path(), "file", name, &format!("`{unpack} file > FILE`"));
    }
    let mut gzip = Command::new("gzip");
    gzip.current_dir(folder.path()).args(["-kf", "file"]);
    assert!(gzip.status().expect("gzip is there").success());
    assert_named(folder.path(), "file.gz", "a gzip file", "`gzip -dc file.gz > FILE`");
}

/// 4096 bytes of a header, then the first piece with the offset `place` (makedumpfile 1.7,
/// `makedumpfile_header` and `makedumpfile_data_header`, big-endian).
fn flattened(place: u64, bytes: &[u8]) -> Vec<u8> {
    let mut file = b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01".to_vec();
    file.resize(4096, 0);
    file.extend(place.to_be_bytes());
    file.extend((bytes.len() as u64).to_be_bytes());
    file.extend(bytes);
    file
}

/// `KDUMP   `, version 6, `utsname`.
fn kdump(sysname: &[u8]) -> Vec<u8> {
    let mut file = b"KDUMP   \x06\0\0\0".to_vec();
    file.extend(sysname);
    file.resize(4096, 0);
    file
}

/// `verify` takes dump disks only.
#[test]
fn vmcores_are_named_where_a_disk_is_wanted() {
    let folder = folder();
    let named = |bytes: &[u8], name: &str, next: &str| {
        put(folder.path(), bytes);
        assert_named_by(&[&["verify", "file"]], folder.path(), "file", name, next);
    };
    let info = "`kdump-collector info file` shows its contents";
    named(&kdump(b"Linux"), "a kdump-compressed dump (makedumpfile), not a dump disk", info);
    named(&kdump(b""), "a kdump-compressed dump (QEMU),", info);
    named(b"KDUMP   ", "a kdump-compressed dump", info);
    let again = "`makedumpfile -R FILE < file` puts it together; then name FILE";
    let name = "a flattened dump (makedumpfile -F, QEMU) that holds a kdump-compressed dump,";
    named(&flattened(0, &kdump(b"Linux")), name, again);
    let name = "a flattened dump (makedumpfile -F, QEMU) that holds an ELF core,";
    named(&flattened(0, b"\x7fELF"), name, again);
    let name = "a flattened dump (makedumpfile -F, QEMU),";
    named(&flattened(4096, &kdump(b"Linux")), name, again);
    put(folder.path(), b"DISKDUMP\x01\0\0\0");
    assert_named(folder.path(), "file", "a diskdump", "crash vmlinux file");
}

#[test]
fn disks_and_machines_of_others_are_named() {
    let folder = folder();
    let named = |bytes: &[u8], name: &str, next: &str| {
        put(folder.path(), bytes);
        assert_named(folder.path(), "file", name, next);
    };
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.resize(104, 0);
    named(&qcow2, "a disk image in qcow2,", "`qemu-img convert -O raw file FILE`");
    qcow2[63] = 2;
    named(&qcow2, "a disk image in qcow2 with snapshots (2)", "-loadvm");
    named(b"QFI\xfb", "a disk image in qcow2,", "qemu-img");
    named(b"QEVM\0\0\0\x03", "a migration stream of QEMU", "dump-guest-memory");
    named(b"LibvirtQemudSave\x02", "a machine that libvirt has saved", "--memory-only");
}

/// The front of an ELF file: class, byte order, `e_type`, `e_machine`.
fn elf(class: u8, order: u8, [kind, machine]: [u16; 2]) -> Vec<u8> {
    let mut file = b"\x7fELF".to_vec();
    file.extend([class, order, 1]);
    file.resize(16, 0);
    for field in [kind, machine] {
        file.extend(if order == 2 { field.to_be_bytes() } else { field.to_le_bytes() });
    }
    file.resize(64, 0);
    file
}

#[test]
fn elf_files_that_are_no_vmcore_are_named() {
    let folder = folder();
    let named = |bytes: &[u8], name: &str, next: &str| {
        put(folder.path(), bytes);
        assert_named(folder.path(), "file", name, next);
    };
    named(&elf(1, 1, [2, 3]), "a vmlinux or a program", "gdb file vmcore");
    named(&elf(2, 1, [3, 62]), "a vmlinux or a program", "gdb file vmcore");
    named(&elf(2, 1, [1, 62]), "an object file or a kernel module", "beside the vmcore");
    named(&elf(2, 1, [4, 183]), "an ELF core of a machine that is no x86 (183)", "that machine");
    named(&elf(2, 2, [4, 22]), "an ELF core of a machine that is no x86 (22)", "that machine");
    let program = env!("CARGO_BIN_EXE_kdump-collector");
    assert!(text(&collector(folder.path(), &["info", program]).stderr).contains("a vmlinux or a"));
}

#[test]
fn what_is_no_dump_at_all_is_named() {
    let folder = folder();
    let named = |bytes: &[u8], name: &str, next: &str| {
        put(folder.path(), bytes);
        assert_named(folder.path(), "file", name, next);
    };
    named(b"", "empty (0 bytes): ", "was the disk full?");
    named("[    0.000000] Linux version ä\n".as_bytes(), "a text, ", "can be read as it is");
    named(&[0; 9000], "zero as far as was looked", "kdump-collector format");
    named(b"\x01\x02\x03", "something that is not known here", "from its beginning?");
    named(b"kdump-rs ranges 1\ndump ", "the map of a dump", "kdump-collector receive");
    named(b"KDRSSLOT\x01", "a slot image", "kdump-loader inspect");
    let mut kernel = vec![0x90; 0x300];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    named(&kernel, "a kernel image (bzImage)", "name the vmcore");
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    assert_named(folder.path(), "folder", "a directory", "name a file in it");
    fs::write(folder.path().join("folder/vmcore"), b"").expect("a file");
    assert_named(folder.path(), "folder", "a directory", "name folder/vmcore");
    assert_named(folder.path(), "/dev/null", "a character device", "to a file first");
}

/// Opening a pipe would wait for its other end.
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = folder();
    let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.expect("mkfifo is there").success());
    assert_named(folder.path(), "pipe", "a pipe", "to a file first");
    let format = collector(folder.path(), &["format", "pipe"]);
    assert!(text(&format.stderr).starts_with("kdump-collector: pipe is a pipe"));
}

#[test]
fn what_would_be_lost_is_named_before_a_disk_is_formatted() {
    let folder = folder();
    put(folder.path(), &[b"\x1f\x8b\x08\0".to_vec(), vec![0; 9000]].concat());
    let format = collector(folder.path(), &["format", "file"]);
    assert_eq!(format.status.code(), Some(1));
    let said = "kdump-collector: file holds something else (a gzip file): if that can be lost, say \
                --force\n";
    assert_eq!(text(&format.stderr), said);
}

/// File names are part of commands that people copy.
#[test]
fn names_in_commands_are_quoted() {
    let folder = folder();
    for (name, quoted) in [("a b", "'a b'"), ("it's", "'it'\\''s'"), ("$(x)", "'$(x)'")] {
        fs::write(folder.path().join(name), b"\x1f\x8b").expect("a file");
        assert_named(folder.path(), name, "a gzip file", &format!("`gzip -dc {quoted} > FILE`"));
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A note, padded (ELF specification 1.2).
fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = words(&[name.len() as u32, desc.len() as u32, kind]);
    for part in [name, desc] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// An ELF32 core of i386: notes, then three PT_LOADs of 4096 bytes, at physical 1 MiB, 2 MiB and 2
/// MiB + 4 KiB.
fn core(notes: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(words(&[3 << 16 | 4, 1, 0, 52, 0, 0, 32 << 16 | 52, 4]));
    file.resize(52, 0);
    let length = notes.len() as u32;
    file.extend(words(&[4, 0x400, 0, 0, length, length, 0, 0]));
    for (index, paddr) in [0x10_0000, 0x20_0000, 0x20_1000].into_iter().enumerate() {
        let offset = 0x1000 * (index as u32 + 1);
        file.extend(words(&[1, offset, 0xc000_0000 + paddr, paddr, 4096, 4096, 7, 0]));
    }
    file.resize(0x400, 0);
    file.extend(notes);
    file.resize(0x4000, 0);
    file
}

#[test]
fn a_cut_vmcore_says_what_is_missing() {
    let folder = folder();
    let vmcoreinfo = note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1.0\nKERNELOFFSET=0\n");
    let whole = core(&vmcoreinfo);
    let info = |length: usize, json: &[&str]| {
        put(folder.path(), &whole[..length]);
        let output = collector(folder.path(), &[&["info", "file"], json].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(!info(0x4000, &[]).contains("cut "));
    let said = info(0x2800, &[]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "vmcore       ELF32, i386, 10240 bytes",
            "cut          10240 of 16384 bytes are there, 6144 are missing: copy it again",
            "missing      physical 0x200800 up to 0x202000",
        ]
    );
    let said = info(0x800, &[]);
    assert!(said.contains("missing      physical 0x100000 up to 0x101000\n"), "{said}");
    assert!(said.contains("missing      physical 0x200000 up to 0x202000\n"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&info(0x800, &["--json"])).expect("JSON");
    let cut = &json["vmcore"]["cut"];
    assert_eq!((&cut["whole"], &cut["missing"]), (&0x4000.into(), &0x3800.into()));
    assert_eq!(cut["memory"][1], serde_json::json!(["0x200000", "0x202000"]));
    // The file is cut within the notes: those before the cut count.
    assert!(info(0x410, &[]).contains("kernel       not known"));
    for length in [5, 40, 60, 100, 179] {
        put(folder.path(), &whole[..length]);
        let said = text(&collector(folder.path(), &["info", "file"]).stderr);
        let expected = match length {
            5 => "kdump-collector: file is the front of an ELF file: it was copied in part"
                .to_owned(),
            _ => {
                format!(
                    "kdump-collector: file is cut, and its headers are in the missing part \
                     ({length} "
                )
            }
        };
        assert!(said.starts_with(&expected), "{length}: {said}");
    }
    // Notes without VMCOREINFO, and a range that does not fit in 64 bits.
    let mut wraps = whole.clone();
    wraps[84 + 12..84 + 20].fill(0xff);
    put(folder.path(), &wraps[..0x800]);
    assert_eq!(collector(folder.path(), &["info", "file"]).status.code(), Some(0));
}

/// gdb 13, crash 8.0.2 and drgn 0.3.0 accepted these commands for real dumps.
#[test]
fn commands_are_those_for_the_dump_at_hand() {
    let folder = folder();
    let readers = |text: &str, class_and_machine: Option<[u8; 2]>| {
        let mut file = core(&note(b"VMCOREINFO\0", 0, text.as_bytes()));
        if let Some([_, machine]) = class_and_machine {
            file[18] = machine;
        }
        put(folder.path(), &file);
        let output = collector(folder.path(), &["info", "file", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let readers = json["vmcore"]["readers"].clone();
        ["gdb", "crash", "drgn"].map(|name| readers[name].as_str().expect("a command").to_owned())
    };
    let moved = "gdb -iex 'set confirm off' -c file -ex 'add-symbol-file vmlinux -o 0xc000000'";
    assert_eq!(
        readers("SYMBOL(_stext)=cd000000\nKERNELOFFSET=c000000\n", None),
        [
            moved,
            "crash --kaslr=0xc000000 -m page_offset=0xc0000000 vmlinux file",
            "drgn -c file -s vmlinux"
        ]
    );
    let [gdb, crash, _] = readers("KERNELOFFSET=0\n", None);
    assert_eq!([gdb, crash], ["gdb vmlinux file", "crash vmlinux file"]);
    // VMCOREINFO does not have the offset.
    let [gdb, crash, _] = readers("SYMBOL(_stext)=cd000000\n", None);
    assert!(gdb.ends_with("-o OFFSET'"), "{gdb}");
    assert_eq!(crash, "crash --kaslr=OFFSET -m page_offset=0xc0000000 vmlinux file");
    // crash finds the offset by itself there, gdb does not.
    let [gdb, crash, _] = readers("KERNELOFFSET=c000000\n", Some([2, 62]));
    assert_eq!([gdb.as_str(), crash.as_str()], [moved, "crash vmlinux file"]);
}

/// A kernel that is split at 2 GiB, as its PT_LOADs show.
#[test]
fn the_page_offset_is_that_of_the_headers() {
    let folder = folder();
    let mut file = core(&note(b"VMCOREINFO\0", 0, b"KERNELOFFSET=1000000\n"));
    for load in 0..3 {
        file[84 + 32 * load + 11] = 0x80;
    }
    put(folder.path(), &file);
    let said = text(&collector(folder.path(), &["info", "file"]).stdout);
    assert!(
        said.contains("crash --kaslr=0x1000000 -m page_offset=0x80000000 vmlinux file"),
        "{said}"
    );
}

/// Linux adds a note with the program's name (NT_PRPSINFO) to a program's core. A machine's core
/// has none.
#[test]
fn the_core_of_a_program_is_none_of_a_machine() {
    let folder = folder();
    put(folder.path(), &core(&note(b"CORE\0", 3, &[0; 124])));
    for command in ["info", "dmesg"] {
        let said = text(&collector(folder.path(), &[command, "file"]).stderr);
        assert!(said.starts_with("kdump-collector: file is the core of a program"), "{said}");
        assert!(said.contains("gdb PROGRAM file"), "{said}");
    }
    // /proc/kcore has both notes.
    let kcore = [note(b"CORE\0", 3, &[0; 124]), note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1\n")];
    put(folder.path(), &core(&kcore.concat()));
    assert!(
        text(&collector(folder.path(), &["info", "file"]).stdout).contains("kernel       6.1\n")
    );
}
