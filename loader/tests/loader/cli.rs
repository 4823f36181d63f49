//! The program: its output, its files, its exit codes. No test has it load anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use dumpfile::{DiskHeader, DiskId};
use serde_json::Value;

use crate::common::{elf, fixture, fixture_folder, plan_for};

pub(crate) fn loader(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kdump-loader")).args(words).output().expect("the loader runs")
}

pub(crate) fn json(output: &Output) -> Value {
    json_and_code(output, 0)
}

fn json_and_code(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs `plan` for a saved system with the tiny images and these words at the end.
fn plan(name: &str, words: &[&str]) -> Output {
    plan_of(&fixture_folder(name), words)
}

fn plan_of(root: &Path, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let (kernel, purgatory) = (folder.path().join("kernel"), folder.path().join("purgatory"));
    fs::write(&kernel, elf::kernel()).expect("a file");
    fs::write(&purgatory, elf::purgatory()).expect("a file");
    let files = ["--root", path(root), "--kernel", path(&kernel), "--purgatory", path(&purgatory)];
    loader(&[&["plan"], &files[..], words].concat())
}

/// A saved system with virtio disks that are dump disks with these ids.
fn with_dump_disks(ids: &[u8]) -> tempfile::TempDir {
    let (root, saved) = (tempfile::tempdir().expect("a folder"), fixture_folder("i386-512m"));
    fs::create_dir_all(root.path().join("dev")).expect("a folder");
    symlink(saved.join("proc"), root.path().join("proc")).expect("a link");
    for (number, id) in (b'a'..).zip(ids) {
        let name = format!("vd{}", char::from(number));
        fs::create_dir_all(root.path().join("sys/block").join(&name)).expect("a folder");
        let header = DiskHeader::new(DiskId([*id; 16])).encode();
        fs::write(root.path().join("dev").join(name), [header, header].concat()).expect("a disk");
    }
    for name in ["devices", "firmware", "kernel"] {
        let link = root.path().join("sys").join(name);
        fs::create_dir_all(root.path().join("sys")).expect("a folder");
        symlink(saved.join("sys").join(name), link).expect("a link");
    }
    root
}

#[test]
fn without_a_target_the_one_dump_disk_is_taken_and_said() {
    let said = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
    let one = with_dump_disks(&[0xab]);
    let id = "ab".repeat(16);
    let words = format!("disk:id={id} (found: /dev/vda is a dump disk)");
    let planned = plan_of(one.path(), &["--json"]);
    let planned = json(&planned);
    assert_eq!(planned["target"], words);
    let line = planned["command_line"].as_str().expect("text");
    assert!(line.contains(&format!("kdump.target=disk:id={id} ")), "{line}");
    assert!(said(&plan_of(one.path(), &[]).stdout).contains(&format!("target         {words}\n")));
    let status = loader(&["status", "--root", path(one.path())]);
    assert!(said(&status.stdout).contains(&format!("default target  {words}\n")));

    let none = with_dump_disks(&[]);
    let planned = json(&plan_of(none.path(), &["--json"]));
    assert!(planned["target"].as_str().expect("text").contains("nothing will be written"));
    assert!(!planned["command_line"].as_str().expect("text").contains("kdump.target"));

    let two = with_dump_disks(&[1, 2]);
    let refused = plan_of(two.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let reason = said(&refused.stderr);
    assert!(reason.contains("/dev/vda (") && reason.contains("/dev/vdb ("), "{reason}");
    assert_eq!(plan_of(two.path(), &["--target", "none"]).status.code(), Some(0));
}

/// A placeholder from a manual, and the id of another disk, however they are given.
#[test]
fn a_target_that_is_not_there_is_refused_with_the_disks_that_are() {
    let root = with_dump_disks(&[0xab]);
    let (there, other) = ("ab".repeat(16), "cd".repeat(16));
    let refused = |words: &[&str]| {
        let output = plan_of(root.path(), words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains(&format!("/dev/vda (disk:id={there})")), "{words:?}: {said}");
        said
    };
    for id in ["HEX32", "...", "\u{2026}", &other[1..]] {
        let target = format!("disk:id={id}");
        for target in [target.clone(), format!("serial+{target}"), format!("none,{target}")] {
            let said = refused(&["--target", &target]);
            assert!(said.contains("right is disk:id=32 hex digits"), "{said}");
            assert_eq!(said, refused(&["--append", &format!("quiet kdump.target={target}")]));
            assert_eq!(said, refused(&["--command-line", &format!("kdump.target={target}")]));
        }
    }
    for list in ["ID", "disk:id=THERE,ID", "serial:port=0+ID", "ID,virtio-console:name=x"] {
        let other = format!("disk:id={other}");
        let list = list.replace("THERE", &there).replace("ID", &other);
        let said = refused(&["--target", &list]);
        assert!(said.contains("no disk of this machine carries the id cdcd"), "{said}");
        assert!(said.contains("--force"), "{said}");
        assert_eq!(said, refused(&["--append", &format!("kdump.target={list} quiet")]));
    }
    let named = format!("serial,disk:id={there}+none");
    assert_eq!(plan_of(root.path(), &["--target", &named]).status.code(), Some(0));
}

#[test]
fn plan_as_json() {
    let plan = json(&plan("i386-2g", &["--json"]));
    assert_eq!(plan["version"], 1);
    assert_eq!(plan["slot"]["start"], 0x100_0000);
    assert_eq!(plan["slot"]["length"], 0x200_0000);
    assert_eq!(plan["purgatory_entry"], 0x2f5_d010);
    assert_eq!(plan["kernel_entry"], 0x100_0020);
    assert_eq!(plan["kernel_delta"], 0);
    assert_eq!(plan["segments"][1]["name"], "kernel-1");
    assert_eq!(plan["segments"][1]["bytes"], 21);
    assert_eq!(plan["elf_class"], "ELF32");
    assert_eq!(plan["notes"][3]["cpu"], 3);
    assert_eq!(plan["notes"][3]["start"], 0x35b0_3e00);
    assert_eq!(plan["vmcoreinfo"]["length"], 0x1024);
    assert_eq!(plan["loads"][0]["vaddr"], 0xc000_1000u32);
    assert_eq!(plan["memory"][0]["length"], 0x1f5_b000);
    assert!(plan["command_line"].as_str().expect("text").contains("elfcorehdr=4K@48508K"));
}

#[test]
fn plan_as_a_table() {
    let output = plan("i386-96m", &["--final-action", "poweroff"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0));
    let has = |words: &str| assert!(text.contains(words), "{words} in:\n{text}");
    has("slot           0x001000000..0x003000000    32768 KiB");
    has("backup         0x002f60000..0x003000000      640 KiB  0 bytes given");
    has("notes, CPU 0   0x005acae00..0x005acaeb0        176 B");
    has("warning: poweroff is asked for");
}

#[test]
fn segments_are_written_so_that_others_can_place_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("segments");
    assert_eq!(plan("i386-512m", &["--segments", path(&folder)]).status.code(), Some(0));
    let written: Value =
        serde_json::from_slice(&fs::read(folder.join("plan.json")).expect("a file")).expect("JSON");
    let mut system = fixture("i386-512m");
    system.find_names(&fixture_folder("i386-512m"), None);
    let plan = plan_for(&system).expect("a plan");
    for (index, segment) in plan.segments.iter().enumerate() {
        let bytes = fs::read(folder.join(format!("{}.bin", segment.name))).expect("a file");
        assert_eq!(bytes, segment.bytes, "{}", segment.name);
        assert_eq!(written["segments"][index]["start"], segment.range.start().get());
    }
}

#[test]
fn status_of_a_saved_system() {
    let root = fixture_folder("i386-512m");
    let output = loader(&["status", "--root", path(&root), "--json"]);
    let status = json_and_code(&output, 3);
    assert_eq!(status["version"], 1);
    assert_eq!(status["slot"]["start"], 0x100_0000);
    assert_eq!((&status["reserved"], &status["loaded"]), (&(32 << 20).into(), &false.into()));
    assert_eq!(status["missing"], Value::Array(Vec::new()));
    assert_eq!(status["next_step"], "run `kdump-loader load`");
    let text = loader(&["status", "--root", path(&root)]).stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("0x1000000..0x3000000 (32768 KiB)"), "{text}");
    assert!(text.contains("not loaded"), "{text}");
}

/// A saved system that has something loaded, or does not say.
#[test]
fn the_status_tells_by_its_exit_code_whether_something_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let code = |words: &[&str]| loader(words).status.code();
    file("proc/iomem", "00100000-1ffdffff : System RAM\n  01000000-02ffffff : Crash kernel\n");
    let status = ["status", "--root", path(folder.path())];
    assert_eq!(code(&status), Some(0), "it does not say");
    file("sys/kernel/kexec_crash_loaded", "1\n");
    assert_eq!(code(&status), Some(0));
    file("sys/kernel/kexec_crash_loaded", "0\n");
    assert_eq!(code(&status), Some(3));
    file("sys/kernel/kexec/crash_loaded", "1\n");
    assert_eq!(code(&status), Some(0), "Linux 6.19 and later");
    file("sys/kernel/kexec/crash_loaded", "0\n");
    assert_eq!(code(&["-S", status[1], status[2]]), Some(3));
}

/// The saved system was booted with crashkernel= and more.
#[test]
fn the_running_kernels_words_are_reused() {
    let running = fs::read_to_string(fixture_folder("i386-512m").join("proc/cmdline"));
    assert!(running.expect("a file").contains("crashkernel="));
    let plan = json(&plan("i386-512m", &["--json", "--reuse-cmdline", "--append", "nr_cpus=1"]));
    let line = plan["command_line"].as_str().expect("text");
    let (reused, added) = line.split_once(" nr_cpus=1 memmap=exactmap ").expect(line);
    assert!(reused.contains("console=") && !reused.contains("crashkernel"), "{line}");
    assert!(added.ends_with("elfcorehdr=4K@48508K"), "{line}");
}

#[test]
fn an_empty_initramfs_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, "").expect("a file");
    let output = plan("i386-512m", &["--initrd", path(&initrd)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is empty"));
    fs::write(&initrd, "cpio").expect("a file");
    let plan = json(&plan("i386-512m", &["--json", "--initrd", path(&initrd)]));
    assert_eq!(
        (&plan["segments"][2]["name"], &plan["segments"][2]["bytes"]),
        (&"initrd".into(), &4.into())
    );
}

/// On standard error, so that standard output does not change.
#[test]
fn debug_shows_what_is_read_planned_and_handed_over() {
    let output = plan("i386-512m", &["--json", "--debug"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for words in [
        "read: System {",
        "planned:\nslot",
        "kexec_load: entry 0x2f5d010, 7 segments, flags 0x30001",
    ] {
        assert!(said.contains(words), "{words} in:\n{said}");
    }
    assert_eq!(json(&output)["version"], 1);
}

#[test]
fn failure_is_1_and_a_wrong_line_is_2() {
    let nowhere = loader(&["status", "--root", "/nonexistent"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let said = String::from_utf8(nowhere.stderr).expect("UTF-8");
    assert!(said.starts_with("kdump-loader: cannot read") && said.contains("proc/iomem"), "{said}");
    assert_eq!(loader(&["explode"]).status.code(), Some(2));
    assert_eq!(plan("i386-512m", &["--target", "tape"]).status.code(), Some(1));
    let help = loader(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
}

#[test]
fn a_build_without_images_says_so() {
    if loader::embedded_capture_kernel().is_some() {
        return;
    }
    let root = fixture_folder("i386-512m");
    let output = loader(&["plan", "--root", path(&root)]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("carries no images") && said.contains("--kernel FILE"), "{said}");
}
