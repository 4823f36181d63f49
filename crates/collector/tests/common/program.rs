//! The program itself: its output and its exit status.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder`.
pub fn collector(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdump-collector"));
    command.current_dir(folder).args(arguments).output().expect("the collector runs")
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of the program, which must succeed.
#[track_caller]
pub fn printed(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = collector(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    output.stdout
}

/// The same as text.
#[track_caller]
pub fn shown(folder: &Path, arguments: &[&str]) -> String {
    text(&printed(folder, arguments))
}

/// The reason that it gives for exit status 1.
#[track_caller]
pub fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = collector(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    text(&output.stderr)
}
