//! `report.json`: the findings of a crash cycle, for people and programs.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::check::disk_after::DiskAfter;
use crate::check::stacks::Found;
use crate::host::guest_dump::GuestDump;
use crate::line::collector_process::Received;
use crate::timeline::{ByStage, Milestones};

/// Version of the report's layout. Fields may be added to it, not renamed.
pub const VERSION: u32 = 1;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A short name that stays the same from version to version.
    pub name: String,
    /// True if it held.
    pub pass: bool,
    /// True if it could not be made, for want of something that the kernel does not say of itself:
    /// then it passes.
    pub skipped: bool,
    /// The comparison, the fault, or the reason for which it could not be made.
    pub detail: String,
}

impl Check {
    /// A check whose `detail` is `Ok` when it held and `Err` when it did not.
    pub fn new(name: &str, found: Result<String>) -> Self {
        match found {
            Ok(detail) => Self { name: name.to_string(), pass: true, skipped: false, detail },
            Err(error) => {
                let detail = format!("{error:#}");
                Self { name: name.to_string(), pass: false, skipped: false, detail }
            }
        }
    }

    /// A check that cannot be made, and why.
    pub fn skipped(name: &str, why: &str) -> Self {
        let detail = format!("not checked: {why}");
        Self { name: name.to_string(), pass: true, skipped: true, detail }
    }
}

/// Result of all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All did.
    Pass,
    /// At least one did not.
    Fail,
}

/// The end of a cycle, in kinds that programs can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The first kernel died, and its dump holds every check.
    GoodDump,
    /// It died, and there is no dump, or one that does not hold a check.
    BadDump,
    /// It did not die, or it was gone without a panic.
    NoPanic,
    /// A deadline passed: of the boot, of the death, or of the capture.
    Hang,
    /// It died before the capture kernel was loaded.
    EarlyPanic,
    /// The capture kernel could not be loaded, or the machine not be started.
    NotLoaded,
    /// The user ended it.
    Interrupted,
}

/// A text that the dead kernel has in its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Banner {
    /// Its address (virtual).
    pub address: u64,
    /// Its beginning: of a Linux the line in /proc/version.
    pub text: String,
}

/// The stack of a CPU when the first kernel died, from its dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CpuStack {
    /// Its number, if that is known.
    pub cpu: Option<u32>,
    /// Number of the task that ran there.
    pub pid: u32,
    /// The task's name; empty if it is not known.
    pub comm: String,
    /// True for the CPU that crashed.
    pub crashed: bool,
    /// The frames as Linux prints them, innermost first; none of a CPU that ran a program.
    pub frames: Vec<String>,
}

impl From<&Found> for CpuStack {
    fn from(found: &Found) -> Self {
        let frames = found.frames.iter().map(ToString::to_string).collect();
        let Found { cpu, pid, has_crashed: crashed, .. } = *found;
        Self { cpu, pid, comm: found.comm.clone(), crashed, frames }
    }
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Result of all checks.
    pub verdict: Verdict,
    /// The kind of end; good_dump with the verdict "pass" only.
    pub outcome: Outcome,
    /// The line with which the first kernel died: of its panic, or else of an oops.
    pub panic: Option<String>,
    /// The last stage that was reached; "boot" before the panic.
    pub stage: String,
    /// Number of boots of the first kernel.
    pub boots: u32,
    /// The last boot did not get to the point where the kernel can be crashed.
    #[serde(skip)]
    pub boot_hung: bool,
    /// Which first kernel.
    pub first_kernel: String,
    /// The slot that was asked for.
    pub slot: String,
    /// Guest memory in bytes.
    pub memory: u64,
    /// CPUs of the guest.
    pub cpus: u32,
    /// The target of the dump: the value of `kdump.target=`.
    pub target: String,
    /// The target that the vmcore is from, as `--target` calls it, with a dump.
    pub arrived_by: Option<String>,
    /// Milliseconds from the panic to each stage.
    pub timeline_ms: Milestones,
    /// Milliseconds from the panic to the last line of the backtraces on the console, if the
    /// capture kernel showed any.
    pub backtraces_ms: Option<f64>,
    /// The time stamp counter of the guest's CPU at each stage of purgatory and capture kernel.
    pub stage_counters: ByStage<u64>,
    /// Milliseconds in which the VM was stopped; not part of the timeline.
    pub stopped_ms: f64,
    /// True if the VM was stopped for page digests (false: `--no-truth`).
    pub truth: bool,
    /// Length of the vmcore in bytes.
    pub bytes: u64,
    /// Bytes that the kept pages took on the target, if a dump level left pages out.
    pub bytes_out: Option<u64>,
    /// SHA-256 of the vmcore, in hexadecimal; empty without a vmcore.
    pub vmcore_sha256: String,
    /// The dead kernel's name for itself, with a dump.
    pub banner: Option<Banner>,
    /// The stacks of the CPUs of a Linux, that of the CPU that crashed first, with a dump.
    pub stacks: Vec<CpuStack>,
    /// Size and time of QEMU's own dump of the same guest right before the crash, if it was asked
    /// for.
    pub guest_dump: Option<GuestDump>,
    /// Number of different pages that the guest's memory has in the end, without that of zeros.
    pub distinct_pages: u64,
    /// State of the dump disk if there is no complete dump.
    pub disk_after: Option<DiskAfter>,
    /// Result of each link that the dump was to take.
    pub received: Vec<Received>,
    /// Everything that was checked.
    pub checks: Vec<Check>,
    /// The last lines of the console. The text output shows them after a failure only.
    pub last_lines: Vec<String>,
}

impl Report {
    /// Writes the report as JSON.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        serde_json::to_writer_pretty(file, self).context("writing the report")
    }

    /// The checks that did not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.pass)
    }
}

/// The likely cause and the next step for a cycle that stopped at `stage`.
pub fn advice(stage: &str) -> &'static str {
    match stage {
        "boot" => {
            "Likely cause: the first kernel does not boot with this memory and slot, or the loader \
             refused. Next step: the lines of the loader in console.log"
        }
        "panic" => {
            "Likely cause: nothing was loaded into the slot, or purgatory does not start. Next \
             step: the loader's lines in console.log"
        }
        "purgatory" => {
            "Likely cause: a region of the slot has another digest than the loader took. Next \
             step: purgatory's lines in console.log name it"
        }
        "verified" => {
            "Likely cause: the capture kernel dies before its first line. Next step: its entry \
             code, under gdb"
        }
        "capture_entry" | "memory" => {
            "Likely cause: command line or ELF core header are not what the kernel expects. Next \
             step: the lines after the last stage in console.log"
        }
        "views" | "quiesced" => {
            "Likely cause: the target device was not found or does not answer. Next step: the \
             lines after the last stage in console.log"
        }
        _ => "Next step: the lines after the last stage in console.log",
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pass when there is a check and all held.
pub fn verdict(checks: &[Check]) -> Verdict {
    let pass = !checks.is_empty() && checks.iter().all(|check| check.pass);
    if pass { Verdict::Pass } else { Verdict::Fail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn one_failed_check_fails_the_report() {
        let good = Check::new("good", Ok("fine".into()));
        let bad = Check::new("bad", Err(anyhow!("cause").context("what")));
        assert_eq!(bad.detail, "what: cause");
        assert_eq!(verdict(std::slice::from_ref(&good)), Verdict::Pass);
        assert_eq!(verdict(&[good, bad]), Verdict::Fail);
        assert_eq!(verdict(&[]), Verdict::Fail);
    }
}
