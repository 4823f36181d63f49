//! The programs that people read dumps with, and the facts that each must find in one. (gdb is
//! part of a cycle's own checks.)

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use qemu_tests::Banner;

use crate::debian::Architecture;
use crate::drgn::{Drgn, Found, release, value_of};

/// Their columns in the matrix.
pub(crate) const NAMES: [&str; 4] =
    ["makedumpfile -d 31 -l", "makedumpfile --dump-dmesg", "drgn", "libkdumpfile"];

/// Name of the file that makedumpfile makes of `vmcore`, beside it.
pub(crate) const FILTERED: &str = "vmcore.kdump";
/// First bytes of a kdump-compressed dump (`KDUMP_SIGNATURE`).
const KDUMP: &[u8; 8] = b"KDUMP   ";
/// Linux's words for a panic, on the console and in its log.
const PANIC: &str = "Kernel panic - not syncing";
/// Zero pages, cached pages, those of programs, free ones: all that makedumpfile can leave out.
const LEVEL: &str = "31";

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

/// The readers, installed.
pub(crate) struct Readers {
    drgn: Drgn,
    i386: PathBuf,
    amd64: PathBuf,
}

impl Readers {
    /// Those of Debian, i386 and amd64, in the folders that they were unpacked into, and drgn,
    /// which is fetched if it is missing.
    ///
    /// # Errors
    /// Fails if drgn cannot be had.
    pub(crate) fn new([i386, amd64]: [&Path; 2]) -> Result<Self> {
        Ok(Self { drgn: Drgn::ensure()?, i386: i386.into(), amd64: amd64.into() })
    }

    /// Results of all readers, in the order of [`NAMES`].
    pub(crate) fn read(&self, dump: &Dump<'_>) -> [Result<String>; NAMES.len()] {
        let filtered = self.filter(dump);
        let found = self.drgn.read(&dump.folder.join("vmcore"), dump.banner);
        let reopened = self.reopen(dump, filtered.as_ref(), found.as_ref());
        let shown = found.and_then(|found| offset(&found, dump.says_offset));
        [filtered, self.dmesg(dump), shown, reopened]
    }

    /// makedumpfile leaves out all pages that it can and writes the kdump-compressed format.
    fn filter(&self, dump: &Dump<'_>) -> Result<String> {
        let (vmcore, smaller) = (dump.folder.join("vmcore"), dump.folder.join(FILTERED));
        finish(self.makedumpfile(dump)?.args(["-d", LEVEL, "-l"]).args([&vmcore, &smaller]))?;
        let mut signature = [0; KDUMP.len()];
        let opened = fs::File::open(&smaller).context("makedumpfile has written nothing")?;
        (&opened)
            .read_exact(&mut signature)
            .context("makedumpfile has written less than a name")?;
        ensure!(signature == *KDUMP, "what makedumpfile has written is not kdump-compressed");
        let (before, after) = (fs::metadata(&vmcore)?.len(), opened.metadata()?.len());
        ensure!(after < before, "{after} bytes are left of {before}");
        Ok(format!("{after} bytes of {before}"))
    }

    /// makedumpfile finds the kernel's log: its release, and its last line on the console.
    fn dmesg(&self, dump: &Dump<'_>) -> Result<String> {
        let path = dump.folder.join("dmesg");
        let vmcore = dump.folder.join("vmcore");
        finish(self.makedumpfile(dump)?.arg("--dump-dmesg").args([&vmcore, &path]))?;
        let log = read_text(&path)?;
        let console = read_text(&dump.folder.join("console.log"))?;
        has_died_in(&log, &console, &dump.banner.text)
    }

    /// libkdumpfile, under drgn, finds in the filtered dump the same as drgn in the whole one.
    fn reopen(
        &self,
        dump: &Dump<'_>,
        filtered: Result<&String, &anyhow::Error>,
        whole: Result<&Found, &anyhow::Error>,
    ) -> Result<String> {
        ensure!(filtered.is_ok(), "there is no kdump-compressed dump");
        let Ok(whole) = whole else { bail!("drgn did not read the dump that this one comes from") };
        let found = self.drgn.read(&dump.folder.join(FILTERED), dump.banner)?;
        ensure!(found == *whole, "VMCOREINFO is not that of the whole dump");
        Ok(format!("{} bytes of VMCOREINFO, as in the whole dump", found.vmcoreinfo.len()))
    }

    /// Debian's makedumpfile of the dump's architecture, with the libraries beside it.
    fn makedumpfile(&self, dump: &Dump<'_>) -> Result<Command> {
        let (root, interpreter, libraries) = match dump.architecture {
            Architecture::I386 => (&self.i386, "lib/ld-linux.so.2", "i386-linux-gnu"),
            Architecture::Amd64 => (&self.amd64, "lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
        };
        let folders = ["lib", "usr/lib"].map(|folder| root.join(folder).join(libraries));
        let mut makedumpfile = Command::new(root.join(interpreter));
        makedumpfile.arg("--library-path").arg(std::env::join_paths(folders)?);
        makedumpfile.arg(root.join("usr/bin/makedumpfile"));
        Ok(makedumpfile)
    }
}

/// Runs makedumpfile to its end. Its first complaint is the important one.
fn finish(makedumpfile: &mut Command) -> Result<()> {
    let output = makedumpfile.output().context("cannot start makedumpfile")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said.lines().map(str::trim).find(|line| !line.is_empty());
    ensure!(output.status.success(), "{}: {}", output.status, complaint.unwrap_or("no word"));
    Ok(())
}

/// A log may hold bytes that are not UTF-8.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Checks that the log is of the kernel with this banner, up to the panic that the console showed.
fn has_died_in(log: &str, console: &str, banner: &str) -> Result<String> {
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

/// Checks that VMCOREINFO has KERNELOFFSET, if it must.
fn offset(found: &Found, has_to: bool) -> Result<String> {
    let architecture = &found.architecture;
    match value_of(&found.vmcoreinfo, "KERNELOFFSET") {
        Some(offset) => Ok(format!("{architecture}, KERNELOFFSET={offset}")),
        None if has_to => bail!("VMCOREINFO has no KERNELOFFSET"),
        None => Ok(format!("{architecture}, and no KERNELOFFSET")),
    }
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

    #[test]
    fn a_moved_kernel_has_to_say_so() {
        let found = |text: &str| Found { vmcoreinfo: text.into(), architecture: "I386".into() };
        assert!(offset(&found("KERNELOFFSET=6000000\n"), true).unwrap().ends_with("=6000000"));
        assert!(offset(&found("PAGESIZE=4096\n"), true).is_err());
        assert!(offset(&found("PAGESIZE=4096\n"), false).unwrap().ends_with("no KERNELOFFSET"));
    }
}
