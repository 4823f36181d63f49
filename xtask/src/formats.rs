//! Files between the collector and the programs of others: each reads those of the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::debian::Architecture;
use crate::drgn::{Drgn, Found};
use crate::makedumpfile::{Dump, finish, has_died_in, makedumpfile, read_text};
use crate::programs::output_of;

/// Compares pages; see the script.
const SCRIPT: &str = include_str!("compare_dumps.py");
/// The collector's files: name, format, codec, level.
const OURS: [[&str; 4]; 4] = [
    ["ours.zlib", "kdump", "zlib", "1"],
    ["ours.zstd", "kdump", "zstd", "31"],
    ["ours.snappy", "kdump", "snappy", "31"],
    ["ours.flat", "flat", "snappy", "31"],
];
/// makedumpfile's options for the files that the collector reads. (Debian's has neither snappy nor
/// zstd.)
const THEIRS: [&[&str]; 3] = [&["-d", "31"], &["-d", "31", "-c"], &["-d", "31", "-l"]];

/// The collector, a program.
pub(crate) struct Collector(pub PathBuf);

impl Collector {
    pub(crate) fn extract(&self, from: &Path, to: &Path, options: &[&str]) -> Result<String> {
        output_of(Command::new(&self.0).args(["extract", "--force"]).args([from, to]).args(options))
    }

    /// The stacks of all tasks in a dump, an object of JSON a line.
    ///
    /// # Errors
    /// The collector finds none.
    pub(crate) fn tasks(&self, dump: &Path) -> Result<String> {
        output_of(Command::new(&self.0).arg("backtrace").arg(dump).args(["--tasks", "--json"]))
    }

    /// drgn with libkdumpfile opens the collector's files and finds the same as in the `whole`
    /// dump. makedumpfile puts the flattened one together, and on x86_64 filters one of them again
    /// and finds the log in it. (Of a relocated i386 kernel, it cannot read its own files either.)
    pub(crate) fn is_read(
        &self,
        drgn: &Drgn,
        tools: &Path,
        dump: &Dump<'_>,
        whole: &Found,
    ) -> Result<String> {
        let path = |name: &str| dump.folder.join(name);
        for [name, format, codec, level] in OURS {
            let options = ["--format", format, "--compress", codec, "--level", level];
            self.extract(&path("vmcore"), &path(name), &options)?;
            let found = drgn.read(&path(name), dump.banner).context(name)?;
            ensure!(found == *whole, "{name}: VMCOREINFO is not that of the whole dump");
        }
        let mut together = makedumpfile(tools, dump.architecture)?;
        together.arg("-R").arg(path("ours.again")).stdin(fs::File::open(path("ours.flat"))?);
        finish(&mut together)?;
        let is_same = fs::read(path("ours.again"))? == fs::read(path("ours.snappy"))?;
        ensure!(is_same, "makedumpfile -R makes another file of ours.flat");
        if dump.architecture == Architecture::I386 {
            return Ok(format!("{} files under libkdumpfile, makedumpfile -R", OURS.len()));
        }
        let program = || makedumpfile(tools, dump.architecture);
        finish(program()?.args(["-d", "31", "-l"]).args([path("ours.zlib"), path("ours.less")]))?;
        let found = drgn.read(&path("ours.less"), dump.banner).context("filtered again")?;
        ensure!(found == *whole, "filtered again: VMCOREINFO is not that of the whole dump");
        finish(program()?.arg("--dump-dmesg").args([path("ours.zlib"), path("ours.dmesg")]))?;
        let log = read_text(&path("ours.dmesg"))?;
        let console = read_text(&path("console.log"))?;
        let log = has_died_in(&log, &console, &dump.banner.text)?;
        Ok(format!("{} files under libkdumpfile and makedumpfile; {log}", OURS.len()))
    }

    /// The collector makes ELF cores of makedumpfile's files, with the same bytes as the whole dump
    /// in each page that is there.
    pub(crate) fn reads(&self, drgn: &Drgn, tools: &Path, dump: &Dump<'_>) -> Result<String> {
        let path = |name: &str| dump.folder.join(name);
        let (file, core) = (path("theirs"), path("theirs.elf"));
        let mut pages = Value::Null;
        for options in THEIRS {
            let mut program = makedumpfile(tools, dump.architecture)?;
            finish(program.args(options).arg("-f").args([&path("vmcore"), &file]))?;
            self.extract(&file, &core, &[])?;
            let mut script = drgn.python();
            script.args(["-c", SCRIPT]).args([&path("vmcore"), &file, &core]);
            let compared = output_of(&mut script).with_context(|| options.join(" "))?;
            pages = serde_json::from_str(&compared).context("what the script printed")?;
        }
        // The same pages as in the last file.
        let mut flat = makedumpfile(tools, dump.architecture)?;
        flat.arg("-F").args(THEIRS[THEIRS.len() - 1]).arg(path("vmcore"));
        finish(flat.stdout(fs::File::create(&file)?))?;
        self.extract(&file, &path("theirs.again"), &[])?;
        let is_same = fs::read(path("theirs.again"))? == fs::read(&core)?;
        ensure!(is_same, "of the flattened file another core is made");
        Ok(format!("{} of {} pages", pages["kept"], pages["whole"]))
    }
}
