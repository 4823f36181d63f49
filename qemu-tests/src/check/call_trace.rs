//! Call traces as Linux prints them into its log: those of a death, of `sysrq l` and of `sysrq t`.
//!
//! The formats are those of x86 (arch/x86/kernel/dumpstack.c, kernel/sched/core.c,
//! lib/nmi_backtrace.c) from 5.10 to 7.2. A frame is a line `NAME+0xOFFSET/0xSIZE [MODULE]`, with
//! `? ` in front if its address was only found on the stack. The place that an exception
//! interrupted is a line `RIP:` or `EIP:` instead.

use std::fmt;

/// A frame that the kernel showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `NAME+0xOFFSET/0xSIZE`, and ` [MODULE]` of a module's function.
    pub text: String,
    /// The kernel itself does not believe it: it has a `?`.
    pub is_guess: bool,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doubt = if self.is_guess { "? " } else { "" };
        write!(f, "{doubt}{}", self.text)
    }
}

impl Shown {
    /// The name of its function.
    pub fn name(&self) -> &str {
        name(&self.text)
    }
}

/// The name of a frame's function.
pub fn name(text: &str) -> &str {
    text.split('+').next().unwrap_or(text)
}

/// A task that `sysrq t` showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number.
    pub pid: u32,
    /// Its name, as far as 15 characters go.
    pub comm: String,
    /// The letter of its state.
    pub state: char,
    /// Its stack, innermost frame first.
    pub frames: Vec<Shown>,
}

/// A CPU that `sysrq l` showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// Its stack, from the place that the NMI interrupted on. Of an idle CPU that may be all.
    pub frames: Vec<Shown>,
}

/// Front of the line that begins a task.
const TASK: &str = "task:";
/// Front of the line that begins a CPU.
const CPU: &str = "NMI backtrace for cpu ";
/// The end of that line, but for the place, of an idle CPU.
const IDLE: &str = " skipped: idling at ";
/// The line before the frames.
const TRACE: &str = "Call Trace:";
/// Lines that begin a death.
const DEATHS: [&str; 2] = ["Kernel panic - not syncing", " [#"];
/// Fronts of the lines that name the place that an exception interrupted.
const PLACES: [&str; 2] = ["RIP: ", "EIP: "];
/// Fronts of lines after a trace. Other lines may be in the middle of one: other CPUs print, too.
const ENDS: [&str; 9] = [
    TRACE,
    TASK,
    CPU,
    "sysrq: ",
    "Sending NMI",
    "---[ ",
    "Modules linked in:",
    "Kernel panic",
    "Kernel Offset:",
];

/// The tasks that the kernel showed, in its order.
pub fn tasks(log: &str) -> Vec<Task> {
    let lines: Vec<_> = log.lines().map(text).collect();
    let starts = (0..lines.len()).filter_map(|at| Some((at, task(lines[at])?)));
    starts.map(|(at, task)| Task { frames: trace_of_task(&lines[at + 1..]), ..task }).collect()
}

/// The CPUs that the kernel showed, in its order.
pub fn cpus(log: &str) -> Vec<Cpu> {
    let lines: Vec<_> = log.lines().map(text).collect();
    let shown = lines.iter().enumerate().filter_map(|(at, line)| {
        let rest = line.strip_prefix(CPU)?;
        let (number, place) = rest.split_once(IDLE).unwrap_or((rest, ""));
        let frames = match frame(place) {
            Some(frame) => vec![frame],
            None => trace_of_cpu(&lines[at + 1..]),
        };
        Some(Cpu { cpu: number.trim().parse().ok()?, frames })
    });
    shown.collect()
}

/// The stack that the kernel showed when it died: of the last panic, or, if that has none or there
/// was none, of the last oops before it.
pub fn death(log: &str) -> Vec<Shown> {
    let lines: Vec<_> = log.lines().map(text).collect();
    let starts: Vec<_> = (0..lines.len())
        .filter(|at| DEATHS.iter().any(|death| lines[*at].contains(death)))
        .collect();
    let traces = starts.iter().rev().map(|at| trace_of_cpu(&lines[at + 1..]));
    traces.into_iter().find(|trace| !trace.is_empty()).unwrap_or_default()
}

/// A line of the log without its time, and without its caller, which some kernels show.
fn text(line: &str) -> &str {
    let mut text = line;
    while let Some((front, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_front = front.chars().all(|c| c.is_ascii_digit() || " .TC".contains(c));
        if !is_front {
            break;
        }
        text = rest;
    }
    text.trim()
}

/// `task:NAME state:S stack:0 pid:2 ppid:0 flags:0x00004000`; of some kernels numbers stand after
/// spaces.
fn task(line: &str) -> Option<Task> {
    let (comm, rest) = line.strip_prefix(TASK)?.split_once(" state:")?;
    let (_, pid) = rest.split_once(" pid:")?;
    let pid = pid.split_whitespace().next()?.parse().ok()?;
    let state = rest.chars().next()?;
    Some(Task { pid, comm: comm.trim_end().into(), state, frames: Vec::new() })
}

/// The frames of the trace that begins before the next task does.
fn trace_of_task(lines: &[&str]) -> Vec<Shown> {
    let end = lines.iter().position(|line| line.starts_with(TASK)).unwrap_or(lines.len());
    let start = lines[..end].iter().position(|line| *line == TRACE);
    start.map(|start| frames(&lines[start + 1..end])).unwrap_or_default()
}

/// The place of a CPU, if the kernel named it first, and its frames. A task or another CPU ends it.
fn trace_of_cpu(lines: &[&str]) -> Vec<Shown> {
    let is_other = |line: &&str| line.starts_with(TASK) || line.starts_with(CPU);
    let end = lines.iter().position(is_other).unwrap_or(lines.len());
    let Some(start) = lines[..end].iter().position(|line| *line == TRACE) else {
        return lines[..end].iter().find_map(|line| place(line)).into_iter().collect();
    };
    let first = lines[..start].iter().find_map(|line| place(line));
    first.into_iter().chain(frames(&lines[start + 1..end])).collect()
}

/// The frames up to the end of a trace.
fn frames(lines: &[&str]) -> Vec<Shown> {
    let is_end = |line: &&&str| ENDS.iter().any(|end| line.starts_with(end));
    let lines = lines.iter().take_while(|line| !is_end(line));
    lines.filter_map(|line| frame(line).or_else(|| place(line))).collect()
}

/// The place in `RIP: 0010:NAME+0xOFFSET/0xSIZE` or `EIP: NAME+0xOFFSET/0xSIZE`. One in a program
/// has no name.
fn place(line: &str) -> Option<Shown> {
    let place = PLACES.iter().find_map(|front| line.strip_prefix(front))?;
    let place = place.split_once(':').map_or(place, |(_, place)| place);
    frame(place).filter(|frame| frame.text.contains('+'))
}

fn frame(line: &str) -> Option<Shown> {
    let (text, is_guess) = match line.strip_prefix("? ") {
        Some(text) => (text, true),
        None => (line, false),
    };
    let mut words = text.split_whitespace();
    let function = words.next()?;
    if function.starts_with("0x") {
        // An address without a name.
        return Some(Shown { text: function.to_string(), is_guess });
    }
    let (_, numbers) = function.rsplit_once("+0x")?;
    let (offset, size) = numbers.split_once("/0x")?;
    let is_number = |text: &str| u64::from_str_radix(text, 16).is_ok();
    // With a build id after its name, where the kernel shows one.
    let module = match words.next() {
        Some(word) => Some(word.strip_prefix('[')?.trim_end_matches(']')),
        None => None,
    };
    let text = match module {
        Some(module) => format!("{function} [{module}]"),
        None => function.to_string(),
    };
    (is_number(offset) && is_number(size)).then_some(Shown { text, is_guess })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 5.10, amd64: no `<TASK>`, numbers after spaces, a program at the end.
    const OLD: &str = "\
[    5.147223] task:dd              state:S stack:    0 pid:  104 ppid:     1 flags:0x00000002
[    5.147228] Call Trace:
[    5.147236]  __schedule+0x282/0x870
[    5.147257]  fuse_dev_do_read+0x9e4/0xa40 [fuse]
[    5.147268]  ? add_wait_queue_exclusive+0x70/0x70
[    5.147269] hrtimer: interrupt took 5012345 ns
[    5.147323]  entry_SYSCALL_64_after_hwframe+0x67/0xd1
[    5.147337] RIP: 0033:0x47b6fd
[    5.147343] RSP: 002b:00007ffe8257dc58 EFLAGS: 00000246 ORIG_RAX: 0000000000000000
[    5.147376] task:a b state:R  running task     stack:    0 pid:    9 ppid:     1 flags:0x0
[    5.147377] task:gone            state:R  running task     stack:    0 pid:   10 ppid:     1 flags:0x0
[    5.147378] Call Trace:
[    5.147379] Showing busy workqueues and worker pools:
";
    /// Of 6.12, with the caller of each line, a build id, and an interrupt.
    const NEW: &str = "\
[    6.275020][    T1] sysrq: Show backtrace of all active CPUs
[    6.280029][    T1] NMI backtrace for cpu 0
[    6.280441][    T1] CPU: 0 PID: 1 Comm: init Kdump: loaded Not tainted 6.12 #1
[    6.280470][    T1] Call Trace:
[    6.280470][    T1]  <TASK>
[    6.280470][    T1]  dump_stack_lvl+0x44/0x5c
[    6.280470][    T1]  </TASK>
[    6.282444][    C1] NMI backtrace for cpu 1 skipped: idling at native_safe_halt+0xb/0x10
[    6.282450][    C2] NMI backtrace for cpu 2
[    6.282451][    C2] CPU: 2 PID: 7 Comm: a Kdump: loaded Not tainted 6.12 #1
[    6.282452][    C2] RIP: 0033:0x47b7a0
[    6.282453][    C2] NMI backtrace for cpu 3
[    6.282454][    C3] RIP: 0010:delay_tsc+0x37/0xb0
[    6.282454][    C3] RAX: 00000000fffffbff RBX: 00000000ffffffff RCX: 0000000000000000
[    6.282455][    C3] Call Trace:
[    6.282456][    C3]  <IRQ>
[    6.282457][    C3]  softdog_fire+0x2c/0x30 [softdog 0123456789abcdef]
[    6.282458][    C3]  </IRQ>
[    6.282459][    C3]  <TASK>
[    6.282460][    C3]  asm_sysvec_apic_timer_interrupt+0x16/0x20
[    6.282461][    C3] RIP: 0010:default_idle+0xf/0x20
[    6.282461][    C3] Code: 40 00
[    6.282462][    C3]  cpu_idle+0x1/0x2
[    6.282463][    C3]  0xffffffffc0123456
[    6.282464][    C3] Modules linked in: softdog(+)
[    6.282465][    C3]  no_frame+0x1/0x2
[    6.3] task:kthreadd        state:S stack:0     pid:2     tgid:2     ppid:0      flags:0x00004000
[    6.3] Call Trace:
[    6.3]  <TASK>
[    6.3]  ret_from_fork+0x1a/0x30
[    6.3]  </TASK>
";

    fn texts(frames: &[Shown]) -> Vec<String> {
        frames.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tasks_and_their_frames() {
        let shown = tasks(OLD);
        let heads: Vec<_> = shown.iter().map(|t| (t.pid, t.comm.as_str(), t.state)).collect();
        assert_eq!(heads, [(104, "dd", 'S'), (9, "a b", 'R'), (10, "gone", 'R')]);
        let frames = [
            "__schedule+0x282/0x870",
            "fuse_dev_do_read+0x9e4/0xa40 [fuse]",
            "? add_wait_queue_exclusive+0x70/0x70",
            "entry_SYSCALL_64_after_hwframe+0x67/0xd1",
        ];
        assert_eq!(texts(&shown[0].frames), frames);
        assert_eq!((shown[1].frames.len(), shown[2].frames.len()), (0, 0));
        assert_eq!(shown[0].frames[1].name(), "fuse_dev_do_read");
        let shown = tasks(NEW);
        assert_eq!(
            (shown[0].pid, texts(&shown[0].frames)),
            (2, vec!["ret_from_fork+0x1a/0x30".into()])
        );
    }

    #[test]
    fn cpus_with_and_without_a_trace() {
        let shown = cpus(NEW);
        assert_eq!(shown.iter().map(|cpu| cpu.cpu).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(texts(&shown[0].frames), ["dump_stack_lvl+0x44/0x5c"]);
        assert_eq!(texts(&shown[1].frames), ["native_safe_halt+0xb/0x10"]);
        assert_eq!(texts(&shown[2].frames), [""; 0]);
        let frames = [
            "delay_tsc+0x37/0xb0",
            "softdog_fire+0x2c/0x30 [softdog]",
            "asm_sysvec_apic_timer_interrupt+0x16/0x20",
            "default_idle+0xf/0x20",
            "cpu_idle+0x1/0x2",
            "0xffffffffc0123456",
        ];
        assert_eq!(texts(&shown[3].frames), frames);
    }

    #[test]
    fn the_death_is_the_last_panic_or_else_an_oops() {
        let panic =
            "[ 1.0] Kernel panic - not syncing: why\n[ 1.0] Call Trace:\n[ 1.0]  panic+0x1/0x2\n";
        let oops = "[ 0.9] Oops: 0002 [#1] SMP\n[ 0.9] EIP: bad+0x3/0x4\n[ 0.9] Call Trace:\n\
                    [ 0.9]  ? x+0x1/0x2\n[ 0.9] ---[ end trace 0 ]---\n";
        let silent = "[ 1.0] Kernel panic - not syncing: Fatal exception\n";
        let of = |log: &[&str]| texts(&death(&log.concat()));
        assert_eq!(of(&[NEW, panic]), ["panic+0x1/0x2"]);
        assert_eq!(of(&[OLD, oops, panic]), ["panic+0x1/0x2"]);
        assert_eq!(of(&[oops, silent]), ["bad+0x3/0x4", "? x+0x1/0x2"]);
        assert_eq!(of(&[oops]), ["bad+0x3/0x4", "? x+0x1/0x2"]);
        assert_eq!(of(&[OLD, NEW]), [""; 0]);
    }
}
