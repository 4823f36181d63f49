//! QEMU's machine protocol: start the guest, and ask about it when it hangs.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use qapi::{Stream, qmp};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Timeout for QEMU's greeting: it first finds all of the guest's memory, if it is asked to, and
/// that takes a while for a large guest.
const GREETING: Duration = Duration::from_secs(120);
/// Afterwards QEMU answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(60);

/// QEMU's reason for its end after the guest reset itself: `ShutdownCause` in QEMU's
/// run-state.json.
pub const GUEST_RESET: &str = "guest-reset";
/// More events than this no QEMU leaves unread.
const MOST_EVENTS: usize = 1000;

/// A connection past its greeting.
pub struct Qmp {
    connection: qapi::Qmp<Stream<BufReader<UnixStream>, UnixStream>>,
    stream: UnixStream,
}

impl Qmp {
    /// Takes over the connection that QEMU made.
    ///
    /// # Errors
    /// Fails if QEMU goes away or does not greet.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(GREETING))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let (reader, writer) = (BufReader::new(stream.try_clone()?), stream.try_clone()?);
        let mut connection = qapi::Qmp::new(Stream::new(reader, writer));
        let greeting = connection.inner_mut().fill_buf().context("waiting for QEMU's greeting")?;
        if greeting.is_empty() {
            bail!("QEMU ended before it greeted");
        }
        stream.set_read_timeout(Some(TIMEOUT))?;
        connection.handshake().context("QEMU's greeting")?;
        Ok(Self { connection, stream })
    }

    /// Lets the guest run.
    ///
    /// # Errors
    /// Fails if QEMU does not answer.
    pub fn run(&mut self) -> Result<()> {
        self.connection.execute(&qmp::cont {}).context("starting the guest")?;
        Ok(())
    }

    /// Sends a non-maskable interrupt to every CPU.
    ///
    /// # Errors
    /// Fails if QEMU does not answer.
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.connection.execute(&qmp::inject_nmi {}).context("sending an NMI")?;
        Ok(())
    }

    /// Raises a machine check on CPU 0: bank 1 holds `status` and `address` (physical), and the CPU
    /// may restart the interrupted code.
    ///
    /// # Errors
    /// Fails if QEMU does not answer or refuses.
    pub fn machine_check(&mut self, status: u64, address: u64) -> Result<()> {
        let said = self.monitor(&format!("mce 0 1 {status:#x} 0x5 {address:#x} 0x8c"))?;
        ensure!(said.trim().is_empty(), "QEMU raises no machine check: {}", said.trim());
        Ok(())
    }

    /// A property of an object.
    ///
    /// # Errors
    /// Fails if QEMU does not answer, or has no such property.
    pub fn get(&mut self, path: &str, property: &str) -> Result<serde_json::Value> {
        let get = qmp::qom_get { path: path.into(), property: property.into() };
        self.connection.execute(&get).with_context(|| format!("qom-get {path} {property}"))
    }

    /// Sets a property of an object.
    ///
    /// # Errors
    /// Fails if QEMU does not answer, or refuses.
    pub fn set(&mut self, path: &str, property: &str, value: serde_json::Value) -> Result<()> {
        let set = qmp::qom_set { path: path.into(), property: property.into(), value };
        self.connection.execute(&set).with_context(|| format!("qom-set {path} {property}"))?;
        Ok(())
    }

    /// Asks the guest to fill its balloon until it has `bytes` of memory left.
    ///
    /// # Errors
    /// Fails if QEMU does not answer, or the guest has no balloon.
    pub fn set_balloon(&mut self, bytes: u64) -> Result<()> {
        let value = i64::try_from(bytes)?;
        self.connection.execute(&qmp::balloon { value }).context("inflating the balloon")?;
        Ok(())
    }

    /// Bytes of memory that the balloon leaves to the guest.
    ///
    /// # Errors
    /// Fails if QEMU does not answer, or the guest has no balloon.
    pub fn balloon(&mut self) -> Result<u64> {
        let balloon = self.connection.execute(&qmp::query_balloon {}).context("query-balloon")?;
        u64::try_from(balloon.actual).context("a balloon of less than nothing")
    }

    /// Returns the reason of the machine's shutdown, in QEMU's word for it, once QEMU has ended;
    /// `None` if QEMU did not report it.
    pub fn shutdown_reason(&mut self) -> Option<String> {
        let known = self.connection.events().find_map(|event| match event {
            qmp::Event::SHUTDOWN { data, .. } => serde_json::to_value(data.reason).ok(),
            _ => None,
        });
        let unread = || {
            let lines = self.connection.inner_mut().lines().map_while(Result::ok);
            lines.take(MOST_EVENTS).find_map(|line| {
                let event: serde_json::Value = serde_json::from_str(&line).ok()?;
                (event["event"] == "SHUTDOWN").then(|| event["data"]["reason"].clone())
            })
        };
        known.or_else(unread)?.as_str().map(str::to_string)
    }

    /// Writes all guest memory into `file` as an ELF core, with the VM stopped until it is done.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer within `timeout`.
    pub fn dump_guest_memory(&mut self, file: &File, timeout: Duration) -> Result<()> {
        let name = "dump";
        self.pass(file).context("passing a file to QEMU")?;
        self.connection.execute(&qmp::getfd { fdname: name.into() }).context("getfd")?;
        let protocol = format!("fd:{name}");
        let dump = qmp::dump_guest_memory {
            begin: None,
            length: None,
            detach: None,
            format: None,
            paging: false,
            protocol,
        };
        self.stream.set_read_timeout(Some(timeout))?;
        let dumped = self.connection.execute(&dump).context("dump-guest-memory");
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        dumped.map(drop)
    }

    /// Gives QEMU an open file for the next `getfd`. It travels with a byte that means nothing in
    /// JSON.
    fn pass(&self, file: &File) -> Result<()> {
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        ensure!(message.push(SendAncillaryMessage::ScmRights(&files)), "no room for a file");
        sendmsg(&self.stream, &[IoSlice::new(b"\n")], &mut message, SendFlags::empty())?;
        Ok(())
    }

    /// Runs a monitor command of the kind that people type, and returns its output.
    ///
    /// # Errors
    /// Fails if QEMU does not answer.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let line = qmp::human_monitor_command { command_line: command.into(), cpu_index: None };
        self.connection.execute(&line).with_context(|| format!("monitor command {command}"))
    }
}
