//! The time in which the guest lives: from QEMU's start to its end.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use handoff::Stage;

use crate::check::facts::Facts;
use crate::check::mappings::{LARGE_PAGES, Mappings};
use crate::console::{self, Line, Meaning, counter, meaning};
use crate::cycle::{Config, Crash, Event, Fault, NmiPlace};
use crate::fault::hotplug;
use crate::first::first_kernel::Prepared;
use crate::first::stock_capture;
use crate::host::deadline::Deadline;
use crate::host::dump_disk::DumpDisk;
use crate::host::gdb::{Gdb, Stop};
use crate::host::guest_dump::{self, GuestDump};
use crate::host::image::Image;
use crate::host::memory::{Digests, GuestMemory};
use crate::host::qemu::{Machine, Qemu};
use crate::line::collector_process::Received;
use crate::line::receiving::Receiving;
use crate::report::{Outcome, advice};
use crate::timeline::Timeline;

/// Longest silence of the console from QEMU's start until the first kernel waits to crash, and the
/// limit for all of it. A hung Linux keeps printing its stalls.
const BOOT: Duration = Duration::from_secs(120);
const WHOLE_BOOT: Duration = Duration::from_secs(480);
/// How long the console may be silent from there to QEMU's end: this, and …
const CAPTURE: Duration = Duration::from_secs(90);
/// … this for each GiB of guest memory.
const CAPTURE_PER_GIB: Duration = Duration::from_secs(60);
/// Time in which a line moves bytes does not count, but no cycle takes longer than this.
const LINES: Duration = Duration::from_secs(1800);
/// Time beyond its limit that the first kernel may live until it reports that it is alive.
const GRACE: Duration = Duration::from_secs(30);
/// The console's rest after QEMU's end.
const DRAIN: Duration = Duration::from_secs(60);
/// The symbols in the capture kernel at which memory is looked at: T1 and T2.
const MOMENTS: [&str; 2] = ["kdump_truth_quiesced", "kdump_truth_final"];

/// The instruction that is none (`ud2`).
const NO_INSTRUCTION: [u8; 2] = [0x0f, 0x0b];
/// The instruction that never ends, in hexadecimal digits.
const JUMP_TO_ITSELF: &str = "ebfe";

/// The next step after a fault of QEMU's own.
const QEMU_DIED: &str = "Likely cause: a fault of QEMU, not of the kernels. Next step: the same \
                         command once more, with another version of QEMU if it happens again";

/// A bank's status: valid, uncorrected, enabled, address and misc valid, a memory read that failed
/// (Intel manual, volume 3, `IA32_MCi_STATUS`).
const MEMORY_ERROR: u64 = 0xbc00_0000_0000_0134;
/// The same: the state of the CPU is damaged (PCC).
const CONTEXT_CORRUPT: u64 = 1 << 57;

/// The capture kernel's way to read old memory, and a note that it shall not get that way.
struct Copy {
    /// The first instruction of the routine (virtual).
    entry: u64,
    /// The one that copies.
    first: u64,
    /// The note (physical).
    note: Range<u64>,
}

/// The capture kernel's way to look for zeros in old memory.
#[derive(Clone, Copy)]
struct Look {
    /// The first instruction of the routine (virtual).
    entry: u64,
    /// The one that looks.
    first: u64,
    /// True if its memory lies in a large page.
    large: bool,
}

/// What is left when the guest is gone.
#[derive(Default)]
pub struct Ended {
    /// Why the cycle did not get to its end, or `None`.
    pub failure: Option<String>,
    /// The kind of failure, or `None`.
    pub outcome: Option<Outcome>,
    /// The first kernel was not ready to crash in time: nothing of ours has run yet but the loader.
    pub boot_hung: bool,
    /// Why the machine was shut down, in QEMU's word, when QEMU ended by itself.
    pub shutdown: Option<String>,
    /// When the stages were reached.
    pub timeline: Timeline,
    /// What the first kernel said of itself.
    pub facts: Facts,
    /// Page digests at T0, T1 and T2.
    pub digests: [Option<Digests>; 3],
    /// The capture kernel's mappings at T2.
    pub mappings: Option<Result<Mappings>>,
    /// What QEMU's own dump took, when it was asked for.
    pub guest_dump: Option<GuestDump>,
    /// Bytes of hot-added memory that were there at the crash, where there is such memory.
    pub plugged: Option<u64>,
    /// All lines of the console.
    pub lines: Vec<String>,
    /// What has come over each line.
    pub received: Vec<Received>,
}

/// Whether bytes move on the lines.
struct Flow {
    bytes: u64,
    at: Instant,
    /// What is left of the time that may be given.
    left: Duration,
}

impl Default for Flow {
    fn default() -> Self {
        Self { bytes: 0, at: Instant::now(), left: LINES }
    }
}

impl Flow {
    /// The time since the last call, when bytes have moved in it: there are `bytes` now.
    fn since_last(&mut self, bytes: u64) -> Duration {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).min(self.left);
        let moved = bytes > self.bytes;
        (self.bytes, self.at) = (bytes, now);
        if !moved {
            return Duration::ZERO;
        }
        self.left -= passed;
        passed
    }
}

/// A guest and everything attached to it.
pub struct Session<'a> {
    config: &'a Config,
    prepared: &'a Prepared,
    memory: &'a GuestMemory,
    disk: &'a mut DumpDisk,
    receiving: Receiving,
    qemu: Qemu,
    gdb: Option<Gdb>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// Addresses of T0, T1 and T2 that have not been reached.
    moments: VecDeque<u64>,
    /// Where a machine check is to come.
    copy: Option<Copy>,
    /// The place at which the capture kernel looks for zeros, and is to meet a machine check.
    look: Option<Look>,
    /// How many of these lie behind us.
    passed: usize,
    /// Where an NMI is to arrive, when it has not.
    nmi: Option<u64>,
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
    /// When QEMU cannot be started or the console's log cannot be made.
    pub fn start(
        config: &'a Config,
        prepared: &'a Prepared,
        memory: &'a GuestMemory,
        disk: &'a mut DumpDisk,
    ) -> Result<Self> {
        let start = Instant::now();
        let mut receiving = Receiving::prepare(&config.delivery, &config.out, &config.interrupt)?;
        let devices = [receiving.devices(config.machine), config.devices.clone()].concat();
        let missing = u32::from(matches!(config.fault, Some(Fault::MissingCpu)));
        let machine = Machine {
            kind: config.machine,
            memory,
            prealloc: !config.truth,
            cpus: config.cpus - missing,
            cpu_model: config.fault.and_then(Fault::cpu_model),
            is_64_bit: config.first_kernel.is_64_bit(),
            disk,
            disk_properties: &config.disk_properties,
            devices: &devices,
        };
        let qemu = Qemu::start(&prepared.boot, &machine, &config.interrupt)?;
        let (sender, events) = channel();
        let log = config.out.join("console.log");
        console::follow(receiving.connect(&qemu.console)?, &log, start, sender.clone())?;
        Ok(Self {
            config,
            prepared,
            memory,
            disk,
            receiving,
            qemu,
            gdb: None,
            sender,
            events,
            moments: VecDeque::new(),
            copy: None,
            look: None,
            passed: 0,
            nmi: None,
            deadline: Deadline::new("first kernel that is ready to crash", BOOT, &config.interrupt),
            latest: start + WHOLE_BOOT,
            ended: Ended::default(),
            is_ready: false,
            oops: None,
            console_closed: false,
        })
    }

    /// Lets the guest live and die. QEMU is gone afterwards, whatever happened.
    pub fn live(mut self, progress: &mut dyn FnMut(&str)) -> Ended {
        let crashed = self.crash(progress).map_err(|error| (error, "boot"));
        let lived = crashed.and_then(|()| {
            self.capture(progress).map_err(|error| (error, self.ended.timeline.last()))
        });
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
        drop(self.gdb.take());
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
    fn crash(&mut self, progress: &mut dyn FnMut(&str)) -> Result<()> {
        progress("booting the first kernel");
        if let Some(entry) = self.prepared.entry() {
            // The test guest crashes by itself: everything must be in place before it starts.
            return if self.config.truth { self.watch(entry) } else { self.qemu.qmp.run() };
        }
        self.qemu.qmp.run()?;
        while !self.is_ready {
            self.step(progress)?;
            if self.ended.timeline.has_panicked() {
                self.ended.outcome = Some(Outcome::EarlyPanic);
                let line = self.ended.facts.death.line.clone().unwrap_or_default();
                self.drain(progress);
                bail!("the first kernel panicked before the capture kernel was loaded: {line}");
            }
            if let Some(status) = self.qemu.exited()? {
                self.drain(progress);
                bail!("QEMU ended ({status}) before the first kernel was ready to crash");
            }
        }
        if let Some(hotplug) = self.config.hotplug {
            progress("waiting for the guest's memory");
            let settled = hotplug::settle(&mut self.qemu.qmp, hotplug, &self.config.interrupt)?;
            self.ended.plugged = Some(settled);
        }
        if self.config.truth {
            progress("attaching gdb");
            self.watch(self.ended.facts.purgatory_entry()?)?;
        }
        if self.config.guest_dump {
            progress("dump-guest-memory");
            // Into the very file that the capture will write; a stock Linux needs no header on it.
            ensure!(self.config.stock_capture.is_some(), "it would overwrite the disk's header");
            let qmp = &mut self.qemu.qmp;
            let dump = guest_dump::take(qmp, self.config.memory, self.disk.path())?;
            self.ended.guest_dump = Some(dump);
        }
        progress(match self.config.crash {
            Crash::Expected(_) => "waiting for the first kernel's panic",
            Crash::AskedAfter(_) => "letting the userland run",
            Crash::Asked => "crashing the first kernel",
        });
        if matches!(self.config.fault, Some(Fault::NoSymbols)) {
            self.ended.facts.symbols.clear();
        }
        if matches!(self.config.fault, Some(Fault::Oops)) {
            self.spoil_sysrq()?;
        }
        self.qemu
            .console
            .write_all(self.config.crash.words().as_bytes())
            .context("writing to the console")
    }

    /// Attaches gdb and lets the VM run until T0.
    fn watch(&mut self, entry: u64) -> Result<()> {
        self.moments.push_back(entry);
        // A stock capture kernel has no places of its own to stop at.
        if self.config.stock_capture.is_none() {
            self.plan_stops(&Image::open(&self.config.capture_kernel_symbols)?)?;
        }
        let start = Instant::now();
        let socket = self.qemu.gdb_socket();
        let mut gdb = Gdb::attach(&socket, self.sender.clone(), &self.config.interrupt)?;
        gdb.stop_once_at(entry)?;
        self.nmi = self.prepared.nmi_address(self.config)?;
        if let (Some(address), true) = (self.nmi, self.has_nmi_at(NmiPlace::FirstKernel)) {
            gdb.stop_once_at(address)?;
        }
        gdb.resume()?;
        self.ended.timeline.stopped(start, Instant::now());
        self.gdb = Some(gdb);
        Ok(())
    }

    /// Where in our capture kernel the VM is to be stopped.
    fn plan_stops(&mut self, capture_kernel: &Image) -> Result<()> {
        let at = |name| Ok::<_, anyhow::Error>(capture_kernel.symbol(name)?.start);
        for name in MOMENTS {
            self.moments.push_back(at(name)?);
        }
        if let Some(Fault::MachineCheckInLook { large }) = self.config.fault {
            let (entry, first) = (at("look_or_machine_check")?, at("machine_check_look")?);
            self.look = Some(Look { entry, first, large });
        }
        if let Some(Fault::MachineCheckInNote) = self.config.fault {
            let note = self.prepared.unreadable_note().context("the test guest has two CPUs")?;
            let (entry, first) = (at("copy_or_machine_check")?, at("machine_check_copy")?);
            self.copy = Some(Copy { entry, first, note });
        }
        Ok(())
    }

    /// Follows the capture until QEMU ends.
    fn capture(&mut self, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let gib = self.config.all_memory().div_ceil(1 << 30) as u32;
        let limit = CAPTURE + CAPTURE_PER_GIB * gib;
        let capture = || Deadline::new("end of the capture", limit, &self.config.interrupt);
        let mut waits =
            self.config.crash.wait() != Duration::ZERO && self.prepared.entry().is_none();
        self.latest = Instant::now() + LINES;
        self.deadline = match waits {
            true => {
                // What a userland prints is no sign that the kernel will die.
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
            if let Err(error) = self.step(progress).and_then(|()| self.receiving.tick()) {
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
                // It would wait for more.
                self.qemu.kill();
                self.drain(progress);
                return Ok(());
            }
            if self.receiving.has_power_cut() {
                self.qemu.kill();
            }
        }
        self.drain(progress);
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
    fn step(&mut self, progress: &mut dyn FnMut(&str)) -> Result<()> {
        match self.events.recv_timeout(self.deadline.slice()?) {
            Ok(Event::Line(line)) => self.take_line(line, progress),
            Ok(Event::Stopped(stop)) => self.take_stop(&stop),
            Ok(Event::ConsoleClosed) => {
                self.console_closed = true;
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("nothing sends events any more"),
        }
    }

    /// Takes what the console still has to say after QEMU's end.
    fn drain(&mut self, progress: &mut dyn FnMut(&str)) {
        self.gdb = None;
        self.deadline = Deadline::new("end of the console", DRAIN, &self.config.interrupt);
        while !self.console_closed {
            if self.step(progress).is_err() {
                return;
            }
        }
    }

    fn take_line(&mut self, line: Line, progress: &mut dyn FnMut(&str)) -> Result<()> {
        if Instant::now() < self.latest {
            self.deadline.restart();
        }
        let outcome = match meaning(&line.text) {
            Meaning::Stage(stage) => {
                if !self.ended.timeline.has_panicked() {
                    self.died_of_oops(line.at)?;
                }
                self.ended.timeline.reached(stage, line.at, counter(&line.text));
                progress(stage.name());
                if stage == Stage::CaptureEntry
                    && matches!(self.config.fault, Some(Fault::QemuDies))
                {
                    self.qemu.crash()?;
                }
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
                progress("panic");
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
                // The first one behind its first line; those of user mode come later.
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
            Meaning::Fact(fact) => self.ended.facts.take(fact),
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

    /// What runs now says nothing of a panic before it: the first kernel died of its last oops,
    /// which is when the time begins.
    fn died_of_oops(&mut self, now: Instant) -> Result<()> {
        self.ended.timeline.panicked(self.oops.unwrap_or(now));
        self.receiving.panicked()
    }

    /// Writes an instruction that is none where the sysrq's handler begins.
    fn spoil_sysrq(&self) -> Result<()> {
        let facts = &self.ended.facts;
        let code = facts.resources("Kernel code");
        let code = code.first().context("/proc/iomem shows no Kernel code")?;
        let handler = facts.symbol("sysrq_handle_crash")?.start - facts.symbol("_text")?.start;
        self.memory.write(code.start + handler, &NO_INSTRUCTION)
    }

    /// A stock Linux as capture kernel runs from its first line on.
    fn is_first_line_of_stock(&self, text: &str) -> bool {
        let is_stock = self.config.stock_capture.is_some() && self.ended.timeline.has_panicked();
        is_stock && text.contains(stock_capture::FIRST_LINE)
    }

    /// Sends the interrupt that was asked for, while the VM is stopped at T1: it arrives there,
    /// however long this takes.
    fn interrupt_capture(&mut self) -> Result<()> {
        match self.config.fault {
            Some(Fault::Nmi) => self.qemu.qmp.inject_nmi(),
            Some(Fault::MachineCheck { context_corrupt }) => {
                let corrupt = if context_corrupt { CONTEXT_CORRUPT } else { 0 };
                self.qemu.qmp.machine_check(MEMORY_ERROR | corrupt, 0x10_0000)
            }
            _ => Ok(()),
        }
    }

    fn has_nmi_at(&self, place: NmiPlace) -> bool {
        matches!(self.config.fault, Some(Fault::NmiAt(at)) if at == place)
    }

    fn take_stop(&mut self, stop: &Stop) -> Result<()> {
        if stop.is_end() {
            self.gdb = None;
            return Ok(());
        }
        // Attaching reports a stop too, without a reason.
        if !stop.is_breakpoint() {
            return Ok(());
        }
        if self.fail_look(stop)? || self.fail_copy(stop)? {
            return Ok(());
        }
        let Some(gdb) = &mut self.gdb else { return Ok(()) };
        if stop.is_read() || self.nmi.is_some_and(|nmi| stop.address() == Some(nmi)) {
            self.nmi = None;
            gdb.forget_reads()?;
            self.qemu.qmp.inject_nmi()?;
            return gdb.resume();
        }
        let Some(&expected) = self.moments.front() else { return gdb.resume() };
        let passed = self.passed;
        // Before the crash T0's physical address may also be some program's virtual one. (No kernel
        // has code of its own that low, and an x86_64 kernel jumps with paging on.)
        if passed == 0 && gdb.is_in_user_mode()? {
            gdb.stop_once_at(expected)?;
            return gdb.resume();
        }
        // A capture that fails early gets to T2 without T1, but nothing gets past T0.
        let is_here = |moment: &u64| stop.address() == Some(*moment);
        let skipped = match self.moments.iter().position(is_here) {
            Some(skipped) if passed > 0 || skipped == 0 => skipped,
            _ => bail!("the VM stopped at {:x?}, expected at {expected:#x}", stop.address()),
        };
        self.moments.drain(..=skipped);
        let reached = passed + skipped;
        self.passed = reached + 1;
        self.ended.digests[reached] = Some(self.memory.digests()?);
        if let (2, Some(eip)) = (reached, stop.address()) {
            let registers = self.qemu.qmp.monitor("info registers -a")?;
            self.ended.mappings = Some(Mappings::read(self.memory, &registers, eip));
        }
        self.go_on(reached)?;
        let now = Instant::now();
        self.ended.timeline.stopped(stop.at, now);
        self.deadline.extend(now - stop.at);
        Ok(())
    }

    /// Finds out that the capture kernel is about to look for zeros, waits for the look itself, and
    /// raises the machine check there. Whether `stop` was one of these two.
    fn fail_look(&mut self, stop: &Stop) -> Result<bool> {
        let (Some(gdb), Some(look)) = (&mut self.gdb, self.look) else { return Ok(false) };
        if stop.address() == Some(look.entry) {
            gdb.stop_once_at(look.first)?;
        } else if stop.address() == Some(look.first) {
            self.look = None;
            self.qemu.qmp.machine_check(MEMORY_ERROR, 0x10_0000)?;
        } else {
            return Ok(false);
        }
        gdb.resume()?;
        Ok(true)
    }

    /// Finds out that the capture kernel is about to copy the note that cannot be read, waits for
    /// the copy itself, and raises the machine check there. Whether `stop` was one of these two.
    fn fail_copy(&mut self, stop: &Stop) -> Result<bool> {
        let (Some(gdb), Some(copy)) = (&mut self.gdb, &self.copy) else { return Ok(false) };
        if stop.address() == Some(copy.entry) {
            gdb.stop_once_at(copy.first)?;
        } else if stop.address() == Some(copy.first) {
            self.qemu.qmp.machine_check(MEMORY_ERROR, copy.note.start)?;
        } else {
            return Ok(false);
        }
        gdb.resume()?;
        Ok(true)
    }

    /// Sets what is to be set at T0 or T1 and lets the VM run on.
    fn go_on(&mut self, reached: usize) -> Result<()> {
        if reached == 0 && matches!(self.config.fault, Some(Fault::StrayWrite)) {
            self.write_astray()?;
        }
        if reached == 1 {
            self.interrupt_capture()?;
        }
        let Some(mut gdb) = self.gdb.take() else { return Ok(()) };
        if reached == 1 && matches!(self.config.fault, Some(Fault::Hang)) {
            let capture_kernel = Image::open(&self.config.capture_kernel_symbols)?;
            gdb.write(capture_kernel.symbol(MOMENTS[0])?.start, JUMP_TO_ITSELF)?;
        }
        if self.moments.is_empty() {
            gdb.detach();
            return Ok(());
        }
        if reached == 0 {
            for address in &self.moments {
                gdb.stop_once_at(*address)?;
            }
            match self.nmi {
                Some(address) if self.has_nmi_at(NmiPlace::Hashing) => gdb.stop_at_read(address)?,
                Some(address) => gdb.stop_once_at(address)?,
                None => (),
            }
        }
        if let (1, Some(look)) = (reached, self.look) {
            let is_in = if look.large { ">=" } else { "<" };
            let condition = format!("*(unsigned int *)($esp + 4) {is_in} {LARGE_PAGES:#x}");
            gdb.stop_where(look.entry, &condition)?;
        }
        if let (1, Some(copy)) = (reached, &self.copy) {
            let length = copy.note.end - copy.note.start;
            gdb.stop_at_second(copy.entry, &format!("*(unsigned int *)($esp + 12) == {length}"))?;
        }
        gdb.resume()?;
        self.gdb = Some(gdb);
        Ok(())
    }

    /// Changes the last byte of old memory, as a capture stage with a bug might.
    fn write_astray(&self) -> Result<()> {
        let ram: Vec<Range<u64>> = self.prepared.system_ram(&self.ended.facts);
        let last = ram.iter().map(|range| range.end).max().context("no System RAM is known")? - 1;
        let mut byte = [0];
        self.memory.read(last, &mut byte)?;
        self.memory.write(last, &[!byte[0]])
    }

    /// Where each CPU is, for a guest that hangs.
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
