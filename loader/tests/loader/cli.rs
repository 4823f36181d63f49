//! The program: what it prints, what it writes, how it exits. It is never told to load anything.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{elf, fixture, fixture_folder, plan_for};

fn loader(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loader")).args(words).output().expect("the loader runs")
}

fn json(output: &Output) -> Value {
    json_and_code(output, 0)
}

fn json_and_code(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs `plan` for a saved system with the tiny images and these words behind.
fn plan(name: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let (kernel, purgatory) = (folder.path().join("kernel"), folder.path().join("purgatory"));
    fs::write(&kernel, elf::kernel()).expect("a file");
    fs::write(&purgatory, elf::purgatory()).expect("a file");
    let root = fixture_folder(name);
    let files = ["--root", path(&root), "--kernel", path(&kernel), "--purgatory", path(&purgatory)];
    loader(&[&["plan"], &files[..], words].concat())
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
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
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
    assert_eq!(status["next_step"], "run `loader load`");
    let text = loader(&["status", "--root", path(&root)]).stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("0x1000000..0x3000000 (32768 KiB)"), "{text}");
    assert!(text.contains("not loaded"), "{text}");
}

#[test]
fn failure_is_1_and_a_wrong_line_is_2() {
    let nowhere = loader(&["status", "--root", "/nonexistent"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let said = String::from_utf8(nowhere.stderr).expect("UTF-8");
    assert!(said.starts_with("loader: cannot read") && said.contains("proc/iomem"), "{said}");
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
