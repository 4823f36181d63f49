//! The stacks in a dump beside those that the kernel showed itself: names, offsets and order.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};

use crate::check::call_trace::{self, Shown, Task};

/// Most tasks that may have run between the kernel's word on them and the crash.
const MOST_MOVED: usize = 4;
/// The first function of a death by panic that is still on the stack when the dump is made.
const PANIC: &str = "panic";
/// The function that calls the handler of each sysrq, or the first part of its name.
const SYSRQ: &str = "__handle_sysrq";
/// The line after which no other CPU runs any more.
const LAST_WORDS: &str = "Kernel panic - not syncing";

/// A stack that was found in a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The task's number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The CPU that it was on.
    pub cpu: Option<u32>,
    /// That CPU is the one that crashed.
    pub has_crashed: bool,
    /// Its frames, innermost first.
    pub frames: Vec<Shown>,
    /// True if the trace got to its end: the start of a thread, or of a CPU, or a program.
    pub is_whole: bool,
}

/// Number of stacks and frames that are the same on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Stacks.
    pub stacks: usize,
    /// Frames of these, without those that either side does not believe.
    pub frames: usize,
    /// Frames of these in modules.
    pub in_modules: usize,
    /// Tasks that were on a CPU.
    pub on_cpus: usize,
    /// Tasks that have run, begun or ended since the kernel's word on them: why it is sure, and
    /// where they are.
    pub moved: Vec<String>,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stacks, frames, in_modules, on_cpus, moved } = self;
        write!(f, "{stacks} stacks with {frames} frames, {in_modules} of them in modules; ")?;
        write!(f, "{on_cpus} tasks on CPUs, {} that ran since", moved.len())?;
        moved.iter().try_for_each(|task| write!(f, "; {task}"))
    }
}

/// The kernel's word on its tasks.
#[derive(Clone, Debug, Default)]
struct Words {
    /// Each task's, oldest first.
    tasks: BTreeMap<u32, Vec<Task>>,
    /// No other CPU ran after the last ones, so nothing may have changed.
    are_last: bool,
}

impl Words {
    fn of(log: &str) -> Self {
        let mut words = Self::default();
        for task in call_trace::tasks(log) {
            words.tasks.entry(task.pid).or_default().push(task);
        }
        let last = log.rfind(LAST_WORDS).map_or("", |at| &log[at..]);
        words.are_last = !call_trace::tasks(last).is_empty();
        words
    }

    /// The reason for which a task may be elsewhere than in the last of these `words` on it.
    fn reason(&self, words: &[Task], found: &Found) -> Option<&'static str> {
        let last = words.last().filter(|_| !self.are_last)?;
        if last.state == 'R' {
            return Some("ready to run");
        }
        if words.iter().any(|word| word.frames != last.frames) {
            return Some("shown in two places");
        }
        // Its thread begins in the same way.
        let outermost = |frames: &[Shown]| sure(frames).last().map(|frame| frame.text.clone());
        let is_plausible = found.is_whole && outermost(&last.frames) == outermost(&found.frames);
        is_plausible.then_some("elsewhere")
    }
}

/// The frames that the kernel, or our reader, believes.
fn sure(frames: &[Shown]) -> Vec<&Shown> {
    frames.iter().filter(|frame| !frame.is_guess).collect()
}

/// Compares the tasks in `found` with the kernel's last words on them in `log`.
///
/// # Errors
/// The kernel has shown no task; a stack differs, though its task has not run since; or too many
/// have.
pub fn tasks_agree(log: &str, found: &[Found]) -> Result<Agreement> {
    let words = Words::of(log);
    ensure!(!words.tasks.is_empty(), "the log shows no tasks: sysrq t is missing");
    let mut agreement = Agreement::default();
    let mut differences = Vec::new();
    for stack in found.iter().filter(|stack| stack.pid != 0) {
        if stack.cpu.is_some() {
            agreement.on_cpus += 1;
            continue;
        }
        let task = format!("{} [{}]", stack.pid, stack.comm);
        let Some(shown) = words.tasks.get(&stack.pid) else {
            // A dead task whose parent has not asked for it has no stack any more.
            let has_none = sure(&stack.frames).is_empty() && !stack.is_whole;
            match words.are_last && !has_none {
                true => differences.push(format!("{task}: the kernel has not shown it")),
                false => agreement.moved.push(format!("{task}: begun")),
            }
            continue;
        };
        match (compare(shown.last().context("a word")?, stack), words.reason(shown, stack)) {
            (Ok(()), _) => agreement.add(stack),
            (Err(difference), Some(why)) => {
                agreement.moved.push(format!("{task}: {why}, {difference}"));
            }
            (Err(difference), None) => differences.push(format!("{task}: {difference}")),
        }
    }
    let is_there = |pid: &u32| found.iter().any(|stack| stack.pid == *pid);
    for pid in words.tasks.keys().filter(|pid| !is_there(pid)) {
        match words.are_last {
            true => differences.push(format!("{pid}: not found in the dump")),
            false => agreement.moved.push(format!("{pid}: ended")),
        }
    }
    ensure!(differences.is_empty(), "{}; and {agreement}", differences.join("; "));
    ensure!(agreement.moved.len() <= MOST_MOVED, "too many tasks ran since: {agreement}");
    Ok(agreement)
}

impl Agreement {
    fn add(&mut self, stack: &Found) {
        let frames = sure(&stack.frames);
        self.stacks += 1;
        self.frames += frames.len();
        self.in_modules += frames.iter().filter(|frame| frame.text.ends_with(']')).count();
    }
}

fn compare(shown: &Task, found: &Found) -> Result<(), String> {
    if shown.comm != found.comm {
        return Err(format!("the kernel calls it {}", shown.comm));
    }
    let (theirs, ours) = (sure(&shown.frames), sure(&found.frames));
    let Some(at) = (0..theirs.len().max(ours.len())).find(|at| theirs.get(*at) != ours.get(*at))
    else {
        return Ok(());
    };
    let text = |frames: &[&Shown]| frames.get(at).map_or("no frame".into(), |f| f.text.clone());
    Err(format!("frame {at} is {}, and the kernel showed {}", text(&ours), text(&theirs)))
}

/// Compares the CPUs with those that `sysrq l` has shown before the crash: each that was at the
/// same place, and the one that wrote both sysrqs, from there outwards. Returns their number.
///
/// # Errors
/// The frames of such a CPU differ.
pub fn cpus_agree(log: &str, cpus: &[Found]) -> Result<usize> {
    let mut same = 0;
    for shown in call_trace::cpus(log) {
        let found = cpus.iter().find(|found| found.cpu == Some(shown.cpu));
        let Some(found) = found else { continue };
        let (theirs, ours) = (sure(&shown.frames), sure(&found.frames));
        let is_at_place = !ours.is_empty() && theirs.first() == ours.first();
        let sysrq = |frames: &[&Shown]| frames.iter().position(|f| f.name().starts_with(SYSRQ));
        let starts = match (sysrq(&theirs), sysrq(&ours)) {
            (Some(theirs), Some(ours)) => (theirs + 1, ours + 1),
            _ if is_at_place => (0, 0),
            _ => continue,
        };
        let (theirs, ours) = (&theirs[starts.0..], &ours[starts.1..]);
        // Of an idle CPU the place may be all that is shown.
        ensure!(
            theirs == ours || (is_at_place && theirs.len() == 1),
            "CPU {}: {ours:?}, and the kernel showed {theirs:?}",
            shown.cpu
        );
        same += 1;
    }
    Ok(same)
}

/// Compares the stack of the CPU that crashed with the one that the kernel showed when it died,
/// from `panic` on. Returns the functions from there on, innermost first.
///
/// # Errors
/// The log has no such stack, or the frames differ.
pub fn death_agrees(log: &str, found: &Found) -> Result<Vec<String>> {
    let shown = call_trace::death(log);
    ensure!(!shown.is_empty(), "the log shows no stack of the death");
    let shown = sure(&shown);
    let panic = shown.iter().position(|frame| frame.name() == PANIC);
    let path = &shown[panic.map_or(0, |at| at + 1)..];
    let ours = sure(&found.frames);
    let text = |frames: &[&Shown]| {
        frames.iter().map(|frame| frame.text.as_str()).collect::<Vec<_>>().join(", ")
    };
    let Some(start) = ours.len().checked_sub(path.len()).filter(|at| ours[*at..] == *path) else {
        bail!("the stack is {}, and the kernel showed {}", text(&ours), text(path));
    };
    let is_below = start.checked_sub(1).is_some_and(|at| ours[at].name() == PANIC);
    ensure!(panic.is_none() || is_below, "{} does not end in {PANIC}", text(&ours[..start]));
    Ok(path.iter().map(|frame| frame.name().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tasks before the crash, the first one twice; then a panic.
    const LOG: &str = "\
[ 1.0] task:jfsIO state:S stack:0 pid:7 ppid:2 flags:0x0\n[ 1.0] Call Trace:\n[ 1.0]  <TASK>
[ 1.0]  __schedule+0x1/0x9\n[ 1.0]  ? left_over+0x1/0x9\n[ 1.0]  jfsIOWait+0x2/0x9 [jfs]
[ 1.0]  ret_from_fork+0x3/0x9\n[ 1.0]  </TASK>
[ 1.1] task:sh state:S stack:0 pid:8 ppid:1 flags:0x0\n[ 1.1] Call Trace:
[ 1.1]  __schedule+0x1/0x9\n[ 1.1]  entry+0x5/0x9
[ 1.2] sysrq: Trigger a crash\n[ 1.3] Kernel panic - not syncing: sysrq triggered crash
[ 1.3] Call Trace:\n[ 1.3]  dump_stack+0x1/0x9\n[ 1.3]  panic+0x4/0x9\n[ 1.3]  crash+0x6/0x9
[ 1.3]  entry+0x7/0x9\n";

    fn found(pid: u32, comm: &str, frames: &[&str]) -> Found {
        let shown = |text: &&str| match text.strip_prefix("? ") {
            Some(text) => Shown { text: text.into(), is_guess: true },
            None => Shown { text: (*text).into(), is_guess: false },
        };
        let frames = frames.iter().map(shown).collect();
        Found { pid, comm: comm.into(), frames, is_whole: true, ..Found::default() }
    }

    fn jfs() -> Found {
        let frames = ["__schedule+0x1/0x9", "jfsIOWait+0x2/0x9 [jfs]", "ret_from_fork+0x3/0x9"];
        found(7, "jfsIO", &frames)
    }

    fn sh() -> Found {
        found(8, "sh", &["__schedule+0x1/0x9", "? guess+0x1/0x2", "entry+0x5/0x9"])
    }

    /// The log, with the tasks shown once more by the panic itself.
    fn shown_by_panic() -> String {
        format!("{LOG}{}", &LOG[..LOG.find("[ 1.2]").unwrap()])
    }

    #[test]
    fn stacks_that_are_the_same_agree() {
        for log in [LOG.to_string(), shown_by_panic()] {
            let on_cpu = Found { cpu: Some(0), ..found(9, "init", &[]) };
            let agreement = tasks_agree(&log, &[jfs(), sh(), on_cpu]).unwrap();
            let expected =
                Agreement { stacks: 2, frames: 5, in_modules: 1, on_cpus: 1, moved: vec![] };
            assert_eq!(agreement, expected);
        }
    }

    /// Each of these is a fault of an unwinder or of a lookup of names.
    #[test]
    fn a_stack_that_differs_is_named() {
        let wrong: [(&[&str], &str); 5] = [
            (&["__schedule+0x1/0x9", "ret_from_fork+0x3/0x9"], "frame 1 is ret_from_fork"),
            (
                &["__schedule+0x1/0x9", "jfsIOWait+0x3/0x9 [jfs]"],
                "frame 1 is jfsIOWait+0x3/0x9 [jfs]",
            ),
            (&["__schedule+0x1/0x9", "jfsIOWait+0x2/0x9"], "showed jfsIOWait+0x2/0x9 [jfs]"),
            (&["__schedule+0x1/0x9"], "frame 1 is no frame, and the kernel showed jfsIOWait"),
            (&["jfsIOWait+0x2/0x9 [jfs]", "__schedule+0x1/0x9"], "frame 0 is jfsIOWait"),
        ];
        for (frames, said) in wrong {
            let error = tasks_agree(&shown_by_panic(), &[found(7, "jfsIO", frames), sh()]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("7 [jfsIO]: ") && error.contains(said), "{error}");
            let cut = Found { is_whole: false, ..found(7, "jfsIO", frames) };
            assert!(tasks_agree(LOG, &[cut, sh()]).is_err(), "it is not whole: {frames:?}");
        }
        let error = tasks_agree(&shown_by_panic(), &[sh()]).unwrap_err().to_string();
        assert!(error.contains("7: not found in the dump"), "{error}");
        let other = found(9, "other", &[]);
        assert!(tasks_agree(&shown_by_panic(), &[jfs(), sh(), other]).is_err());
        let dead = Found { is_whole: false, ..found(9, "dead", &["? guess+0x1/0x2"]) };
        assert!(tasks_agree(&shown_by_panic(), &[jfs(), sh(), dead]).is_ok());
        assert!(tasks_agree("", &[jfs()]).is_err());
    }

    #[test]
    fn a_task_may_have_run_before_the_crash() {
        let ran = found(7, "jfsIO", &["__schedule+0x8/0x9", "ret_from_fork+0x3/0x9"]);
        let agreement = tasks_agree(LOG, &[ran.clone(), sh()]).unwrap();
        assert_eq!((agreement.stacks, agreement.moved.len()), (1, 1));
        assert!(agreement.to_string().contains("1 that ran since; 7 [jfsIO]: elsewhere, frame 0"));
        let gone = tasks_agree(LOG, &[sh()]).unwrap();
        assert_eq!(gone.moved, ["7: ended"]);
        let new: Vec<_> = (20..25).map(|pid| found(pid, "new", &[])).collect();
        let error = tasks_agree(LOG, &[vec![jfs(), sh()], new].concat()).unwrap_err();
        assert!(error.to_string().contains("too many tasks ran since"), "{error}");
    }

    #[test]
    fn cpus_are_compared_where_they_can_be() {
        let log = "\
[ 1.0] NMI backtrace for cpu 0\n[ 1.0] Call Trace:\n[ 1.0]  show+0x1/0x9
[ 1.0]  __handle_sysrq.cold+0x2/0x9\n[ 1.0]  write+0x3/0x9\n[ 1.0]  entry+0x4/0x9
[ 1.1] NMI backtrace for cpu 1 skipped: idling at halt+0x5/0x9
[ 1.2] NMI backtrace for cpu 2\n[ 1.2] RIP: 0010:spin+0x6/0x9\n[ 1.2] Call Trace:\n[ 1.2]  run+0x7/0x9\n";
        let on = |cpu, frames: &[&str]| Found { cpu: Some(cpu), ..found(1, "sh", frames) };
        let crashed = on(
            0,
            &["panic+0x1/0x9", "__handle_sysrq.cold+0x2/0x9", "write+0x3/0x9", "entry+0x4/0x9"],
        );
        let idle = on(1, &["halt+0x5/0x9", "do_idle+0x1/0x9"]);
        let spins = on(2, &["spin+0x6/0x9", "run+0x7/0x9"]);
        assert_eq!(cpus_agree(log, &[crashed, idle, spins]).unwrap(), 3);
        assert_eq!(cpus_agree(log, &[on(1, &[]), on(2, &["run+0x7/0x9"])]).unwrap(), 0);
        assert!(cpus_agree(log, &[on(2, &["spin+0x6/0x9", "run+0x8/0x9"])]).is_err());
        assert!(cpus_agree(log, &[on(0, &["__handle_sysrq+0x2/0x9", "entry+0x4/0x9"])]).is_err());
    }

    #[test]
    fn the_death_is_compared_from_panic_on() {
        let path = ["__crash_kexec+0x1/0x9", "panic+0x8/0x9", "crash+0x6/0x9", "entry+0x7/0x9"];
        assert_eq!(death_agrees(LOG, &found(1, "sh", &path)).unwrap(), ["crash", "entry"]);
        for wrong in [&path[2..], &path[..3], &["panic+0x8/0x9", "crash+0x7/0x9", "entry+0x7/0x9"]]
        {
            assert!(death_agrees(LOG, &found(1, "sh", wrong)).is_err(), "{wrong:?}");
        }
        assert!(death_agrees("", &found(1, "sh", &path)).is_err());
        let oops = "[ 1.0] Oops: 0002 [#1] SMP\n[ 1.0] EIP: bad+0x3/0x4\n[ 1.0] Call Trace:\n\
                    [ 1.0]  caller+0x1/0x9\n";
        let frames = ["bad+0x3/0x4", "caller+0x1/0x9"];
        assert_eq!(death_agrees(oops, &found(1, "sh", &frames)).unwrap(), ["bad", "caller"]);
    }
}
