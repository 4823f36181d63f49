//! Properties of every vmcore (the tests below have a vmcore for each check that fails it).

use anyhow::{Context, Result, ensure};

use crate::check::contents::vmcore_equals_memory;
use crate::check::coverage::coverage;
use crate::check::cpus::{panic_path, register_pattern, registers};
use crate::check::dead_kernel;
use crate::check::evidence::Evidence;
use crate::check::kept::memory_kept;
use crate::check::notes::{only_vmcoreinfo, prstatus_notes};
use crate::host::gdb;
use crate::report::Check;

/// All checks that the evidence allows.
pub fn vmcore_checks(evidence: &Evidence<'_>) -> Vec<Check> {
    let mut checks = vec![
        Check::new("vmcore_equals_memory", vmcore_equals_memory(evidence)),
        Check::new("coverage", coverage(evidence)),
        Check::new("prstatus_notes", prstatus_notes(evidence)),
        Check::new("registers", registers(evidence)),
        unless_unchecked(evidence, dead_kernel::BANNER, banner),
        unless_unchecked(evidence, dead_kernel::PANIC_PATH, panic_path),
    ];
    if !evidence.dead.register_patterns.is_empty() {
        checks.push(Check::new("register_pattern", register_pattern(evidence)));
    }
    if let Some(vmcoreinfo) = evidence.dead.vmcoreinfo {
        checks.push(Check::new("vmcoreinfo", only_vmcoreinfo(evidence, vmcoreinfo)));
    }
    checks.extend(memory_kept(evidence.memory, evidence.dead, evidence.truth));
    checks
}

/// The check, or why it cannot be made.
fn unless_unchecked(
    evidence: &Evidence<'_>,
    name: &str,
    check: impl Fn(&Evidence<'_>) -> Result<String>,
) -> Check {
    match evidence.dead.unchecked.get(name) {
        Some(why) => Check::skipped(name, why),
        None => Check::new(name, check(evidence)),
    }
}

/// gdb, without a vmlinux, reads the kernel's banner where the kernel said it is.
fn banner(evidence: &Evidence<'_>) -> Result<String> {
    let (address, expected) = evidence.dead.banner.as_ref().context("where it is is not known")?;
    let read = gdb::read_core(evidence.core.path(), *address, expected.len())?;
    let shown = String::from_utf8_lossy(&read).replace(char::is_control, " ");
    let shown = shown.trim();
    ensure!(read == *expected, "gdb reads at {address:#x}: {shown}");
    Ok(format!("gdb reads at {address:#x}: {shown}"))
}

#[cfg(test)]
mod tests;
