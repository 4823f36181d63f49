//! `kdump-collector receive` and `read` against the sender of a capture kernel, which runs in a
//! thread here, over sockets and a pseudo terminal whose bytes are damaged on the way.

mod bulk;
mod kills;
mod machine;
#[path = "../common/stored.rs"]
mod stored;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use dumpfile::DiskId;
use dumpfile::wire::{Outcome, Sender, Slot};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use machine::{CONSOLE, ID, Machine, Memory};

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdump-collector"));
    command.current_dir(folder.path()).args(arguments);
    command
}

fn collector(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the collector runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn listener(folder: &TempDir) -> UnixListener {
    UnixListener::bind(folder.path().join("port")).expect("a socket")
}

fn read(folder: &TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("the folder");
    let mut names: Vec<_> = entries
        .map(|entry| text(entry.expect("an entry").file_name().as_encoded_bytes()))
        .collect();
    names.sort();
    names
}

#[test]
fn a_noisy_line_gives_the_whole_dump_and_the_console() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = Machine::new(Memory::new(400_000), 5000);
    let machine = thread::spawn(move || machine.listen(socket));
    let arguments = ["receive", "port", "-o", "vmcore", "--json", "--console", "console"];
    let received = collector(&folder, &arguments);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert_eq!(machine.join().expect("the machine"), Outcome::Complete);
    let memory = Memory::new(400_000);
    assert!(read(&folder, "vmcore") == memory.view("vmcore"));
    assert!(read(&folder, "vmcore.dmesg") == memory.view("dmesg"));
    assert_eq!(names(&folder), ["console", "port", "vmcore", "vmcore.dmesg"]);
    let json = text(&received.stdout);
    let start = r#"{"version":2,"verdict":"complete","id":"30313233343536373839616263646566","#;
    assert!(json.starts_with(start), "{json}");
    let sha256 = hex(&Sha256::digest(memory.view("vmcore")));
    let vmcore = format!(
        r#"{{"view":"vmcore","bytes":400000,"sha256":"{sha256}","missing":[],"left":[],"pages":{{"kept":98}},"differs":[]}}"#
    );
    assert!(json.contains(&vmcore), "{json}");
    assert!(!json.contains(r#""damaged_frames":0"#), "the line was good: {json}");
    let console = read(&folder, "console");
    let lines = console.windows(CONSOLE.len()).filter(|text| *text == CONSOLE).count();
    assert!(lines > 5, "{lines} lines of the console");
}

#[test]
fn zeros_become_holes() {
    let folder = folder();
    let socket = listener(&folder);
    let mut memory = Memory::new(8 << 20);
    memory.0[1].3[5000..].fill(0);
    let truth = memory.view("vmcore").to_vec();
    let mut machine = Machine::new(memory, 0);
    machine.max_frame = 65_536;
    let machine = thread::spawn(move || machine.listen(socket));
    let received = collector(&folder, &["receive", "unix:port", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    machine.join().expect("the machine");
    assert!(read(&folder, "vmcore") == truth);
    let blocks = folder.path().join("vmcore").metadata().expect("the file").blocks() * 512;
    assert!(blocks < 1 << 20, "{blocks} bytes on the disk");
    let words = text(&received.stdout);
    assert!(words.contains("vmcore: vmcore, 8388608 bytes, SHA-256 "), "{words}");
    let console = text(&received.stderr);
    assert!(!console.contains('\x1b'), "a terminal would obey it");
}

/// The small view of the capture kernel, whole, with every byte compared.
#[test]
fn backtraces_come_over_a_line() {
    let folder = folder();
    let socket = listener(&folder);
    let mut memory = Memory::new(100_000);
    let cpus = ["cpu 1 pid 7 [sh]:\n panic+0x1/0x2\n", "cpu 0 pid 0:\n 0xc0\n"];
    memory.0[2] = ("backtrace", 0, true, cpus.concat().into_bytes());
    thread::spawn(move || Machine::new(memory, 5000).listen(socket));
    for (arguments, expected) in [(&[][..], cpus.concat()), (&["--cpu", "0"], cpus[1].into())] {
        let shown = collector(&folder, &[&["backtrace", "port"], arguments].concat());
        assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
        assert_eq!(text(&shown.stdout), expected);
    }
    for (arguments, reason) in [
        (["--tasks"].as_slice(), "has the backtraces of CPUs only"),
        (&["--dump", "1"], "port is no dump disk"),
    ] {
        let refused = collector(&folder, &[&["backtrace", "port"], arguments].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(reason), "{}", text(&refused.stderr));
    }
}

#[test]
fn an_empty_vmcore_is_no_dump() {
    let folder = folder();
    let socket = listener(&folder);
    let mut memory = Memory::new(0);
    memory.0[1].3.clear();
    thread::spawn(move || Machine::new(memory, 0).listen(socket));
    let received = collector(&folder, &["receive", "port", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(1));
    assert!(text(&received.stderr).contains("the vmcore is empty"), "{}", text(&received.stderr));
    assert_eq!(read(&folder, "vmcore.dmesg"), Memory::new(0).view("dmesg"));
}

#[test]
fn large_frames_over_tcp_to_a_collector_that_connects() {
    let folder = folder();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("tcp:{}", socket.local_addr().expect("an address").port());
    let mut machine = Machine::new(Memory::new(3_000_000), 0);
    machine.max_frame = 65_536;
    let machine = thread::spawn(move || {
        let (mut stream, _) = socket.accept().expect("a collector");
        stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        machine.serve(&mut sender, &mut stream)
    });
    let received = collector(&folder, &["receive", &port, "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert_eq!(machine.join().expect("the machine"), Some(Outcome::Complete));
    assert!(read(&folder, "vmcore") == Memory::new(3_000_000).view("vmcore"));
}

#[test]
fn a_machine_that_connects_goes_away_and_comes_back() {
    let folder = folder();
    let path = folder.path().join("port");
    let machine = thread::spawn(move || {
        let mut machine = Machine::new(Memory::new(300_000), 20_000);
        machine.cut_at = 60_000;
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        for line in 0..2 {
            let mut stream = connect(&path);
            let ended = machine.serve(&mut sender, &mut stream);
            assert_eq!(ended.is_some(), line == 1, "line {line} ended with {ended:?}");
        }
    });
    let received = collector(&folder, &["receive", "unix:port", "--listen", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    machine.join().expect("the machine");
    assert!(text(&received.stderr).contains("the other end has gone"));
    assert!(read(&folder, "vmcore") == Memory::new(300_000).view("vmcore"));
    assert_eq!(names(&folder), ["vmcore", "vmcore.dmesg"], "the socket is removed");
}

fn connect(path: &Path) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(path) {
            stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
            return stream;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_machine_that_dies_leaves_an_exact_account() {
    let folder = folder();
    let socket = listener(&folder);
    let machine = thread::spawn(move || {
        let mut machine = Machine::new(Memory::new(300_000), 5000);
        machine.cut_at = 100_000;
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        let (mut stream, _) = socket.accept().expect("a collector");
        stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        assert_eq!(machine.serve(&mut sender, &mut stream), None);
    });
    let arguments = ["receive", "port", "-o", "vmcore", "--wait", "5", "--json"];
    let received = collector(&folder, &arguments);
    machine.join().expect("the machine");
    assert_eq!(received.status.code(), Some(1));
    let (words, json) = (text(&received.stderr), text(&received.stdout));
    assert!(words.contains("cannot reach unix:port"), "{words}");
    assert!(words.contains("of 300000 bytes of vmcore have come\n    missing: 0x"), "{words}");
    assert!(json.starts_with(r#"{"version":2,"verdict":"partial","#), "{json}");
    let left = ["port", "vmcore.dmesg.partial", "vmcore.ranges", "vmcore.vmcore.partial"];
    assert_eq!(names(&folder), left);
    let (map, partial) =
        (text(&read(&folder, "vmcore.ranges")), read(&folder, "vmcore.vmcore.partial"));
    let (_, map) = map.split_once("view vmcore 300000\n").expect("the view in the map");
    let truth = Memory::new(300_000);
    let mut have = 0;
    for line in map.lines().filter(|line| line.starts_with("have")) {
        let numbers: Vec<usize> =
            line.split(' ').skip(1).map(|number| number.parse().expect("a number")).collect();
        let (from, to) = (numbers[0], numbers[0] + numbers[1]);
        assert!(partial[from..to] == truth.view("vmcore")[from..to], "{line}");
        have += numbers[1];
    }
    assert!((10_000..300_000).contains(&have), "{have}");
    assert!(words.contains(&format!("{have} of 300000 bytes")), "{words}");
}

#[test]
fn a_part_is_pulled_to_standard_output() {
    let folder = folder();
    let socket = listener(&folder);
    thread::spawn(move || Machine::new(Memory::new(100_000), 3000).listen(socket));
    let pull =
        |range: &str| collector(&folder, &["read", "port", "--view", "oldmem", "--range", range]);
    let truth = Memory::new(100_000);
    let part = pull("0x100100+4K");
    assert_eq!(part.status.code(), Some(0), "{}", text(&part.stderr));
    assert!(part.stdout == truth.view("oldmem")[0x100..0x1100]);
    let outside = pull("0xff000+4K");
    assert_eq!(outside.status.code(), Some(1));
    assert!(text(&outside.stderr).contains("view oldmem covers 0x100000+0x186a0"));
    let one = pull("0x100000+1");
    assert!(one.stdout == truth.view("oldmem")[..1], "it still serves");
    let nothing = collector(&folder, &["read", "port", "--view", "notes", "--range", "0+1"]);
    assert!(text(&nothing.stderr).contains("there are: dmesg, vmcore, oldmem"));
    assert_eq!(pull("12").status.code(), Some(2));
}

#[test]
fn a_terminal_carries_every_byte() {
    let folder = folder();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other side");
    let path = ptsname(&master, Vec::new()).expect("its name");
    let path = path.to_str().expect("a path").to_owned();
    // Held open, so that the line is not gone between two users.
    let _held = File::options().read(true).write(true).open(&path).expect("its other side");
    let mut memory = Memory::new(60_000);
    let every: Vec<u8> = (0..60_000u32).map(|index| index as u8).collect();
    memory.0[1].3.clone_from(&every);
    rustix::io::ioctl_fionbio(&master, true).expect("a line that does not block");
    let machine = thread::spawn(move || {
        let mut machine = Machine::new(memory, 10_000);
        // The collector does not take them over a terminal.
        machine.bulk = true;
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(machine.config(), &mut slots, 0);
        machine.serve(&mut sender, &mut File::from(master))
    });
    let received = collector(&folder, &["receive", &path, "-o", "vmcore", "--baud", "57600"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert_eq!(machine.join().expect("the machine"), Some(Outcome::Complete));
    assert!(read(&folder, "vmcore") == every);
}

#[test]
fn a_dump_disk_is_a_source_too() {
    let folder = folder();
    let disk = stored::Dump::complete(b"a dump").disk(DiskId(ID));
    fs::write(folder.path().join("disk"), disk).expect("a disk");
    let received = collector(&folder, &["receive", "disk", "-o", "vmcore"]);
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert_eq!(read(&folder, "vmcore"), b"a dump");
    let part = collector(&folder, &["read", "disk", "--view", "vmcore", "--range", "2+4"]);
    assert_eq!(text(&part.stdout), "dump");
    let wrong = collector(&folder, &["read", "disk", "--view", "oldmem", "--range", "2+4"]);
    assert!(text(&wrong.stderr).contains("disk holds the view vmcore, 0x0+0x6"));
}

#[test]
fn nobody_there_is_said() {
    let folder = folder();
    let absent = collector(&folder, &["receive", "unix:port", "-o", "vmcore", "--wait", "0"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(
        text(&absent.stderr).contains("the other end was not there in time"),
        "{}",
        text(&absent.stderr)
    );
    let _socket = listener(&folder);
    let silent = collector(&folder, &["receive", "port", "-o", "vmcore", "--wait", "1"]);
    assert!(
        text(&silent.stderr).contains("nothing that is ours has come"),
        "{}",
        text(&silent.stderr)
    );
    let late = ["receive", "port", "-o", "vmcore", "--timeout", "1"];
    assert!(text(&collector(&folder, &late).stderr).contains("the time of 1 seconds is over"));
    assert_eq!(names(&folder), ["port"]);
    assert_eq!(collector(&folder, &["receive", "nothing", "-o", "x"]).status.code(), Some(2));
    let help = text(&collector(&folder, &["receive", "--help"]).stdout);
    assert!(help.contains("tcp:HOST:PORT") && help.contains("Exit codes"));
}
