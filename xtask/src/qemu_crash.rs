//! `cargo xtask qemu-crash`: boot, crash, capture, check; then report.

mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use log::info;
use qemu_tests::first::bzimage::BzImage;
use qemu_tests::first::initramfs::Userland;
use qemu_tests::first::slot::parse_size;
use qemu_tests::{
    Config, Crash, Delivery, Fault, FirstKernel, Interrupt, Level, Loading, MachineType, Outcome,
    Report, Targets, Verdict,
};

use crate::console;
use crate::cycle::{catch_ctrl_c, linux, ordinary};
use crate::debian::{self, Architecture, DebianKernel, KERNELS};
use crate::image::{self, Images};
use crate::setup;
use crate::workspace::root;

/// Text after the options in `--help`.
const EXIT_CODES: &str = "\
Exit codes, for scripts (`outcome` in report.json says the same):
  0  good_dump    the kernel died, and its dump holds every check
  1  not_loaded   something is missing or wrong: the host's tools, a file, the slot, a kernel without kexec
  2               the command line is wrong
  3  no_panic     the kernel did not die within --timeout, or it was gone without a panic
  4  bad_dump     the kernel died, and there is no dump, or one that does not hold a check
  5  hang         a deadline passed: of the boot, of the death (the kernel does not even say that it lives), or
                  of the capture
  6  early_panic  the kernel died before the capture kernel was loaded
  130 interrupted
With --repeat the code is that of the first cycle that was not good.

Git bisect over kernels, in which a panic is bad: `case $? in 3) exit 0;; 0|4) exit 1;; *) exit 125;; esac`";

/// Time that the user's own userland runs until the crash, in seconds.
const CRASH_AFTER: u64 = 10;
/// Time that a kernel has to panic by itself, in seconds.
const TIMEOUT: u64 = 120;

/// Command line of `cargo xtask qemu-crash`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The kernel that crashes: debian-i386, debian-i386-nonpae, debian-i386-5.10, debian-amd64,
    /// debian-amd64-rt, debian-amd64-5.10, debian-amd64-6.12, debian-amd64-7.2, guest, or the path
    /// of a bzImage for i386 or x86_64
    #[arg(long, value_name = "KERNEL", default_value = "debian-i386")]
    first_kernel: String,
    /// The machine that QEMU plays
    #[arg(long, value_name = "MACHINE", default_value = "pc")]
    machine: MachineName,
    /// Targets of the dump: a disk (virtio-blk, virtio-scsi, nvme or ahci; `disk` is the first), a
    /// partition of a virtio-blk disk (partition), virtio-console, serial (COM1) or serial2 (COM2).
    /// `A+B`: to every one, in turn, and all are the same; `A,B`: to the first that works
    #[arg(long, value_name = "TARGETS", default_value = "virtio-blk")]
    target: Targets,
    /// Memory of the guest, such as 512M or 2G [default: 512M; of the test guest 128M]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    cpus: u32,
    /// The slot: SIZE@BASE, or SIZE when the kernel may pick the place
    #[arg(long, value_name = "SLOT", default_value = "32M@16M")]
    slot: String,
    /// Folder for vmcore, console.log and report.json [default: out/qemu-crash]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The encoding of the dump: auto, none or lz4 [default: auto, which is lz4 on a serial line
    /// only]
    #[arg(long, value_name = "CODEC", value_parser = ["auto", "none", "lz4"])]
    compress: Option<String>,
    /// The dump level, 0 (all memory) to 31 (kernel pages only)
    #[arg(long, value_name = "LEVEL", default_value_t)]
    level: Level,
    /// More words for the capture kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// More words for the first kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    first_append: String,
    /// Your own userland: an initramfs (cpio, compressed or not). The capture kernel is loaded
    /// first, then its /init runs, or the program that rdinit= or init= in --first-append names
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The kernel panics by itself, or dies of an oops (panic_on_oops): no sysrq
    #[arg(long)]
    expect_panic: bool,
    /// With --expect-panic: time that the kernel has for that [default: 120]
    #[arg(long, value_name = "SECONDS", requires = "expect_panic", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// With --initrd, without --expect-panic: time until sysrq crashes the kernel [default: 10]
    #[arg(long, value_name = "SECONDS", requires = "initrd", conflicts_with = "expect_panic", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    crash_after: Option<u64>,
    /// One more word for QEMU's command line, such as a device; repeatable:
    /// --qemu-arg -device --qemu-arg edu
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<String>,
    /// A Debian kernel prints the stacks of its CPUs and tasks right before the crash (sysrq l and
    /// t), with modules loaded; backtraces from the dump are compared with them
    #[arg(long, conflicts_with_all = ["initrd", "expect_panic"])]
    show_stacks: bool,
    /// A Debian kernel in which much goes on saves what its /proc says right before the crash, to
    /// the folder `said` beside the vmcore
    #[arg(long, conflicts_with_all = ["initrd", "expect_panic"])]
    save_proc: bool,
    /// Never stop the VM: times are right, but memory is only compared after the end
    #[arg(long)]
    no_truth: bool,
    /// Print the report as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Repeat the cycle; at the end print how many passed, and the times' distribution
    #[arg(long, alias = "runs", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Put a fault in, to see the checks fail
    #[arg(long, hide = true)]
    fault: Option<FaultName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MachineName {
    /// virtio on the PCI bus
    Pc,
    /// The same on PCI Express, for IOMMUs: --qemu-arg -device --qemu-arg intel-iommu,intremap=on,
    /// or amd-iommu; x86_64 kernels with --first-append intel_iommu=on or amd_iommu=on
    Q35,
    /// No PCI, no ACPI; virtio registers in memory (virtio_mmio.device=)
    Microvm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FaultName {
    StrayWrite,
    CorruptVmcore,
    Oops,
}

impl From<MachineName> for MachineType {
    fn from(name: MachineName) -> Self {
        match name {
            MachineName::Pc => Self::Pc,
            MachineName::Q35 => Self::Q35,
            MachineName::Microvm => Self::MicroVm,
        }
    }
}

impl From<FaultName> for Fault {
    fn from(name: FaultName) -> Self {
        match name {
            FaultName::StrayWrite => Self::StrayWrite,
            FaultName::CorruptVmcore => Self::CorruptVmcore,
            FaultName::Oops => Self::Oops,
        }
    }
}

/// The exit code for a kind of end.
fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::GoodDump => 0,
        Outcome::NotLoaded => 1,
        Outcome::NoPanic => 3,
        Outcome::BadDump => 4,
        Outcome::Hang => 5,
        Outcome::EarlyPanic => 6,
        Outcome::Interrupted => 130,
    }
}

/// Runs the task; the exit code says how the cycles ended.
///
/// # Errors
/// Fails if something is missing.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before anything changes the current folder.
    let out = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => root().join("out/qemu-crash"),
    };
    let config = config(args, out)?;
    catch_ctrl_c(&config.interrupt)?;
    let mut reports = Vec::new();
    for number in 1..=args.repeat {
        let report = one_cycle(&config)?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else if args.repeat == 1 {
            text::cycle(&report, &config);
        } else {
            text::one_of_many(&report, number, args.repeat);
            keep_failure(&config.out, number, &report)?;
        }
        reports.push(report);
        if config.interrupt.is_set() {
            break;
        }
    }
    if args.repeat > 1 && !args.json {
        text::distribution(&reports);
    }
    let failed = reports.iter().filter(|report| report.verdict == Verdict::Fail).count();
    if failed > 0 {
        eprintln!("error: {failed} of {} cycles did not hold every check", reports.len());
    }
    let first = reports.iter().map(|report| report.outcome).find(|end| *end != Outcome::GoodDump);
    Ok(exit_code(first.unwrap_or(Outcome::GoodDump)).into())
}

/// The cause of the kernel's death.
fn crash(args: &Args) -> Crash {
    let seconds = |given: Option<u64>, usual| Duration::from_secs(given.unwrap_or(usual));
    match (&args.initrd, args.expect_panic) {
        (_, true) => Crash::Expected(seconds(args.timeout, TIMEOUT)),
        (Some(_), false) => Crash::AskedAfter(seconds(args.crash_after, CRASH_AFTER)),
        (None, false) => Crash::Asked,
    }
}

/// Words for the capture kernel's command line. A word in `--append` counts more than an option.
fn append(args: &Args) -> String {
    let compress = args.compress.as_ref().map(|codec| format!("kdump.compress={codec}"));
    let level = (args.level != Level::ALL).then(|| format!("kdump.level={}", args.level));
    let options = level.into_iter().chain(compress);
    options.chain([args.append.clone()]).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn config(args: &Args, out: PathBuf) -> Result<Config> {
    let chosen = Chosen::new(&args.first_kernel)?;
    let is_linux = !matches!(chosen, Chosen::Guest);
    ensure!(
        is_linux || (args.initrd.is_none() && !args.expect_panic),
        "--initrd and --expect-panic are for a Linux: the test guest crashes by itself"
    );
    if let Some(path) = &args.initrd {
        let archive = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Userland::new(archive, "").with_context(|| format!("--initrd {}", path.display()))?;
    }
    // Before anything changes the current folder.
    let initrd = args.initrd.as_ref().map(std::path::absolute).transpose()?;
    setup::machine(&setup::Args::default())?;
    let images = image::build()?;
    // A disk needs none.
    let is_collected = args.target.ways().iter().any(|way| way.is_line());
    let collector = is_collected.then(image::build_collector).transpose()?.unwrap_or_default();
    let delivery = Delivery { targets: args.target.clone(), collector, ..Delivery::default() };
    let first_kernel = chosen.first_kernel(&images)?;
    let usual_memory = if matches!(chosen, Chosen::Guest) { "128M" } else { "512M" };
    let ordinary = ordinary(&images, first_kernel, out, Interrupt::default());
    Ok(Config {
        machine: args.machine.into(),
        memory: parse_size(args.memory.as_deref().unwrap_or(usual_memory))?,
        cpus: args.cpus,
        slot: args.slot.clone(),
        append: append(args),
        level: args.level,
        first_append: args.first_append.clone(),
        crash: crash(args),
        initrd,
        devices: args.qemu_arg.clone(),
        truth: !args.no_truth,
        shown_stacks: args.show_stacks,
        said: args.save_proc,
        delivery,
        fault: args.fault.map(Fault::from),
        ..ordinary
    })
}

/// The kernel that `--first-kernel` names.
enum Chosen {
    /// The test guest.
    Guest,
    /// A kernel of Debian's.
    Debian(DebianKernel),
    /// One's own bzImage.
    Own(PathBuf, BzImage),
}

impl Chosen {
    fn new(name: &str) -> Result<Self> {
        if name == "guest" {
            return Ok(Self::Guest);
        }
        if let Some(kernel) = DebianKernel::named(name) {
            return Ok(Self::Debian(kernel));
        }
        let path = std::path::absolute(name)?;
        if !path.is_file() {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
            bail!(
                "--first-kernel {name}: no such file; the names known here are guest, {}",
                known.join(", ")
            );
        }
        let image = BzImage::read(&path).context("--first-kernel")?;
        Ok(Self::Own(path, image))
    }

    fn first_kernel(&self, images: &Images) -> Result<FirstKernel> {
        match self {
            Self::Guest => {
                Ok(FirstKernel::Guest { elf: images.guest.clone(), loading: Loading::Module })
            }
            Self::Debian(kernel) => linux(*kernel, images.loader.clone()),
            Self::Own(path, image) => own_linux(path.clone(), *image, images),
        }
    }
}

/// One's own kernel, which may run no 32-bit programs if it is an x86_64 one.
fn own_linux(kernel: PathBuf, image: BzImage, images: &Images) -> Result<FirstKernel> {
    let (architecture, loader) = match image.is_64_bit {
        true => (Architecture::Amd64, image::build_loader_x86_64(images)?),
        false => (Architecture::I386, images.loader.clone()),
    };
    Ok(FirstKernel::Linux {
        name: kernel.display().to_string(),
        is_64_bit: image.is_64_bit,
        kernel,
        is_known: false,
        busybox: debian::busybox(architecture, None)?,
        loader,
    })
}

/// One cycle with a line of progress on stderr, or a line for each step where that is no terminal.
fn one_cycle(config: &Config) -> Result<Report> {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")?;
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    let shown = bar.clone();
    let show = move |step: &str| match shown.is_hidden() {
        true => info!("{step}"),
        false => shown.set_message(step.to_string()),
    };
    let report = console::with_steps(show, || qemu_tests::run(config));
    bar.finish_and_clear();
    report
}

/// Keeps the files of a failed cycle from the next one.
fn keep_failure(out: &Path, number: u32, report: &Report) -> Result<()> {
    if report.verdict == Verdict::Pass {
        return Ok(());
    }
    let folder = out.join(format!("failed-{number}"));
    fs::create_dir_all(&folder)?;
    for name in ["vmcore", "console.log", "report.json"] {
        let file = out.join(name);
        if file.exists() {
            fs::rename(&file, folder.join(name))?;
        }
    }
    println!("      its files: {}", folder.display());
    Ok(())
}
