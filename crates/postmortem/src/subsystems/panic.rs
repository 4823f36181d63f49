//! The crash in short: its kind, its words, the CPU and the task, and the function to blame.

mod fingerprint;
mod kind;
mod report;

#[cfg(test)]
mod tests;

use collector::{Hex, NamedFrame, Stack};
use serde::Serialize;

use super::holes::Holes;
use super::stacks;
use crate::report::{Severity, Warning};
use crate::{Error, Kernel};

pub use fingerprint::Fingerprint;
pub use kind::Kind;
use report::Report;

/// The crash.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Panic {
    /// Its kind.
    pub kind: Kind,
    /// The words of `panic()`, from the log.
    pub message: Option<String>,
    /// The first line of the oops, from the log.
    pub oops: Option<String>,
    /// The line with the place of the instruction, from the log.
    pub place: Option<String>,
    /// The CPU that crashed.
    pub cpu: Option<u32>,
    /// The task that it ran.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// Address of its `task_struct`.
    pub task: Option<Hex>,
    /// The function that is to blame, with the offset in it; see [`Fingerprint::functions`].
    pub function: Option<String>,
    /// The module that has the function.
    pub module: Option<String>,
    /// A number that crashes of one cause share; none if nothing is known of the cause.
    pub fingerprint: Option<Fingerprint>,
    /// The stack of the CPU that crashed.
    pub stack: Option<Stack>,
    /// The stack of the task that hung.
    pub hung: Option<Stack>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// Reads it.
///
/// # Errors
/// None: each missing part is named in the data.
pub fn read(kernel: &Kernel<'_>) -> Result<Panic, Error> {
    let mut holes = Holes::default();
    let report = holes.take("log", report::read(kernel)).unwrap_or_default();
    let stacks = holes.take("stacks", stacks::of_cpus(kernel, None)).unwrap_or_default();
    let crashed = stacks.iter().find(|stack| stack.crashed);
    let kind = Kind::of(report.panic.as_deref(), report.oops.as_deref());
    let mut panic = Panic { kind, ..Panic::default() };
    if let Some(stack) = crashed {
        (panic.cpu, panic.pid, panic.comm) = (stack.cpu, stack.pid, stack.comm.clone());
        let tasks = kernel.dead().tasks.as_ref();
        let task = stack.cpu.and_then(|cpu| tasks?.current(cpu).ok());
        panic.task = task.map(|task| Hex(task.at));
    }
    let hung = report.hung_pid.filter(|_| kind == Kind::HungTask);
    let hung = hung.and_then(|pid| stacks::of_task(kernel, pid).ok());
    blame(&mut panic, &report, crashed, hung.as_ref());
    (panic.stack, panic.hung) = (crashed.cloned(), hung);
    (panic.message, panic.oops, panic.place) = (report.panic, report.oops, report.place);
    panic.missing = holes.into_list();
    Ok(panic)
}

/// Finds the functions to blame: of the task that hung, of the CPU that crashed, or of the log.
fn blame(panic: &mut Panic, report: &Report, crashed: Option<&Stack>, hung: Option<&Stack>) {
    let sure = |stack: &Stack| -> Vec<NamedFrame> {
        let frames = stack.frames.iter().filter(|frame| frame.sure && frame.name.is_some());
        frames.cloned().collect()
    };
    let kind = panic.kind;
    let is_others = kind == Kind::RcuStall && !report.is_own_stall;
    let (frames, range) = match (hung, crashed) {
        (Some(stack), _) => {
            let frames = sure(stack);
            let range = fingerprint::blamed_of_sleeper(&names(&frames));
            (frames, range)
        }
        (None, Some(stack)) => {
            let frames = sure(stack);
            let range = if is_others { 0..0 } else { fingerprint::blamed(kind, &names(&frames)) };
            (frames, range)
        }
        (None, None) => (Vec::new(), 0..0),
    };
    let blamed = &frames[range];
    if frames.is_empty() && !report.functions.is_empty() {
        let functions: Vec<_> = report.functions.iter().map(String::as_str).collect();
        let functions = &functions[fingerprint::blamed(kind, &functions)];
        panic.function = functions.first().map(|name| (*name).to_owned());
        panic.fingerprint = Fingerprint::new(kind, functions.iter().copied());
        return;
    }
    if let Some(first) = blamed.first() {
        panic.function = Some(first.to_string());
        panic.module.clone_from(&first.module);
    }
    panic.fingerprint = Fingerprint::new(kind, names(blamed).into_iter());
}

fn names(frames: &[NamedFrame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.name.as_deref().unwrap_or_default()).collect()
}

/// Conclusions for the first page.
pub fn warnings(panic: &Panic) -> Vec<Warning> {
    let warning =
        |severity, text: &str| Warning { severity, text: text.to_owned(), section: "log" };
    match panic.kind {
        Kind::Sysrq | Kind::Nmi => {
            vec![warning(Severity::Note, "somebody asked for this crash: see what hung before")]
        }
        Kind::MachineCheck => {
            vec![warning(Severity::Critical, "the hardware reported an error")]
        }
        Kind::OutOfMemory => vec![warning(Severity::Critical, "there was no memory left")],
        _ => Vec::new(),
    }
}
