//! Functions that all tasks with crash cycles use.

use std::path::PathBuf;

use anyhow::{Context, Result};
use qemu_tests::{Config, FirstKernel, Interrupt, Report, Verdict};

use crate::debian::{Architecture, DebianKernel};
use crate::image::Images;

/// The cycle that changes nothing.
pub(crate) fn ordinary(
    images: &Images,
    first_kernel: FirstKernel,
    out: PathBuf,
    interrupt: Interrupt,
) -> Config {
    let programs = [&images.capture_kernel, &images.capture_kernel_symbols, &images.purgatory];
    Config { interrupt, ..Config::new(first_kernel, programs.map(PathBuf::clone), out) }
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
