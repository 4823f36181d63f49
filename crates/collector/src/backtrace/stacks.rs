//! Stacks that are followed in a vmcore.

use std::fmt;
use std::io::Write;

use linux::{
    Backtraces, Budget, Caller, CpuTrace, Cpus, DeadKernel, Dmesg, Effort, Frame, Kallsyms,
    Modules, Most, Names, SavedCpu, Start, Symbol, Symbols, Task, Tasks, Trace, TraceEnd, Trust,
    VirtualMemory,
};
use serde::Serialize;
use vmcore::ReadPhys;

use super::output::{BacktraceFormat, Stacks, written};
use crate::{Error, Hex, VmcoreFile};

/// Most tasks.
const MOST_TASKS: usize = 1 << 20;

/// A stack of a dead kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Stack {
    /// The CPU that ran there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Number of the task.
    pub pid: Option<u32>,
    /// Name of the task.
    pub comm: Option<String>,
    /// State of the task as `ps` shows it, for the stacks of tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// True for the CPU that crashed.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub crashed: bool,
    /// The start of the trace: `registers` or `task`.
    pub how: &'static str,
    /// The reason why there are no more frames: `complete`, `user`, `most` or `lost`.
    pub end: &'static str,
    /// The frames, innermost first.
    pub frames: Vec<NamedFrame>,
}

/// A frame of a stack.
#[derive(Clone, Debug, Serialize)]
pub struct NamedFrame {
    /// Virtual address of the next instruction.
    pub address: Hex,
    /// Name of the function.
    pub name: Option<String>,
    /// Offset of the address in the function, in bytes.
    pub offset: Option<u64>,
    /// Length of the function in bytes.
    pub size: Option<u64>,
    /// The module that has the function.
    pub module: Option<String>,
    /// False if the function may have returned before.
    pub sure: bool,
}

impl Stack {
    fn of_cpu(cpu: &CpuTrace, names: &Names) -> Self {
        let how = if cpu.has_registers { "registers" } else { "task" };
        Self {
            cpu: cpu.number,
            pid: Some(cpu.pid),
            comm: cpu.comm.map(|comm| comm.to_string()),
            state: None,
            crashed: cpu.has_crashed,
            how,
            end: end(cpu.trace.end),
            frames: frames(&cpu.trace, names),
        }
    }

    fn of_task(task: &Task, cpu: Option<SavedCpu>, trace: &Trace, names: &Names) -> Self {
        Self {
            cpu: cpu.and_then(|cpu| cpu.number),
            pid: Some(task.pid),
            comm: Some(task.comm.to_string()),
            state: task.state,
            crashed: false,
            how: if cpu.is_some() { "registers" } else { "task" },
            end: end(trace.end),
            frames: frames(trace, names),
        }
    }
}

fn frames(trace: &Trace, names: &Names) -> Vec<NamedFrame> {
    trace.frames.iter().map(|frame| NamedFrame::new(names, frame)).collect()
}

const fn end(end: TraceEnd) -> &'static str {
    match end {
        TraceEnd::Complete => "complete",
        TraceEnd::User => "user",
        TraceEnd::Most => "most",
        TraceEnd::Lost => "lost",
    }
}

impl NamedFrame {
    fn new(names: &Names, frame: &Frame) -> Self {
        let name = names.get(frame);
        Self {
            address: Hex(frame.at),
            name: name.map(|name| name.name.to_owned()),
            offset: name.map(|name| name.offset),
            size: name.map(|name| name.size),
            module: name.and_then(|name| name.module).map(ToOwned::to_owned),
            sure: frame.trust == Trust::Sure,
        }
    }
}

/// As Linux prints it.
impl fmt::Display for NamedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.sure {
            f.write_str("? ")?;
        }
        match (&self.name, self.offset, self.size) {
            (Some(name), Some(offset), Some(size)) => {
                write!(f, "{name}+{offset:#x}/{size:#x}")?;
                self.module.as_ref().map_or(Ok(()), |module| write!(f, " [{module}]"))
            }
            _ => self.address.fmt(f),
        }
    }
}

/// A task as SysRq shows it, a CPU as an oops does; then the frames, and the end where it is not
/// the start of the stack.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, comm, state, .. } = self;
        let unknown = || "?".to_owned();
        let pid = pid.map_or_else(unknown, |pid| pid.to_string());
        let comm = comm.clone().unwrap_or_else(unknown);
        match (state, self.cpu) {
            (Some(state), _) => write!(f, "task:{comm:<15} state:{state} pid:{pid}")?,
            (None, Some(cpu)) => write!(f, "CPU: {cpu} PID: {pid} Comm: {comm}")?,
            (None, None) => write!(f, "CPU: ? PID: {pid} Comm: {comm}")?,
        }
        let crashed = if self.crashed { ", crashed" } else { "" };
        let silent = match (self.state, self.how) {
            (None, "task") => ", did not answer: its task when it last slept",
            _ => "",
        };
        writeln!(f, "{crashed}{silent}")?;
        self.frames.iter().try_for_each(|frame| writeln!(f, " {frame}"))?;
        match self.end {
            "user" => writeln!(f, " (user mode)"),
            "most" => writeln!(f, " (and more)"),
            "lost" => writeln!(f, " (the next frame was not found)"),
            _ => Ok(()),
        }
    }
}

/// Writes the stacks that are wanted.
///
/// # Errors
/// [`Error::NoVmcoreinfo`], [`Error::NoBacktrace`], [`Error::NoCpu`], [`Error::Output`].
pub(super) fn write(
    vmcore: &VmcoreFile,
    wanted: Stacks,
    (format, out): (BacktraceFormat, &mut dyn Write),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let text = vmcore.vmcoreinfo()?;
    let memory = VirtualMemory::new(vmcore.memory(), text);
    let go_on = &mut || true;
    let (machine, budget) = (vmcore.machine, &mut Budget::new(go_on));
    let kernel = DeadKernel::find(memory, machine, text, Effort::Search, budget);
    let stacks = match wanted {
        Stacks::Tasks => stacks_of_tasks(vmcore, &kernel, &all_tasks(vmcore, &kernel)?, progress)?,
        Stacks::Cpus | Stacks::Cpu(_) => stacks_of_cpus(vmcore, &kernel, wanted)?,
    };
    let mut first = true;
    let written_stacks = stacks.iter().try_for_each(|stack| match format {
        BacktraceFormat::Text => {
            let space = if core::mem::take(&mut first) { "" } else { "\n" };
            write!(out, "{space}{stack}")
        }
        BacktraceFormat::Json => {
            serde_json::to_writer(&mut *out, stack)?;
            writeln!(out)
        }
    });
    written(written_stacks.and_then(|()| out.flush()))
}

/// Names of the functions that the CPU which crashed was in, innermost first, where VMCOREINFO
/// names all that this takes; [`None`] otherwise. Nothing is reported.
pub(crate) fn crashed_in(vmcore: &VmcoreFile) -> Option<Vec<String>> {
    let (machine, vmcoreinfo) = (vmcore.machine, vmcore.vmcoreinfo().ok()?);
    let memory = VirtualMemory::new(vmcore.memory(), vmcoreinfo);
    let symbols = Symbols::of(vmcoreinfo).ok()?;
    symbols.get(Symbol::TextEnd)?;
    let kallsyms = Some(Kallsyms::find(memory, vmcoreinfo).ok()?);
    let modules = Modules::read(memory, vmcoreinfo, &symbols).unwrap_or_default();
    let kernel =
        DeadKernel { memory, machine, vmcoreinfo, kallsyms, symbols, modules, tasks: None };
    let cpus = Cpus::of_notes(machine, vmcore.notes()).ok()?;
    let (most, go_on) = (Most { cpus: 1, ..Most::HOST }, &mut || true);
    let newest = || newest(vmcore);
    let read = Backtraces::read(&kernel, &cpus, newest, most, &mut Budget::new(go_on)).ok()?;
    let crashed = read.cpus.first().filter(|cpu| cpu.has_crashed)?;
    let sure = crashed.trace.frames.iter().filter(|frame| frame.trust == Trust::Sure);
    let names: Vec<_> =
        sure.filter_map(|frame| Some(read.names.get(frame)?.name.to_owned())).collect();
    (!names.is_empty()).then_some(names)
}

/// The stacks of CPUs, that of the CPU which crashed first.
///
/// # Errors
/// [`Error::NoBacktrace`]; [`Error::NoCpu`] for one CPU that is not there.
pub fn stacks_of_cpus<M: ReadPhys>(
    vmcore: &VmcoreFile,
    kernel: &DeadKernel<'_, M>,
    wanted: Stacks,
) -> Result<Vec<Stack>, Error> {
    let cpus = Cpus::of_notes(vmcore.machine, vmcore.notes());
    let cpus = cpus.map_err(|error| no_backtrace(vmcore, error.to_string()))?;
    let go_on = &mut || true;
    let newest = || newest(vmcore);
    let read = Backtraces::read(kernel, &cpus, newest, Most::HOST, &mut Budget::new(go_on));
    let Backtraces { cpus, names, .. } =
        read.map_err(|error| no_backtrace(vmcore, error.to_string()))?;
    if cpus.is_empty() {
        return Err(no_backtrace(vmcore, "no CPU saved its registers in it".to_owned()));
    }
    let is_wanted = |cpu: &&CpuTrace| match wanted {
        Stacks::Cpu(number) => cpu.number == Some(number),
        _ => true,
    };
    let stacks: Vec<_> =
        cpus.iter().filter(is_wanted).map(|cpu| Stack::of_cpu(cpu, &names)).collect();
    match wanted {
        Stacks::Cpu(cpu) if stacks.is_empty() => {
            Err(Error::NoCpu { name: vmcore.path().display().to_string(), cpu })
        }
        _ => Ok(stacks),
    }
}

/// The writer of the newest line of the log.
fn newest(vmcore: &VmcoreFile) -> Option<Caller> {
    let mut log = Dmesg::open(vmcore.memory(), vmcore.vmcoreinfo().ok()?).ok()?;
    log.keep_last_records(1);
    log.next_record()?.caller
}

fn tasks_of<'k, 'a, M: ReadPhys>(
    vmcore: &VmcoreFile,
    kernel: &'k DeadKernel<'a, M>,
) -> Result<&'k Tasks<'a, M>, Error> {
    let tasks = kernel.tasks.as_ref();
    tasks.ok_or_else(|| no_backtrace(vmcore, "its tasks were not found".to_owned()))
}

/// All tasks but the idle ones.
fn all_tasks<M: ReadPhys>(
    vmcore: &VmcoreFile,
    kernel: &DeadKernel<'_, M>,
) -> Result<Vec<Task>, Error> {
    let mut list = Vec::new();
    let found = tasks_of(vmcore, kernel)?.each(MOST_TASKS, &mut |task| {
        list.push(*task);
        true
    });
    if !found.is_whole {
        log::warn!("the list of tasks is damaged: some are missing");
    }
    Ok(list)
}

/// The stacks of tasks: of those that ran, from the registers of their CPUs. `progress` is called
/// with the number of stacks that were followed, and that of all.
///
/// # Errors
/// [`Error::NoBacktrace`].
pub fn stacks_of_tasks<M: ReadPhys>(
    vmcore: &VmcoreFile,
    kernel: &DeadKernel<'_, M>,
    list: &[Task],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Stack>, Error> {
    let tasks = tasks_of(vmcore, kernel)?;
    let cpus = Cpus::of_notes(vmcore.machine, vmcore.notes());
    let cpus = cpus.map_err(|error| no_backtrace(vmcore, error.to_string()))?;
    let unwinder = kernel.unwinder();
    let traces = (1..).zip(list).map(|(number, task)| {
        progress(number, list.len() as u64);
        let cpu = cpus.iter().find(|cpu| runs(*cpu, task, tasks));
        // A dead task has given its stack back, and another task may have it by now.
        let asleep = Start::Sleeping { sp: task.stack.map_or(0, |_| task.sp) };
        let start = cpu.map_or(asleep, |SavedCpu { ip, sp, bp, cs, .. }| Start::Registers {
            ip,
            sp,
            bp,
            cs,
        });
        (cpu, unwinder.trace(start, Most::HOST.frames, &mut || true))
    });
    let traces: Vec<_> = traces.collect();
    let frames = traces.iter().flat_map(|(_, trace)| &trace.frames);
    let go_on = &mut || true;
    let names = kernel.names(frames, Most::HOST.names, &mut Budget::new(go_on));
    let all = list.iter().zip(&traces);
    Ok(all.map(|(task, (cpu, trace))| Stack::of_task(task, *cpu, trace, &names)).collect())
}

/// True if the CPU ran this task. Where the kernel does not show its current task, the pid counts,
/// which only idle tasks share.
fn runs<M: ReadPhys>(cpu: SavedCpu, task: &Task, tasks: &Tasks<'_, M>) -> bool {
    let current = cpu.number.and_then(|number| tasks.current(number).ok());
    cpu.pid == task.pid && current.is_none_or(|current| current.at == task.at)
}

fn no_backtrace(vmcore: &VmcoreFile, reason: String) -> Error {
    Error::NoBacktrace { path: vmcore.path().to_owned(), reason }
}
