//! Kernel pages taken out of a raw dump on the host: the collector beside makedumpfile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::samples::{Measure, Ratio, Row, Sample, Spread};
use crate::debian::Architecture;
use crate::makedumpfile;

/// Each program takes the pages out so many times.
const ROUNDS: usize = 5;
/// Codec of the collector and the arguments of makedumpfile that stand for it. Debian's
/// makedumpfile has no snappy; LZO is its fastest codec.
const CODECS: [(&str, &[&str]); 2] =
    [("none", &["-d", "31"]), ("snappy", &["-l", "-d", "31", "--num-threads", "2"])];
/// The collector should not be slower.
const GOAL: f64 = 1.0;

/// Times of both programs with each codec.
pub(super) struct Extraction {
    pairs: Vec<[Row; 2]>,
    /// Pages that the filter looked at in a second, in millions, for each dump of ours.
    scan: Vec<f64>,
}

impl Extraction {
    /// Has both programs read `vmcore`, a raw dump, in turn. `tools` is the folder that
    /// makedumpfile was unpacked into.
    ///
    /// # Errors
    /// Fails if a program does.
    pub(super) fn measure(collector: &Path, tools: &Path, vmcore: &Path) -> Result<Self> {
        let out = vmcore.with_extension("filtered");
        let (mut pairs, mut scan) = (Vec::new(), Vec::new());
        for (codec, arguments) in CODECS {
            let row = |name| Row { name, ..Row::default() };
            let theirs = format!("makedumpfile {}", arguments.join(" "));
            let mut pair = [row(format!("extract --level 31, {codec}")), row(theirs)];
            for _ in 0..ROUNDS {
                let mut ours = Command::new(collector);
                ours.args(["extract", "--json", "--level", "31", "--format", "kdump"]);
                ours.args(["--compress", codec]);
                let mut theirs = makedumpfile::makedumpfile(tools, Architecture::I386)?;
                theirs.args(arguments);
                for (row, mut command) in pair.iter_mut().zip([ours, theirs]) {
                    let (sample, text) = timed(command.arg(vmcore).arg(&out), &out)?;
                    row.samples.push(Some(sample));
                    scan.extend(scan_rate(&text));
                }
            }
            pairs.push(pair);
        }
        Ok(Self { pairs, scan })
    }

    fn ratios(&self) -> impl Iterator<Item = Ratio> {
        let done: Measure = |sample| sample.done;
        self.pairs.iter().filter_map(move |[ours, theirs]| {
            let name = format!("{}: makedumpfile / ours", ours.name);
            Ratio::new(name, (theirs, ours), done, Some(GOAL))
        })
    }

    /// The spread of the pages that the filter looked at in a second, in millions.
    pub(super) fn scan(&self) -> Option<Spread> {
        Spread::new(self.scan.clone())
    }

    /// Names of the programs, and the spread of their times; and the ratios.
    pub(super) fn lines(&self) -> (impl Iterator<Item = &Row>, impl Iterator<Item = Ratio>) {
        (self.pairs.iter().flatten(), self.ratios())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "rows": self.pairs.iter().flatten().map(Row::json).collect::<Vec<_>>(),
            "scan_mpages_per_s": self.scan().map(|scan| scan.json()),
            "ratios": self.ratios().map(|ratio| ratio.json()).collect::<Vec<_>>(),
        })
    }
}

/// Pages by time, from the collector's `--json`; [`None`] of makedumpfile.
fn scan_rate(json: &str) -> Option<f64> {
    let found: Value = serde_json::from_str(json).ok()?;
    let left = found["pages"]["left"].as_object()?.values().filter_map(Value::as_u64);
    let pages = found["pages"]["kept"].as_u64()? + left.sum::<u64>();
    Some(pages as f64 / found["scan_ms"].as_f64()? / 1000.0)
}

/// Runs the program, which writes the file `out`, and removes the file. Returns its output as well.
fn timed(command: &mut Command, out: &Path) -> Result<(Sample, String)> {
    let start = Instant::now();
    let text = makedumpfile::finish(command)?;
    let done = Some(start.elapsed().as_secs_f64() * 1000.0);
    let bytes_out = fs::metadata(out).context("nothing was written")?.len();
    fs::remove_file(out)?;
    Ok((Sample { done, bytes_out, ..Sample::default() }, text))
}
