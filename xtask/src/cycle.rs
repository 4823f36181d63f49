//! Functions that all tasks with crash cycles use.

use std::path::PathBuf;

use anyhow::{Context, Result};
use qemu_tests::{Config, Crash, Delivery, FirstKernel, Interrupt, MachineType, Report, Verdict};

use crate::debian::{Architecture, DebianKernel};
use crate::image::Images;

/// The cycle that changes nothing: 256 MiB, two CPUs, the paper's slot, our loader and capture
/// kernel.
pub(crate) fn ordinary(
    images: &Images,
    first_kernel: FirstKernel,
    out: PathBuf,
    interrupt: Interrupt,
) -> Config {
    Config {
        first_kernel,
        capture_kernel: images.capture_kernel.clone(),
        capture_kernel_symbols: images.capture_kernel_symbols.clone(),
        purgatory: images.purgatory.clone(),
        machine: MachineType::Pc,
        memory: 256 << 20,
        cpus: 2,
        slot: "32M@16M".into(),
        out,
        append: String::new(),
        first_append: String::new(),
        truth: true,
        oldmem: None,
        delivery: Delivery::default(),
        fault: None,
        crash: Crash::Asked,
        initrd: None,
        before_crash: String::new(),
        guest_dump: false,
        examine: true,
        core_headers: None,
        kexec_tools: None,
        stock_capture: None,
        dump_disk: None,
        disk_properties: String::new(),
        devices: Vec::new(),
        interrupt,
    }
}

/// One of Debian's kernels as the first kernel.
pub(crate) fn linux(kernel: DebianKernel, loader: PathBuf) -> Result<FirstKernel> {
    let files = kernel.ensure(None)?;
    let name = format!("{} ({})", kernel.name, files.package);
    let is_64_bit = kernel.architecture == Architecture::Amd64;
    let (kernel, busybox) = (files.kernel, files.busybox);
    Ok(FirstKernel::Linux { name, is_64_bit, kernel, is_known: true, busybox, loader })
}

/// The checks that a cycle did not hold, in one line; `None` where it held all of them.
pub(crate) fn failure(report: &Report) -> Option<String> {
    if report.verdict == Verdict::Pass {
        return None;
    }
    let failures = report.failures().map(|check| format!("{}: {}", check.name, check.detail));
    Some(failures.collect::<Vec<_>>().join("; "))
}

/// Has Ctrl-C and SIGTERM set the flag from now on. Every wait of a cycle looks at it, ends, and
/// takes QEMU and gdb with it. (During setup and builds they end the task itself.)
///
/// # Errors
/// Fails if the system refuses a handler.
pub(crate) fn catch_ctrl_c(interrupt: &Interrupt) -> Result<()> {
    let flag = interrupt.clone();
    ctrlc::set_handler(move || flag.set()).context("catching Ctrl-C")
}
