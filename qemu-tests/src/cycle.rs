//! One crash-and-capture cycle: boot, load, crash, capture, judge.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vmcore::Class;

use crate::check::arrival;
use crate::check::checks::{self, Evidence};
use crate::check::core_file::CoreFile;
use crate::check::dead_kernel::DeadKernel;
use crate::check::truth::Truth;
use crate::console::Line;
use crate::delivery::{Delivery, Way};
use crate::fault::hotplug::{self, Hotplug};
use crate::first::first_kernel::{FirstKernel, Prepared};
use crate::first::kexec_tools::KexecTools;
use crate::first::stock_capture::{self, StockCapture};
use crate::host::deadline::Interrupt;
use crate::host::dump_disk::{Attachment, DiskAfter, DumpDisk};
use crate::host::gdb::Stop;
use crate::host::machine_type::MachineType;
use crate::host::memory::GuestMemory;
use crate::host::qmp::GUEST_RESET;
use crate::host::scratch;
use crate::line::receiving;
use crate::report::{Banner, Check, Outcome, Report, VERSION, Verdict, hex, verdict};
use crate::session::{Ended, Session};

/// Room on the dump disk besides the guest's memory, in bytes.
const DISK_SPARE: u64 = 16 << 20;
/// The same when a stock Linux writes the dump, with the dead kernel's text and data twice, in
/// bytes.
const DISK_SPARE_STOCK: u64 = 80 << 20;
/// How many of the console's last lines a failed report carries.
const LAST_LINES: usize = 15;

/// How often a first kernel may be booted until it is ready to crash. Linux on several emulated
/// CPUs was seen standing still in its own boot, one time; that says nothing about a capture, so it
/// is booted once more, and the report says so.
const MOST_BOOTS: u32 = 2;

/// A fault that the harness puts in, so that a check can be seen failing.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// One byte of old memory changes between T0 and T1, as by a capture stage that strays.
    StrayWrite,
    /// One byte of the extracted vmcore changes.
    CorruptVmcore,
    /// The test guest's RAM is described to its loader with this many holes, each a page long.
    Holes(u64),
    /// The handler of the sysrq that crashes a Linux begins with an instruction that is none: an
    /// oops.
    Oops,
    /// What kallsyms shows of a Linux is lost: as of a kernel without it.
    NoSymbols,
    /// A CPU of the test guest, not the first, never answers the NMI that stops it in a crash.
    DeafCpu(u32),
    /// The machine has one CPU less than the test guest is told.
    MissingCpu,
    /// One byte of a segment of the slot changes before the test guest starts.
    DamagedSegment {
        /// The segment's name in the loader's plan.
        name: &'static str,
        /// Which byte of it.
        offset: usize,
    },
    /// A segment of the slot is wrong, and was so when the test guest's loader took its digest.
    WrongSegment {
        /// The segment's name in the loader's plan.
        name: &'static str,
        /// What makes its bytes wrong; where they end is not for it to change.
        change: fn(&mut [u8]),
    },
    /// The slot image is wrong. What changes it gets the whole file.
    WrongSlotImage(fn(&mut Vec<u8>)),
    /// The test guest has reserved this slot, and the slot image is for another.
    OtherReservation(&'static str),
    /// The test guest does not seal the slot image.
    Unsealed,
    /// There is no dump disk, or it has a fault.
    Disk(Attachment),
    /// The dump disk has this many bytes.
    DiskSize(u64),
    /// QEMU itself dies of a signal when the capture kernel is entered.
    QemuDies,
    /// An NMI arrives at T1, in the middle of the capture; needs the truth's gdb.
    Nmi,
    /// Linux reads from a second, slow disk when it dies: there are requests in flight whose
    /// buffers are old memory.
    BusyDisk,
    /// A machine check comes while the capture kernel reads the note of the test guest's second
    /// CPU.
    MachineCheckInNote,
    /// A machine check comes while the capture kernel looks for zeros in old memory: what a second
    /// look, for which there is none, finds is right.
    MachineCheckInLook {
        /// True if that memory is seen through a large page.
        large: bool,
    },
    /// A machine check comes at T1; needs the truth's gdb.
    MachineCheck {
        /// Whether the bank says that the state of the CPU is damaged.
        context_corrupt: bool,
    },
    /// The capture kernel hangs at T1; needs the truth's gdb.
    Hang,
    /// An NMI arrives at an instruction of the test guest, or of what runs after it; needs the
    /// truth's gdb.
    NmiAt(NmiPlace),
}

/// The cause of the first kernel's crash, once the capture kernel is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// The harness, by sysrq, at once.
    #[default]
    Asked,
    /// The harness, by sysrq, when one's own userland has run for this long (whole seconds).
    AskedAfter(Duration),
    /// The kernel itself, within this time (whole seconds).
    Expected(Duration),
}

impl Crash {
    /// What the first kernel's `/init` is told, on a line.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Asked => "crash\n".to_string(),
            Self::AskedAfter(time) => format!("crash {}\n", time.as_secs()),
            Self::Expected(time) => format!("wait {}\n", time.as_secs()),
        }
    }

    /// Time that the first kernel may live after that.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::Asked => Duration::ZERO,
            Self::AskedAfter(time) | Self::Expected(time) => time,
        }
    }
}

/// Where an NMI arrives to the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiPlace {
    /// In the test guest, which waits for one: `ignore-nmi` or `die=nmi`.
    FirstKernel,
    /// In purgatory, while it hashes the capture kernel.
    Hashing,
    /// At the capture kernel's first instruction, with purgatory's descriptor tables.
    CaptureEntry,
}

impl Fault {
    /// The CPU that QEMU is asked for, where not any will do: only one with banks takes `mce`.
    pub(crate) fn cpu_model(self) -> Option<&'static str> {
        match self {
            Self::MachineCheckInNote
            | Self::MachineCheckInLook { .. }
            | Self::MachineCheck { .. } => Some("qemu32,+mca"),
            _ => None,
        }
    }
}

/// What one cycle is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kernel that dies.
    pub first_kernel: FirstKernel,
    /// The capture kernel's ELF file as it is loaded.
    pub capture_kernel: PathBuf,
    /// The same with its symbols.
    pub capture_kernel_symbols: PathBuf,
    /// Purgatory's ELF file.
    pub purgatory: PathBuf,
    /// The kind of machine. On a microvm the guest has less than 3 GiB.
    pub machine: MachineType,
    /// Guest memory in bytes.
    pub memory: u64,
    /// CPUs of the guest.
    pub cpus: u32,
    /// What follows `crashkernel=`.
    pub slot: String,
    /// The folder for vmcore, console.log and report.json.
    pub out: PathBuf,
    /// More words for the capture kernel's command line.
    pub append: String,
    /// The cause of the first kernel's crash; the test guest has its own.
    pub crash: Crash,
    /// One's own initramfs for a Linux first kernel: its program runs once the capture kernel is
    /// loaded.
    pub initrd: Option<PathBuf>,
    /// More words for the first kernel's command line.
    pub first_append: String,
    /// What a Linux first kernel's shell does after loading and before the crash; see `init.sh`.
    pub before_crash: String,
    /// Whether to stop the VM for page digests at T0, T1 and T2.
    pub truth: bool,
    /// True if QEMU dumps the guest's memory as well, right before the crash (with a stock Linux as
    /// capture kernel only).
    pub guest_dump: bool,
    /// Memory that is added while a Linux first kernel runs (Debian's x86_64 only).
    pub hotplug: Option<Hotplug>,
    /// True if the dump is extracted and checked. Without, a cycle passes when the capture says
    /// that its dump is complete.
    pub examine: bool,
    /// The class of the ELF core header, when the loader is told.
    pub core_headers: Option<Class>,
    /// Stock kexec-tools load the capture kernel, and not our loader (Linux only).
    pub kexec_tools: Option<KexecTools>,
    /// A stock Linux is the capture kernel, and not ours (Linux first kernels only).
    pub stock_capture: Option<StockCapture>,
    /// The dump is to be oldmem of this range (physical), which `append` asks for, and no vmcore.
    pub oldmem: Option<Range<u64>>,
    /// How the dump leaves the guest.
    pub delivery: Delivery,
    /// A fault to put in.
    pub fault: Option<Fault>,
    /// A dump disk that is formatted already, and stays; else there is a new one each time.
    pub dump_disk: Option<PathBuf>,
    /// More properties of the dump disk's device, as QEMU spells them.
    pub disk_properties: String,
    /// More arguments for QEMU, such as `-device` and what follows it.
    pub devices: Vec<String>,
    /// Ends the cycle early.
    pub interrupt: Interrupt,
}

impl Config {
    /// All memory of the guest, in bytes.
    pub fn all_memory(&self) -> u64 {
        self.memory + self.hotplug.map_or(0, |hotplug| hotplug.size)
    }
}

/// What can happen while the guest lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line on the console.
    Line(Line),
    /// The console is closed: QEMU has ended or is about to.
    ConsoleClosed,
    /// The VM has stopped under gdb.
    Stopped(Stop),
}

/// Runs one cycle and writes its files. `progress` is told each step in a few words.
///
/// # Errors
/// When the host lacks something or a file cannot be written. What goes wrong in the guest is no
/// error but a report that says so.
pub fn run(config: &Config, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    fs::create_dir_all(&config.out)
        .with_context(|| format!("creating {}", config.out.display()))?;
    let mut boots = 1;
    let report = loop {
        let report = attempt(config, boots, progress)?;
        if !report.boot_hung || boots == MOST_BOOTS {
            break report;
        }
        boots += 1;
        progress("the first kernel hangs in its boot; booting it once more");
    };
    report.write(&config.out.join("report.json"))?;
    Ok(report)
}

/// Everything up to the report. `boots` says which boot of the first kernel this is.
fn attempt(config: &Config, boots: u32, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    remove_old_results(&config.out)?;
    let bytes = 2 * config.all_memory() + DISK_SPARE_STOCK;
    let work = scratch::folder(bytes, config.examine, &config.out)?;
    let mut memory = GuestMemory::create(config.memory, work.path())?;
    if let Some(hotplug) = config.hotplug {
        memory = memory.and_hot(hotplug.size, hotplug::ADDRESS, work.path())?;
    }
    progress("preparing the dump disk and what the first kernel boots");
    let mut disk = dump_disk(config, work.path())?;
    if matches!(config.fault, Some(Fault::BusyDisk)) {
        disk.add_busy(work.path())?;
    }
    let target = config.delivery.targets.words(&disk.target);
    let prepared = config.first_kernel.prepare(config, &memory, &target, work.path())?;
    let session = Session::start(config, &prepared, &memory, &mut disk)?;
    let ended = session.live(progress);
    progress("checking");
    let boot_hung = ended.boot_hung;
    let report = judge(config, &prepared, &memory, &disk, ended)?;
    Ok(Report { boots, boot_hung, ..report })
}

/// Results of an earlier run must not be taken for those of this one.
fn remove_old_results(out: &Path) -> Result<()> {
    for name in ["vmcore", "vmcore.partial", "console.log", "report.json"] {
        let path = out.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    let received = out.join(receiving::FOLDER);
    if received.exists() {
        fs::remove_dir_all(&received)
            .with_context(|| format!("removing {}", received.display()))?;
    }
    Ok(())
}

fn dump_disk(config: &Config, folder: &Path) -> Result<DumpDisk> {
    if let Some(path) = &config.dump_disk {
        return DumpDisk::open(path.clone(), Attachment::Whole);
    }
    let is_stock = config.stock_capture.is_some();
    let roomy = config.all_memory() + if is_stock { DISK_SPARE_STOCK } else { DISK_SPARE };
    let (size, attachment) = match config.fault {
        Some(Fault::Disk(attachment)) => (roomy, attachment),
        Some(Fault::DiskSize(size)) => (size, Attachment::Whole),
        _ if !config.delivery.targets.has(Way::VirtioBlk) => (roomy, Attachment::Absent),
        _ => (roomy, Attachment::Whole),
    };
    DumpDisk::create(folder, size, attachment, !config.truth)
}

/// What is found out about a cycle after its end.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    bytes: u64,
    sha256: String,
    arrived_by: Option<Way>,
    banner: Option<Banner>,
}

fn judge(
    config: &Config,
    prepared: &Prepared,
    memory: &GuestMemory,
    disk: &DumpDisk,
    ended: Ended,
) -> Result<Report> {
    let truth = truth_of(memory, &ended)?;
    let findings = find_out(config, prepared, memory, disk, &ended, &truth);
    let last_lines = ended.lines.len().saturating_sub(LAST_LINES);
    let verdict = verdict(&findings.checks);
    Ok(Report {
        version: VERSION,
        verdict,
        outcome: outcome(verdict, &ended),
        panic: ended.facts.death.line.clone(),
        stage: ended.timeline.last().to_string(),
        boots: 1,
        boot_hung: false,
        first_kernel: config.first_kernel.name().to_string(),
        slot: config.slot.clone(),
        memory: config.memory,
        cpus: config.cpus,
        target: config.delivery.targets.words(&disk.target),
        arrived_by: findings.arrived_by.map(|way| way.name().to_string()),
        disk_after: disk_after(config, disk, memory, &ended, findings.arrived_by)?,
        guest_dump: ended.guest_dump,
        distinct_pages: truth.exit.distinct(),
        timeline_ms: ended.timeline.milestones(),
        stage_counters: ended.timeline.counters(),
        stopped_ms: ended.timeline.stopped_ms(),
        truth: config.truth,
        bytes: findings.bytes,
        vmcore_sha256: findings.sha256,
        banner: findings.banner,
        received: ended.received,
        checks: findings.checks,
        last_lines: ended.lines[last_lines..].to_vec(),
    })
}

/// The verdict's kind: of a cycle that got to its end, by the checks.
fn outcome(verdict: Verdict, ended: &Ended) -> Outcome {
    match (ended.outcome, verdict) {
        (Some(outcome), _) => outcome,
        (None, Verdict::Pass) => Outcome::GoodDump,
        (None, Verdict::Fail) => Outcome::BadDump,
    }
}

/// Runs every check that there is something for.
fn find_out(
    config: &Config,
    prepared: &Prepared,
    memory: &GuestMemory,
    disk: &DumpDisk,
    ended: &Ended,
    truth: &Truth,
) -> Findings {
    let only_pulled = !config.delivery.pulls.is_empty();
    let completed = match &ended.failure {
        None if only_pulled => Ok("everything was pulled that was to be".to_string()),
        None => Ok("QEMU ended by itself after the dump was complete".to_string()),
        Some(failure) => Err(anyhow::anyhow!("{failure}")),
    };
    let mut findings = Findings::default();
    findings.checks.push(Check::new("cycle", completed));
    if ended.failure.is_none() && !only_pulled {
        let examined = match config.examine {
            true => examine(config, prepared, memory, disk, ended, truth, &mut findings),
            false => length(config, disk, ended).map(|bytes| findings.bytes = bytes),
        };
        if let Err(error) = examined {
            findings.checks.push(Check::new("vmcore", Err(error)));
        }
    } else {
        findings.checks.extend(kept_without_dump(config, prepared, memory, ended, truth));
    }
    findings.checks.extend(arrival::accounts(config, &ended.received, memory, truth));
    findings.checks.extend(died_without_a_word(ended));
    findings.checks.extend(mappings(prepared, memory, ended));
    findings
}

/// Checks that the capture kernel mapped old memory as it may. There is no such check without T2.
fn mappings(prepared: &Prepared, memory: &GuestMemory, ended: &Ended) -> Option<Check> {
    let dead = prepared.dead_kernel(&ended.facts, memory).ok()?;
    let found = match ended.mappings.as_ref()? {
        Ok(mappings) => mappings.check(memory, &dead.system_ram, &dead.slot),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    Some(Check::new("mappings", found))
}

/// A first kernel that is gone without a panic was reset: by a triple fault, or by itself. There is
/// no such check when it was not.
fn died_without_a_word(ended: &Ended) -> Option<Check> {
    let is_reset = ended.shutdown.as_deref() == Some(GUEST_RESET);
    (is_reset && !ended.timeline.has_panicked()).then(|| {
        let error = anyhow::anyhow!("the machine was reset, and the first kernel had not panicked");
        Check::new("no_reset", Err(error))
    })
}

/// What is on a dump disk that was to have the dump and does not.
fn disk_after(
    config: &Config,
    disk: &DumpDisk,
    memory: &GuestMemory,
    ended: &Ended,
    arrived_by: Option<Way>,
) -> Result<Option<DiskAfter>> {
    let targets = &config.delivery.targets;
    let missed =
        ended.failure.is_some() || (!targets.is_all() && arrived_by != Some(Way::VirtioBlk));
    let asked = targets.has(Way::VirtioBlk) && missed;
    let found = arrival::dump_of(Way::VirtioBlk, &config.out);
    fs::create_dir_all(found.parent().context("a path in a folder")?)?;
    asked.then(|| disk.after_failure(&found, memory)).transpose()
}

/// The digests of a guest that is gone.
fn truth_of(memory: &GuestMemory, ended: &Ended) -> Result<Truth> {
    let [purgatory, quiesced, end] = ended.digests.clone();
    Ok(Truth { purgatory, quiesced, end, exit: memory.digests()? })
}

/// What can be told where there is no dump: whether old memory was left alone, and what was pulled.
fn kept_without_dump(
    config: &Config,
    prepared: &Prepared,
    memory: &GuestMemory,
    ended: &Ended,
    truth: &Truth,
) -> Vec<Check> {
    // A first kernel that did not get to its crash has not said where the slot is.
    let Ok(dead) = prepared.dead_kernel(&ended.facts, memory) else { return Vec::new() };
    let mut truth = truth.clone();
    if !config.delivery.pulls.is_empty() {
        // It is over when the last pull is.
        truth.end = Some(truth.exit.clone());
    }
    let pulled = arrival::pulled(config, memory, &truth);
    checks::memory_kept(memory, &dead, &truth).into_iter().chain(pulled).collect()
}

/// Extracts the vmcore and runs all checks on it.
fn examine(
    config: &Config,
    prepared: &Prepared,
    memory: &GuestMemory,
    disk: &DumpDisk,
    ended: &Ended,
    truth: &Truth,
    findings: &mut Findings,
) -> Result<()> {
    let path = config.out.join("vmcore");
    fetch(config, disk, ended, &path, findings)?;
    if let Some(range) = &config.oldmem {
        let equal = checks::oldmem_equals_memory(&path, memory, truth, range);
        findings.checks.push(Check::new("oldmem_equals_memory", equal));
        let dead = prepared.dead_kernel(&ended.facts, memory)?;
        findings.checks.extend(checks::memory_kept(memory, &dead, truth));
        return Ok(());
    }
    let core = CoreFile::open(&path)?;
    if matches!(config.fault, Some(Fault::CorruptVmcore)) {
        flip_a_byte(&path, &core)?;
    }
    let dead: DeadKernel = prepared.dead_kernel(&ended.facts, memory)?;
    findings.banner = dead.banner.as_ref().map(|(address, text)| {
        let text = String::from_utf8_lossy(text).into_owned();
        Banner { address: *address, text }
    });
    let is_stock = config.stock_capture.is_some();
    let evidence = Evidence { core: &core, memory, truth, dead: &dead, is_stock };
    findings.checks.extend(checks::all(&evidence));
    if let Some(plugged) = ended.plugged {
        let found = hotplug::check(&core, memory, truth, plugged);
        findings.checks.push(Check::new("hot_memory", found));
    }
    if config.truth && config.stock_capture.is_none() {
        findings.checks.push(Check::new("truth", truth.complete()));
    }
    if let Some((address, expected)) = prepared.counted_nmis(config)? {
        let counted = nmis_are(memory, address, expected);
        findings.checks.push(Check::new("nmi_counted", counted));
    }
    if let Some(class) = config.core_headers {
        findings.checks.push(Check::new("core_headers", has_class(&core, class)));
    }
    Ok(())
}

/// Length of the dump in bytes, as the target or the capture kernel has it.
fn length(config: &Config, disk: &DumpDisk, ended: &Ended) -> Result<u64> {
    if config.stock_capture.is_some() {
        return ended.facts.dump_bytes.context("the capture kernel has not said how long");
    }
    arrival::length(config, disk, &ended.received)
}

/// Gets the dump to `path`, and notes what it is and where it is from.
fn fetch(
    config: &Config,
    disk: &DumpDisk,
    ended: &Ended,
    path: &Path,
    findings: &mut Findings,
) -> Result<()> {
    let sha256 = if config.stock_capture.is_some() {
        let length = ended.facts.dump_bytes.context("the capture kernel has not said how long")?;
        findings.bytes = length;
        stock_capture::extract(disk.path(), length, path)?
    } else {
        let (arrival, same) = arrival::collect(config, disk, &ended.received)?;
        findings.bytes = arrival.length;
        findings.arrived_by = Some(arrival.way);
        findings.checks.extend(same);
        arrival.sha256
    };
    findings.sha256 = hex(&sha256);
    Ok(())
}

/// The vmcore has headers of the class that the loader was told (`EI_CLASS`).
fn has_class(core: &CoreFile, asked: Class) -> Result<String> {
    let (name, expected) = match asked {
        Class::Elf32 => ("ELF32", 1),
        Class::Elf64 => ("ELF64", 2),
    };
    let mut class = [0];
    core.read_at(4, &mut class)?;
    ensure!(class == [expected], "EI_CLASS is {}, and {name} was asked for", class[0]);
    Ok(format!("{name}, as asked for"))
}

/// Purgatory has counted as many NMIs as were sent to it. Its memory is in the slot, where nobody
/// has written since.
fn nmis_are(memory: &GuestMemory, address: u64, expected: u32) -> Result<String> {
    let mut count = [0; 4];
    memory.read(address, &mut count)?;
    let count = u32::from_le_bytes(count);
    ensure!(count == expected, "purgatory counted {count} NMIs of {expected}");
    Ok(format!("purgatory counted {count}"))
}

/// Changes one byte in the middle of the largest PT_LOAD.
fn flip_a_byte(path: &Path, core: &CoreFile) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let largest = core.loads.iter().max_by_key(|load| load.filesz).context("no PT_LOAD")?;
    let at = largest.offset + largest.filesz / 2;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(())
}
