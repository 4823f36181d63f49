//! Backtraces as text.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::{Backtraces, CpuTrace};
use crate::backtrace::{Frame, TraceEnd, Trust};
use vmcore::Text;

/// The most bytes of the text for a console.
pub const MOST_SHORT: usize = 1500;
/// The bytes of it that the CPU that crashed may take.
const MOST_CRASHED: usize = 1000;
/// The most bytes of the line of another CPU.
const MOST_LINE: usize = 120;
/// Room for the number of CPUs that are not shown, and the end of a line.
const MOST_END: usize = 20;
/// The most bytes of the whole text of a capture kernel.
pub const MOST_WHOLE: usize = 32 << 10;
/// Frames in front of that of the idle loop.
const MOST_IDLE: usize = 8;
/// The idle loop of Linux.
const IDLE_LOOP: &str = "do_idle";
/// Parts of the names of functions in which idle CPUs wait.
const IDLE_NAMES: [&str; 4] = ["idle", "halt", "mwait", "cstate"];

/// The first line of a CPU's part, without the end of the line: `cpu 1 pid 7 [sh], crashed:`.
struct Head<'t>(&'t CpuTrace);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.0;
        match cpu.number {
            Some(number) => write!(f, "cpu {number}")?,
            None => f.write_str("cpu ?")?,
        }
        write!(f, " pid {}", cpu.pid)?;
        if let Some(comm) = &cpu.comm {
            write!(f, " [{comm}]")?;
        }
        if cpu.has_crashed {
            f.write_str(", crashed")?;
        }
        if !cpu.has_registers {
            f.write_str(", did not answer")?;
        }
        f.write_char(':')
    }
}

/// The last line of a trace, if there is something to say.
const fn end(trace_end: TraceEnd) -> Option<&'static str> {
    match trace_end {
        TraceEnd::Complete => None,
        TraceEnd::User => Some("(user mode)"),
        TraceEnd::Most => Some("(and more)"),
        TraceEnd::Lost => Some("(no way to the next frame)"),
    }
}

/// The length of text of at most `most` bytes.
struct Length {
    bytes: usize,
    most: usize,
}

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = self.bytes + text.len();
        self.bytes = bytes.min(self.most);
        if bytes <= self.most { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Backtraces {
    /// All of it, `most` bytes at most: a line for each CPU, and one for each of its frames.
    pub fn whole(&self, most: usize) -> Vec<u8> {
        let mut length = Length { bytes: 0, most };
        // As below.
        let _ = self.write_whole(&mut length);
        let mut text = Text::new(length.bytes);
        // Text that grows takes its room twice.
        while text.bytes.try_reserve_exact(text.limit).is_err() {
            text.limit /= 2;
        }
        // Text that ends early is cut after a line.
        let _ = self.write_whole(&mut text);
        cut(text.bytes, most)
    }

    fn write_whole(&self, text: &mut impl Write) -> fmt::Result {
        for cpu in &self.cpus {
            writeln!(text, "{}", Head(cpu))?;
            self.write_frames(text, cpu)?;
        }
        write_left_out(text, self.left_out)
    }

    fn write_frames(&self, text: &mut impl Write, cpu: &CpuTrace) -> fmt::Result {
        for frame in &cpu.trace.frames {
            writeln!(text, " {}", self.names.named(*frame))?;
        }
        end(cpu.trace.end).map_or(Ok(()), |end| writeln!(text, " {end}"))
    }

    /// The text for a console, [`MOST_SHORT`] bytes at most: the CPU that crashed with all its
    /// frames, a line for each other CPU, and one for all that were idle.
    pub fn short(&self) -> Vec<u8> {
        let mut text = Text::new(MOST_CRASHED);
        let (crashed, others) = self.cpus.split_at(usize::from(self.has_crashed()));
        for cpu in crashed {
            let whole = writeln!(text, "{}", Head(cpu)).and(self.write_frames(&mut text, cpu));
            if whole.is_err() {
                text.bytes = cut(text.bytes, MOST_CRASHED - 8);
                let _ = text.write_str(" ...\n");
            }
        }
        text.limit = MOST_SHORT;
        // As before.
        let _ = self.write_others(&mut text, others);
        cut(text.bytes, MOST_SHORT)
    }

    fn has_crashed(&self) -> bool {
        self.cpus.first().is_some_and(|cpu| cpu.has_crashed)
    }

    fn write_others(&self, text: &mut Text, others: &[CpuTrace]) -> fmt::Result {
        let idle = || others.iter().filter(|cpu| self.is_idle(cpu)).filter_map(|cpu| cpu.number);
        if idle().next().is_some() {
            text.write_str("idle: cpu")?;
            write_runs(text, idle())?;
            text.write_char('\n')?;
        }
        let is_shown = |cpu: &&CpuTrace| !self.is_idle(cpu) || cpu.number.is_none();
        let mut shown = others.iter().filter(is_shown);
        while text.bytes.len() + MOST_LINE + MOST_END <= MOST_SHORT
            && let Some(cpu) = shown.next()
        {
            text.limit = text.bytes.len() + MOST_LINE;
            write!(text, "{}", Head(cpu))?;
            self.write_line(text, cpu);
            text.limit = MOST_SHORT;
            text.write_char('\n')?;
        }
        write_left_out(text, self.left_out + shown.count())
    }

    /// The frames of a CPU in one line, as many as there is room for: the innermost function in
    /// full, its callers by name.
    fn write_line(&self, text: &mut Text, cpu: &CpuTrace) {
        for (index, frame) in cpu.trace.frames.iter().enumerate() {
            let named = self.names.named(*frame);
            let is_whole = write_or_not(text, |text| match named.name {
                Some(name) if index > 0 => write!(text, " < {}{}", mark(frame), name.name),
                _ if index > 0 => write!(text, " < {named}"),
                _ => write!(text, " {named}"),
            });
            if !is_whole {
                return;
            }
        }
        if let Some(end) = end(cpu.trace.end) {
            write_or_not(text, |text| write!(text, " {end}"));
        }
    }

    /// True if the CPU was waiting for work: all functions that the idle loop called only wait.
    fn is_idle(&self, cpu: &CpuTrace) -> bool {
        if cpu.pid != 0 || !cpu.has_registers {
            return false;
        }
        for frame in cpu.trace.frames.iter().take(MOST_IDLE) {
            let Some(name) = self.names.get(frame) else { return false };
            if name.name == IDLE_LOOP {
                return true;
            }
            if !IDLE_NAMES.iter().any(|part| name.name.contains(part)) {
                return false;
            }
        }
        false
    }
}

fn write_left_out(text: &mut impl Write, count: usize) -> fmt::Result {
    match count {
        0 => Ok(()),
        count => writeln!(text, "{count} more cpus"),
    }
}

const fn mark(frame: &Frame) -> &'static str {
    match frame.trust {
        Trust::Sure => "",
        Trust::Guess => "? ",
    }
}

/// Writes all of it or nothing; false if there is no room.
fn write_or_not(text: &mut Text, write: impl FnOnce(&mut Text) -> fmt::Result) -> bool {
    let before = text.bytes.len();
    let is_whole = write(text).is_ok();
    if !is_whole {
        text.bytes.truncate(before);
    }
    is_whole
}

/// Writes numbers that ascend, runs of them as in `2-5`, a space before each.
fn write_runs(text: &mut Text, numbers: impl Iterator<Item = u32>) -> fmt::Result {
    let mut numbers = numbers.peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| Some(*next) == last.checked_add(1)) {
            last = next;
        }
        match last {
            _ if last == first => write!(text, " {first}")?,
            _ => write!(text, " {first}-{last}")?,
        }
    }
    Ok(())
}

/// The whole lines of a text within `most` bytes.
fn cut(mut text: Vec<u8>, most: usize) -> Vec<u8> {
    text.truncate(most);
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests;
