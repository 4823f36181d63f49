//! A disk served by another process, which can be stopped or killed: qemu-nbd on a unix socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::host::deadline::{Deadline, Interrupt};

/// Timeout for qemu-nbd to open its socket.
const STARTUP: Duration = Duration::from_secs(30);

/// A running qemu-nbd. Dropping it kills and reaps the process, stopped or not.
#[derive(Debug)]
pub struct NbdServer {
    child: Child,
    folder: TempDir,
}

impl NbdServer {
    /// Serves the raw image at `path`.
    ///
    /// # Errors
    /// Fails if qemu-nbd cannot be started or opens no socket.
    pub fn start(path: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the socket of qemu-nbd")?;
        let socket = folder.path().join("nbd");
        let child = Command::new("qemu-nbd")
            .args(["--format=raw", "--cache=unsafe", "--socket"])
            .arg(&socket)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start qemu-nbd. Next step: cargo xtask setup, which installs it")?;
        let mut server = Self { child, folder };
        let deadline = Deadline::new("socket of qemu-nbd", STARTUP, &Interrupt::default());
        deadline.wait_for(|| {
            if let Some(status) = server.child.try_wait()? {
                bail!("qemu-nbd ended with {status} before it served anything");
            }
            Ok(socket.exists().then_some(()))
        })?;
        Ok(server)
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("nbd")
    }

    /// Has it answer nothing any more.
    ///
    /// # Errors
    /// Fails if the system does not stop it.
    pub fn stop(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).context("stopping qemu-nbd")
    }

    /// Ends it. It does not finish the requests that it has.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone and reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.kill();
    }
}
