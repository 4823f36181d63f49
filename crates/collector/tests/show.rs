//! `info` and `dmesg`, on a vmcore that was put together by hand.

use std::fs;

use dumpfile::{DiskId, DiskState};

#[path = "common/linux.rs"]
mod linux;
#[path = "common/program.rs"]
mod program;
#[path = "common/stored.rs"]
mod stored;
use linux::{VMCOREINFO, notes, put, put_log, words};
use program::{collector, refused, shown, text};
use stored::Dump;

const ID: DiskId = DiskId([0x5a; 16]);

const TABLE: &str = "        offset       physical            virtual         filesz          memsz
        0x1000       0x100000         0xc0100000         0x1000         0x1000

registers 0, pid 4711
";

/// Offset of the page with the log in the vmcore.
const PAGE: usize = 0x1000;

/// An ELF32 core of an i386 machine (ELF specification 1.2): notes at 116, one page at 1 MiB.
fn vmcore() -> Vec<u8> {
    let notes = notes(VMCOREINFO);
    let mut file = vec![0; 2 * PAGE];
    put(&mut file, 0, b"\x7fELF\x01\x01\x01");
    put(&mut file, 16, &words(&[3 << 16 | 4, 1, 0, 52, 0, 0, 32 << 16 | 52, 2]));
    put(&mut file, 52, &words(&[4, 116, 0, 0, notes.len() as u32, notes.len() as u32, 0, 0]));
    let page = [1, PAGE as u32, 0xc010_0000, 0x10_0000, PAGE as u32, PAGE as u32, 7, 0];
    put(&mut file, 84, &words(&page));
    put(&mut file, 116, &notes);
    put_log(&mut file[PAGE..]);
    file
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("vmcore"), vmcore()).expect("a vmcore");
    let disk = [&Dump::complete(&vmcore()).disk(ID)[..], &[0xff; 4096]].concat();
    fs::write(folder.path().join("disk"), disk).expect("a disk");
    folder
}

#[test]
fn the_log_of_a_vmcore_and_of_a_disk() {
    let folder = folder();
    for file in ["vmcore", "disk"] {
        let output = collector(folder.path(), &["dmesg", file]);
        assert_eq!(text(&output.stdout), "[    1.500000] hell\\xc3\\xb6\\x1bX\n");
        let left_out = "kdump-collector: left out: 0 damaged records, 1 not finished\n";
        assert_eq!(text(&output.stderr), left_out);
        assert_eq!(output.status.code(), Some(0));
        let json =
            "{\"seq\":7,\"ts_nsec\":1500000000,\"caller\":\"T1\",\"text\":\"hellö\\u001bX\"}\n";
        assert_eq!(shown(folder.path(), &["dmesg", file, "--json"]), json);
    }
    assert_eq!(shown(folder.path(), &["dmesg", "vmcore", "--last", "0"]), "");
    assert_eq!(shown(folder.path(), &["dmesg", "vmcore", "--bytes", "32"]), "");
    assert_eq!(shown(folder.path(), &["dmesg", "vmcore", "--bytes", "33"]).len(), 33);
    let both = collector(folder.path(), &["dmesg", "vmcore", "--last", "1", "--bytes", "1"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn info_says_what_the_headers_say() {
    let folder = folder();
    let info = shown(folder.path(), &["info", "vmcore"]);
    let expected = "\
vmcore       ELF32, i386, 8192 bytes
kernel       6.1.0-50-686-pae
crash time   2026-11-21 15:10:42 UTC (1795273842)
page size    4096
offset       0x7000000
left out     0x20000000..0x24000000, GART
left out     0x140000000..0x150000000, unplugged
left out     3 ranges, 12288 bytes more
left out     7 ranges, 14680064 bytes more
analysis     crashinfo vmcore
vmlinux      /usr/lib/debug/boot/vmlinux-6.1.0-50-686-pae (Debian: linux-image-6.1.0-50-686-pae-dbg)
             apt-get install linux-image-6.1.0-50-686-pae-dbg
             gdb -iex 'set confirm off' -c vmcore -ex 'add-symbol-file \
/usr/lib/debug/boot/vmlinux-6.1.0-50-686-pae -o 0x7000000'
             crash --kaslr=0x7000000 -m page_offset=0xc0000000 \
/usr/lib/debug/boot/vmlinux-6.1.0-50-686-pae vmcore
             drgn -c vmcore -s /usr/lib/debug/boot/vmlinux-6.1.0-50-686-pae
             crash 8 wants a symbol sys_open of i386 kernels: objcopy --add-symbol \
sys_open=.text:0 VMLINUX NEW";
    let (head, loads) = info.split_once("\n\n").expect("a table");
    assert_eq!(head, expected, "{info}");
    assert!(loads.starts_with(TABLE), "{info}");
    assert!(info.contains(" ebx 0xb0b0b0b0 ") && info.contains(" eip 0xc0123456 "), "{info}");

    let json = shown(folder.path(), &["info", "disk", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["version"], 1);
    assert_eq!(value["disk"]["id"], "5a".repeat(16));
    assert_eq!(value["disk"]["state"], "complete");
    assert_eq!(value["disk"]["stage"], "done");
    assert_eq!(value["vmcore"]["loads"][0]["vaddr"], "0xc0100000");
    assert_eq!(value["vmcore"]["cpus"][0]["registers"]["eip"], "0xc0123456");
    assert_eq!(value["vmcore"]["crash_time"], 1_795_273_842);
    assert_eq!(value["vmcore"]["left_out"][0]["start"], "0x20000000");
    assert_eq!(value["vmcore"]["left_out"][1]["reason"], "unplugged");
}

/// `kdump-collector receive` leaves the map beside a dump of which something is left out.
#[test]
fn info_says_what_a_received_dump_lacks() {
    let folder = folder();
    let length = vmcore().len();
    fs::write(folder.path().join("vmcore"), vmcore()).expect("a file");
    fs::write(folder.path().join("vmcore.dmesg.partial"), vmcore()).expect("a file");
    let map = |length: usize| {
        let id = "30313233343536373839616263646566";
        let view = "level 9\nleft 0 4096 user\nleft 8192 64 unreadable\nleft 16384 64 unreadable\n";
        let text =
            format!("kdump-rs ranges 2\ndump {id}\nview dmesg 7\nview vmcore {length}\n{view}");
        fs::write(folder.path().join("vmcore.ranges"), text + "pages kept 7\npages user 1\n")
            .expect("a map");
    };
    map(length + 16_448);
    assert!(
        !shown(folder.path(), &["info", "vmcore"]).contains("left out     user"),
        "another file's"
    );
    // The ranges of a map are within its view.
    fs::write(folder.path().join("vmcore"), [&vmcore()[..], &[0; 16_448]].concat())
        .expect("a file");
    let words = shown(folder.path(), &["info", "vmcore"]);
    let left = "dump level   9\nleft out     unreadable: 128 bytes in 2 ranges\nleft out     user: 4096 bytes in 1 ranges\n\
                pages        7 kept, 1 user\n";
    assert!(words.contains(left), "{words}");
    let json = shown(folder.path(), &["info", "vmcore", "--json"]);
    let left = r#""received":{"left":{"unreadable":{"bytes":128,"ranges":2},"user":{"bytes":4096,"ranges":1}},"pages":{"kept":7,"user":1},"level":9}"#;
    assert!(json.contains(left), "{json}");
    let partial = shown(folder.path(), &["info", "vmcore.dmesg.partial"]);
    assert!(!partial.contains("left out     user"), "{partial}");
}

#[test]
fn a_disk_without_a_dump_still_has_a_header() {
    let folder = folder();
    let failed =
        Dump { state: DiskState::FAILED, stage: 0x50, segments: 0, ..Dump::complete(&[1; 0x2000]) };
    fs::write(folder.path().join("disk"), failed.disk(ID)).expect("a disk");
    let info = shown(folder.path(), &["info", "disk"]);
    let id = "5a".repeat(16);
    let lines = format!(
        "dump disk    id {id}, version 3, 1 dump\n\
         dump 1       failed, last stage first_byte, vmcore, 0 of 8192 bytes are there\n"
    );
    assert_eq!(info, lines);
    assert!(refused(folder.path(), &["dmesg", "disk"]).contains("the capture failed"));
}

#[test]
fn what_is_no_vmcore_is_refused_in_words() {
    let folder = folder();
    let path = folder.path().join("other");
    for other in [&b""[..], b"KDUMP   ", &[0; 8192]] {
        fs::write(&path, other).expect("a file");
        for command in ["info", "dmesg"] {
            let reason = refused(folder.path(), &[command, "other"]);
            assert!(reason.starts_with("kdump-collector: other"), "{reason}");
        }
    }
    let mut without_note = vmcore();
    put(&mut without_note, 52 + 16, &words(&[0]));
    fs::write(&path, &without_note).expect("a file");
    assert!(refused(folder.path(), &["dmesg", "other"]).contains("has no VMCOREINFO"));
    assert!(shown(folder.path(), &["info", "other"]).contains("kernel       not known\n"));
}

/// Cut off anywhere, or with any byte of its headers and notes changed: an end in words or a log,
/// no panic.
#[test]
fn damage_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmcore");
    let try_it = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let _ = collector::info(&path, None).map(|info| info.to_string());
        let log = |vmcore| {
            let (all, text) = (collector::LogPart::All, collector::LogFormat::Json);
            collector::dmesg(&vmcore, all, text, &mut std::io::sink())
        };
        let _ = collector::VmcoreFile::open(&path).and_then(log);
    };
    let whole = vmcore();
    for length in (0..whole.len()).step_by(61) {
        try_it(&whole[..length]);
    }
    for at in (0..0x180).chain(PAGE..PAGE + 0x220) {
        let mut damaged = whole.clone();
        damaged[at] = if at % 2 == 0 { 0xff } else { !damaged[at] };
        try_it(&damaged);
    }
}
