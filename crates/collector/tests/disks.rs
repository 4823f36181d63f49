//! Formatting and extracting through the library.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use collector::{DumpDisk, Error, extract, format};
use dumpfile::disk::v1::{DATA_OFFSET, DiskHeader};
use dumpfile::{DiskId, DiskState};
use handoff::Stage;
use tempfile::TempDir;

const ID: DiskId = DiskId(*b"0123456789abcdef");

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A new disk of `size` bytes with `bytes` at its front.
    fn disk(&self, size: u64, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("disk");
        let file = File::create(&path).expect("a disk");
        file.set_len(size).expect("a size");
        file.write_all_at(bytes, 0).expect("its first bytes");
        path
    }

    /// A disk as the capture kernel leaves it.
    fn captured(&self, state: DiskState, stage: u32, dump: &[u8]) -> PathBuf {
        let length = dump.len() as u64;
        let header = DiskHeader { state, stage, length, ..DiskHeader::new(ID) }.encode();
        self.disk(64 << 20, &[&header, dump].concat())
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("vmcore")
    }

    /// Names of the files in the folder.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

/// 3 MiB and a bit, mostly zeros, with an odd length.
fn dump() -> Vec<u8> {
    let mut bytes = vec![0; (3 << 20) + 5000];
    for (index, byte) in bytes[..8192].iter_mut().enumerate() {
        *byte = (index * 7 + 1) as u8;
    }
    bytes[(1 << 20) + 100..(1 << 20) + 200].fill(0xaa);
    bytes[(3 << 20) + 4999] = 1;
    bytes
}

/// SHA-256 of [`dump`], worked out by Python's hashlib.
const DUMP_SHA256: &str = "769c0d821b3d6ba12957065690937ac03e4b5eda644ea3331b0e3a6fde984215";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
}

fn quiet(disk: &Path, out: &Path) -> Result<collector::Extracted, Error> {
    extract(disk, None, out, &mut |_, _| {})
}

#[test]
fn a_formatted_disk_is_empty_and_has_the_id() {
    let bench = Bench::new();
    let disk = bench.disk(1 << 20, &[]);
    assert_eq!(format(&disk, Some(ID), false).expect("an empty disk"), ID);
    let formatted = DumpDisk::open(&disk).expect("a dump disk");
    assert_eq!((formatted.id(), formatted.version(), formatted.dumps.len()), (ID, 2, 0));
    assert_eq!(formatted.header_damage(), None);
    assert_eq!(disk.metadata().expect("a disk").len(), 1 << 20, "its size is as before");
    let another = format(&disk, None, false).expect("an empty dump disk");
    let random = format(&disk, None, false).expect("an empty dump disk");
    assert!(another != ID && random != another);
}

#[test]
fn what_could_be_of_use_is_not_overwritten() {
    let bench = Bench::new();
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = bench.disk(1 << 20, &sector);
    assert!(matches!(format(&disk, None, false), Err(Error::Foreign { .. })));
    format(&disk, None, true).expect("--force");

    let disk = bench.captured(DiskState::COMPLETE, 0x60, b"a dump");
    let before = fs::read(&disk).expect("the disk");
    let refused = format(&disk, None, false).expect_err("there is a dump on it");
    assert!(matches!(refused, Error::HoldsDump { length: 6, id: ID, .. }));
    assert_eq!(fs::read(&disk).expect("the disk"), before);
    format(&disk, None, true).expect("--force");

    let disk = bench.captured(DiskState::FAILED, 0xe0, b"half a dump");
    format(&disk, None, false).expect("a failed dump keeps nobody from the next");
}

#[test]
fn disks_that_are_not_there_or_too_small() {
    let bench = Bench::new();
    let missing = format(&bench.out(), None, false).expect_err("there is no such file");
    assert!(missing.to_string().contains("truncate -s"), "{missing}");
    let disk = bench.disk(2 * DATA_OFFSET, &[]);
    assert!(matches!(format(&disk, None, true), Err(Error::TooSmall { size: 8192, .. })));
}

#[test]
fn the_vmcore_comes_out_byte_for_byte_with_holes() {
    let bench = Bench::new();
    let disk = bench.captured(DiskState::COMPLETE, Stage::Done.code().into(), &dump());
    fs::write(bench.out(), "an older vmcore").expect("an older vmcore");
    let mut steps = Vec::new();
    let extracted = extract(&disk, None, &bench.out(), &mut |done, all| steps.push((done, all)));
    let extracted = extracted.expect("a complete dump");
    assert!(fs::read(bench.out()).expect("the vmcore") == dump());
    assert_eq!(extracted.length, (3 << 20) + 5000);
    assert_eq!(hex(&extracted.sha256), DUMP_SHA256);
    assert_eq!(steps.last(), Some(&(extracted.length, extracted.length)));
    assert!(steps.is_sorted());
    let blocks = bench.out().metadata().expect("the vmcore").blocks() * 512;
    assert!(blocks < 1 << 20, "{blocks} bytes on the disk for 13 KB that are not zero");
    assert_eq!(bench.files(), ["disk", "vmcore"]);
}

#[test]
fn a_dump_of_zeros_has_its_length() {
    let bench = Bench::new();
    let disk = bench.captured(DiskState::COMPLETE, 0x60, &[0; 10_000]);
    quiet(&disk, &bench.out()).expect("a complete dump");
    assert!(fs::read(bench.out()).expect("the vmcore") == [0; 10_000]);
}

#[test]
fn other_states_are_explained() {
    let bench = Bench::new();
    let cases = [
        (DiskState::EMPTY, 0, "no capture has begun on it"),
        (DiskState::IN_PROGRESS, 0x50, "`first_byte`"),
        (DiskState::FAILED, 0x40, "the capture failed; the last stage it reached is `quiesced`"),
        (DiskState::FAILED, 0, "it reached no stage"),
        (DiskState::FAILED, 0x999, "unknown code 0x999"),
        (DiskState(9), 0x60, "unknown state 9"),
    ];
    for (state, stage, words) in cases {
        let disk = bench.captured(state, stage, b"a dump");
        let error = quiet(&disk, &bench.out()).expect_err("there is no complete dump");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(bench.files(), ["disk"]);
}

#[test]
fn disks_that_lie_are_refused() {
    let bench = Bench::new();
    let header = |length| DiskHeader {
        state: DiskState::COMPLETE,
        stage: 0x60,
        length,
        ..DiskHeader::new(ID)
    };
    let disk = bench.disk(8192, &header(4097).encode());
    let error = quiet(&disk, &bench.out()).expect_err("the disk ends before the dump");
    assert!(matches!(error, Error::Truncated { size: 8192, length: 4097, .. }));
    let disk = bench.disk(8192, &header(u64::MAX - 4096).encode());
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::Truncated { .. })));
    let disk = bench.disk(8192, &header(0).encode());
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::EmptyDump(_))));
    let mut damaged = header(1).encode();
    damaged[20] ^= 1;
    let disk = bench.disk(8192, &damaged);
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::Header { .. })));
    let disk = bench.disk(100, &[]);
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::OtherKind { disk: true, .. })));
    assert_eq!(bench.files(), ["disk"]);
}

#[test]
fn a_disk_that_fails_halfway_leaves_nothing_behind() {
    let bench = Bench::new();
    let disk = bench.captured(DiskState::COMPLETE, 0x60, &dump());
    let mut shorten = |_, _| {
        let file = File::options().write(true).open(&disk).expect("the disk");
        file.set_len(2 << 20).expect("a shorter disk");
    };
    let error = extract(&disk, None, &bench.out(), &mut shorten).expect_err("half a dump");
    assert!(matches!(error, Error::Io { what: "read", .. }), "{error}");
    assert_eq!(bench.files(), ["disk"]);
}

#[test]
fn folders_and_devices_are_not_replaced() {
    let bench = Bench::new();
    let disk = bench.captured(DiskState::COMPLETE, 0x60, b"a dump");
    assert!(matches!(quiet(&disk, bench.folder.path()), Err(Error::NotAFile(_))));
    assert!(matches!(quiet(&disk, Path::new("/dev/null")), Err(Error::NotAFile(_))));
}
