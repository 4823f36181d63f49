//! gdb in two roles: through its machine interface it stops the VM at an instruction; as a batch
//! program it reads a vmcore the way a person would.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::event::{Event, Stop};
use crate::host::deadline::{Deadline, Interrupt};

/// gdb answers within a second; a loaded machine gets more.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The privilege level in a segment selector.
const PRIVILEGE: i64 = 3;

/// A gdb attached to QEMU's debug stub. Dropping it kills and reaps gdb; a stopped guest stays
/// stopped then.
pub struct Gdb {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    interrupt: Interrupt,
    next: u32,
    watchpoint: Option<String>,
}

impl Gdb {
    /// Attaches to the stub at `socket`. This stops the VM; [`Gdb::resume`] lets it go on. Each
    /// later stop is sent as an [`Event::Stopped`].
    ///
    /// # Errors
    /// Fails if gdb cannot be started or does not get through to the stub.
    pub fn attach(socket: &Path, events: Sender<Event>, interrupt: &Interrupt) -> Result<Self> {
        let mut child = Command::new("gdb")
            .args(["-nx", "-q", "--interpreter=mi3"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start gdb. Next step: cargo xtask setup, which installs it")?;
        let input = child.stdin.take().context("gdb's standard input")?;
        let output = child.stdout.take().context("gdb's standard output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || read_records(BufReader::new(output), &sender, &events));
        let mut gdb =
            Self { child, input, answers, interrupt: interrupt.clone(), next: 1, watchpoint: None };
        gdb.ask("-gdb-set confirm off")?;
        gdb.ask(&format!("-target-select remote {}", socket.display()))?;
        Ok(gdb)
    }

    /// A hardware breakpoint that is gone once it was hit. The address is linear: also physical
    /// while paging is off, or maps memory where it is.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn stop_once_at(&mut self, address: u64) -> Result<()> {
        self.ask(&format!("-break-insert -h -t *{address:#x}")).map(drop)
    }

    /// The same, where `condition` holds there, after it has held `before` times.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn stop_where(&mut self, address: u64, condition: &str, before: u32) -> Result<()> {
        let when = format!("-i {before} -c \"{condition}\"");
        self.ask(&format!("-break-insert -h -t {when} *{address:#x}")).map(drop)
    }

    /// Stops at the next read of the byte at an address that is physical as long as paging is off;
    /// gone with [`Gdb::forget_reads`].
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn stop_at_read(&mut self, address: u64) -> Result<()> {
        let answer = self.ask(&format!("-break-watch -r *(char*){address:#x}"))?;
        let number = answer.split_once("number=\"").and_then(|(_, rest)| rest.split('"').next());
        self.watchpoint = Some(number.with_context(|| format!("gdb said: {answer}"))?.to_string());
        Ok(())
    }

    /// Removes the watchpoint of [`Gdb::stop_at_read`], if there is one.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn forget_reads(&mut self) -> Result<()> {
        match self.watchpoint.take() {
            Some(number) => self.ask(&format!("-break-delete {number}")).map(drop),
            None => Ok(()),
        }
    }

    /// Lets the VM run until the next breakpoint.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn resume(&mut self) -> Result<()> {
        self.ask("-exec-continue").map(drop)
    }

    /// Writes bytes, given as hexadecimal digits, to a virtual address.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn write(&mut self, address: u64, bytes: &str) -> Result<()> {
        self.ask(&format!("-data-write-memory-bytes {address:#x} {bytes}")).map(drop)
    }

    /// True if the stopped CPU runs a program, by the privilege level of its code segment.
    ///
    /// # Errors
    /// Fails if gdb refuses.
    pub fn is_in_user_mode(&mut self) -> Result<bool> {
        let answer = self.ask("-data-evaluate-expression $cs")?;
        is_user_selector(&answer).with_context(|| format!("gdb's answer for CS: {answer}"))
    }

    /// Takes gdb off the stub; the VM runs on without it, and may end before it confirms that.
    pub fn detach(mut self) {
        let _ = self.ask("-target-detach");
    }

    /// Sends one command and waits for its result record, the text after `^done,`.
    fn ask(&mut self, command: &str) -> Result<String> {
        let token = self.next.to_string();
        self.next += 1;
        writeln!(self.input, "{token}{command}").context("gdb is gone")?;
        let what = format!("answer of gdb to {command}");
        let deadline = Deadline::new(what, TIMEOUT, &self.interrupt);
        loop {
            let record = match self.answers.recv_timeout(deadline.slice()?) {
                Ok(record) => record,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => bail!("gdb ended at {command}"),
            };
            let Some(result) = record.strip_prefix(&token) else { continue };
            match result.split_once(',').unwrap_or((result, "")) {
                ("^done" | "^running" | "^connected", rest) => return Ok(rest.to_string()),
                (_, reason) => bail!("gdb refused {command}: {reason}"),
            }
        }
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_user_selector(answer: &str) -> Option<bool> {
    let selector: i64 = answer.strip_prefix("value=\"")?.strip_suffix('"')?.parse().ok()?;
    Some(selector & PRIVILEGE == PRIVILEGE)
}

/// Sorts gdb's output records ("GDB/MI Output Syntax" in gdb's manual): results have a token and go
/// to the caller, stops become events, and the rest is for people.
fn read_records(output: impl BufRead, answers: &Sender<String>, events: &Sender<Event>) {
    for record in output.lines().map_while(Result::ok) {
        // The caller may be gone; then gdb is about to be killed.
        if let Some(stopped) = record.strip_prefix("*stopped") {
            let stop = Stop { at: Instant::now(), record: stopped.to_string() };
            let _ = events.send(Event::Stopped(stop));
        } else if record.starts_with(|first: char| first.is_ascii_digit()) {
            let _ = answers.send(record);
        }
    }
}

/// Returns gdb's output about the place at which each CPU was, with the dead kernel's ELF file.
///
/// # Errors
/// Fails if gdb cannot be started.
pub fn places(core: &Path, elf: &Path) -> Result<String> {
    let output = Command::new("gdb")
        .args(["-nx", "-q", "-batch", "-ex", "thread apply all backtrace 1"])
        .args([elf, core])
        .stdin(Stdio::null())
        .output()
        .context("cannot start gdb")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `length` bytes at a virtual address of a vmcore with gdb, without a vmlinux.
///
/// # Errors
/// Fails if gdb cannot open the vmcore or finds nothing at the address; the text has gdb's words.
pub fn read_core(core: &Path, address: u64, length: usize) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let bytes = folder.path().join("bytes");
    let end = address.checked_add(length as u64).context("an address range that wraps")?;
    let dump = format!("dump binary memory {} {address:#x} {end:#x}", bytes.display());
    let output = Command::new("gdb")
        .args(["-nx", "-q", "-batch", "-ex", "set confirm off", "-ex"])
        .arg(format!("core-file {}", core.display()))
        .args(["-ex", &dump])
        .stdin(Stdio::null())
        .output()
        .context("cannot start gdb")?;
    std::fs::read(&bytes).with_context(|| {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
        format!("gdb reads nothing at {address:#x} of {}: {words}", core.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sorted() {
        let output = b"=thread-group-added,id=\"i1\"\n7^done,value=\"3\"\n\
            *stopped,reason=\"breakpoint-hit\",disp=\"del\",frame={addr=\"0x02fdf000\",func=\"??\"}\n\
            ~\"text\"\n(gdb) \n";
        let (answers, answered) = channel();
        let (events, seen) = channel();
        read_records(&output[..], &answers, &events);
        assert_eq!(answered.try_iter().collect::<Vec<_>>(), ["7^done,value=\"3\""]);
        let Ok(Event::Stopped(stop)) = seen.try_recv() else { panic!("no stop") };
        assert!(stop.is_breakpoint());
        assert_eq!(stop.address(), Some(0x2fd_f000));
    }

    /// Linux' selectors: kernel and program, i386 and x86_64.
    #[test]
    fn programs_are_told_from_the_kernel() {
        for (selector, is_user) in [(0x60, false), (0x73, true), (0x10, false), (0x23, true)] {
            assert_eq!(is_user_selector(&format!("value=\"{selector}\"")), Some(is_user));
        }
        assert_eq!(is_user_selector("value=\"<unavailable>\""), None);
    }

    #[test]
    fn the_end_of_the_vm_is_no_breakpoint() {
        let stop = Stop { at: Instant::now(), record: ",reason=\"exited-normally\"".into() };
        assert!(stop.is_end() && !stop.is_breakpoint());
        assert_eq!(stop.address(), None);
    }
}
