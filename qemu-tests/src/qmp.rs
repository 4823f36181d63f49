//! QEMU's machine protocol: start the guest, and ask about it when it hangs.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use qapi::{Stream, qmp};

/// QEMU answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why QEMU ended when the guest reset itself: `ShutdownCause` in QEMU's run-state.json.
pub const GUEST_RESET: &str = "guest-reset";
/// More events than this no QEMU leaves unread.
const MOST_EVENTS: usize = 1000;

/// A connection past its greeting.
pub struct Qmp {
    connection: qapi::Qmp<Stream<BufReader<UnixStream>, UnixStream>>,
}

impl Qmp {
    /// Takes over the connection that QEMU made.
    ///
    /// # Errors
    /// When QEMU goes away or does not greet.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut connection = qapi::Qmp::new(Stream::new(reader, stream));
        let greeting = connection.inner_mut().fill_buf().context("waiting for QEMU's greeting")?;
        if greeting.is_empty() {
            bail!("QEMU ended before it greeted");
        }
        connection.handshake().context("QEMU's greeting")?;
        Ok(Self { connection })
    }

    /// Lets the guest run.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn run(&mut self) -> Result<()> {
        self.connection.execute(&qmp::cont {}).context("starting the guest")?;
        Ok(())
    }

    /// Sends a non-maskable interrupt to every CPU.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.connection.execute(&qmp::inject_nmi {}).context("sending an NMI")?;
        Ok(())
    }

    /// Raises a machine check on CPU 0: bank 1 holds `status` and `address` (physical), and the CPU
    /// may restart what it interrupted.
    ///
    /// # Errors
    /// When QEMU does not answer or will not.
    pub fn machine_check(&mut self, status: u64, address: u64) -> Result<()> {
        let said = self.monitor(&format!("mce 0 1 {status:#x} 0x5 {address:#x} 0x8c"))?;
        ensure!(said.trim().is_empty(), "QEMU raises no machine check: {}", said.trim());
        Ok(())
    }

    /// Why the machine was shut down, in QEMU's word for it, once QEMU has ended; `None` when it did not
    /// say.
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

    /// A monitor command of the kind that people type, and what it printed.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let line = qmp::human_monitor_command { command_line: command.into(), cpu_index: None };
        self.connection.execute(&line).with_context(|| format!("monitor command {command}"))
    }
}
