//! The process that holds the lock of a file.
//!
//! The kernel itself knows the holder of a lock: a number that a program had left in the file could
//! be that of one that has ended long ago.
//!
//! Source: `proc_locks(5)`, `proc_pid_stat(5)`, `proc_uptime(5)`.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

/// Ticks of a second in `/proc/PID/stat`: `USER_HZ` of every x86.
const TICKS: u64 = 100;
/// No more of a command is shown, in characters.
const LONGEST_COMMAND: usize = 160;

/// The process that holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its program and arguments; `None` when it has ended or hides them.
    pub command: Option<String>,
    /// Seconds since it was started.
    pub runs_for: Option<u64>,
}

/// The process that holds the lock of this file; `None` if there is none, or it cannot be seen.
pub(crate) fn holder(file: &File) -> Option<Holder> {
    let file = file.metadata().ok()?;
    let device = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = holding_process(&locks, device, file.ino())?;
    let folder = Path::new("/proc").join(pid.to_string());
    let command = fs::read(folder.join("cmdline")).ok().and_then(|bytes| command(&bytes));
    let stat = fs::read_to_string(folder.join("stat")).ok();
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let runs_for = stat.zip(uptime).and_then(|(stat, uptime)| runs_for(&stat, &uptime));
    Some(Holder { pid, command, runs_for })
}

/// The process that has locked the file with this device and inode: `1: FLOCK ADVISORY WRITE PID
/// MAJOR:MINOR:INODE 0 EOF`, the device in hexadecimal. Those that wait have an arrow in front.
fn holding_process(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words[..] else { return None };
        let mut numbers = file.split(':');
        let mut hex = || u32::from_str_radix(numbers.next()?, 16).ok();
        let is_device = (hex()?, hex()?) == device;
        let is_file = is_device && numbers.next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|pid| is_file && *pid > 0)
    })
}

/// The words of a process, as far as they are fit to be shown.
fn command(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let words = text.trim_end_matches('\0').replace('\0', " ");
    let shown = words.chars().map(|c| if c.is_control() { '?' } else { c });
    let shown: String = shown.take(LONGEST_COMMAND).collect();
    (!shown.is_empty()).then_some(shown)
}

/// Seconds since a process was started: the 22nd field of its `stat`, of which the second may have
/// anything in its parentheses, and the machine's uptime.
fn runs_for(stat: &str, uptime: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let started: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: u64 = uptime.split(['.', ' ']).next()?.parse().ok()?;
    uptime.checked_sub(started / TICKS)
}

/// The holder of a lock as text.
pub(crate) fn shown(holder: Option<&Holder>) -> String {
    let unseen = "a process that cannot be seen from here (of another container?)";
    holder.map_or_else(|| unseen.to_owned(), Holder::to_string)
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(command) = &self.command {
            write!(f, " ({command})")?;
        }
        self.runs_for.map_or(Ok(()), |seconds| write!(f, ", which was started {seconds} s ago"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks as a kernel of 6.18 shows them, with a waiter.
    const LOCKS: &str = "\
        1: FLOCK  ADVISORY  WRITE 5586 fe:00:10010682 0 EOF\n\
        2: POSIX  ADVISORY  WRITE 777 fe:00:10010683 0 EOF\n\
        3: FLOCK  ADVISORY  WRITE 4355 00:18:10010683 0 EOF\n\
        3: FLOCK  ADVISORY  WRITE 4356 fe:01:10010683 0 EOF\n\
        4: FLOCK  ADVISORY  WRITE 881 fe:00:10010683 0 EOF\n\
        4: -> FLOCK  ADVISORY  WRITE 882 fe:00:10010683 0 EOF\n\
        5: FLOCK  ADVISORY  WRITE 0 fe:00:99 0 EOF\n\
        6: FLOCK\n7: FLOCK  ADVISORY  WRITE 1 fe:00 0 EOF\n";

    #[test]
    fn the_holder_is_who_the_kernel_says() {
        assert_eq!(holding_process(LOCKS, (0xfe, 0), 10_010_682), Some(5586));
        assert_eq!(holding_process(LOCKS, (0xfe, 0), 10_010_683), Some(881));
        assert_eq!(holding_process(LOCKS, (0, 0x18), 10_010_683), Some(4355));
        assert_eq!(holding_process(LOCKS, (0xfe, 0), 99), None, "of another PID namespace");
        assert_eq!(holding_process(LOCKS, (0xfe, 0), 1), None);
    }

    #[test]
    fn a_command_is_fit_to_be_shown() {
        let shown = |bytes: &[u8]| command(bytes);
        assert_eq!(
            shown(b"kdump-loader\0load\0--append\0a b\0").as_deref(),
            Some("kdump-loader load --append a b")
        );
        assert_eq!(shown(b"x\x1b[2J\n\xff").as_deref(), Some("x?[2J?\u{fffd}"));
        assert_eq!(shown(&[b'x'; 5000]).map(|text| text.len()), Some(LONGEST_COMMAND));
        assert_eq!(shown(b""), None);
    }

    #[test]
    fn a_process_runs_for_as_long_as_its_start_says() {
        let stat =
            "5637 (a) R 1 (b) R 5578 5578 14543 0 -1 4194304 105 0 0 0 0 0 0 0 20 0 1 0 285997 2 4";
        assert_eq!(runs_for(stat, "2862.97 2667.98\n"), Some(3));
        for (stat, uptime) in
            [(stat, ""), (stat, "1.0 2"), ("5637 (a", "9 9"), ("1 (a) R 1", "9 9")]
        {
            assert_eq!(runs_for(stat, uptime), None, "{stat}, {uptime}");
        }
    }
}
