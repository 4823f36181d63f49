//! Collectors that are killed at a moment that the sending machine chooses. All its frames are
//! acknowledged then, and it sends nothing more. Then a second collector goes on.

use std::fs;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;

use dumpfile::chunk::{CHUNK, Codec};
use dumpfile::wire::{Outcome, Sender, Slot};
use tempfile::TempDir;
use vmcore::PageClass;

use crate::bulk::{accept, machine as bulk_machine, received};
use crate::machine::{Encoding, ID, Machine, Memory, Record};
use crate::{collector, command, folder, hex, listener, names, read, text};

/// Most bytes that a kill costs on a serial line: 64 frames.
const SERIAL: u64 = 64 * 256;
/// The same for bulks of 1 MiB.
const BULK: u64 = 64 << 20;

/// Contents sent to the killed collector, and to the next one.
struct Killed {
    before: Record,
    after: Record,
    /// Output of the second one.
    said: String,
}

impl Killed {
    /// Bytes of the vmcore that were acknowledged and requested again.
    fn cost(&self) -> u64 {
        self.before.again(&self.after, 1)
    }
}

/// Kills a collector that has acknowledged everything. A second one then goes on to the end.
fn killed(folder: &TempDir, machine: Machine) -> Killed {
    let killed = killed_with_map(folder, machine);
    assert_eq!(names(folder), ["port", "vmcore", "vmcore.dmesg"]);
    killed
}

/// The same; a map may be left.
fn killed_with_map(folder: &TempDir, mut machine: Machine) -> Killed {
    let socket = listener(folder);
    let truth = Memory(machine.memory.0.clone(), Encoding::default());
    let (paused, is_paused) = channel();
    let machine = thread::spawn(move || {
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        let mut line = accept(&socket);
        assert_eq!(machine.serve(&mut sender, &mut line), None);
        let before = std::mem::take(&mut machine.record);
        paused.send(()).expect("the test waits");
        let mut next = accept(&socket);
        drop(line);
        assert_eq!(machine.serve(&mut sender, &mut next), Some(Outcome::Complete));
        (before, machine.record)
    });
    let arguments = ["receive", "port", "-o", "vmcore"];
    let first = command(folder, &arguments).stderr(Stdio::null()).spawn();
    let mut first = first.expect("the collector runs");
    is_paused.recv().expect("everything is acknowledged");
    first.kill().and_then(|()| first.wait()).expect("it is killed");
    assert_map_is_true(folder, &truth);
    let second = collector(folder, &arguments);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    let (before, after) = machine.join().expect("the machine");
    for (path, name) in [("vmcore", "vmcore"), ("vmcore.dmesg", "dmesg")] {
        assert!(read(folder, path) == truth.view(name), "{name}");
    }
    Killed { before, after, said: text(&second.stderr) }
}

/// Every byte in the map is in the files, and correct.
fn assert_map_is_true(folder: &TempDir, truth: &Memory) {
    let map = text(&read(folder, "vmcore.ranges"));
    let mut view = "";
    for line in map.lines().skip(2) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().expect("a number");
        match words[0] {
            "view" => view = words[1],
            "pages" => {}
            "left" => {
                let range = number(1)..number(1) + number(2);
                assert!(truth.view(view)[range].iter().all(|byte| *byte == 0), "{view}: {line}");
            }
            _ => {
                let range = number(1)..number(1) + number(2);
                let partial = read(folder, &format!("vmcore.{view}.partial"));
                assert!(partial[range.clone()] == truth.view(view)[range], "{view}: {line}");
            }
        }
    }
}

#[test]
fn a_small_view_that_is_whole_is_never_asked_for_again() {
    let folder = folder();
    let mut machine = Machine::new(Memory::new(100_000), 0);
    let dmesg = machine.memory.view("dmesg").len() as u64;
    // The greetings, the log and a little more.
    machine.pause_at = 2000;
    let killed = killed(&folder, machine);
    assert_eq!(killed.before.contents[0].total(), dmesg, "the log was sent");
    assert!(killed.before.contents[1].total() < SERIAL, "and little else");
    assert_eq!(killed.after.contents[0].total(), 0, "and is not sent again");
    assert!(killed.said.contains("going on with"), "{}", killed.said);
}

#[test]
fn a_kill_costs_64_frames_of_a_serial_line_at_most() {
    for pause in [30_000, 100_000, 250_000] {
        let folder = folder();
        let mut machine = Machine::new(Memory::new(500_000), 0);
        machine.pause_at = pause;
        let killed = killed(&folder, machine);
        let sent = killed.before.contents[1].total();
        assert!(sent > SERIAL && killed.cost() < SERIAL, "{} of {sent}", killed.cost());
        assert_eq!(killed.after.contents[0].total(), 0, "the log is not sent again");
    }
}

/// The memory is too large for random bytes in a test: instead, each of its pages has its number.
#[test]
fn a_kill_costs_64_bulks_at_most() {
    let folder = folder();
    let mut machine = bulk_machine(4096);
    let vmcore = &mut machine.memory.0[1].3;
    *vmcore = vmcore[..1024].repeat((80 << 20) / 1024);
    for (number, page) in (0u64..).zip(vmcore.chunks_mut(4096)) {
        page[..8].copy_from_slice(&number.to_le_bytes());
    }
    machine.pause_at = 70 << 20;
    let killed = killed(&folder, machine);
    let sent = killed.before.contents[1].total();
    assert!(sent > BULK && killed.cost() < BULK, "{} of {sent}", killed.cost());
    assert_eq!(killed.after.contents[0].total(), 0, "the log is not sent again");
}

/// A machine with compressed memory: half of each page is a text, half of it is noise. Two runs of
/// pages are left out, and one of these is a part of a chunk.
fn compressing(length: usize) -> Machine {
    let mut machine = Machine::new(Memory::new(length), 0);
    let Memory(views, encoding) = &mut machine.memory;
    let text = b"kernel panic - not syncing ".iter().copied().cycle();
    let text: Vec<u8> = text.take(2048).collect();
    views[1].3.chunks_exact_mut(4096).for_each(|page| page[..2048].copy_from_slice(&text));
    for (start, end, class) in
        [(0x3000, 0x5000, PageClass::Offline), (0x48000, 0x70000, PageClass::Free)]
    {
        views[1].3[start..end].fill(0);
        assert!(encoding.left.insert(start as u64, end as u64, class));
    }
    encoding.codec = Codec::Lz4;
    machine
}

#[test]
fn a_kill_inside_a_chunk_costs_no_more_than_elsewhere() {
    for (pause, bulk) in [(30_000, false), (80_000, false), (60_000, true)] {
        let folder = folder();
        let mut machine = compressing(500_000);
        machine.pause_at = pause;
        machine.bulk = bulk;
        let killed = killed_with_map(&folder, machine);
        let sent = killed.before.contents[1].total();
        // The chunk that was begun, and the data saved last.
        assert!(sent > SERIAL && killed.cost() <= SERIAL + CHUNK, "{} of {sent}", killed.cost());
        assert_eq!(killed.after.contents[0].total(), 0, "the log is not sent again");
    }
}

#[test]
fn what_is_left_out_is_named_by_class() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = compressing(500_000);
    let truth = machine.memory.view("vmcore").to_vec();
    let machine = thread::spawn(move || machine.listen(socket));
    let received = collector(&folder, &["receive", "port", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    machine.join().expect("the machine");
    assert!(read(&folder, "vmcore") == truth);
    let words = text(&received.stdout);
    let named = "\n  left out there, zero here: 163840 bytes, free\n    0x48000+0x28000\
                 \n  left out there, zero here: 8192 bytes, offline\n    0x3000+0x2000\
                 \n  pages there: 81 kept, 40 free, 2 offline\n";
    assert!(words.contains(named), "{words}");
    assert_eq!(names(&folder), ["port", "vmcore", "vmcore.dmesg", "vmcore.ranges"]);
    let map = text(&read(&folder, "vmcore.ranges"));
    let expected = "view vmcore 500000\nhave 0 500000\nleft 12288 8192 offline\n\
                    left 294912 163840 free\npages kept 81\npages free 40\npages offline 2\n";
    assert!(map.ends_with(expected), "{map}");
}

/// The map of a restarted dump names no bytes of the earlier one. Otherwise a collector killed at
/// that point would leave zeros that pass for memory.
#[test]
fn an_earlier_map_of_files_that_are_gone_is_not_believed_later() {
    const LENGTH: usize = 100_000;
    let folder = folder();
    let map =
        format!("kdump-rs ranges 2\ndump {}\nview vmcore {LENGTH}\nhave 0 {LENGTH}\n", hex(&ID));
    fs::write(folder.path().join("vmcore.ranges"), map).expect("a map");
    let mut machine = Machine::new(Memory::new(LENGTH), 0);
    // The greetings, and the beginning of the log.
    machine.pause_at = 300;
    let dmesg = machine.memory.view("dmesg").len() as u64;
    let killed = killed(&folder, machine);
    assert!(killed.before.contents[0].total() < dmesg, "nothing is whole");
    assert!(killed.after.contents[1].total() > 0);
}

/// A killed collector may have written more bytes than its map names.
#[test]
fn what_the_map_does_not_name_is_zero_again() {
    const LENGTH: usize = 1 << 20;
    let folder = folder();
    let mut partial = vec![0xff; LENGTH];
    partial[..4096].copy_from_slice(&Memory::new(LENGTH).view("vmcore")[..4096]);
    fs::write(folder.path().join("vmcore.vmcore.partial"), partial).expect("a file");
    let id = hex(&ID);
    let map = format!("kdump-rs ranges 2\ndump {id}\nview vmcore {LENGTH}\nhave 0 4096\n");
    fs::write(folder.path().join("vmcore.ranges"), map).expect("a map");
    let socket = listener(&folder);
    let machine = thread::spawn(move || bulk_machine(LENGTH).listen(socket));
    let words = received(&folder, LENGTH);
    assert!(words.contains("going on with 4096 bytes"), "{words}");
    machine.join().expect("the machine");
}
