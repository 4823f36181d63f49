//! `cargo xtask qemu-crash`: boot, crash, capture, check; then say what came of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use qemu_tests::slot::parse_size;
use qemu_tests::{Config, Fault, FirstKernel, Interrupt, Report, Verdict};

use crate::debian::Architecture;
use crate::image;
use crate::setup::{self, Needs};

/// Stages whose times the table shows.
const SHOWN: [&str; 7] =
    ["panic", "purgatory", "verified", "capture_entry", "first_byte", "last_byte", "done"];

/// What `cargo xtask qemu-crash` takes on its command line.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The kernel that crashes: debian-i386, debian-amd64, guest, or the path of an i386 bzImage
    #[arg(long, value_name = "KERNEL", default_value = "debian-i386")]
    first_kernel: String,
    /// Memory of the guest, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    memory: String,
    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    cpus: u32,
    /// The slot: SIZE@BASE, or SIZE when the kernel may pick the place
    #[arg(long, value_name = "SLOT", default_value = "32M@16M")]
    slot: String,
    /// Where vmcore, console.log and report.json go [default: out/qemu-crash]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// More words for the capture kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// More words for the first kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    first_append: String,
    /// Never stop the VM: times are right, but memory is only compared after the end
    #[arg(long)]
    no_truth: bool,
    /// Print the report as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Repeat the cycle and print the medians of the times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Put a fault in, to see the checks fail
    #[arg(long, hide = true)]
    fault: Option<FaultName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FaultName {
    StrayWrite,
    CorruptVmcore,
}

/// Runs the task.
///
/// # Errors
/// When something is missing, or a check did not hold.
pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::default();
    let flag = interrupt.clone();
    // Every wait of the cycle looks at the flag, ends, and takes QEMU and gdb with it.
    ctrlc::set_handler(move || flag.set()).context("catching Ctrl-C")?;
    // Before anything changes the current folder.
    let out = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => image::root().join("out/qemu-crash"),
    };
    let config = config(args, out, interrupt)?;
    let mut reports = Vec::new();
    for _ in 0..args.runs {
        let report = one_cycle(&config)?;
        show(args, &config.out, &report)?;
        reports.push(report);
        if config.interrupt.is_set() {
            break;
        }
    }
    if reports.len() > 1 && !args.json {
        show_medians(&reports);
    }
    let failed = reports.iter().filter(|report| report.verdict == Verdict::Fail).count();
    if failed > 0 {
        bail!("{failed} of {} cycles did not hold every check", reports.len());
    }
    Ok(())
}

fn config(args: &Args, out: PathBuf, interrupt: Interrupt) -> Result<Config> {
    let name = args.first_kernel.as_str();
    let own_kernel = match name {
        "guest" | "debian-i386" | "debian-amd64" => None,
        path => Some(existing(path)?),
    };
    let needs = Needs { toolchain: true, machine: true, ..Needs::default() };
    setup::ensure(needs, &setup::Args::default())?;
    let images = image::build()?;
    let first_kernel = match name {
        "guest" => FirstKernel::Guest { elf: images.guest.clone() },
        "debian-amd64" => linux(Architecture::Amd64, None, images.loader)?,
        _ => linux(Architecture::I386, own_kernel, images.loader)?,
    };
    Ok(Config {
        first_kernel,
        capture_kernel: images.capture_kernel,
        capture_kernel_symbols: images.capture_kernel_symbols,
        purgatory: images.purgatory,
        memory: parse_size(&args.memory)?,
        cpus: args.cpus,
        slot: args.slot.clone(),
        out,
        append: args.append.clone(),
        first_append: args.first_append.clone(),
        truth: !args.no_truth,
        oldmem: None,
        fault: args.fault.map(|fault| match fault {
            FaultName::StrayWrite => Fault::StrayWrite,
            FaultName::CorruptVmcore => Fault::CorruptVmcore,
        }),
        core_headers: None,
        disk_properties: String::new(),
        interrupt,
    })
}

fn existing(path: &str) -> Result<PathBuf> {
    let kernel = std::path::absolute(path)?;
    if !kernel.is_file() {
        bail!(
            "--first-kernel {path}: no such file; debian-i386, debian-amd64 and guest are the \
             names known here"
        );
    }
    Ok(kernel)
}

fn linux(
    architecture: Architecture,
    own_kernel: Option<PathBuf>,
    loader: PathBuf,
) -> Result<FirstKernel> {
    let files = setup::ensure_first_kernel(architecture, None)?;
    let (name, kernel) = match own_kernel {
        Some(kernel) => (kernel.display().to_string(), kernel),
        None => (format!("debian-{} ({})", architecture.name(), files.package), files.kernel),
    };
    let is_64_bit = architecture == Architecture::Amd64;
    Ok(FirstKernel::Linux { name, is_64_bit, kernel, busybox: files.busybox, loader })
}

/// One cycle with a line of progress on stderr, or a line for each step where that is no terminal.
fn one_cycle(config: &Config) -> Result<Report> {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")?;
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    let report = qemu_tests::run(config, &mut |step| {
        if bar.is_hidden() {
            eprintln!("qemu-crash: {step}");
        } else {
            bar.set_message(step.to_string());
        }
    });
    bar.finish_and_clear();
    report
}

fn show(args: &Args, out: &Path, report: &Report) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!(
        "first kernel {}, slot {}, memory {}, {} CPUs",
        report.first_kernel, report.slot, args.memory, report.cpus
    );
    if report.boots > 1 {
        println!("the first kernel hung in its boot and was booted {} times", report.boots);
    }
    if args.no_truth {
        println!("--no-truth: the VM was not stopped; T0, T1 and T2 were not compared");
    }
    for stage in SHOWN {
        match report.timeline_ms.get(stage) {
            Some(ms) => println!("  {stage:<14}{ms:>10.1} ms"),
            None => println!("  {stage:<14}         -"),
        }
    }
    println!("  VM stopped    {:>10.1} ms, not part of these times", report.stopped_ms);
    for check in &report.checks {
        let verdict = if check.pass { "ok  " } else { "FAIL" };
        println!("  {verdict}  {:<22}{}", check.name, check.detail);
    }
    if report.verdict == Verdict::Fail {
        show_last_lines(report);
    }
    println!("vmcore, console.log, report.json: {}", out.display());
    Ok(())
}

fn show_last_lines(report: &Report) {
    println!("stopped at stage \"{}\"; the console's last lines:", report.stage);
    for line in &report.last_lines {
        println!("  | {line}");
    }
}

fn show_medians(reports: &[Report]) {
    println!("medians of {} runs", reports.len());
    for stage in SHOWN {
        let mut times: Vec<f64> =
            reports.iter().filter_map(|report| report.timeline_ms.get(stage)).collect();
        times.sort_by(f64::total_cmp);
        if let Some(median) = times.get(times.len() / 2) {
            println!("  {stage:<14}{median:>10.1} ms");
        }
    }
}
