//! The machine and its kernel, as crash(8) shows them first.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, bytes, duration};
use crate::subsystems::{system, tasks};
use crate::{Error, Kernel};

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Its part of the first page.
pub(super) const PART: Part =
    Part { name: "system", read: |kernel, progress| Arguments {}.answer(kernel, progress) };

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let tasks = tasks::read(kernel);
        let system = system::read(kernel, tasks.as_ref().ok())?;
        let mut answer = Answer::new("System", &system)?;
        answer.warnings = system::warnings(&system);
        answer.missing.clone_from(&system.missing);
        match tasks {
            Ok(tasks) => answer.missing.extend(tasks.missing),
            Err(error) => answer.missing.push(format!("tasks: {error}")),
        }
        Ok(answer.with(Block::Facts(facts(kernel, &system))))
    }
}

/// The lines of the first page that are about the machine.
pub(super) fn facts(kernel: &Kernel<'_>, system: &system::System) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut fact = |name, value: Option<String>| {
        facts.extend(value.map(|value| (name, value)));
    };
    fact("DUMPFILE", Some(kernel.vmcore().path().display().to_string()));
    fact("CPUS", cpus(system));
    fact("DATE", system.date.clone());
    fact("UPTIME", system.uptime_ns.map(duration));
    let load = system.load.map(|[one, five, fifteen]| format!("{one:.2}, {five:.2}, {fifteen:.2}"));
    fact("LOAD AVERAGE", load);
    let tasks = system.task_count.filter(|count| *count > 0);
    fact("TASKS", tasks.map(|count| format!("{count}{}", states(system))));
    fact("NODENAME", system.hostname.clone());
    fact("RELEASE", system.release.clone());
    fact("VERSION", system.version.clone());
    let rate = system.cpu_khz.map(|khz| format!("  ({} MHz)", khz / 1000)).unwrap_or_default();
    fact("MACHINE", system.machine.clone().map(|machine| machine + &rate));
    fact("MEMORY", system.memory_bytes.map(bytes));
    fact("BUILD-ID", system.build_id.clone());
    fact("BOOT ID", system.boot_id.clone());
    fact("COMMAND LINE", system.command_line.clone());
    fact("TAINTED", system.taint_mask.map(|mask| taints(mask, system)));
    facts
}

fn cpus(system: &system::System) -> Option<String> {
    let (online, possible) = (system.online_cpus.len(), system.possible_cpus.len());
    let others = if online == possible { String::new() } else { format!(" of {possible}") };
    (online > 0).then(|| format!("{online}{others}"))
}

/// Numbers of tasks by state: ` (R 2, S 40)`.
fn states(system: &system::System) -> String {
    let states: Vec<_> =
        system.tasks.iter().map(|(state, count)| format!("{state} {count}")).collect();
    if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) }
}

fn taints(mask: u64, system: &system::System) -> String {
    let letters: String = system.taints.iter().map(|taint| taint.letter).collect();
    if mask == 0 { "no".to_owned() } else { format!("{letters} ({mask:#x})") }
}
