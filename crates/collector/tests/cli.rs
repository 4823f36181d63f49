//! The program itself: its output and its exit status.

use std::fs::{self, File};

use dumpfile::{Contents, DiskId};

#[path = "common/program.rs"]
mod program;
#[path = "common/stored.rs"]
mod stored;
use program::{collector, text};
use stored::Dump;

const ID: &str = "00112233445566778899aabbccddeeff";

#[test]
fn from_an_empty_disk_to_a_vmcore() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    File::create(&disk).and_then(|file| file.set_len(1 << 20)).expect("a disk");

    let formatted = collector(folder.path(), &["format", "disk", "--id", ID]);
    assert_eq!(formatted.status.code(), Some(0));
    let advice = format!("kdump.target=disk:id={ID}\n");
    assert!(text(&formatted.stdout).ends_with(&advice));

    let early = collector(folder.path(), &["extract", "disk", "-o", "vmcore"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        text(&early.stderr).starts_with("kdump-collector: disk: the disk is formatted, and no")
    );

    let id: DiskId = ID.parse().expect("an id");
    fs::write(&disk, Dump::complete(b"abc").disk(id)).expect("a dump");
    let extracted = collector(folder.path(), &["extract", "disk", "-o", "vmcore", "--json"]);
    assert_eq!(extracted.status.code(), Some(0));
    // FIPS 180-2, appendix B.1.
    let json = "{\"version\":1,\"bytes\":3,\"vmcore_sha256\":\
                \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\
                \"view\":\"vmcore\",\"dump\":1,\"verdict\":\"complete\",\"file\":\"vmcore\",\
                \"missing\":[],\"damaged\":[],\"left\":[],\"pages\":{\"kept\":1},\
                \"no_room\":false,\"views\":[]}\n";
    assert_eq!(text(&extracted.stdout), json);
    assert_eq!(fs::read(folder.path().join("vmcore")).expect("the vmcore"), b"abc");

    let again = collector(folder.path(), &["extract", "disk", "-o", "vmcore"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"));
    let forced = collector(folder.path(), &["extract", "disk", "-o", "vmcore", "--force"]);
    assert_eq!(forced.status.code(), Some(0));

    let full = collector(folder.path(), &["format", "disk"]);
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).contains("complete dump of 3 bytes"));
}

#[test]
fn oldmem_is_called_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    let id: DiskId = ID.parse().expect("an id");
    let contents = Contents::OldMem { start: 0x20000 };
    fs::write(&disk, Dump { contents, ..Dump::complete(b"abc") }.disk(id)).expect("a dump");
    let words = collector(folder.path(), &["extract", "disk", "-o", "oldmem"]);
    assert!(text(&words.stdout).starts_with("oldmem: oldmem of physical 0x20000+0x3, 3 bytes"));
    let json = collector(folder.path(), &["extract", "disk", "-o", "oldmem", "--force", "--json"]);
    assert!(text(&json.stdout).contains("\"view\":\"oldmem\",\"start\":131072,"));
}

#[test]
fn a_wrong_command_line_is_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [&["format", "disk", "--id", "12"][..], &["extract", "disk"], &[]] {
        assert_eq!(collector(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    let help = collector(folder.path(), &["extract", "--help"]);
    assert!(text(&help.stdout).contains("Exit codes"));
}
