//! A QEMU process: its machine, its sockets, and its end.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::host::deadline::{Deadline, Interrupt};
use crate::host::dump_disk::DumpDisk;
use crate::host::machine_type::{MachineType, option_path};
use crate::host::memory::GuestMemory;
use crate::host::qmp::Qmp;

/// From this much memory on, i386 guests run on qemu-system-x86_64: qemu-system-i386 fails them
/// with reserved bits in page table entries (bytes).
const LARGE: u64 = 3 << 30;
/// Timeout for QEMU to open its sockets.
const STARTUP: Duration = Duration::from_secs(30);
/// Time from the end of a dying process's sockets to its exit status.
const DYING: Duration = Duration::from_secs(2);
/// The longest piece of QEMU's standard error that is kept, in bytes.
const MOST_STDERR: u64 = 64 << 10;

/// A file that QEMU puts into guest memory before the guest starts.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The file.
    pub path: PathBuf,
    /// The physical address of its first byte.
    pub address: u64,
}

/// The machine that QEMU plays.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Kind of the machine.
    pub kind: MachineType,
    /// Backing file of its RAM.
    pub memory: &'a GuestMemory,
    /// True if the host gives the guest all of its memory before it starts, so that times do not
    /// contain the host's page faults on it (they take half of a dump's time otherwise).
    pub prealloc: bool,
    /// CPUs.
    pub cpus: u32,
    /// The model of its CPUs, as QEMU spells it; else QEMU's own choice.
    pub cpu_model: Option<&'static str>,
    /// True if its CPUs have 64-bit mode.
    pub is_64_bit: bool,
    /// Its dump disk.
    pub disk: &'a DumpDisk,
    /// More properties of the disk's device, such as `disable-modern=on`.
    pub disk_properties: &'a str,
    /// More arguments for QEMU.
    pub devices: Vec<String>,
}

/// The boot settings of QEMU.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// A bzImage or a multiboot ELF.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
    /// Other files in memory.
    pub blobs: Vec<Blob>,
}

/// A running QEMU. Dropping it kills and reaps the process.
pub struct Qemu {
    child: Child,
    /// True after [`Self::kill`].
    killed: bool,
    stderr: Option<JoinHandle<String>>,
    sockets: TempDir,
    /// The first serial port.
    pub console: UnixStream,
    /// The machine protocol.
    pub qmp: Qmp,
}

impl Qemu {
    /// Starts QEMU with the guest stopped before its first instruction; [`Qmp::run`] lets it go.
    ///
    /// # Errors
    /// Fails if QEMU cannot be started or ends at once; the text has QEMU's messages.
    pub fn start(boot: &Boot, machine: &Machine<'_>, interrupt: &Interrupt) -> Result<Self> {
        let sockets = tempfile::tempdir().context("a folder for QEMU's sockets")?;
        let console = UnixListener::bind(sockets.path().join("console"))?;
        let qmp = UnixListener::bind(sockets.path().join("qmp"))?;
        let mut command = Command::new(machine.program());
        command.args(machine.args()).args(machine.devices(sockets.path())).args(boot.args());
        let shown = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| {
            format!("cannot start {shown}. Next step: cargo xtask setup, which installs it")
        })?;
        let mut starting = Starting { child: Some(child) };
        let stderr = starting.capture_stderr();
        let deadline = Deadline::new("connection from QEMU", STARTUP, interrupt);
        let connected = starting.accept(&console, &deadline).and_then(|console| {
            let qmp = Qmp::new(starting.accept(&qmp, &deadline)?)?;
            Ok((console, qmp))
        });
        let (console, qmp) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                drop(starting);
                bail!("{error:#}\n{}", stderr.join().unwrap_or_default().trim_end());
            }
        };
        let child = starting.child.take().expect("nothing else takes it");
        Ok(Self { child, killed: false, stderr: Some(stderr), sockets, console, qmp })
    }

    /// Returns gdb's socket to QEMU's debug stub.
    pub fn gdb_socket(&self) -> PathBuf {
        self.sockets.path().join("gdb")
    }

    /// The signal or the exit code, if QEMU has died by itself within a short time: neither the
    /// guest nor the harness has ended it.
    pub fn died(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + DYING;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    return Some(status).filter(|_| !status.success() && !self.killed);
                }
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                _ => return None,
            }
        }
    }

    /// Has QEMU die of a signal, as of a fault of its own.
    ///
    /// # Errors
    /// Fails if the signal cannot be sent.
    pub fn crash(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::SEGV).context("sending QEMU a signal")
    }

    /// Returns the exit status of QEMU, if it has ended.
    ///
    /// # Errors
    /// Fails if the system does not report it.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("asking for QEMU's exit status")
    }

    /// Ends QEMU and returns its standard error.
    pub fn end(mut self) -> String {
        self.kill();
        let stderr = self.stderr.take().map(|thread| thread.join().unwrap_or_default());
        stderr.unwrap_or_default()
    }

    /// Kills and reaps the process.
    pub fn kill(&mut self) {
        self.killed = true;
        // Both fail only when the process is gone and reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A QEMU that has not opened its sockets yet; killed and reaped unless it gets that far.
struct Starting {
    child: Option<Child>,
}

impl Starting {
    fn capture_stderr(&mut self) -> JoinHandle<String> {
        let stderr = self.child.as_mut().and_then(|child| child.stderr.take());
        std::thread::spawn(move || {
            let Some(mut stderr) = stderr else { return String::new() };
            let mut text = Vec::new();
            // Text that cannot be read is not shown; the rest is drained so that QEMU never blocks.
            let _ = stderr.by_ref().take(MOST_STDERR).read_to_end(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    fn accept(&mut self, listener: &UnixListener, deadline: &Deadline) -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let stream = deadline.wait_for(|| {
            let child = self.child.as_mut().expect("not taken while starting");
            if let Some(status) = child.try_wait()? {
                bail!("QEMU ended with {status} before the guest started");
            }
            match listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("accepting QEMU's connection"),
            }
        })?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Machine<'_> {
    fn program(&self) -> &'static str {
        let is_large = self.memory.size() > LARGE;
        if self.is_64_bit || is_large { "qemu-system-x86_64" } else { "qemu-system-i386" }
    }

    fn args(&self) -> Vec<String> {
        let (size, path) = (self.memory.size(), option_path(self.memory.path()));
        let prealloc = if self.prealloc { "on" } else { "off" };
        let room = match self.memory.hot() {
            Some(_) => format!("{size}B,slots=1,maxmem={}B", self.memory.total()),
            None => format!("{size}B"),
        };
        let ram = format!("memory-backend-file,id=ram,size={size},mem-path={path},share=on");
        let words = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-S",
            "-accel",
            "tcg",
            "-machine",
            self.kind.argument(),
            "-object",
            &format!("{ram},prealloc={prealloc}"),
            "-m",
            &room,
            "-smp",
            &self.cpus.to_string(),
        ];
        let model = self.cpu_model.iter().flat_map(|model| ["-cpu", model]);
        let globals = self.kind.globals().iter().copied();
        words.into_iter().chain(model).chain(globals).map(str::to_string).collect()
    }

    fn devices(&self, sockets: &Path) -> Vec<String> {
        let socket = |name: &str| option_path(&sockets.join(name));
        let words = [
            "-chardev",
            &format!("socket,id=console,path={}", socket("console")),
            "-serial",
            "chardev:console",
            "-chardev",
            &format!("socket,id=qmp,path={}", socket("qmp")),
            "-mon",
            "chardev=qmp,mode=control",
            "-chardev",
            &format!("socket,id=gdb,path={},server=on,wait=off", socket("gdb")),
            "-gdb",
            "chardev:gdb",
        ];
        let disk = self.disk.arguments(self.kind, self.disk_properties);
        words
            .into_iter()
            .map(str::to_string)
            .chain(disk)
            .chain(self.devices.iter().cloned())
            .collect()
    }
}

impl Boot {
    fn args(&self) -> Vec<String> {
        let mut words = vec!["-kernel".to_string(), self.kernel.display().to_string()];
        if let Some(initrd) = &self.initrd {
            words.extend(["-initrd".to_string(), initrd.display().to_string()]);
        }
        words.extend(["-append".to_string(), self.command_line.clone()]);
        for blob in &self.blobs {
            let (path, address) = (option_path(&blob.path), blob.address);
            words.push("-device".to_string());
            words.push(format!("loader,file={path},addr={address:#x},force-raw=on"));
        }
        words
    }
}
