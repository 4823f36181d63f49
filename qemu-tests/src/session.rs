//! The time in which the guest lives: from QEMU's start to its end.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use handoff::Stage;
use log::info;

use crate::check::mappings::Mappings;
use crate::check::truth::Moment;
use crate::config::{Config, Crash};
use crate::console::{self, Meaning, counter, meaning};
use crate::ended::Ended;
use crate::event::{Event, Line, Stop};
use crate::fault::hooks::{Hooks, Vm};
use crate::first::prepared::Prepared;
use crate::first::stock_capture;
use crate::host::deadline::Deadline;
use crate::host::dump_disk::DumpDisk;
use crate::host::guest_dump;
use crate::host::memory::GuestMemory;
use crate::host::qemu::{Machine, Qemu};
use crate::line::flow::{Flow, LINES};
use crate::line::receiving::Receiving;
use crate::report::{Outcome, advice};
use crate::watch::Watch;

/// Longest silence of the console from QEMU's start until the first kernel waits to crash, and the
/// limit for all of it. A hung Linux keeps printing its stalls.
const BOOT: Duration = Duration::from_secs(120);
const WHOLE_BOOT: Duration = Duration::from_secs(480);
/// Longest silence of the console from there to QEMU's end: this, and …
const CAPTURE: Duration = Duration::from_secs(90);
/// … this for each GiB of guest memory.
const CAPTURE_PER_GIB: Duration = Duration::from_secs(60);
/// Time beyond its limit that the first kernel may live until it reports that it is alive.
const GRACE: Duration = Duration::from_secs(30);
/// The console's rest after QEMU's end.
const DRAIN: Duration = Duration::from_secs(60);
/// The next step after a fault of QEMU's own.
const QEMU_DIED: &str = "Likely cause: a fault of QEMU, not of the kernels. Next step: the same \
                         command once more, with another version of QEMU if it happens again";

/// A guest and everything attached to it.
pub struct Session<'a> {
    config: &'a Config,
    hooks: &'a mut dyn Hooks,
    prepared: &'a Prepared,
    memory: &'a GuestMemory,
    disk: &'a mut DumpDisk,
    receiving: Receiving,
    qemu: Qemu,
    watch: Option<Watch>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    deadline: Deadline,
    /// No line of the console moves the deadline after this.
    latest: Instant,
    ended: Ended,
    is_ready: bool,
    /// The first kernel's last oops.
    oops: Option<Instant>,
    console_closed: bool,
}

impl<'a> Session<'a> {
    /// Starts QEMU with the guest stopped.
    ///
    /// # Errors
    /// Fails if QEMU cannot be started or the console's log cannot be made.
    pub fn start(
        config: &'a Config,
        hooks: &'a mut dyn Hooks,
        prepared: &'a Prepared,
        memory: &'a GuestMemory,
        disk: &'a mut DumpDisk,
    ) -> Result<Self> {
        let start = Instant::now();
        let mut receiving = Receiving::prepare(&config.delivery, &config.out, &config.interrupt)?;
        let devices = [receiving.devices(config.machine), config.devices.clone()].concat();
        let mut machine = Machine {
            kind: config.machine,
            memory,
            prealloc: !config.truth,
            cpus: config.cpus,
            cpu_model: None,
            is_64_bit: config.first_kernel.is_64_bit(),
            disk,
            disk_properties: &config.disk_properties,
            devices,
        };
        hooks.machine(&mut machine)?;
        let qemu = Qemu::start(&prepared.boot, &machine, &config.interrupt)?;
        let (sender, events) = channel();
        let log = config.out.join("console.log");
        console::follow(receiving.connect(&qemu.console)?, &log, start, sender.clone())?;
        Ok(Self {
            config,
            hooks,
            prepared,
            memory,
            disk,
            receiving,
            qemu,
            watch: None,
            sender,
            events,
            deadline: Deadline::new("first kernel that is ready to crash", BOOT, &config.interrupt),
            latest: start + WHOLE_BOOT,
            ended: Ended::default(),
            is_ready: false,
            oops: None,
            console_closed: false,
        })
    }

    /// Lets the guest live and die. QEMU is gone afterwards, whatever happened.
    pub fn live(mut self) -> Ended {
        let crashed = self.crash().map_err(|error| (error, "boot"));
        let lived = crashed
            .and_then(|()| self.capture().map_err(|error| (error, self.ended.timeline.last())));
        if let Err((error, stage)) = lived {
            let is_interrupted = self.config.interrupt.is_set();
            self.ended.outcome = Some(self.outcome(stage));
            self.ended.boot_hung = stage == "boot" && self.ended.outcome == Some(Outcome::Hang);
            let died = if is_interrupted { None } else { self.qemu.died() };
            let failure = match died {
                Some(status) => {
                    format!("QEMU itself died ({status}), at stage `{stage}`. {QEMU_DIED}")
                }
                None if is_interrupted => format!("{error:#}."),
                None => format!("{error:#}. {}", advice(stage)),
            };
            self.ended.failure = Some(failure);
        }
        self.watch = None;
        if let Ok(Some(_)) = self.qemu.exited() {
            self.ended.shutdown = self.qemu.qmp.shutdown_reason();
            let reason = self.ended.shutdown.as_deref().unwrap_or("unknown");
            self.ended.lines.push(format!("harness: QEMU ended, reason: {reason}"));
        }
        let said = self.qemu.end();
        if let (Some(failure), false) = (&mut self.ended.failure, said.trim().is_empty()) {
            failure.push_str(&format!(" QEMU said: {}", said.trim()));
        }
        match self.receiving.end(self.memory.total()) {
            Ok(received) => self.ended.received = received,
            Err(error) => self.ended.lines.push(format!("harness: {error:#}")),
        }
        self.ended
    }

    /// The kind of a failure at `stage`.
    fn outcome(&self, stage: &str) -> Outcome {
        match self.ended.outcome {
            _ if self.config.interrupt.is_set() => Outcome::Interrupted,
            Some(outcome) => outcome,
            None if self.deadline.is_over() => Outcome::Hang,
            None if self.ended.timeline.has_panicked() => Outcome::BadDump,
            // Of the test guest all is loaded from the start.
            None if stage == "boot" && !self.is_ready && self.prepared.entry().is_none() => {
                Outcome::NotLoaded
            }
            None => Outcome::NoPanic,
        }
    }

    /// Gets the first kernel to the point where it dies.
    fn crash(&mut self) -> Result<()> {
        info!("booting the first kernel");
        if let Some(entry) = self.prepared.entry() {
            // The test guest crashes by itself: everything must be in place before it starts.
            return if self.config.truth { self.watch(entry) } else { self.qemu.qmp.run() };
        }
        self.qemu.qmp.run()?;
        while !self.is_ready {
            self.step()?;
            if self.ended.timeline.has_panicked() {
                self.ended.outcome = Some(Outcome::EarlyPanic);
                let line = self.ended.facts.death.line.clone().unwrap_or_default();
                self.drain();
                bail!("the first kernel panicked before the capture kernel was loaded: {line}");
            }
            if let Some(status) = self.qemu.exited()? {
                self.drain();
                bail!("QEMU ended ({status}) before the first kernel was ready to crash");
            }
        }
        let (config, memory, facts) = (self.config, self.memory, &mut self.ended.facts);
        self.hooks.ready(&mut Vm { config, qmp: &mut self.qemu.qmp, memory, facts })?;
        if self.config.truth {
            info!("attaching gdb");
            self.watch(self.ended.facts.purgatory_entry()?)?;
        }
        if self.config.guest_dump {
            info!("dump-guest-memory");
            // Into the very file that the capture will write; a stock Linux needs no header on it.
            ensure!(self.config.stock_capture.is_some(), "it would overwrite the disk's header");
            let qmp = &mut self.qemu.qmp;
            let dump = guest_dump::take(qmp, self.config.memory, self.disk.path())?;
            self.ended.guest_dump = Some(dump);
        }
        info!(
            "{}",
            match self.config.crash {
                Crash::Expected(_) => "waiting for the first kernel's panic",
                Crash::AskedAfter(_) => "letting the userland run",
                Crash::Asked => "crashing the first kernel",
            }
        );
        self.qemu
            .console
            .write_all(self.config.crash.words().as_bytes())
            .context("writing to the console")
    }

    /// Attaches gdb and lets the VM run until T0.
    fn watch(&mut self, entry: u64) -> Result<()> {
        let (start, socket) = (Instant::now(), self.qemu.gdb_socket());
        let events = self.sender.clone();
        self.watch = Some(Watch::start(self.config, self.hooks, entry, &socket, events)?);
        self.ended.timeline.stopped(start, Instant::now());
        Ok(())
    }

    /// Follows the capture until QEMU ends.
    fn capture(&mut self) -> Result<()> {
        let gib = self.config.all_memory().div_ceil(1 << 30) as u32;
        let limit = CAPTURE + CAPTURE_PER_GIB * gib;
        let capture = || Deadline::new("end of the capture", limit, &self.config.interrupt);
        let mut waits =
            self.config.crash.wait() != Duration::ZERO && self.prepared.entry().is_none();
        self.latest = Instant::now() + LINES;
        self.deadline = match waits {
            true => {
                // Output of a userland is no sign that the kernel will die.
                self.latest = Instant::now();
                let wait = self.config.crash.wait() + GRACE;
                let what = "panic, nor a word that the kernel lives,";
                Deadline::new(what, wait, &self.config.interrupt)
            }
            false => capture(),
        };
        let mut flow = Flow::default();
        while self.qemu.exited()?.is_none() {
            if self.disk.kills() {
                self.qemu.kill();
                bail!("QEMU was killed in the middle of the dump");
            }
            if let Err(error) = self.step().and_then(|()| self.receiving.tick()) {
                let places = self.where_cpus_are();
                bail!("{error:#}; CPUs at {places}");
            }
            if waits && self.ended.timeline.has_panicked() {
                waits = false;
                self.deadline = capture();
                self.latest = Instant::now() + LINES;
            }
            self.deadline.extend(flow.since_last(self.receiving.bytes()));
            if self.receiving.has_pulled_all() {
                // The guest would wait for more read requests.
                self.qemu.kill();
                self.drain();
                return Ok(());
            }
            if self.receiving.has_power_cut() {
                self.qemu.kill();
            }
        }
        self.drain();
        let timeline = &self.ended.timeline;
        if !timeline.has(Stage::Done) {
            if !timeline.has_panicked() && self.prepared.entry().is_none() {
                self.ended.outcome = Some(Outcome::NoPanic);
                bail!("the first kernel ended without a panic");
            }
            bail!("QEMU ended after \"{}\", without a complete dump", timeline.last());
        }
        Ok(())
    }

    /// Handles the next event, or none within a slice of time.
    fn step(&mut self) -> Result<()> {
        match self.events.recv_timeout(self.deadline.slice()?) {
            Ok(Event::Line(line)) => self.take_line(line),
            Ok(Event::Stopped(stop)) => self.take_stop(&stop),
            Ok(Event::ConsoleClosed) => {
                self.console_closed = true;
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("nothing sends events any more"),
        }
    }

    /// Reads the rest of the console output after QEMU's end.
    fn drain(&mut self) {
        self.watch = None;
        self.deadline = Deadline::new("end of the console", DRAIN, &self.config.interrupt);
        while !self.console_closed {
            if self.step().is_err() {
                return;
            }
        }
    }

    fn take_line(&mut self, line: Line) -> Result<()> {
        if Instant::now() < self.latest {
            self.deadline.restart();
        }
        let outcome = match meaning(&line.text) {
            Meaning::Stage(stage) => {
                if !self.ended.timeline.has_panicked() {
                    self.died_of_oops(line.at)?;
                }
                self.ended.timeline.reached(stage, line.at, counter(&line.text));
                info!("{}", stage.name());
                self.hooks.stage(stage, &self.qemu)?;
                self.receiving.reached(stage);
                self.disk.follow(stage)
            }
            Meaning::Panic => {
                let death = &mut self.ended.facts.death;
                if !death.panicked {
                    death.line = Some(line.text.clone());
                }
                death.panicked = true;
                self.ended.timeline.panicked(line.at);
                info!("panic");
                self.receiving.panicked()
            }
            Meaning::Oops => {
                if !self.ended.timeline.has_panicked() {
                    self.oops = Some(line.at);
                    self.ended.facts.death.line = Some(line.text.clone());
                }
                Ok(())
            }
            Meaning::StackPointer(pointer) => {
                // The first one after the oops's first line; those of user mode come later.
                if self.oops.is_some() && !self.ended.timeline.has_panicked() {
                    self.ended.facts.death.stack_pointer.get_or_insert(pointer);
                }
                Ok(())
            }
            Meaning::Survived => {
                self.ended.outcome = Some(Outcome::NoPanic);
                Err(anyhow::anyhow!("the first kernel lives, and has not panicked"))
            }
            Meaning::Ready => {
                self.is_ready = true;
                Ok(())
            }
            Meaning::Failed(reason) => {
                self.ended.outcome = Some(Outcome::NotLoaded);
                Err(anyhow::anyhow!("the first kernel gave up: {reason}"))
            }
            Meaning::Fact(fact) => {
                self.hooks.fact(fact, &mut self.qemu.qmp)?;
                self.ended.facts.take(fact)
            }
            Meaning::BytesOut(bytes) => {
                self.ended.facts.bytes_out = Some(bytes);
                Ok(())
            }
            Meaning::Backtraces => {
                self.ended.timeline.shown_backtraces(line.at);
                Ok(())
            }
            Meaning::Text => {
                if self.is_first_line_of_stock(&line.text) {
                    self.ended.timeline.reached(Stage::CaptureEntry, line.at, None);
                }
                Ok(())
            }
        };
        self.ended.lines.push(line.text);
        outcome
    }

    /// A stage was reached without a panic before it: the first kernel died of its last oops, and
    /// the time begins there.
    fn died_of_oops(&mut self, now: Instant) -> Result<()> {
        self.ended.timeline.panicked(self.oops.unwrap_or(now));
        self.receiving.panicked()
    }

    /// A stock Linux as capture kernel runs from its first line on.
    fn is_first_line_of_stock(&self, text: &str) -> bool {
        let is_stock = self.config.stock_capture.is_some() && self.ended.timeline.has_panicked();
        is_stock && text.contains(stock_capture::FIRST_LINE)
    }

    fn take_stop(&mut self, stop: &Stop) -> Result<()> {
        if stop.is_end() {
            self.watch = None;
        }
        // Attaching reports a stop too, without a reason.
        let Some(mut watch) = self.watch.take_if(|_| stop.is_breakpoint()) else { return Ok(()) };
        let qmp = &mut self.qemu.qmp;
        let is_faults = self.hooks.stopped(stop, &mut watch.gdb, qmp)?;
        let reached = if is_faults { None } else { watch.reached(stop)? };
        let Some(moment) = reached else {
            watch.gdb.resume()?;
            self.watch = Some(watch);
            return Ok(());
        };
        self.ended.digests[moment as usize] = Some(self.memory.digests()?);
        if let (Moment::End, Some(eip)) = (moment, stop.address()) {
            let registers = qmp.monitor("info registers -a")?;
            self.ended.mappings = Some(Mappings::read(self.memory, &registers, eip));
        }
        let facts = &mut self.ended.facts;
        let mut vm = Vm { config: self.config, qmp, memory: self.memory, facts };
        self.hooks.moment(moment, &mut watch.gdb, &mut vm)?;
        self.watch = watch.go_on(moment)?;
        let now = Instant::now();
        self.ended.timeline.stopped(stop.at, now);
        self.deadline.extend(now - stop.at);
        Ok(())
    }

    /// Returns the place of each CPU, for a guest that hangs.
    fn where_cpus_are(&mut self) -> String {
        let registers = match self.qemu.qmp.monitor("info registers -a") {
            Ok(registers) => registers,
            Err(error) => return format!("unknown ({error:#})"),
        };
        let places = registers.split_whitespace();
        let places: Vec<_> =
            places.filter(|word| word.starts_with("EIP=") || word.starts_with("RIP=")).collect();
        places.join(" ")
    }
}
