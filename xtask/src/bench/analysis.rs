//! `bench --analysis`: the first answers of programs that read the same dump, each from a cold
//! start. crash and drgn have the kernel's debug information, crashinfo has none. After them come
//! programs in Python: `objects`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use log::info;
use qemu_tests::Interrupt;

use super::objects::Objects;
use super::ratio::{ratio, spread};
use crate::console;
use crate::cycle::{catch_ctrl_c, failure, linux, ordinary};
use crate::debian::AMD64;
use crate::image;
use crate::python;
use crate::setup;
use crate::stacks::Programs;
use crate::workspace::{remove_folder, target_dir};

/// Goals: crash's `bt` by our first page, drgn's list of tasks with stacks by our first page.
const GOALS: [f64; 2] = [20.0, 1.0];

/// A program with its question, and the times of its answers.
struct Row {
    name: &'static str,
    /// Milliseconds.
    times: Vec<f64>,
}

/// Runs the measurement.
///
/// # Errors
/// Fails if something is missing, or a program has no answer.
pub(super) fn run(rounds: u32) -> Result<()> {
    setup::machine(&setup::Args::default())?;
    let interrupt = Interrupt::default();
    let vmlinux = AMD64.debug_information(None)?;
    let programs = Programs::new(vmlinux.clone(), interrupt.clone())?;
    let environment = python::installed()?;
    let crashinfo = image::build_crashinfo()?;
    catch_ctrl_c(&interrupt)?;
    let folder = target_dir().join("bench-analysis");
    remove_folder(&folder)?;
    let dump = dump(&folder, &interrupt)?;
    let mut rows =
        ["crashinfo, first page", "crashinfo, bt -A", "drgn, tasks and stacks", "crash, bt"]
            .map(|name| Row { name, times: Vec::new() });
    let mut objects = Objects::default();
    for round in 1..=rounds {
        for row in &mut rows {
            info!("round {round} of {rounds}: {}", row.name);
            ensure!(!interrupt.is_set(), "interrupted");
            let took = answer(row.name, &programs, &crashinfo, &dump)?;
            row.times.push(took.as_secs_f64() * 1e3);
        }
        objects.round(&environment, &dump, &vmlinux, &interrupt)?;
    }
    print!("{}{}", text(&rows)?, objects.text()?);
    remove_folder(&folder)
}

/// Crashes a kernel; the path of its raw vmcore.
fn dump(folder: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
    let images = image::build()?;
    let first_kernel = linux(AMD64, images.loader.clone())?;
    let mut config = ordinary(&images, first_kernel, folder.to_owned(), interrupt.clone());
    // Much goes on: there are connections, and files of many kinds.
    config.said = true;
    let show = |step: &str| info!("the dump: {step}");
    let report = console::with_steps(show, || qemu_tests::run(&config))?;
    match failure(&report) {
        Some(failed) => bail!("the dump: {failed}"),
        None => Ok(folder.join("vmcore")),
    }
}

fn answer(name: &str, programs: &Programs, crashinfo: &Path, dump: &Path) -> Result<Duration> {
    let listing = match name {
        "crash, bt" => programs.crash_commands(dump, "bt\nquit\n"),
        "drgn, tasks and stacks" => programs.drgn(dump),
        "crashinfo, bt -A" => programs.of_ours(crashinfo, dump, &["bt", "-A"]),
        _ => programs.of_ours(crashinfo, dump, &[]),
    };
    let listing = listing.with_context(|| name.to_owned())?;
    ensure!(listing.text.contains("sysrq_handle_crash"), "{name}: no stack of the crash");
    Ok(listing.took)
}

/// A table of the times, and the ratios with their goals: round by round.
fn text(rows: &[Row; 4]) -> Result<String> {
    let mut text = String::from("milliseconds from the start to the end of the program\n");
    for Row { name, times } in rows {
        text.push_str(&format!("{name:<24} {}\n", spread(times, 0)?.1));
    }
    let [page, stacks, drgn, crash] = rows;
    for (theirs, ours, goal) in
        [(crash, page, GOALS[0]), (drgn, page, GOALS[1]), (drgn, stacks, GOALS[1])]
    {
        text.push_str(&ratio([theirs.name, ours.name], [&theirs.times, &ours.times], goal)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_rounds() {
        let row = |name, times: [f64; 3]| Row { name, times: times.to_vec() };
        let rows = [
            row("page", [100.0, 200.0, 100.0]),
            row("stacks", [100.0; 3]),
            row("drgn", [90.0; 3]),
            row("crash", [3000.0, 4000.0, 5000.0]),
        ];
        let text = text(&rows).expect("three rounds");
        assert!(text.contains("crash ÷ page: 30.0 (20.0 … 50.0), goal 20: met"), "{text}");
        assert!(text.contains("drgn ÷ stacks: 0.9 (0.9 … 0.9), goal 1: missed"), "{text}");
    }
}
