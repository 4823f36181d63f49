//! One message of the kernel, and how it is shown.

use core::fmt::{self, Write};
use core::str;

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number since the kernel's start (Linux 5.10 and later).
    pub seq: Option<u64>,
    /// Time of the record, in nanoseconds of the kernel's clock (Linux 3.5 and later). Before, the
    /// time is part of the text.
    pub ts_nsec: Option<u64>,
    /// Caller of the record (Linux 5.10 and later; before, only if the kernel shows it).
    pub caller: Option<Caller>,
    /// True if `Display` shows the caller.
    pub shows_caller: bool,
    /// The text, without the end of the last line. Any bytes, at most 64 KiB.
    pub text: &'a [u8],
}

/// Records that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Records that the kernel was still writing, or that it found no room for.
    pub unfinished: u64,
    /// Records that are inconsistent or unreadable. Before Linux 5.10, each record locates the next
    /// one: a damaged record may stand for all later ones.
    pub damaged: u64,
}

/// Writer of a record (Linux, `printk_caller_id`): a task, or a CPU that was not running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub u32);

/// As `dmesg` with `CONFIG_PRINTK_CALLER` has it: `T1` is the task with the pid 1, `C0` the first
/// CPU.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, number) = match self.cpu() {
            Some(cpu) => ('C', cpu),
            None => ('T', self.0),
        };
        // One letter and ten digits at most, so the whole can be padded.
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 2;
        let padding = f.width().unwrap_or(0).saturating_sub(digits);
        write!(f, "{:padding$}{letter}{number}", "")
    }
}

impl Caller {
    /// Set where it is a CPU.
    const CPU: u32 = 1 << 31;

    /// The pid of the task, where it was one.
    pub const fn task(self) -> Option<u32> {
        if self.0 & Self::CPU == 0 { Some(self.0) } else { None }
    }

    /// The CPU's number, where it was not running a task.
    pub const fn cpu(self) -> Option<u32> {
        if self.0 & Self::CPU == 0 { None } else { Some(self.0 & !Self::CPU) }
    }
}

impl Record<'_> {
    /// Number of bytes that its `Display` and the end of its last line take.
    pub(super) fn length(&self) -> u64 {
        let mut prefix = Count(0);
        // A count takes all that it is given.
        let _ = write!(prefix, "{}", Prefix(self));
        let (mut lines, mut bytes) = (1, 0);
        for byte in self.text {
            match byte {
                b'\n' => lines += 1,
                byte if is_printable(byte) => bytes += 1,
                _ => bytes += ESCAPED,
            }
        }
        lines * (prefix.0 + 1) + bytes
    }
}

/// The kernel's prefix of each line of a record (Linux, `info_print_prefix`).
struct Prefix<'r>(&'r Record<'r>);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ts_nsec) = self.0.ts_nsec {
            let (seconds, rest) = (ts_nsec / 1_000_000_000, ts_nsec % 1_000_000_000);
            write!(f, "[{seconds:5}.{:06}]", rest / 1000)?;
        }
        let caller = self.0.caller.filter(|_| self.0.shows_caller);
        if let Some(caller) = caller {
            write!(f, "[{caller:>6}]")?;
        }
        if self.0.ts_nsec.is_some() || caller.is_some() { f.write_char(' ') } else { Ok(()) }
    }
}

/// As `dmesg` and the console have it: `[    1.234567] text`, the time in front of each line of a
/// text that has several; with the caller, `[    1.234567][    T1] text`. Bytes other than
/// printable ASCII and tab are escaped, as in `\x1b`: the text goes to terminals. No end of line at
/// the end.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.text.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            Prefix(self).fmt(f)?;
            write_escaped(f, line)?;
        }
        Ok(())
    }
}

/// Bytes that a byte takes as `\x1b`.
const ESCAPED: u64 = 4;

const fn is_printable(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

/// Writes a line, nearly all of which is printable, in as few pieces as that takes.
fn write_escaped(f: &mut fmt::Formatter<'_>, mut line: &[u8]) -> fmt::Result {
    loop {
        let end = line.iter().position(|byte| !is_printable(byte)).unwrap_or(line.len());
        let (printable, rest) = line.split_at(end);
        f.write_str(str::from_utf8(printable).unwrap_or_default())?;
        let Some((byte, rest)) = rest.split_first() else { return Ok(()) };
        write!(f, "\\x{byte:02x}")?;
        line = rest;
    }
}

/// Counts the bytes that are written to it.
struct Count(u64);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn record(ts_nsec: u64, text: &[u8]) -> Record<'_> {
        let (ts_nsec, caller) = (Some(ts_nsec), Some(Caller(1)));
        Record { seq: Some(0), ts_nsec, caller, shows_caller: false, text }
    }

    fn shown(ts_nsec: u64, text: &[u8]) -> String {
        let record = record(ts_nsec, text);
        let shown = record.to_string();
        assert_eq!(record.length(), shown.len() as u64 + 1);
        shown
    }

    #[test]
    fn lines_look_like_those_of_dmesg() {
        assert_eq!(shown(0, b"Linux version"), "[    0.000000] Linux version");
        assert_eq!(shown(1_234_567_999, b"x"), "[    1.234567] x", "cut off, not rounded");
        assert_eq!(shown(123_456_000_001_000, b""), "[123456.000001] ");
        assert_eq!(shown(u64::MAX, b"x"), "[18446744073.709551] x");
    }

    #[test]
    fn every_line_has_the_time() {
        assert_eq!(
            shown(5_000_000, b"a\nb\n"),
            "[    0.005000] a\n[    0.005000] b\n[    0.005000] "
        );
    }

    #[test]
    fn terminals_are_safe() {
        assert_eq!(
            shown(0, b"a\tb \x1b[2J\r\x00\x7f\xc3\xa4~"),
            "[    0.000000] a\tb \\x1b[2J\\x0d\\x00\\x7f\\xc3\\xa4~"
        );
    }

    /// A kernel with `CONFIG_PRINTK_CALLER` prints them like this (`print_caller`: `[%6s]`).
    #[test]
    fn callers_are_shown_as_the_kernel_shows_them() {
        let shown = |caller, text| {
            let caller = Some(Caller(caller));
            Record { caller, shows_caller: true, ..record(1_234_567_890, text) }.to_string()
        };
        assert_eq!(shown(1, b"x"), "[    1.234567][    T1] x");
        assert_eq!(
            shown(0x8000_0000, b"a\nb"),
            "[    1.234567][    C0] a\n[    1.234567][    C0] b"
        );
        assert_eq!(shown(12345, b"x"), "[    1.234567][T12345] x");
        assert_eq!(shown(0x7fff_ffff, b"x"), "[    1.234567][T2147483647] x");
        let unknown = Record { caller: None, shows_caller: true, ..record(0, b"x") };
        assert_eq!(unknown.to_string(), "[    0.000000] x");
        let bare = Record { ts_nsec: None, caller: None, ..record(0, b"[    0.1] x") };
        assert_eq!(bare.to_string(), "[    0.1] x", "before Linux 3.5");
    }

    /// Bit 31 is set where no task was running (Linux, `printk_caller_id`).
    #[test]
    fn callers_are_tasks_or_cpus() {
        assert_eq!(Caller(4711).to_string(), "T4711");
        assert_eq!(Caller(0x8000_0003).to_string(), "C3");
    }
}
