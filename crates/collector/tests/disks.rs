//! Formatting and extracting through the library.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use collector::{DumpDisk, Error, extract, format};
use dumpfile::disk::DumpHeader;
use dumpfile::{DiskHeader, DiskId, DiskState};
use handoff::Stage;
use tempfile::TempDir;

#[path = "common/stored.rs"]
mod stored;
use stored::Dump;

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
    fn captured(&self, state: DiskState, stage: u32, bulk: &[u8]) -> PathBuf {
        let segments = if state == DiskState::COMPLETE { usize::MAX } else { 0 };
        let dump = Dump { state, stage, segments, ..Dump::complete(bulk) };
        self.disk(64 << 20, &dump.disk(ID))
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
    assert_eq!((formatted.id(), formatted.version(), formatted.dumps.len()), (ID, 3, 0));
    assert_eq!(formatted.header_damage(), None);
    assert_eq!(disk.metadata().expect("a disk").len(), 1 << 20, "its size is as before");
    let another = format(&disk, None, false).expect("an empty dump disk");
    let random = format(&disk, None, false).expect("an empty dump disk");
    assert!(another != ID && random != another);
}

#[test]
fn what_could_be_of_use_is_not_overwritten() {
    let bench = Bench::new();
    let disk = bench.disk(1 << 20, &[7; 512]);
    assert!(matches!(format(&disk, None, false), Err(Error::Foreign { .. })));
    format(&disk, None, true).expect("--force");

    let mut table = [0; 512];
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = bench.disk(1 << 20, &table);
    let refused = format(&disk, None, false).expect_err("it has partitions");
    assert!(matches!(refused, Error::Partitioned(_)) && refused.to_string().contains("name one"));
    format(&disk, None, true).expect("--force");
    // A tool for partitions keeps the bytes before its table.
    let file = OpenOptions::new().write(true).open(&disk).expect("a disk");
    file.write_all_at(&table[446..], 446).expect("a table");
    assert!(matches!(format(&disk, None, false), Err(Error::Partitioned(_))));
    assert!(matches!(DumpDisk::open(&disk), Err(Error::Header { .. })));

    let disk = bench.captured(DiskState::COMPLETE, 0x60, b"a dump");
    let before = fs::read(&disk).expect("the disk");
    let refused = format(&disk, None, false).expect_err("there is a dump on it");
    assert!(matches!(refused, Error::HoldsDump { length: 6, id: ID, .. }));
    assert_eq!(fs::read(&disk).expect("the disk"), before);
    format(&disk, None, true).expect("--force");

    let disk = bench.captured(DiskState::FAILED, 0xe0, b"half a dump");
    format(&disk, None, false).expect("a failed dump keeps nobody from the next");
}

/// The front of a disk with btrfs, ZFS, or RAID with metadata at its end is zero.
#[test]
fn something_at_either_end_of_a_disk_is_not_overwritten() {
    let bench = Bench::new();
    for (size, used) in [(4 << 20, (64 << 10) + 64), (4 << 20, (4 << 20) - 1), (9000, 8999)] {
        let disk = bench.disk(size, &[]);
        let file = OpenOptions::new().write(true).open(&disk).expect("a disk");
        file.write_all_at(&[1], used).expect("a byte");
        let refused = format(&disk, None, false).expect_err("it is in use").to_string();
        assert!(refused.contains(&format!("is at {used};")), "{refused}");
        format(&disk, None, true).expect("--force");
    }
}

#[test]
fn disks_that_are_not_there_or_too_small() {
    let bench = Bench::new();
    let missing = format(&bench.out(), None, false).expect_err("there is no such file");
    assert!(missing.to_string().contains("truncate -s"), "{missing}");
    let disk = bench.disk(8192, &[]);
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
        (DiskState::IN_PROGRESS, 0x50, "`first_byte`"),
        (DiskState::FAILED, 0x40, "the capture failed; the last stage it reached is `quiesced`"),
        (DiskState::FAILED, 0, "it reached no stage"),
        (DiskState::FAILED, 0x999, "unknown code 0x999"),
        (DiskState::PARTIAL, 0x50, "the disk had no room for all of the dump"),
        (DiskState(9), 0x60, "unknown state 9"),
    ];
    for (state, stage, words) in cases {
        let disk = bench.captured(state, stage, b"a dump");
        let extracted =
            quiet(&disk, &bench.out()).expect("there is a dump, of which nothing is there");
        let trouble = extracted.trouble().expect("it is not complete");
        assert!(trouble.contains(words), "{trouble}");
        assert_eq!(extracted.path, None);
    }
    assert_eq!(bench.files(), ["disk"]);
    let empty = bench.disk(1 << 20, &[DiskHeader::new(ID).encode(); 2].concat());
    let error = quiet(&empty, &bench.out()).expect_err("no dump");
    assert!(error.to_string().contains("no capture has begun on it"), "{error}");
}

#[test]
fn disks_that_lie_are_refused() {
    let bench = Bench::new();
    let whole = Dump::complete(&[7; 5000]).disk(ID);
    let disk = bench.disk(whole.len() as u64 - 4096, &whole[..whole.len() - 4096]);
    let error = quiet(&disk, &bench.out()).expect_err("the disk ends before the dump");
    assert!(matches!(error, Error::Truncated { length: 5000, .. }), "{error}");
    let disk = bench.disk(1 << 20, &Dump::complete(&[]).disk(ID));
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::EmptyDump(_))));
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    damaged[4096 + 20] ^= 1;
    let disk = bench.disk(1 << 20, &damaged);
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::Header { .. })));
    let disk = bench.disk(100, &[]);
    assert!(matches!(quiet(&disk, &bench.out()), Err(Error::OtherKind { disk: true, .. })));
    assert_eq!(bench.files(), ["disk"]);
}

/// The writer of a disk says that a dump of a few bytes has 256 TiB: it is a partial dump with a
/// hole, and takes no more than that.
#[test]
fn a_dump_that_claims_to_be_huge_takes_no_memory() {
    let bench = Bench::new();
    let (header, _) = Dump::complete(&[7; 5000]).region(ID, 1);
    let mut bytes = Dump::complete(&[7; 5000]).disk(ID);
    let huge = DumpHeader { raw_length: 1 << 48, state: DiskState::FAILED, ..header };
    bytes[8192..12288].copy_from_slice(&huge.encode());
    let disk = DumpDisk::open(&bench.disk(1 << 20, &bytes)).expect("a dump disk");
    let survey = disk.survey(&disk.dumps[0]).expect("it can be read");
    // The second entry is that of a last chunk, which is not one any more.
    assert_eq!(survey.lost_segments, 1);
    assert_eq!(survey.missing, [(0, 1 << 48)]);
}

#[test]
fn disks_of_older_versions_are_refused_in_words() {
    let bench = Bench::new();
    for version in [1, 2] {
        let mut block = DiskHeader::new(ID).encode();
        block[8] = version;
        block[4092..].fill(0);
        let crc = dumpfile::Crc32c::of(&block);
        block[4092..].copy_from_slice(&crc.to_le_bytes());
        let disk = bench.disk(1 << 20, &[block, block].concat());
        let error = quiet(&disk, &bench.out()).expect_err("refused");
        assert!(error.to_string().contains("kdump-collector format"), "{error}");
        let refused = format(&disk, Some(ID), false).expect_err("there may be a dump on it");
        assert!(refused.to_string().contains("--force"), "{refused}");
        format(&disk, Some(ID), true).expect("--force");
        assert_eq!(DumpDisk::open(&disk).expect("a dump disk").dumps.len(), 0);
    }
}

#[test]
fn a_disk_that_fails_halfway_leaves_nothing_behind() {
    let bench = Bench::new();
    let disk = bench.captured(DiskState::COMPLETE, 0x60, &dump());
    let mut shorten = |_, _| {
        let file = File::options().write(true).open(&disk).expect("the disk");
        file.set_len(24 << 10).expect("a shorter disk");
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
