//! Programs that list the tasks of a dump and their stacks, and comparisons of these lists.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::Interrupt;
use qemu_tests::host::deadline::Deadline;

use crate::debian::{Architecture, crash};
use crate::drgn::Drgn;
use crate::makedumpfile::{of_debian, read_text};

/// Lists tasks with drgn; see the script.
const SCRIPT: &str = include_str!("list_tasks.py");
/// Commands for crash: the tasks, the stacks of the crashed one, of each CPU and of all tasks,
/// modules, mounts, memory, and the log.
const COMMANDS: &str = "ps\nbt\nbt -a\nforeach bt\nmod\nmount\nkmem -i\nlog\nquit\n";
/// Names of the programs.
pub(crate) const NAMES: [&str; 2] = ["drgn", "crash"];
/// The time that a program may take for one dump; they need seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// The line before the stack of the task that crashed: drgn's script's, crash's.
const CRASHED: [&str; 2] = ["crashed:", "PID:"];
/// Console: begin and end of the stack of the task that crashed.
const TRACE: [&str; 2] = ["Call Trace:", "</TASK>"];
/// The first function in it that is still on the stack when the dump is made.
const FIRST: &str = "panic";
/// A word in front of a text that may be no frame.
const DOUBT: &str = "? ";
/// Front of the names of entries from user mode, which have local labels on the console.
const ENTRY: &str = "entry_";

/// The programs for x86_64 kernels, installed.
pub(crate) struct Programs {
    drgn: Drgn,
    crash: Crash,
}

/// crash(8), installed.
pub(crate) struct Crash {
    root: PathBuf,
    architecture: Architecture,
    /// The kernel's, with debug information.
    vmlinux: PathBuf,
    interrupt: Interrupt,
}

/// The text that a program prints about a dump.
#[derive(Debug)]
pub(crate) struct Listing {
    pub text: String,
    pub took: Duration,
}

impl Programs {
    /// Makes sure that they are there.
    ///
    /// # Errors
    /// Fails if drgn or crash cannot be had.
    pub(crate) fn new(vmlinux: PathBuf, interrupt: Interrupt) -> Result<Self> {
        let drgn = Drgn::ensure(None)?;
        Ok(Self { drgn, crash: Crash::new(Architecture::Amd64, vmlinux, interrupt)? })
    }

    /// Lists of drgn and crash for `dump`; they stay beside it.
    pub(crate) fn list(&self, dump: &Path) -> [Result<Listing>; NAMES.len()] {
        [self.drgn(dump), self.crash.list(dump, &[])]
    }

    /// drgn's list.
    pub(crate) fn drgn(&self, dump: &Path) -> Result<Listing> {
        let mut python = self.drgn.python();
        python.args(["-c", SCRIPT]).args([dump, &self.crash.vmlinux]);
        finish(&mut python, dump, NAMES[0], &self.crash.interrupt)
    }

    /// crash's answer to these commands.
    pub(crate) fn crash_commands(&self, dump: &Path, lines: &str) -> Result<Listing> {
        self.crash.commands(dump, &[], lines)
    }

    /// The answer of crashinfo, the program at this path, to a section.
    pub(crate) fn of_ours(&self, program: &Path, dump: &Path, section: &[&str]) -> Result<Listing> {
        let mut program = Command::new(program);
        finish(program.arg(dump).args(section), dump, "crashinfo", &self.crash.interrupt)
    }
}

impl Crash {
    /// Makes sure that it is there. `vmlinux` is that of the kernel, with debug information.
    ///
    /// # Errors
    /// Fails if crash cannot be had.
    pub(crate) fn new(
        architecture: Architecture,
        vmlinux: PathBuf,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let root = crash(architecture, None)?;
        Ok(Self { root, architecture, vmlinux, interrupt })
    }

    /// Its list for `dump`, which stays beside it.
    ///
    /// # Errors
    /// It cannot be started, takes too long or fails.
    pub(crate) fn list(&self, dump: &Path, options: &[&str]) -> Result<Listing> {
        self.commands(dump, options, COMMANDS)
    }

    /// Its answer to these commands.
    fn commands(&self, dump: &Path, options: &[&str], lines: &str) -> Result<Listing> {
        let commands = dump.with_extension("commands");
        std::fs::write(&commands, lines)
            .with_context(|| format!("writing {}", commands.display()))?;
        let mut crash = of_debian(&self.root, self.architecture, "crash")?;
        crash.arg("-s").args(options).arg("-i").args([&commands, &self.vmlinux, dump]);
        // A .crashrc of the person who runs this stays out.
        crash.env("HOME", "/nonexistent").env("TERM", "dumb");
        crash.current_dir(dump.parent().context("the dump is in a folder")?);
        finish(&mut crash, dump, NAMES[1], &self.interrupt)
    }
}

/// Runs `program`, with this name, to its end; its text goes to files beside the dump.
fn finish(
    program: &mut Command,
    dump: &Path,
    name: &str,
    interrupt: &Interrupt,
) -> Result<Listing> {
    let [out, said] = ["txt", "stderr"].map(|kind| dump.with_extension(format!("{name}.{kind}")));
    let create =
        |path: &Path| File::create(path).with_context(|| format!("creating {}", path.display()));
    program.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&said)?);
    let start = Instant::now();
    let mut child = program.spawn().with_context(|| format!("cannot start {program:?}"))?;
    let deadline = Deadline::new("end of the program", LIMIT, interrupt);
    let ended = deadline.wait_for(|| Ok(child.try_wait()?));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, took) = (ended?, start.elapsed());
    let (text, said) = (read_text(&out)?, read_text(&said)?);
    let last = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
    let word = || last(&said).or(last(&text)).unwrap_or_else(|| "no word".into());
    ensure!(status.success(), "{status}: {}", word());
    Ok(Listing { text, took })
}

impl Listing {
    /// PIDs of the tasks, sorted, without the idle ones (of which crash alone has a list).
    pub(crate) fn pids(&self) -> Vec<u32> {
        let tasks = self.text.lines().take_while(|line| !line.starts_with(CRASHED[1]));
        let first = |line: &str| {
            line.trim_start_matches(['>', ' ']).split_whitespace().next()?.parse().ok()
        };
        let mut pids: Vec<u32> = tasks.filter_map(first).filter(|pid| *pid != 0).collect();
        pids.sort_unstable();
        pids
    }

    /// Number of frames.
    pub(crate) fn frames(&self) -> usize {
        self.text.lines().filter(|line| is_frame(line)).count()
    }

    /// Checks that there are tasks, `init` among them, and that the stack of the one that crashed
    /// has the functions that the console showed.
    pub(crate) fn check(&self, console: &str) -> Result<()> {
        let has_init = |line: &str| line.split_whitespace().any(|word| word == "init");
        ensure!(self.pids().contains(&1), "there is no task 1");
        ensure!(self.text.lines().any(has_init), "there is no init");
        let is_mark = |line: &&str| CRASHED.iter().any(|mark| line.starts_with(mark));
        let mut frames = self.text.lines().skip_while(|line| !is_mark(line)).skip(1);
        let frames: Vec<_> = frames.by_ref().take_while(|line| is_frame(line)).collect();
        let mut rest = frames.iter();
        let names = call_trace(console)?;
        for name in names {
            let found = rest.any(|frame| frame.split_whitespace().any(|word| base(word) == name));
            ensure!(found, "{name} of the console's stack is not on the crashed one, in its place");
        }
        Ok(())
    }

    /// The first line that is another than in `raw`; lines that name either dump do not count.
    pub(crate) fn difference(&self, raw: &Listing, names: [&str; 2]) -> Option<String> {
        let lines = |listing: &'_ Listing| -> Vec<String> {
            let lines = listing.text.lines();
            let is_named = |line: &&str| names.iter().any(|name| line.contains(name));
            lines.filter(|line| !is_named(line)).map(str::to_owned).collect()
        };
        let (ours, whole) = (lines(self), lines(raw));
        let at = (0..ours.len().max(whole.len())).find(|at| ours.get(*at) != whole.get(*at))?;
        let line = |lines: &[String]| lines.get(at).map_or("(the end)".into(), |line| line.clone());
        let (ours, whole) = (line(&ours), line(&whole));
        Some(format!("line {} is \"{ours}\", and in the raw dump \"{whole}\"", at + 1))
    }
}

fn is_frame(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A function without the compiler's suffix of a part of it (`.cold`).
fn base(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Functions of the stack that the console shows after the panic, from `panic` on.
fn call_trace(console: &str) -> Result<Vec<&str>> {
    let lines = console.lines().skip_while(|line| !line.contains(TRACE[0]));
    let lines = lines.skip(1).take_while(|line| !line.contains(TRACE[1]));
    // The harness and the kernel each put a time in front.
    let texts = lines.filter_map(|line| Some(line.rsplit_once("] ")?.1.trim()));
    let names = texts.filter(|text| !text.starts_with(DOUBT));
    let names = names.filter_map(|text| Some(base(text.split_once('+')?.0)));
    let names: Vec<_> = names
        .skip_while(|name| *name != FIRST)
        .take_while(|name| !name.starts_with(ENTRY))
        .collect();
    ensure!(names.len() > 1, "the console shows no stack with {FIRST}");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[ 7.1] [ 4.6] Call Trace:\n[ 7.1] [ 4.6]  <TASK>\n\
        [ 7.1] [ 4.6]  dump_stack_lvl+0x44/0x5c\n[ 7.1] [ 4.6]  panic+0x118/0x2f4\n\
        [ 7.1] [ 4.6]  ? _printk+0x68/0x83\n[ 7.1] [ 4.6]  __handle_sysrq.cold+0x44/0x11c\n\
        [ 7.1] [ 4.6]  entry_SYSCALL_64_after_hwframe+0x6e/0xd8\n[ 7.1] [ 4.6]  </TASK>\n";
    const DRGN: &str = "1 init R CPU 0\n  #0 panic pc 0x1 sp 0x2\n2 kthreadd S CPU 0\n\
        crashed: 1\n  #0 __crash_kexec pc 0x1 sp 0x2\n  #1 panic pc 0x1 sp 0x2\n\
        \u{20} #2 __handle_sysrq pc 0x3 sp 0x4\n";
    const CRASH: &str = "   PID    PPID  CPU\n>      0       0   0  [swapper/0]\n\
        >      1       0   0  init\n       2       0   0  [kthreadd]\n\
        PID: 1  TASK: ffff  CPU: 0  COMMAND: \"init\"\n #0 [ffff] panic at ff\n\
        #1 [ffff] __handle_sysrq.cold at ff\nPID: 7\n 99 no task\n";

    fn listing(text: &str) -> Listing {
        Listing { text: text.into(), took: Duration::ZERO }
    }

    #[test]
    fn tasks_and_frames_of_either_program_are_found() {
        for (text, frames) in [(DRGN, 4), (CRASH, 2)] {
            let listing = listing(text);
            assert_eq!((listing.pids(), listing.frames()), (vec![1, 2], frames));
            listing.check(CONSOLE).unwrap();
        }
    }

    #[test]
    fn a_list_without_the_console_s_stack_is_refused() {
        let says = |text: &str, console: &str| {
            listing(text).check(console).expect_err("not this one").to_string()
        };
        assert!(says("", CONSOLE).contains("no task 1"));
        assert!(says(&DRGN.replace("1 init", "1 sh"), CONSOLE).contains("no init"));
        let crashed = DRGN.replace("#1 panic", "#1 0x7");
        assert!(says(&crashed, CONSOLE).contains("panic of the console"));
        let turned = DRGN.replace("#1 panic", "#1 __handle_sysrq").replace("#2 __handle", "#2 x");
        assert!(says(&turned, CONSOLE).contains("panic of the console"));
        assert!(says(DRGN, "[ 7.1] [ 4.6] Call Trace:\n").contains("no stack with panic"));
    }

    #[test]
    fn the_first_difference_is_named() {
        let difference =
            |one: &str, raw: &str| listing(one).difference(&listing(raw), ["/a", "/b"]);
        assert_eq!(difference("x\ny\n", "x\ny\n"), None);
        assert_eq!(difference("/a\ny\n", "/b\ny\n"), None);
        let text = difference("x\nz\n", "x\ny\n").unwrap();
        assert_eq!(text, "line 2 is \"z\", and in the raw dump \"y\"");
        assert!(difference("x\n", "x\ny\n").unwrap().contains("line 2 is \"(the end)\""));
        assert!(difference("x\ny\n", "x\n").unwrap().contains("raw dump \"(the end)\""));
    }
}
