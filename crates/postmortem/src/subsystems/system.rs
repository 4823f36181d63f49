//! The machine and its kernel: crash(8)'s opening page.

mod taint;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use vmcore::{notes, vmcoreinfo_get};

use super::clock::Clock;
use super::holes::Holes;
use super::tasks::Tasks;
use super::{date, page_size};
use crate::report::{Severity, Warning};
use crate::{Error, Kernel, printable};

pub use taint::Taint;

/// Most bytes of the kernel's notes.
const MOST_NOTES: u64 = 64 << 10;
/// Bits of a load average after the point (Linux, `FSHIFT`).
const LOAD_BITS: u32 = 11;

/// The machine and its kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct System {
    /// Release, as `uname -r` shows it.
    pub release: Option<String>,
    /// Number and date of the build, as `uname -v`.
    pub version: Option<String>,
    /// Machine, as `uname -m`.
    pub machine: Option<String>,
    /// Name of the host.
    pub hostname: Option<String>,
    /// Build-id of the kernel's image, which names its debug files.
    pub build_id: Option<String>,
    /// The random number of this boot, if it was ever asked for.
    pub boot_id: Option<String>,
    /// Command line.
    pub command_line: Option<String>,
    /// Numbers of the CPUs that may be there.
    pub possible_cpus: Vec<u32>,
    /// Numbers of those that were online.
    pub online_cpus: Vec<u32>,
    /// Clock rate of the time stamp counter in kHz.
    pub cpu_khz: Option<u64>,
    /// Bytes of memory that the kernel manages: `MemTotal` of /proc/meminfo.
    pub memory_bytes: Option<u64>,
    /// Time of the crash in seconds since 1970.
    pub crashed_at: Option<u64>,
    /// The same as a date in UTC.
    pub date: Option<String>,
    /// Nanoseconds from the boot to the last tick, as /proc/uptime counts.
    pub uptime_ns: Option<u64>,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// The mask of taints.
    pub taint_mask: Option<u64>,
    /// Taints of the kernel.
    pub taints: Vec<Taint>,
    /// Number of tasks, without idle ones.
    pub task_count: Option<u64>,
    /// Number of tasks by state.
    pub tasks: BTreeMap<char, u64>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// Reads it. `tasks` are those of the same kernel, if they were found.
///
/// # Errors
/// None: each missing part is named in the data.
pub fn read(kernel: &Kernel<'_>, tasks: Option<&Tasks>) -> Result<System, Error> {
    let mut holes = Holes::default();
    let mut system = System::default();
    names(kernel, &mut system, &mut holes);
    times(kernel, &mut system, &mut holes);
    system.possible_cpus = holes.take("possible CPUs", kernel.possible_cpus()).unwrap_or_default();
    system.online_cpus = holes.take("online CPUs", kernel.online_cpus()).unwrap_or_default();
    system.cpu_khz = kernel.symbol("cpu_khz").and_then(|at| kernel.number(at, 4)).ok();
    let pages = holes.take("memory", number(kernel, "_totalram_pages"));
    system.memory_bytes = pages.map(|pages| pages.saturating_mul(page_size(kernel)));
    system.load = holes.take("load averages", load(kernel));
    system.taint_mask = holes.take("taints", number(kernel, "tainted_mask"));
    system.taints = taint::taints(system.taint_mask.unwrap_or(0));
    if let Some(tasks) = tasks {
        system.tasks = tasks.states();
        system.task_count = Some(system.tasks.values().sum());
    }
    system.missing = holes.into_list();
    Ok(system)
}

fn number(kernel: &Kernel<'_>, name: &str) -> Result<u64, Error> {
    kernel.global(name)?.number()
}

fn names(kernel: &Kernel<'_>, system: &mut System, holes: &mut Holes) {
    let line =
        |key| vmcoreinfo_get(kernel.vmcoreinfo(), key).map(|text| printable(text.as_bytes()));
    let uts = |name: &str| kernel.global("init_uts_ns")?.field(&format!("name.{name}"))?.text();
    system.release = line("OSRELEASE").or_else(|| holes.take("release", uts("release")));
    system.version = holes.take("version", uts("version"));
    system.machine = holes.take("machine", uts("machine"));
    system.hostname = holes.take("hostname", uts("nodename"));
    let build_id = line("BUILD-ID").map_or_else(|| build_id(kernel), Ok);
    system.build_id = holes.take("build-id", build_id);
    let command_line = kernel.global("saved_command_line").and_then(|line| line.text());
    system.command_line = holes.take("command line", command_line);
    system.boot_id = boot_id(kernel).ok().flatten();
}

fn times(kernel: &Kernel<'_>, system: &mut System, holes: &mut Holes) {
    let clock = holes.take("clocks", Clock::read(kernel));
    let line = vmcoreinfo_get(kernel.vmcoreinfo(), "CRASHTIME");
    let written = line.and_then(|seconds| seconds.parse().ok());
    system.crashed_at = written.or_else(|| Some(clock?.real / 1_000_000_000));
    system.date = system.crashed_at.map(date::utc);
    system.uptime_ns = clock.map(|clock| clock.boot);
}

/// Load averages as /proc/loadavg rounds them.
fn load(kernel: &Kernel<'_>) -> Result<[f64; 3], Error> {
    let averages = kernel.global("avenrun")?;
    let mut load = [0.0; 3];
    for (index, value) in (0..).zip(&mut load) {
        let fixed = averages.index(index)?.number()?.saturating_add((1 << LOAD_BITS) / 200);
        let hundredths = ((fixed & ((1 << LOAD_BITS) - 1)) * 100) >> LOAD_BITS;
        *value = (fixed >> LOAD_BITS) as f64 + hundredths as f64 / 100.0;
    }
    Ok(load)
}

/// The build-id of the image's notes: VMCOREINFO has it since 5.14 or so.
fn build_id(kernel: &Kernel<'_>) -> Result<String, Error> {
    let start = kernel.symbol("__start_notes")?;
    let length = kernel.symbol("__stop_notes")?.saturating_sub(start).min(MOST_NOTES);
    let mut bytes = vec![0; length as usize];
    kernel.read(start, &mut bytes)?;
    let mut notes = notes(&bytes).flatten();
    let found = notes.find(|note| note.name == b"GNU" && note.kind == 3);
    let found = found.ok_or_else(|| Error::Missing("the kernel's notes have none".to_owned()))?;
    Ok(found.desc.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The number of /proc/sys/kernel/random/boot_id; it is made when it is first asked for.
fn boot_id(kernel: &Kernel<'_>) -> Result<Option<String>, Error> {
    let mut bytes = [0; 16];
    kernel.read(kernel.symbol("sysctl_bootid")?, &mut bytes)?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [20, 16, 12, 8].iter().for_each(|at| text.insert(*at, '-'));
    Ok(bytes.iter().any(|byte| *byte != 0).then_some(text))
}

/// Conclusions for the first page.
pub fn warnings(system: &System) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |severity, text| warnings.push(Warning { severity, text, section: "sys" });
    for taint in &system.taints {
        let severity = if taint.is_grave() { Severity::Warning } else { Severity::Note };
        warn(severity, format!("the kernel is tainted ({}): {}", taint.letter, taint.meaning));
    }
    let (online, possible) = (system.online_cpus.len(), system.possible_cpus.len());
    if let Some([one, ..]) = system.load
        && online > 0
        && one >= 2.0 * online as f64
    {
        warn(Severity::Warning, format!("load {one:.2} with {online} of {possible} CPUs online"));
    }
    warnings
}
