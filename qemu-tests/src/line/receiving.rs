//! The host's ends of the lines over which the dump leaves the guest: the collectors, the time of
//! their start, and their fate.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use handoff::Stage;
use tempfile::TempDir;

use crate::delivery::{Delivery, Fate, Way};
use crate::host::deadline::{Deadline, Interrupt};
use crate::host::machine_type::MachineType;
use crate::line::collector_process::{Collector, Received, has_recorded};
use crate::line::{LineProxy, Meter, Relay, hello_of_another_version};

/// Folder of the files that the collectors have received, in the cycle's own.
pub const FOLDER: &str = "received";
/// Longest time that a collector may take to finish when the guest is gone: this, and …
const FINISH: Duration = Duration::from_secs(120);
/// … this for each GiB of memory, which it hashes.
const FINISH_PER_GIB: Duration = Duration::from_secs(60);
/// Interval between the hellos of a peer with another version.
const HELLO_EVERY: Duration = Duration::from_millis(200);

/// All lines of a cycle. Dropping it ends every process and thread.
pub struct Receiving {
    delivery: Delivery,
    sockets: TempDir,
    lines: Vec<Line>,
    panic: Option<Instant>,
    /// The capture kernel has turned to its targets.
    views: Option<Instant>,
    /// The guest is to be gone.
    power_cut: Arc<AtomicBool>,
    interrupt: Interrupt,
    /// Number of pulls that have ended, and true if the next one runs.
    pulled: (usize, bool),
}

/// One line. A collector is ended before the end that it is connected to.
struct Line {
    way: Way,
    collector: Collector,
    meter: Meter,
    end: End,
    stranger: Option<Stranger>,
}

/// The peer to which the collector connects.
enum End {
    /// Something before a serial port.
    Proxy(LineProxy),
    /// QEMU's own socket.
    Direct,
    /// Something before that, once it is open.
    Relay(Option<Relay>),
}

impl Receiving {
    /// Prepares the lines of `delivery`, whose files go to `out`.
    ///
    /// # Errors
    /// Fails if there are links and no collector, or no folder can be made.
    pub fn prepare(delivery: &Delivery, out: &Path, interrupt: &Interrupt) -> Result<Self> {
        let sockets = tempfile::tempdir().context("a folder for the sockets of lines")?;
        let power_cut = Arc::new(AtomicBool::new(false));
        let mut lines = Vec::new();
        let ways = delivery.targets.ways().iter().copied();
        for way in ways.filter(|way| way.is_line() && delivery.has_device(*way)) {
            let folder = out.join(FOLDER).join(way.name());
            let (end, socket) = end_of(way, delivery.fate, sockets.path());
            let collector = Collector::new(&delivery.collector, socket, folder)?;
            let meter = meter(way, delivery.fate, &collector, &power_cut);
            lines.push(Line { way, collector, meter, end, stranger: None });
        }
        let (delivery, interrupt) = (delivery.clone(), interrupt.clone());
        let (panic, views, pulled) = (None, None, (0, false));
        Ok(Self { delivery, sockets, lines, panic, views, power_cut, interrupt, pulled })
    }

    /// QEMU's words for the devices.
    pub fn devices(&self, machine: MachineType) -> Vec<String> {
        self.delivery.devices(machine, self.sockets.path())
    }

    /// Connects itself between QEMU and its serial ports. Returns the harness's reader of COM1.
    ///
    /// # Errors
    /// Fails if a port cannot be reached.
    pub fn connect(&mut self, console: &UnixStream) -> Result<Box<dyn Read + Send>> {
        let mut read: Box<dyn Read + Send> = Box::new(console.try_clone()?);
        let noise = self.delivery.noise;
        for line in &mut self.lines {
            let socket = line.collector.socket().to_path_buf();
            let meter = line.meter.clone();
            match line.way {
                Way::Serial => {
                    let (proxy, tap) = LineProxy::new(console, socket, noise, meter)?;
                    (line.end, read) = (End::Proxy(proxy), Box::new(tap));
                }
                Way::SecondSerial => {
                    let port = self.sockets.path().join(line.way.name());
                    let port = UnixStream::connect(port).context("QEMU's second serial port")?;
                    let (proxy, mut tap) = LineProxy::new(&port, socket, noise, meter)?;
                    line.end = End::Proxy(proxy);
                    // Ends with QEMU.
                    std::thread::spawn(move || std::io::copy(&mut tap, &mut std::io::sink()));
                }
                Way::Disk(_) | Way::Partition | Way::VirtioConsole => (),
            }
        }
        Ok(read)
    }

    /// To be called after the first kernel's panic: from now on a collector may be at the other
    /// end.
    ///
    /// # Errors
    /// Fails if a socket or a process cannot be made.
    pub fn panicked(&mut self) -> Result<()> {
        if self.panic.is_some() || self.delivery.fate == Fate::Absent {
            return Ok(());
        }
        self.panic = Some(Instant::now());
        for line in &mut self.lines {
            line.open(self.sockets.path())?;
        }
        self.tick()
    }

    /// The capture kernel has reached a stage.
    pub fn reached(&mut self, stage: Stage) {
        if stage == Stage::Views {
            self.views.get_or_insert_with(Instant::now);
        }
    }

    /// Does the work that is due. To be called every now and then.
    ///
    /// # Errors
    /// Fails if a process cannot be started, or a pull fails.
    pub fn tick(&mut self) -> Result<()> {
        if self.panic.is_none() {
            return Ok(());
        }
        if !self.delivery.pulls.is_empty() {
            return self.pull();
        }
        let (fate, views) = (self.delivery.fate, self.views);
        self.lines.iter_mut().try_for_each(|line| line.tick(fate, views))
    }

    /// Bytes that collectors have got from the guest so far.
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.meter.count()).sum()
    }

    /// True once all pulls have ended.
    pub fn has_pulled_all(&self) -> bool {
        let Delivery { pulls, crashinfo, .. } = &self.delivery;
        !pulls.is_empty() && self.pulled.0 == pulls.len() + usize::from(crashinfo.is_some())
    }

    /// True if the guest is to be gone.
    pub fn has_power_cut(&self) -> bool {
        self.power_cut.load(Ordering::SeqCst)
    }

    /// Runs one pull after the other, over the first line.
    fn pull(&mut self) -> Result<()> {
        let Some(line) = self.lines.first_mut() else { bail!("there is no line to pull over") };
        let (done, runs) = self.pulled;
        if runs {
            let Some(status) = line.collector.running().ended()? else { return Ok(()) };
            if !status.success() {
                let said = line.collector.received(line.way.name())?.said;
                bail!("a pull failed ({status}): {}", said.trim());
            }
        }
        let done = done + usize::from(runs);
        let Delivery { pulls, crashinfo, .. } = &self.delivery;
        let is_next = match (pulls.get(done), crashinfo) {
            (Some(pull), _) => {
                line.collector.read(pull.view, pull.start, pull.length, &pulled_name(done))?;
                true
            }
            (None, Some(program)) if done == pulls.len() => {
                line.collector.analyse(program, CRASHINFO)?;
                true
            }
            (None, _) => false,
        };
        self.pulled = (done, is_next);
        Ok(())
    }

    /// Waits until the collectors have finished with a guest of `memory` bytes that is gone, as far
    /// as they get; then returns the result of each.
    ///
    /// # Errors
    /// Fails if a collector cannot be asked.
    pub fn end(mut self, memory: u64) -> Result<Vec<Received>> {
        let limit = FINISH + FINISH_PER_GIB * (memory.div_ceil(1 << 30) as u32);
        let deadline = Deadline::new("end of the collectors", limit, &self.interrupt);
        // The bytes of the line end with it. A stopped collector cannot notice that.
        for line in &mut self.lines {
            line.end = End::Direct;
            line.collector.running().resume();
        }
        // One that waits for a guest that is gone, or is still busy in the end, is killed.
        let _ = deadline.wait_for(|| {
            let ended = |line: &Line| line.collector.is_idle() || line.collector.waits();
            Ok(self.lines.iter().all(ended).then_some(()))
        });
        self.lines.iter_mut().map(Line::received).collect()
    }
}

/// The file with crashinfo's answer, in the folder of its line.
pub const CRASHINFO: &str = "crashinfo.json";

/// The file with the bytes of a pull, in the folder of its line.
pub fn pulled_name(number: usize) -> String {
    format!("pull-{number}")
}

/// Returns the collector's peer, and the socket to connect to. A proxy comes once QEMU is there.
fn end_of(way: Way, fate: Fate, sockets: &Path) -> (End, PathBuf) {
    let counted = matches!(fate, Fate::Killed { .. } | Fate::Stalls { .. } | Fate::PowerCut { .. });
    let before = sockets.join(format!("{}-collector", way.name()));
    match way {
        Way::VirtioConsole if counted => (End::Relay(None), before),
        Way::VirtioConsole => (End::Direct, sockets.join(way.name())),
        _ => (End::Direct, before),
    }
}

/// Returns the meter that counts the bytes, and strikes the collector down, or the guest.
fn meter(way: Way, fate: Fate, collector: &Collector, power_cut: &Arc<AtomicBool>) -> Meter {
    let (running, power_cut) = (collector.running().clone(), Arc::clone(power_cut));
    match fate {
        Fate::Killed { after, .. } => {
            let folder = collector.folder().to_path_buf();
            // Bytes that go over a console port within a second need not be in the map.
            let any_view = way == Way::VirtioConsole;
            Meter::with_trip(after, move || {
                let is_time = has_recorded(&folder, any_view);
                if is_time {
                    running.kill();
                }
                is_time
            })
        }
        Fate::Stalls { after, .. } => Meter::with_trip(after, move || {
            running.stop();
            true
        }),
        Fate::PowerCut { after } => {
            Meter::with_cut(after, move || power_cut.store(true, Ordering::SeqCst))
        }
        _ => Meter::default(),
    }
}

impl Line {
    /// Lets collectors connect.
    fn open(&mut self, sockets: &Path) -> Result<()> {
        match &mut self.end {
            End::Proxy(proxy) => proxy.open(),
            End::Relay(relay) => {
                let port = sockets.join(self.way.name());
                let socket = self.collector.socket().to_path_buf();
                *relay = Some(Relay::open(port, socket, self.meter.clone())?);
                Ok(())
            }
            End::Direct => Ok(()),
        }
    }

    /// Returns its result.
    fn received(&mut self) -> Result<Received> {
        let received = self.collector.received(self.way.name())?;
        Ok(Received { line_bytes: self.meter.count(), ..received })
    }

    /// Does the action of its fate for this moment.
    fn tick(&mut self, fate: Fate, views: Option<Instant>) -> Result<()> {
        let struck = self.collector.running().struck();
        let is_new = self.collector.starts() == 0;
        match (fate, struck) {
            (Fate::Absent, _) => Ok(()),
            (Fate::OtherVersion, _) => {
                let socket = self.collector.socket();
                self.stranger.get_or_insert_default().tick(socket);
                Ok(())
            }
            (Fate::Late(late), _) if views.is_none_or(|views| views.elapsed() < late) => Ok(()),
            _ if is_new => self.collector.receive(),
            (Fate::Killed { back: Some(back), .. }, Some(at)) if at.elapsed() >= back => {
                self.collector.receive()
            }
            (Fate::Stalls { pause, .. }, Some(at)) if at.elapsed() >= pause => {
                self.collector.running().resume();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// An endpoint that sends hellos of another version again and again, and ignores its input.
#[derive(Default)]
struct Stranger {
    line: Option<UnixStream>,
    said: Option<Instant>,
}

impl Stranger {
    fn tick(&mut self, socket: &Path) {
        if self.said.is_some_and(|said| said.elapsed() < HELLO_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        if self.line.is_none() {
            // It may not be there yet, or not any more.
            self.line = UnixStream::connect(socket).ok();
        }
        let Some(line) = &mut self.line else { return };
        if line.set_nonblocking(true).is_err() || !speak(line) {
            self.line = None;
        }
    }
}

/// Sends a hello, and discards the bytes received; true if the line is still there.
fn speak(line: &mut UnixStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match line.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => (),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    line.write_all(&hello_of_another_version()).is_ok()
}
