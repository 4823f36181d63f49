//! Dump disks: whole and partial dumps, damage, and each command's result for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dumpfile::chunk::{ChunkEntry, Codec, Encoder, Left, MOST_COMPRESSED};
use dumpfile::disk::{BLOCK, DumpHeader, Refused, StoredChunks, encode_segment};
use dumpfile::{Contents, DiskHeader, DiskId, DiskState};
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/stored.rs"]
mod stored;
use stored::{Dump, KEY, SEGMENT};

const ID: DiskId = DiskId(*b"0123456789abcdef");
const LOG: &[u8] = b"[    1.0] first\n[    2.0] \x1bsecond\n[    3.0] third\n";
/// Two segments and a bit.
const LENGTH: usize = 2 * SEGMENT + 5000;

/// A disk as the capture kernel would leave it.
struct Disk {
    folder: TempDir,
    bytes: Vec<u8>,
    header: DiskHeader,
}

/// Bytes that differ from dump to dump and from place to place.
fn dump(seed: u8) -> Vec<u8> {
    (0..LENGTH).map(|at| (at / 999) as u8 ^ seed).collect()
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = Self { folder, bytes: vec![0xee; 16 << 20], header: DiskHeader::new(ID) };
        disk.store();
        disk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes the file.
    fn store(&mut self) {
        let header = self.header.encode();
        self.put(0, &[header, header].concat());
        fs::write(self.path(), &self.bytes).expect("a disk");
    }

    /// Adds a dump with its first segments; the rest of its place keeps strange bytes.
    fn add(&mut self, seed: u8, state: DiskState, segments: usize, checksums: bool) -> DumpHeader {
        let views = [("dmesg", LOG.to_vec()), ("notes", vec![seed; 5000])];
        let bulk = dump(seed);
        let whole = Dump::complete(&bulk);
        let dump = Dump { state, stage: 0x50, views: &views, segments, checksums, ..whole };
        let (header, region) = dump.region(ID, self.header.next);
        self.place(&header, &region);
        header
    }

    fn place(&mut self, header: &DumpHeader, region: &[u8]) {
        let placed = self.header.place(16 << 20, region.len() as u64, KEY, false).expect("room");
        self.header = placed.header;
        self.header.dumps.set_state(header.sequence, header.state);
        self.put(placed.entry.offset, region);
        self.store();
    }

    /// Returns the start of the region of the dump with this number.
    fn region(&self, number: u64) -> u64 {
        let mut dumps = self.header.dumps.as_slice().iter();
        dumps.find(|dump| dump.sequence == number).expect("this dump").offset
    }

    fn flip(&mut self, at: u64) {
        self.bytes[at as usize] ^= 1;
        fs::write(self.path(), &self.bytes).expect("a disk");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdump-collector"));
        command.current_dir(self.folder.path()).args(arguments);
        command.output().expect("the collector runs")
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join(name)).ok()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_newest_complete_dump_is_the_one_or_the_one_that_is_named() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::COMPLETE, 3, false);
    disk.add(2, DiskState::COMPLETE, 3, false);
    disk.add(3, DiskState::FAILED, 1, false);
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(disk.file("vmcore") == Some(dump(2)));
    assert_eq!(disk.file("vmcore.dmesg").as_deref(), Some(LOG));
    assert_eq!(disk.file("vmcore.notes"), Some(vec![2; 5000]));
    assert!(text(&output.stdout).contains("\nvmcore.notes: notes, 5000 bytes\n"));
    let output = disk.run(&["extract", "disk", "-o", "first", "--dump", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(disk.file("first") == Some(dump(1)));
    let output = disk.run(&["extract", "disk", "-o", "none", "--dump", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has no dump 7; there is 1, 2, 3"));
}

#[test]
fn a_partial_dump_yields_what_is_committed_and_says_so() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::IN_PROGRESS, 2, false);
    let output = disk.run(&["extract", "disk", "-o", "vmcore", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for words in [
        "a capture began and did not end; the last stage it reached is `first_byte`",
        "vmcore.partial: 2097152 of 2102152 bytes are there",
        "missing: 0x200000+0x1388",
        "vmcore.dmesg: dmesg, 50 bytes",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let json = json(&output);
    assert_eq!(json["verdict"], "partial");
    assert_eq!(json["missing"].to_string(), "[[2097152,5000]]");
    assert_eq!(json["vmcore_sha256"], Value::Null);
    assert_eq!(disk.file("vmcore"), None, "a file with this name is always whole");
    let mut expected = dump(1);
    expected[2 << 20..].fill(0);
    assert!(disk.file("vmcore.partial") == Some(expected));
}

#[test]
fn a_dump_of_which_nothing_is_there_still_has_its_small_views() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::FAILED, 0, false);
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none of its 2102152 bytes is there for certain"));
    assert_eq!(disk.file("vmcore.partial"), None);
    assert_eq!(disk.file("vmcore.dmesg").as_deref(), Some(LOG));
}

/// The capture ended between the writes of the two headers.
#[test]
fn the_dumps_own_header_counts_for_more_than_the_directory() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::COMPLETE, 3, false);
    disk.header.dumps.set_state(1, DiskState::IN_PROGRESS);
    disk.store();
    assert_eq!(disk.run(&["extract", "disk", "-o", "vmcore"]).status.code(), Some(0));
    assert!(disk.file("vmcore") == Some(dump(1)));
}

#[test]
fn either_header_of_disk_and_dump_will_do() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::COMPLETE, 3, false);
    disk.flip(100);
    assert_eq!(disk.run(&["extract", "disk", "-o", "vmcore"]).status.code(), Some(0));
    let output = disk.run(&["verify", "disk"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("note         one of the two headers: "));
    let region = disk.region(1);
    let copy = disk.bytes[region as usize..][..BLOCK].to_vec();
    disk.put(region + BLOCK as u64, &copy);
    disk.flip(region + 200);
    assert_eq!(disk.run(&["extract", "disk", "-o", "again"]).status.code(), Some(0));
    disk.flip(region + BLOCK as u64 + 200);
    let output = disk.run(&["extract", "disk", "-o", "lost"]);
    assert_eq!(output.status.code(), Some(1));
    let output = disk.run(&["verify", "disk"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("the header of the dump is damaged"));
    assert!(
        text(&disk.run(&["info", "disk"]).stdout).contains("the header of the dump is damaged")
    );
}

#[test]
fn a_chunk_that_differs_from_its_checksum_is_named_and_left_out() {
    let mut disk = Disk::new();
    let header = disk.add(1, DiskState::COMPLETE, 3, true);
    let intact = disk.run(&["verify", "disk", "--json"]);
    assert_eq!(intact.status.code(), Some(0));
    assert_eq!(json(&intact)["dumps"][0]["checked"], LENGTH);
    // In the second segment's first chunk.
    disk.flip(disk.region(1) + header.bulk_start + (SEGMENT + 2 * BLOCK) as u64 + 77);
    let damaged = disk.run(&["verify", "disk", "--json"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert_eq!(json(&damaged)["dumps"][0]["damaged"].to_string(), "[[1048576,1114112]]");
    assert_eq!(json(&damaged)["intact"], false);
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("damaged: 0x100000+0x10000"));
    let mut expected = dump(1);
    expected[1 << 20..17 << 16].fill(0);
    assert!(disk.file("vmcore.partial") == Some(expected));
}

#[test]
fn verify_looks_at_views_and_segments() {
    let mut disk = Disk::new();
    let header = disk.add(1, DiskState::COMPLETE, 3, false);
    let region = disk.region(1);
    let problems = |disk: &Disk| {
        let output = disk.run(&["verify", "disk", "--json"]);
        (output.status.code(), json(&output)["dumps"][0]["problems"].to_string())
    };
    assert_eq!(problems(&disk), (Some(0), "[]".to_owned()));
    disk.flip(region + header.views()[1].offset);
    let (code, said) = problems(&disk);
    assert!(code == Some(1) && said.contains("small view notes differs"), "{said}");
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert_eq!(output.status.code(), Some(0), "the dump itself is whole");
    assert_eq!(disk.file("vmcore.notes"), None);
    disk.flip(region + header.views()[1].offset);
    // The block of the second segment: its chunks are lost, and those after them are found again.
    disk.flip(region + header.bulk_start + (SEGMENT + BLOCK) as u64 + 60);
    let (code, said) = problems(&disk);
    assert!(code == Some(1) && said.contains("1 segments of the dump's log are damaged"), "{said}");
    assert!(said.contains("1048576 bytes of a complete dump are missing"), "{said}");
    let output = disk.run(&["extract", "disk", "-o", "again"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("parts of the dump's log are damaged"));
    assert!(text(&output.stderr).contains("missing: 0x100000+0x100000"));
    let mut expected = dump(1);
    expected[1 << 20..2 << 20].fill(0);
    assert!(disk.file("again.partial") == Some(expected));
}

/// Chunks of every kind in one segment, out of order: compressed, raw, left out for many reasons.
#[test]
fn compressed_chunks_and_what_is_left_out() {
    use vmcore::{Extent, Extents, PageClass};
    const K: usize = 64 << 10;
    let mut disk = Disk::new();
    let mut expected = dump(9)[..6 * K].to_vec();
    expected[2 * K..5 * K].fill(0);
    expected[5 * K + 8192..5 * K + 12288].fill(0);
    let contents = Contents::OldMem { start: 0 };
    let (first, _) = Dump { contents, ..Dump::complete(&expected) }.region(ID, 1);
    let mut header = DumpHeader { codec: Codec::Lz4, checksums: true, stage: 0x60, ..first };
    header.committed = header.bulk_start;
    let (mut block, mut bytes, mut chunks) = ([0; BLOCK], Vec::new(), Vec::new());
    let mut encoder = Encoder::new().expect("memory");
    let view = Extents::new(vec![Extent::Bytes(expected.clone())]).expect("small");
    for chunk in [1, 5, 0] {
        let mut out = vec![0; MOST_COMPRESSED];
        let mut entry = encoder.encode(&view, chunk, &Nothing, &mut out);
        assert_eq!(entry.codec, Codec::Lz4);
        if chunk == 5 {
            // Its third page is zeros; say that it could not be read.
            entry.left.set(2, PageClass::Unreadable);
        }
        let at = header.bulk_start + (BLOCK + bytes.len()) as u64;
        chunks.push(StoredChunks { entry, repeat: 0, at });
        bytes.extend(&out[..entry.stored as usize]);
    }
    let free = ChunkEntry { chunk: 2, left: Left::all(PageClass::Free), ..ChunkEntry::default() };
    chunks.push(StoredChunks { entry: free, repeat: 2, at: 0 });
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    header.pages = {
        let mut pages = dumpfile::disk::PageCounts::default();
        chunks.iter().for_each(|chunks| pages.add(chunks, 6 << 16));
        pages.with_doubt(2)
    };
    (header.level, header.level_raised) = (16, true);
    encode_segment(&header, 0, bytes.len() as u64, &chunks, &mut block);
    header.committed = header.bulk_start + (BLOCK + bytes.len()) as u64;
    let region = [&header.encode()[..], &[0; BLOCK], &block, &bytes].concat();
    disk.place(&header, &region);
    let output = disk.run(&["extract", "disk", "-o", "vmcore", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(disk.file("vmcore") == Some(expected));
    let json = json(&output);
    let left = r#"[[131072,196608,"free"],[335872,4096,"unreadable"]]"#;
    assert_eq!(json["left"].to_string(), left);
    assert_eq!(json["pages"].to_string(), r#"{"free":48,"in-doubt":2,"kept":47,"unreadable":1}"#);
    let words = text(&disk.run(&["extract", "disk", "-o", "again"]).stdout);
    assert!(words.contains("left out, zero here: 196608 bytes, free\n"), "{words}");
    let info = text(&disk.run(&["info", "disk"]).stdout);
    assert!(info.contains("393216 bytes, lz4, with checksums\n"), "{info}");
    assert!(info.contains("pages: 48 free, 2 in-doubt, 47 kept, 1 unreadable\n"), "{info}");
    assert!(info.contains("dump level 16: the disk had no room for all memory\n"), "{info}");
    assert_eq!(disk.run(&["verify", "disk"]).status.code(), Some(0));
    disk.flip(disk.region(1) + chunks[1].at + 5);
    let output = disk.run(&["extract", "disk", "-o", "bad"]);
    assert!(text(&output.stderr).contains("damaged: 0x50000+0x10000"));
}

/// Memory that is not there: the encoder reads bytes of ours only.
struct Nothing;

impl vmcore::ReadPhys for Nothing {
    fn read_phys(&self, at: vmcore::PhysAddr, _: &mut [u8]) -> Result<(), vmcore::Error> {
        Err(vmcore::Error::Unreadable { at })
    }
}

#[test]
fn a_dump_that_had_no_room_says_so() {
    let mut disk = Disk::new();
    let bulk = dump(4);
    let views = [("dmesg", LOG.to_vec())];
    let part = Dump {
        state: DiskState::PARTIAL,
        stage: 0x50,
        views: &views,
        segments: 1,
        ..Dump::complete(&bulk)
    };
    let (mut header, mut region) = part.region(ID, 1);
    header.no_room = true;
    region[..BLOCK].copy_from_slice(&header.encode());
    disk.place(&header, &region[..header.committed as usize]);
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("the disk had no room for all of the dump"), "{said}");
    assert!(said.contains("vmcore.partial: 1048576 of 2102152 bytes are there"), "{said}");
    assert!(said.contains("missing: 0x100000+0x101388"), "{said}");
    let info = text(&disk.run(&["info", "disk"]).stdout);
    assert!(info.contains("dump 1       partial, last stage first_byte"), "{info}");
    assert!(info.contains("the disk had no room for more"), "{info}");
    assert_eq!(disk.run(&["verify", "disk"]).status.code(), Some(0), "it is no damage");
}

#[test]
fn a_capture_that_has_said_nothing_of_itself_is_no_damage() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::IN_PROGRESS, 0, false);
    let region = disk.region(1);
    disk.put(region, &[0; 2 * BLOCK]);
    disk.store();
    assert_eq!(disk.run(&["verify", "disk"]).status.code(), Some(0));
    let output = disk.run(&["extract", "disk", "-o", "vmcore"]);
    assert!(text(&output.stderr).contains("a capture began and did not end; it reached no stage"));
}

#[test]
fn info_lists_the_dumps() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::IN_PROGRESS, 2, false);
    disk.add(2, DiskState::FAILED, 0, true);
    let info = text(&disk.run(&["info", "disk"]).stdout);
    let expected = "\
dump disk    id 30313233343536373839616263646566, version 3, 2 dumps
dump 1       in progress, last stage first_byte, vmcore, 2097152 of 2102152 bytes are there
             small view dmesg, 50 bytes
             small view notes, 5000 bytes
dump 2       failed, last stage first_byte, vmcore, 0 of 2102152 bytes are there, with checksums
             small view dmesg, 50 bytes
             small view notes, 5000 bytes
";
    assert_eq!(info, expected);
    let json = json(&disk.run(&["info", "disk", "--json", "--dump", "1"]));
    assert_eq!(json["disk"]["state"], "in progress");
    assert_eq!(json["disk"]["dumps"][0]["there"], 2 << 20);
    assert_eq!(json["disk"]["dumps"][1]["views"][0]["name"], "dmesg");
}

#[test]
fn captures_that_found_no_room_are_told() {
    let mut disk = Disk::new();
    disk.header.refused = Refused { captures: 2, need: 1 << 30 };
    disk.store();
    let said = "captures: 2, the last one needed 1073741824 bytes";
    assert!(text(&disk.run(&["extract", "disk", "-o", "vmcore"]).stderr).contains(said));
    assert!(text(&disk.run(&["info", "disk"]).stdout).contains(said));
}

#[test]
fn the_log_beside_a_partial_dump() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::IN_PROGRESS, 1, false);
    let output = disk.run(&["dmesg", "disk"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "[    1.0] first\n[    2.0] ?second\n[    3.0] third\n");
    assert!(text(&output.stderr).contains("the log stored beside it"));
    let shown =
        |arguments: &[&str]| text(&disk.run(&[&["dmesg", "disk"], arguments].concat()).stdout);
    assert_eq!(shown(&["--last", "1"]), "[    3.0] third\n");
    assert_eq!(shown(&["--bytes", "16"]), "[    3.0] third\n");
    assert_eq!(shown(&["--bytes", "15"]), "");
    assert_eq!(shown(&["--last", "1", "--json"]), "{\"text\":\"[    3.0] third\"}\n");
    assert_eq!(shown(&["--dump", "2"]), "");
}

#[test]
fn a_disk_with_complete_dumps_is_not_formatted_again() {
    let mut disk = Disk::new();
    disk.add(1, DiskState::COMPLETE, 3, false);
    disk.add(2, DiskState::COMPLETE, 3, false);
    let output = disk.run(&["format", "disk"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("holds 2 complete dumps, the newest of 2102152 bytes"), "{said}");
    let id = ID.to_string();
    assert_eq!(disk.run(&["format", "disk", "--force", "--id", &id]).status.code(), Some(0));
    let front = &disk.file("disk").expect("the disk")[..BLOCK];
    let header = DiskHeader::decode(front).expect("a header");
    assert_eq!((header.next, header.dumps.as_slice().len()), (3, 0), "it goes on counting");
    assert!(header.generation > disk.header.generation);
}

#[test]
fn a_disk_that_was_shortened_or_lies_does_no_harm() {
    let mut disk = Disk::new();
    let header = disk.add(1, DiskState::COMPLETE, 3, true);
    let path: &Path = &disk.path();
    let end = disk.region(1) + header.committed;
    for length in [0, 100, 4096, 8192, 8200, end / 2, end - 4096] {
        fs::write(path, &disk.bytes[..length as usize]).expect("a disk");
        for command in [&["extract", "disk", "-o", "vmcore"][..], &["verify", "disk"]] {
            let output = disk.run(command);
            assert_eq!(output.status.code(), Some(1), "{length}: {}", text(&output.stderr));
        }
        disk.run(&["info", "disk"]);
        disk.run(&["dmesg", "disk"]);
    }
    assert_eq!(disk.file("vmcore"), None);
}
