//! The programs that people read dumps with, and the facts that each must find in one. (gdb is
//! part of a cycle's own checks.)

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::debian::Architecture;
use crate::drgn::{Drgn, Found, value_of};
use crate::formats::Collector;
use crate::image;
use crate::makedumpfile::{Dump, finish, has_died_in, makedumpfile, read_text};

/// Their columns in the matrix.
pub(crate) const NAMES: [&str; 6] = [
    "makedumpfile -d 31 -l",
    "makedumpfile --dump-dmesg",
    "drgn",
    "libkdumpfile",
    "collector's kdump",
    "collector reads",
];

/// Name of the file that makedumpfile makes of `vmcore`, beside it.
pub(crate) const FILTERED: &str = "vmcore.kdump";
/// First bytes of a kdump-compressed dump (`KDUMP_SIGNATURE`).
const KDUMP: &[u8; 8] = b"KDUMP   ";
/// Zero pages, cached pages, those of programs, free ones: all that makedumpfile can leave out.
const LEVEL: &str = "31";

/// The readers, installed.
pub(crate) struct Readers {
    drgn: Drgn,
    collector: Collector,
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
        let collector = Collector(image::build_collector()?);
        Ok(Self { drgn: Drgn::ensure(None)?, collector, i386: i386.into(), amd64: amd64.into() })
    }

    /// Results of all readers, in the order of [`NAMES`].
    pub(crate) fn read(&self, dump: &Dump<'_>) -> [Result<String>; NAMES.len()] {
        let filtered = self.filter(dump);
        let found = self.drgn.read(&dump.folder.join("vmcore"), dump.banner);
        let reopened = self.reopen(dump, filtered.as_ref(), found.as_ref());
        let (drgn, tools) = (&self.drgn, self.tools(dump.architecture));
        let ours = match &found {
            Ok(whole) => self.collector.is_read(drgn, tools, dump, whole),
            Err(_) => Err(anyhow!("drgn did not read the dump that these come from")),
        };
        let theirs = self.collector.reads(drgn, tools, dump);
        let shown = found.and_then(|found| offset(&found, dump.says_offset));
        [filtered, self.dmesg(dump), shown, reopened, ours, theirs]
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

    /// The folder with Debian's tools of this architecture.
    fn tools(&self, architecture: Architecture) -> &Path {
        match architecture {
            Architecture::I386 => &self.i386,
            Architecture::Amd64 => &self.amd64,
        }
    }

    fn makedumpfile(&self, dump: &Dump<'_>) -> Result<Command> {
        makedumpfile(self.tools(dump.architecture), dump.architecture)
    }
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

    #[test]
    fn a_moved_kernel_has_to_say_so() {
        let found = |text: &str| Found { vmcoreinfo: text.into(), architecture: "I386".into() };
        assert!(offset(&found("KERNELOFFSET=6000000\n"), true).unwrap().ends_with("=6000000"));
        assert!(offset(&found("PAGESIZE=4096\n"), true).is_err());
        assert!(offset(&found("PAGESIZE=4096\n"), false).unwrap().ends_with("no KERNELOFFSET"));
    }
}
