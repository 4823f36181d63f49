//! `backtrace`, on a vmcore that was put together by hand.

use std::fs;
use std::io::Write;
use std::path::Path;

use dumpfile::{DiskId, DiskState};

#[path = "common/dead.rs"]
mod dead;
#[path = "common/linux.rs"]
mod linux;
#[path = "common/program.rs"]
mod program;
#[path = "common/stored.rs"]
mod stored;
use dead::{FRAMES, MEMORY, vmcore};
use linux::{put, words};
use program::{collector, refused, shown, text};
use stored::Dump;

const ID: DiskId = DiskId([0x5a; 16]);
/// The text that a capture kernel stored.
const STORED: &[u8] = b"cpu 1 pid 7 [sh], crashed:\n panic+0x1/0x2\n ? x\x1b+0x3/0x4\n\
                        cpu 0 pid 0 [swapper/0]:\n 0xc0\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("vmcore"), vmcore()).expect("a vmcore");
    fs::write(folder.path().join("disk"), Dump::complete(&vmcore()).disk(ID)).expect("a disk");
    folder
}

/// The lines of a CPU whose trace ends with `end`.
fn trace(frames: &[&str], end: &str) -> String {
    let frames: String = frames.iter().map(|frame| format!(" {frame}\n")).collect();
    format!("CPU: 0 PID: 4711 Comm: ?, crashed\n{frames}{end}")
}

#[test]
fn the_functions_of_a_vmcore_and_of_a_disk() {
    let folder = folder();
    for file in ["vmcore", "disk"] {
        assert_eq!(shown(folder.path(), &["backtrace", file]), trace(&FRAMES, ""));
        assert_eq!(shown(folder.path(), &["backtrace", file, "--cpu", "0"]), trace(&FRAMES, ""));
        let json = shown(folder.path(), &["backtrace", file, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json["cpu"], &json["pid"]), (&0.into(), &4711.into()));
        assert_eq!((&json["how"], &json["end"]), (&"registers".into(), &"complete".into()));
        let frame = serde_json::json!({
            "address": "0xc0101120", "name": "sysrq_crash", "offset": 0x20, "size": 0x100,
            "module": null, "sure": true,
        });
        assert_eq!(json["frames"][1], frame);
        assert_eq!(json["frames"].as_array().map(Vec::len), Some(3));
        let said = refused(folder.path(), &["backtrace", file, "--cpu", "7"]);
        assert!(said.contains("has no backtrace of CPU 7: without --cpu all"), "{said}");
    }
    let info = shown(folder.path(), &["info", "vmcore"]);
    assert!(info.contains("kdump-collector backtrace vmcore\n"), "{info}");
    let both = collector(folder.path(), &["backtrace", "vmcore", "--cpu", "0", "--tasks"]);
    assert_eq!(both.status.code(), Some(2));
}

/// The text beside a dump that is not whole, all of it or the part of one CPU.
#[test]
fn the_stored_text_of_a_partial_dump() {
    let folder = folder();
    let views = [("backtrace", STORED.to_vec())];
    let dump = Dump {
        state: DiskState::FAILED,
        stage: 0x50,
        views: &views,
        segments: 0,
        ..Dump::complete(&[1; 0x2000])
    };
    fs::write(folder.path().join("disk"), dump.disk(ID)).expect("a disk");
    let output = collector(folder.path(), &["backtrace", "disk"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), text(STORED).replace('\x1b', "?"));
    assert!(text(&output.stderr).contains("stored at the crash"));
    let second = "cpu 0 pid 0 [swapper/0]:\n 0xc0\n";
    assert_eq!(shown(folder.path(), &["backtrace", "disk", "--cpu", "0"]), second);
    let json = shown(folder.path(), &["backtrace", "disk", "--cpu", "0", "--json"]);
    assert_eq!(json, "{\"text\":\"cpu 0 pid 0 [swapper/0]:\"}\n{\"text\":\" 0xc0\"}\n");
    assert!(refused(folder.path(), &["backtrace", "disk", "--cpu", "3"]).contains("CPU 3"));
    let said = refused(folder.path(), &["backtrace", "disk", "--tasks"]);
    assert!(said.contains("the capture failed"), "{said}");
}

/// Missing parts cost names, or frames, or the reason is named.
#[test]
fn damage_ends_a_trace_and_is_named() {
    let folder = folder();
    let show = |bytes: &[u8]| {
        fs::write(folder.path().join("other"), bytes).expect("a file");
        collector(folder.path(), &["backtrace", "other"])
    };
    let with = |at: usize, value: u32| {
        let mut file = vmcore();
        put(&mut file, at, &words(&[value]));
        file
    };
    // The names: addresses remain.
    let output = show(&with(MEMORY + 0x2000, 5));
    let addresses = ["0xc0101210", "0xc0101120", "0xc0101320"];
    assert_eq!(text(&output.stdout), trace(&addresses, ""), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("names of functions: "), "{}", text(&output.stderr));
    // The outer frame's return address is no text.
    let output = show(&with(MEMORY + 0x6000 - 80, 0));
    let lost = " (the next frame was not found)\n";
    assert_eq!(text(&output.stdout), trace(&FRAMES[..2], lost));
    // The stack is cut off.
    let output = show(&vmcore()[..MEMORY + 0x4000]);
    assert_eq!(text(&output.stdout), trace(&FRAMES[..1], lost));
    // This kernel has no tasks.
    let said = refused(folder.path(), &["backtrace", "vmcore", "--tasks"]);
    assert!(said.contains("vmcore: no backtraces: its tasks were not found"), "{said}");
    // No VMCOREINFO, no registers.
    let mut without = vmcore();
    put(&mut without, 52 + 16, &words(&[0]));
    assert!(text(&show(&without).stderr).contains("has no VMCOREINFO"));
    let said = text(&show(&with(116 + 8, 0x77)).stderr);
    assert!(said.contains("no backtraces: no CPU saved its registers"), "{said}");
    assert!(
        refused(folder.path(), &["backtrace", "vmcore", "--dump", "1"]).contains("no dump disk")
    );
}

/// Any byte of the notes, the tables, the stack changed: an end in words or a trace, no panic.
#[test]
fn damage_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let path: &Path = &folder.path().join("vmcore");
    let (notes, tables, stack) = (0x74..0x180, 0x3000..0x3340, 0x6f00..0x7000);
    for at in notes.chain(tables).chain(stack) {
        let mut damaged = vmcore();
        damaged[at] = if at % 2 == 0 { 0xff } else { !damaged[at] };
        fs::write(path, &damaged).expect("a file");
        for stacks in [collector::Stacks::Cpus, collector::Stacks::Tasks] {
            let to: (_, &mut dyn Write) = (collector::BacktraceFormat::Text, &mut std::io::sink());
            let _ = collector::backtrace_of(path, None, stacks, to, &mut |_, _| ());
        }
    }
}
