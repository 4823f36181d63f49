//! The check `backtrace` of each Linux: the functions that led to its death, in order, what each
//! other CPU was doing, and the capture kernel's lines about it.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::check::call_trace;
use crate::check::stacks::{Found, death_agrees};
use crate::check::unwound;

/// Outermost functions of the kernel, or what their names begin with: the start of a CPU or of a
/// thread, and entries from programs.
const OUTERMOST: [&str; 9] = [
    "secondary_startup_64",
    "common_startup_64",
    "startup_32_smp",
    "i386_start_kernel",
    "ret_from_fork",
    "entry_",
    "asm_",
    "handle_exception",
    "ret_from_exception",
];

/// End of the capture kernel's line before the frames of the CPU that crashed.
const CRASHED: &str = ", crashed:";
/// Its line if the time for backtraces was over.
const LEFT_OUT: &str = " more cpus";
/// Most bytes of a line that QEMU's serial port may have lost on a busy host.
const MOST_LOST: usize = 2;

/// The stacks of all CPUs in the vmcore at `path`, and the result of the check; `None` if the log
/// shows no stack of the death to compare with. `console` has the lines of the console.
///
/// # Errors
/// The vmcore has no log, or the collector finds no stacks.
pub fn backtrace(path: &Path, console: &[String]) -> Result<(Vec<Found>, Option<Result<String>>)> {
    let (log, cpus) = (unwound::log(path)?, unwound::cpus(path)?);
    let is_shown = !call_trace::death(&log).is_empty();
    let judged = is_shown.then(|| {
        let judged = judge(&log, &cpus)?;
        Ok(format!("{judged}; {}", on_console(console, &cpus[0])?))
    });
    Ok((cpus, judged))
}

/// The capture kernel's lines about the CPU that crashed are these frames. A line may be an
/// address, if the time for names was over.
fn on_console(lines: &[String], crashed: &Found) -> Result<String> {
    let Some(start) = lines.iter().position(|line| line.ends_with(CRASHED)) else {
        let is_late = lines.iter().any(|line| line.ends_with(LEFT_OUT));
        ensure!(is_late, "the capture kernel has not shown the CPU that crashed");
        return Ok("the capture kernel had no time to show it".into());
    };
    let is_frame = |line: &&String| line.starts_with(' ') && !line.starts_with(" (");
    let shown = lines[start + 1..].iter().take_while(is_frame).map(|line| line.trim());
    let shown: Vec<_> = shown.take_while(|line| *line != "...").collect();
    ensure!(shown.len() <= crashed.frames.len(), "the capture kernel has shown {shown:?}");
    for (shown, frame) in shown.iter().zip(&crashed.frames) {
        let frame = frame.to_string();
        let is_same = shown.starts_with("0x") || is_lossy_copy(shown, &frame);
        ensure!(is_same, "the capture kernel has shown {shown}, and it is {frame}");
    }
    Ok(format!("the capture kernel has shown {} of these frames", shown.len()))
}

/// True if `copy` is `whole`, but for a few bytes that are left out.
fn is_lossy_copy(copy: &str, whole: &str) -> bool {
    let rest = whole.bytes().fold(copy.as_bytes(), |rest, byte| match rest {
        [first, rest @ ..] if *first == byte => rest,
        _ => rest,
    });
    rest.is_empty() && whole.len() <= copy.len() + MOST_LOST
}

fn judge(log: &str, cpus: &[Found]) -> Result<String> {
    let (crashed, others) = cpus.split_first().context("there is no CPU")?;
    ensure!(crashed.has_crashed, "it is not known which CPU crashed");
    let path = death_agrees(log, crashed).context("the CPU that crashed")?;
    let number = |found: &Found| found.cpu.map_or("?".into(), |cpu| cpu.to_string());
    let mut said = format!("CPU {} died in {}, as it says", number(crashed), path.join(" < "));
    for other in others {
        let place = place(other).with_context(|| format!("CPU {}", number(other)))?;
        said.push_str(&format!("; CPU {} was in {place}", number(other)));
    }
    Ok(said)
}

/// The place of a CPU that did not crash, by its sure frames: an interrupted function may have left
/// guesses.
///
/// # Errors
/// It makes no sense: no function of the kernel leads to it.
pub fn place(found: &Found) -> Result<String> {
    ensure!(found.is_whole, "its stack does not get to its end: {}", texts(found));
    if found.frames.is_empty() {
        return Ok(format!("the program {}", found.comm));
    }
    let mut sure = found.frames.iter().filter(|frame| !frame.is_guess);
    let nameless = sure.clone().find(|frame| !frame.text.contains('+'));
    ensure!(nameless.is_none(), "a function has no name: {}", texts(found));
    let count = sure.clone().count();
    let (first, last) = (sure.next(), sure.next_back());
    let first = first.with_context(|| format!("all frames are guesses: {}", texts(found)))?;
    let last = last.unwrap_or(first);
    let is_outermost = OUTERMOST.iter().any(|name| last.name().starts_with(name));
    ensure!(is_outermost, "{} calls all the others: {}", last.name(), texts(found));
    Ok(format!("{} of {}, {} frames", first.text, found.comm, count))
}

fn texts(found: &Found) -> String {
    found.frames.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::call_trace::Shown;

    fn found(frames: &[&str]) -> Found {
        let shown = |text: &&str| Shown { text: (*text).into(), is_guess: false };
        let frames = frames.iter().map(shown).collect();
        Found { comm: "sh".into(), frames, is_whole: true, ..Found::default() }
    }

    #[test]
    fn a_place_makes_sense() {
        let idle = ["halt+0x1/0x2", "do_idle+0x3/0x4", "secondary_startup_64_no_verify+0x5/0x6"];
        assert_eq!(place(&found(&idle)).unwrap(), "halt+0x1/0x2 of sh, 3 frames");
        assert_eq!(place(&found(&[])).unwrap(), "the program sh");
        let doubt = || Shown { text: "entry_INT80_32+0x1/0x2".into(), is_guess: true };
        let guess = Found { frames: vec![doubt()], ..found(&[]) };
        // An interrupted function may have a guess behind it.
        let mut interrupted = found(&idle);
        interrupted.frames.insert(1, doubt());
        assert_eq!(place(&interrupted).unwrap(), "halt+0x1/0x2 of sh, 3 frames");
        let lost = Found { is_whole: false, ..found(&idle) };
        let nameless = found(&["0xc1000000", idle[2]]);
        for wrong in [guess, lost, nameless, found(&idle[..2])] {
            assert!(place(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_consoles_lines_are_the_frames() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let crashed = found(&["panic+0x10/0x20", "crash+0x3/0x4", "entry+0x5/0x6"]);
        let said = |text: &str| on_console(&lines(text), &crashed);
        let head = "kdump: cpu 1 pid 1 [sh], crashed:\n";
        let all =
            " panic+0x10/0x20\n crash+0x3/0x4\n entry+0x5/0x6\n (user mode)\nkdump: idle: cpu 0\n";
        assert!(said(&format!("x\n{head}{all}")).unwrap().contains("shown 3 of"));
        assert!(
            said(&format!("{head} pnic+0x10/0x2\n 0xc1234567\n ...\n")).unwrap().contains(" 2 ")
        );
        assert!(said("kdump: 2 more cpus\n").unwrap().contains("no time"));
        for wrong in ["", " panic+0x11/0x20\n", " crash+0x3/0x4\n", " anic+0x0/0x\n"] {
            let text = if wrong.is_empty() { String::new() } else { format!("{head}{wrong}") };
            assert!(said(&text).is_err(), "{wrong}");
        }
        assert!(said(&format!("{head}{} more+0x1/0x2\n", &all[..48])).is_err());
    }
}
