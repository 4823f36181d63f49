//! Bulks: over a socket, which loses nothing but can be cut anywhere.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use dumpfile::wire::{Frame, Greeting, Outcome, Packet, Sender, Slot, encode};
use tempfile::TempDir;

use crate::machine::{Machine, Memory};
use crate::{collector, folder, listener, names, read, text};

/// A machine that sends bulks.
pub(crate) fn machine(length: usize) -> Machine {
    let mut machine = Machine::new(Memory::new(length), 0);
    machine.bulk = true;
    machine
}

pub(crate) fn accept(socket: &UnixListener) -> UnixStream {
    let (stream, _) = socket.accept().expect("a collector");
    stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
    stream
}

/// The output of `kdump-collector receive` after the whole dump of `length` bytes.
pub(crate) fn received(folder: &TempDir, length: usize) -> String {
    let received = collector(folder, &["receive", "port", "-o", "vmcore", "--json"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    let memory = Memory::new(length);
    assert!(read(folder, "vmcore") == memory.view("vmcore"));
    assert!(read(folder, "vmcore.dmesg") == memory.view("dmesg"));
    assert_eq!(names(folder), ["port", "vmcore", "vmcore.dmesg"]);
    text(&received.stdout) + &text(&received.stderr)
}

#[test]
fn a_socket_carries_bulks_and_files_are_sparse() {
    let folder = folder();
    let socket = listener(&folder);
    let mut machine = machine(8 << 20);
    // Runs of zeros that are too short to end a bulk.
    machine.memory.0[1].3.chunks_mut(16384).for_each(|part| part[..8192].fill(0));
    let truth = machine.memory.view("vmcore").to_vec();
    let machine = thread::spawn(move || machine.listen(socket));
    let received = collector(&folder, &["receive", "port", "-o", "vmcore", "--json"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert_eq!(machine.join().expect("the machine"), Outcome::Complete);
    assert!(read(&folder, "vmcore") == truth);
    let json = text(&received.stdout);
    assert!(json.contains(r#""damaged_frames":0,"compared":false"#), "{json}");
    let blocks = folder.path().join("vmcore").metadata().expect("the file").blocks() * 512;
    // A quarter is zero as a whole, and half of the rest.
    assert!(blocks < (3 << 20) + (64 << 10), "{blocks} bytes on the disk");
}

#[test]
fn a_line_that_is_cut_within_a_bulk_costs_the_rest_of_it() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = thread::spawn(move || {
        let mut machine = machine(4 << 20);
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        for cut in [30_000, 700_001, 1_300_000] {
            machine.cut_at = machine.sent + cut;
            assert_eq!(machine.serve(&mut sender, &mut accept(&socket)), None);
        }
        assert_eq!(machine.serve(&mut sender, &mut accept(&socket)), Some(Outcome::Complete));
        machine.sent
    });
    let words = received(&folder, 4 << 20);
    assert!(words.contains("the other end has gone"), "{words}");
    // Three quarters of it are not zero; a cut loses one bulk at most.
    let sent = machine.join().expect("the machine");
    assert!(sent < (3 << 20) + (3 << 20) + 100_000, "{sent} bytes were sent");
}

/// Returns bytes that a hostile program may have put into memory to be taken for frames.
fn forged() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |frame, session| {
        let mut out = [0; 256];
        let length = encode(&Packet { seq: 1, frame }, session, &mut out).expect("a frame");
        bytes.extend_from_slice(&out[..length]);
    };
    let greeting =
        Greeting { id: *b"a forged dump id", length: 1, max_frame: 256, views: 1, bulk: true };
    for session in [0, 1, 77] {
        put(Frame::Announce(greeting), session);
        put(Frame::Welcome(greeting), session);
        put(Frame::Data { view: 1, offset: 0, bytes: b"forged" }, session);
        put(Frame::Bye, session);
    }
    bytes.extend(OTHER_VERSION);
    bytes
}

/// An announcement of version 3, worked out in Python from the table in `dumpfile::wire`.
const OTHER_VERSION: [u8; 48] = *b"\xf6\x00\x03\x01\x20\x00\x82\xb3\x00\x00\x00\x00\
    0123456789abcdef\x00\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x03\x00\x01\x00\xff\x29\xd8\x08";

#[test]
fn memory_that_looks_like_frames_is_only_memory() {
    const LENGTH: usize = 3 << 20;
    let folder = folder();
    let socket = listener(&folder);
    let mut machine = machine(LENGTH);
    let forged = forged();
    let vmcore = &mut machine.memory.0[1].3;
    vmcore.chunks_mut(forged.len()).for_each(|part| part.copy_from_slice(&forged[..part.len()]));
    let truth = vmcore.clone();
    let machine = thread::spawn(move || {
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        machine.cut_at = 1_500_000;
        assert_eq!(machine.serve(&mut sender, &mut accept(&socket)), None);
        // The rest of the bulk that QEMU still had goes to the next collector first.
        let mut stream = accept(&socket);
        stream.write_all(&truth[1_400_000..2_000_000]).expect("a collector");
        assert_eq!(machine.serve(&mut sender, &mut stream), Some(Outcome::Complete));
        truth
    });
    let received = collector(&folder, &["receive", "port", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert!(read(&folder, "vmcore") == machine.join().expect("the machine"));
    assert!(text(&received.stdout).contains("damaged frames"), "{}", text(&received.stdout));
}

#[test]
fn another_version_is_refused_in_words() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = thread::spawn(move || {
        let mut stream = accept(&socket);
        stream.write_all(&OTHER_VERSION).expect("a collector");
        // It stays until the collector goes.
        while matches!(stream.read(&mut [0; 64]), Ok(1..) | Err(_)) {}
    });
    let received = collector(&folder, &["receive", "port", "-o", "vmcore"]);
    machine.join().expect("the machine");
    assert_eq!(received.status.code(), Some(1));
    let words = text(&received.stderr);
    assert!(words.contains("version 3 of the wire protocol, this program version 2"), "{words}");
    assert!(words.contains("use programs of the same release"), "{words}");
    assert_eq!(names(&folder), ["port"]);
}

#[test]
fn another_version_that_has_gone_is_named_too() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = thread::spawn(move || {
        accept(&socket).write_all(&OTHER_VERSION).expect("a collector");
    });
    let received = collector(&folder, &["receive", "port", "-o", "vmcore", "--wait", "5"]);
    machine.join().expect("the machine");
    assert_eq!(received.status.code(), Some(1));
    let words = text(&received.stderr);
    assert!(words.contains("version 3 of the wire protocol"), "{words}");
}

#[test]
fn a_machine_that_leaves_without_a_word_has_left_everything() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = thread::spawn(move || {
        let mut machine = machine(1 << 20);
        machine.hurry = true;
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        assert_eq!(machine.serve(&mut sender, &mut accept(&socket)), Some(Outcome::Complete));
    });
    received(&folder, 1 << 20);
    machine.join().expect("the machine");
}

#[test]
fn the_console_of_an_earlier_run_is_kept() {
    let folder = folder();
    fs::write(folder.path().join("console"), "earlier\n").expect("a file");
    let socket = listener(&folder);
    let machine = thread::spawn(move || machine(4 << 20).listen(socket));
    let arguments = ["receive", "port", "-o", "vmcore", "--console", "console"];
    assert_eq!(collector(&folder, &arguments).status.code(), Some(0));
    machine.join().expect("the machine");
    let console = text(&read(&folder, "console"));
    assert!(console.starts_with("earlier\n"), "{console}");
}
