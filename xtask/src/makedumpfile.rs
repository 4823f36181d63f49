//! Debian's makedumpfile, and the checks of what it writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::Banner;

use crate::debian::Architecture;
use crate::drgn::release;

/// Linux's words for a panic, on the console and in its log.
const PANIC: &str = "Kernel panic - not syncing";

/// A Linux's dump and the known facts about it.
pub(crate) struct Dump<'a> {
    /// Folder with `vmcore` and `console.log`, and for the readers' own files.
    pub folder: &'a Path,
    /// The kernel's name for itself.
    pub banner: &'a Banner,
    /// The architecture of the readers that it needs.
    pub architecture: Architecture,
    /// True if VMCOREINFO must have KERNELOFFSET.
    pub says_offset: bool,
}

/// Debian's makedumpfile of an architecture.
pub(crate) fn makedumpfile(root: &Path, architecture: Architecture) -> Result<Command> {
    of_debian(root, architecture, "makedumpfile")
}

/// A program of Debian's, unpacked below `root`, with the libraries beside it.
pub(crate) fn of_debian(root: &Path, architecture: Architecture, name: &str) -> Result<Command> {
    let (interpreter, libraries) = match architecture {
        Architecture::I386 => ("lib/ld-linux.so.2", "i386-linux-gnu"),
        Architecture::Amd64 => ("lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    };
    // From Debian 13 on, all is below usr, and the links to it are in no library's package.
    let interpreters = [root.join(interpreter), root.join("usr").join(interpreter)];
    let interpreter = interpreters.iter().find(|path| path.exists());
    let folders = ["lib", "usr/lib"].map(|folder| root.join(folder).join(libraries));
    let mut program = Command::new(interpreter.unwrap_or(&interpreters[0]));
    program.arg("--library-path").arg(std::env::join_paths(folders)?);
    program.arg(root.join("usr/bin").join(name));
    Ok(program)
}

/// Runs makedumpfile to its end, and returns its output. Its first complaint is the important one.
pub(crate) fn finish(makedumpfile: &mut Command) -> Result<String> {
    let output = makedumpfile.output().context("cannot start makedumpfile")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said.lines().map(str::trim).find(|line| !line.is_empty());
    ensure!(output.status.success(), "{}: {}", output.status, complaint.unwrap_or("no word"));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A log may hold bytes that are not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Checks that the log is of the kernel with this banner, up to the panic that the console showed.
pub(crate) fn has_died_in(log: &str, console: &str, banner: &str) -> Result<String> {
    // The harness puts a time of its own in front of each line.
    let mut lines = console.lines().filter_map(|line| Some(line.split_once("] ")?.1.trim()));
    let panic = lines.find(|line| line.contains(PANIC));
    let panic = panic.context("the console shows no panic")?;
    let found = log.lines().any(|line| line.trim() == panic);
    ensure!(found, "the log does not have the console's \"{panic}\"");
    let version = format!("Linux version {} ", release(banner)?);
    ensure!(log.contains(&version), "the log does not have \"{version}\"");
    Ok(format!("{} lines; {panic}", log.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: &str = "Linux version 6.1.0 (a)";
    const CONSOLE: &str =
        "[   9.1] first-kernel: ready\n[   9.2] [    2.5] Kernel panic - not syncing: x\n";

    #[test]
    fn a_log_ends_in_the_consoles_panic() {
        let log = "[    0.0] Linux version 6.1.0 (a)\n[    2.5] Kernel panic - not syncing: x\n";
        assert!(has_died_in(log, CONSOLE, BANNER).unwrap().contains("2 lines"));
        let says = |log: &str, console: &str| {
            has_died_in(log, console, BANNER).expect_err("not this one").to_string()
        };
        assert!(says(&log.replace("2.5", "2.6"), CONSOLE).contains("does not have the console's"));
        assert!(says(&log.replace("6.1.0", "6.1.1"), CONSOLE).contains("Linux version 6.1.0"));
        assert!(says(log, "[   9.1] first-kernel: ready\n").contains("no panic"));
    }
}
