//! Addresses of the frames of each task, as drgn, crash and the collector list them. Names differ:
//! drgn shows inlined functions, and debug information has other names for some. Addresses do not.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// States of a task that has died.
const DEAD: [&str; 2] = ["Z", "X"];
/// Bytes of a direct call: opcode and distance. Kernels with retpolines have no other.
const CALL: u64 = 5;

/// A task's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The CPU that it was on ran it when the kernel died.
    pub on_cpu: bool,
    /// The task has died, and has no stack any more.
    pub is_dead: bool,
    /// The last frame is the entry from user mode.
    pub from_user: bool,
    /// The address of each frame, innermost first.
    pub frames: Vec<u64>,
}

/// The frames of each task, by its number.
pub(crate) type Stacks = BTreeMap<u32, Stack>;

/// Those in the list of our script for drgn: a line for each task, a line for each frame after it.
/// Inlined functions have no frame of their own on the stack.
pub(crate) fn of_drgn(list: &str) -> Stacks {
    let mut stacks = Stacks::new();
    for line in list.lines().take_while(|line| !line.starts_with("crashed:")) {
        match (line.split_once(" pc 0x"), stacks.last_entry()) {
            (Some((_, rest)), _) if rest.ends_with(" inline") => (),
            (Some((_, rest)), Some(mut last)) if line.starts_with("  #") => {
                last.get_mut().frames.extend(hexadecimal(rest));
            }
            _ => {
                let pid = line.split(' ').next().and_then(|word| word.parse().ok());
                stacks.extend(pid.map(|pid| (pid, Stack::default())));
            }
        }
    }
    stacks
}

/// Those in crash's lists (`bt`, `foreach bt`): a header for each task, ` #1 [STACK] NAME at
/// ADDRESS` for each frame.
pub(crate) fn of_crash(list: &str) -> Stacks {
    let (mut stacks, mut pid) = (Stacks::new(), None);
    for line in list.lines() {
        if let Some(rest) = line.strip_prefix("PID: ") {
            pid = rest.split_whitespace().next().and_then(|word| word.parse().ok());
            stacks.extend(pid.map(|pid| (pid, Stack::default())));
        } else if let (true, Some(pid)) = (line.trim_start().starts_with('#'), pid) {
            let address = line.rsplit_once(" at ").and_then(|(_, rest)| hexadecimal(rest));
            stacks.entry(pid).or_default().frames.extend(address);
        }
    }
    stacks
}

/// The same of an i386 kernel. crash shows the address of each call, which has [`CALL`] bytes, and
/// not the one that it returns to; the innermost frame is where the task sleeps.
pub(crate) fn of_crash_i386(list: &str) -> Stacks {
    let mut stacks = of_crash(list);
    let frames = stacks.values_mut().flat_map(|stack| stack.frames.iter_mut().skip(1));
    frames.for_each(|frame| *frame += CALL);
    stacks
}

/// Those in `kdump-collector backtrace --tasks --json`: an object for each task, on a line.
///
/// # Errors
/// A line is none, or a frame of it is a guess: none is needed here.
pub(crate) fn of_collector(lines: &str) -> Result<Stacks> {
    let stack = |line: &str| {
        let object: Value = serde_json::from_str(line).context("no JSON")?;
        let pid = object["pid"].as_u64().and_then(|pid| pid.try_into().ok()).context("no pid")?;
        let frames = object["frames"].as_array().context("no frames")?;
        let address = |frame: &Value| {
            ensure!(frame["sure"] == true, "task {pid}: {frame} is a guess");
            let text = frame["address"].as_str().context("no address")?;
            hexadecimal(text.trim_start_matches("0x")).context("no address")
        };
        let frames = frames.iter().map(address).collect::<Result<_>>()?;
        let from_user = object["end"] == "user";
        let is_dead = DEAD.iter().any(|state| object["state"] == *state);
        Ok((pid, Stack { on_cpu: object["cpu"].is_u64(), is_dead, from_user, frames }))
    };
    lines.lines().map(stack).collect()
}

/// Checks that each task of `ours` that did not run has the same frames in `theirs`. Returns the
/// number of tasks and of frames.
///
/// # Errors
/// The text names the first task that differs, and the number of those that do.
pub(crate) fn same(ours: &Stacks, theirs: &Stacks) -> Result<(usize, usize)> {
    compare(ours, theirs, |stack, other| other.frames == stack.frames)
}

/// The same for crash's list of an i386 kernel. crash reckons the size of a frame by the function's
/// instructions, and fails at the entry from user mode (`__do_fast_syscall_32`): there it shows old
/// addresses between the frames of a task of user mode.
///
/// # Errors
/// As [`same`].
pub(crate) fn same_but_for_entry(ours: &Stacks, theirs: &Stacks) -> Result<(usize, usize)> {
    compare(ours, theirs, |stack, other| {
        let (frames, all) = (&stack.frames, &other.frames);
        let mut rest = all.iter();
        let mut are_there = || frames.iter().all(|frame| rest.any(|other| other == frame));
        frames == all || stack.from_user && frames.last() == all.last() && are_there()
    })
}

/// Checks that `is_same` holds for each task of `ours` that did not run.
fn compare(
    ours: &Stacks,
    theirs: &Stacks,
    mut is_same: impl FnMut(&Stack, &Stack) -> bool,
) -> Result<(usize, usize)> {
    // drgn follows the memory that was the stack of a dead task, and may be another's.
    let asleep = || ours.iter().filter(|(_, stack)| !stack.on_cpu && !stack.is_dead);
    let differs =
        |(pid, stack): &(&u32, &Stack)| theirs.get(pid).is_none_or(|other| !is_same(stack, other));
    let others: Vec<_> = asleep().filter(differs).collect();
    if let Some((pid, stack)) = others.first() {
        ensure!(
            false,
            "{} of {} tasks differ; task {pid} has {:#x?}, and not {:#x?}",
            others.len(),
            asleep().count(),
            stack.frames,
            theirs.get(pid).map(|other| &other.frames)
        );
    }
    let frames = asleep().map(|(_, stack)| stack.frames.len()).sum();
    ensure!(frames > 0, "there are no frames to compare");
    Ok((asleep().count(), frames))
}

/// The number in hexadecimal at the start of a text.
fn hexadecimal(text: &str) -> Option<u64> {
    let end = text.find(|one: char| !one.is_ascii_hexdigit()).unwrap_or(text.len());
    u64::from_str_radix(&text[..end], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRGN: &str = "1 init R CPU 0\n  #0 __schedule pc 0x10 sp 0x2\n\
        \u{20} #1 inlined pc 0x20 sp 0x3 inline\n  #2 schedule pc 0x20 sp 0x3\n\
        7 a b S CPU 1\n  #0 __schedule pc 0x10 sp 0x9\ncrashed: 1\n  #0 panic pc 0x40 sp 0x5\n";
    const CRASH: &str = "   PID    PPID\n>      1       0\n\
        PID: 1        TASK: ffff  CPU: 0    COMMAND: \"init\"\n #0 [ffffb000] __schedule at 10\n\
        #1 [ffffb008] schedule at 20\n    RIP: 0000000000457b4e  RSP: 00007ffe\n\n\
        PID: 7        TASK: ffff  CPU: 1    COMMAND: \"a b\"\n #0 [ffffb000] __schedule at 10\n";
    const OURS: &str = r#"{"pid":1,"comm":"init","frames":[{"address":"0x10","sure":true},{"address":"0x20","sure":true}]}
{"pid":7,"comm":"a b","frames":[{"address":"0x10","sure":true}]}
{"pid":8,"comm":"c","cpu":1,"frames":[{"address":"0x30","sure":true}]}"#;

    #[test]
    fn three_programs_list_the_same() {
        let ours = of_collector(OURS).unwrap();
        assert_eq!(same(&ours, &of_drgn(DRGN)).unwrap(), (2, 3));
        assert_eq!(same(&ours, &of_crash(CRASH)).unwrap(), (2, 3));
        let dead = format!("{OURS}\n{{\"pid\":9,\"state\":\"Z\",\"frames\":[]}}");
        let is_same = |list: &str| same(&of_collector(list).unwrap(), &of_drgn(DRGN)).is_ok();
        assert!(is_same(&dead) && !is_same(&dead.replace('Z', "S")));
        let calls = CRASH.replace("schedule at 20", "schedule at 1b");
        assert_eq!(same(&ours, &of_crash_i386(&calls)).unwrap(), (2, 3));
        assert!(same(&ours, &of_crash_i386(CRASH)).is_err());
    }

    /// Old addresses between frames are passed over in tasks of user mode alone, and missing frames
    /// in none.
    #[test]
    fn crash_may_show_more_before_the_entry_from_user_mode() {
        let stack = |from_user, frames: &[u64]| {
            Stacks::from([(1, Stack { from_user, frames: frames.into(), ..Stack::default() })])
        };
        let fits = |from_user, theirs: &[u64]| {
            same_but_for_entry(&stack(from_user, &[1, 2, 3]), &stack(false, theirs)).is_ok()
        };
        assert!(fits(false, &[1, 2, 3]) && fits(true, &[1, 2, 3]) && fits(true, &[1, 7, 2, 8, 3]));
        assert!(!fits(false, &[1, 7, 2, 3]) && !fits(true, &[1, 3, 2, 3, 9]));
        assert!(!fits(true, &[1, 3]) && !fits(true, &[2, 1, 3]) && !fits(true, &[]));
    }

    #[test]
    fn a_difference_is_named() {
        let ours = of_collector(OURS).unwrap();
        let wrong = [
            DRGN.replace("pc 0x20 sp 0x3\n", "pc 0x21 sp 0x3\n"),
            DRGN.replace("7 a b", "9 a b"),
            DRGN.replace(" inline", ""),
        ];
        for list in wrong {
            let error = same(&ours, &of_drgn(&list)).unwrap_err().to_string();
            assert!(error.contains("1 of 2 tasks differ; task "), "{error}");
        }
        assert!(same(&Stacks::new(), &of_drgn(DRGN)).is_err());
        let guess = OURS.replacen("\"sure\":true", "\"sure\":false", 1);
        assert!(of_collector(&guess).unwrap_err().to_string().contains("is a guess"));
        assert!(of_collector("x").is_err());
    }
}
