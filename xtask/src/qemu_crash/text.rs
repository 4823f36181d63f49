//! Crash cycles as text, for people.

use std::path::Path;

use postmortem::{Dump, Kernel, render, sections};
use qemu_tests::{Check, Config, CpuStack, Report, Verdict};

use crate::distribution::Distribution;

/// Stages whose times the table shows.
const SHOWN: [&str; 7] =
    ["panic", "purgatory", "verified", "capture_entry", "first_byte", "last_byte", "done"];

/// Lines of crashinfo's first page.
const PAGE: usize = 10;

/// Everything about one cycle.
pub(super) fn cycle(report: &Report, config: &Config) {
    head(report);
    if !config.truth {
        println!("--no-truth: the VM was not stopped; T0, T1 and T2 were not compared");
    }
    for stage in SHOWN {
        match report.timeline_ms.get(stage) {
            Some(ms) => println!("  {stage:<14}{ms:>10.1} ms"),
            None => println!("  {stage:<14}         -"),
        }
    }
    println!("  VM stopped    {:>10.1} ms, not part of these times", report.stopped_ms);
    for received in &report.received {
        let what = if received.complete { "a whole dump" } else { "no whole dump" };
        println!("  {:<16}{what}, {} damaged frames", received.target, received.damaged_frames);
    }
    report.checks.iter().for_each(check);
    report.stacks.iter().for_each(stack);
    last_lines(report);
    println!("vmcore, console.log, report.json: {}", config.out.display());
    if let Err(error) = first_page(&config.out.join("vmcore")) {
        println!("crashinfo has no answer: {error}");
    }
}

/// The first lines of crashinfo's answer, and the command that has the others.
fn first_page(vmcore: &Path) -> Result<(), postmortem::Error> {
    if !vmcore.exists() {
        return Ok(());
    }
    let dump = Dump::open(vmcore, None)?;
    // The test guest is no Linux.
    if dump.vmcore().vmcoreinfo().is_err() {
        return Ok(());
    }
    let kernel = Kernel::open(&dump)?;
    let page = sections::first_page(&kernel, &mut |_, _| {})?;
    let mut text = Vec::new();
    render::text(&page, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    println!();
    text.lines().filter(|line| !line.is_empty()).take(PAGE).for_each(|line| println!("{line}"));
    println!("...\nall of it: cargo run --release -p postmortem -- {}", vmcore.display());
    Ok(())
}

fn head(report: &Report) {
    println!(
        "first kernel {}, slot {}, memory {} MiB, {} CPUs",
        report.first_kernel,
        report.slot,
        report.memory >> 20,
        report.cpus
    );
    if let Some(line) = &report.panic {
        println!("it died of: {}", line.trim());
    }
    if report.boots > 1 {
        println!("the first kernel hung in its boot and was booted {} times", report.boots);
    }
}

fn check(check: &Check) {
    let verdict = match (check.pass, check.skipped) {
        (true, true) => "-   ",
        (true, false) => "ok  ",
        (false, _) => "FAIL",
    };
    println!("  {verdict}  {:<22}{}", check.name, check.detail);
}

/// The functions that a CPU was in.
fn stack(stack: &CpuStack) {
    let CpuStack { cpu, pid, comm, crashed, frames } = stack;
    let cpu = cpu.map_or("?".to_string(), |cpu| cpu.to_string());
    let crashed = if *crashed { ", crashed" } else { "" };
    let program = if frames.is_empty() { ", in user mode" } else { "" };
    println!("CPU {cpu}, task {pid} {comm}{crashed}{program}");
    frames.iter().for_each(|frame| println!("    {frame}"));
}

/// The console's last lines, where the cycle failed.
fn last_lines(report: &Report) {
    if report.verdict == Verdict::Pass {
        return;
    }
    println!("stopped at stage \"{}\"; the console's last lines:", report.stage);
    for line in &report.last_lines {
        println!("  | {line}");
    }
}

/// The cycle with this number of `repeat`: a line, and failures.
pub(super) fn one_of_many(report: &Report, number: u32, repeat: u32) {
    let verdict = if report.verdict == Verdict::Pass { "ok  " } else { "FAIL" };
    let done = report.timeline_ms.get("done");
    let done = done.map_or("no dump".to_string(), |ms| format!("done after {ms:.1} ms"));
    println!("{number:>4} of {repeat}  {verdict}  {done}");
    for check in report.failures() {
        println!("      FAIL  {:<22}{}", check.name, check.detail);
    }
    last_lines(report);
}

/// Number of cycles that passed, and the distribution of their times.
pub(super) fn distribution(reports: &[Report]) {
    let passed = reports.iter().filter(|report| report.verdict == Verdict::Pass).count();
    println!("{} cycles: {passed} passed, {} failed", reports.len(), reports.len() - passed);
    println!("  {:<14}{:>12}{:>10}{:>10}{:>10}", "from panic to", "median", "90 %", "99 %", "most");
    let times = |stage| reports.iter().filter_map(|report| report.timeline_ms.get(stage)).collect();
    for stage in SHOWN {
        if let Some(times) = Distribution::new(times(stage)) {
            let [median, ninety, most_of, most] = [50, 90, 99, 100].map(|p| times.percentile(p));
            println!("  {stage:<14}{median:>9.1} ms{ninety:>10.1}{most_of:>10.1}{most:>10.1}");
        }
    }
    if let Some(done) = Distribution::new(times("done")) {
        println!("panic to done, {} cycles:", done.count());
        for line in done.histogram() {
            println!("{line}");
        }
    }
}
