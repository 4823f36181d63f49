//! `cargo xtask test`: everything that CI runs, suite by suite, with the time that each took.

use crate::debian::FirstKernelFiles;
use crate::image::{self, Images};
use crate::setup::{self, Needs};
use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

/// Packages whose tests also run as 32-bit programs, as they do in the kernel and in the loader.
const ALSO_ON_I686: [&str; 5] = ["handoff", "vmcore", "dumpfile", "capture-kernel", "loader"];

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Run only the suites whose name contains this text
    #[arg(value_name = "SUITE")]
    only: Option<String>,
}

/// One suite: its name and the commands that it consists of.
struct Suite {
    name: &'static str,
    commands: Vec<Command>,
}

/// Runs all suites and prints a table of their times.
///
/// # Errors
/// When a suite failed, after all of them have run.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Needs::ALL, None)?;
    let linux = setup::ensure_first_kernel(None)?;
    let start = Instant::now();
    let images = image::build()?;
    let mut results = vec![("images and their sizes", start.elapsed(), true)];
    for suite in suites(&images, &linux)? {
        if args.only.as_deref().is_none_or(|only| suite.name.contains(only)) {
            results.push(run_suite(suite)?);
        }
    }
    println!();
    for (name, took, passed) in &results {
        let verdict = if *passed { "passed" } else { "FAILED" };
        println!("{verdict}  {:>6.1} s  {name}", took.as_secs_f64());
    }
    match results.iter().filter(|(_, _, passed)| !passed).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} suites failed: see above", results.len()),
    }
}

fn run_suite(suite: Suite) -> Result<(&'static str, Duration, bool)> {
    println!("\n== {}", suite.name);
    let start = Instant::now();
    let mut passed = true;
    for mut command in suite.commands {
        let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
        passed &= status.success();
    }
    Ok((suite.name, start.elapsed(), passed))
}

fn suites(images: &Images, linux: &FirstKernelFiles) -> Result<Vec<Suite>> {
    let mut clippy_images = image::cargo_for_images("clippy")?;
    clippy_images.args(["--", "-D", "warnings"]);
    let mut i686 = cargo(&["test", "--quiet", "--target", image::LOADER_TARGET]);
    i686.args(ALSO_ON_I686.iter().flat_map(|package| ["-p", package]));
    let mut qemu = cargo(&["test", "-p", "qemu-tests", "--test", "*", "--", "--test-threads=2"]);
    qemu.envs(images.test_environment(linux));
    let suite = |name, commands| Suite { name, commands };
    Ok(vec![
        suite("format", vec![cargo(&["fmt", "--all", "--check"])]),
        suite(
            "lints",
            vec![
                cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
                clippy_images,
            ],
        ),
        suite(
            "unit tests, x86_64",
            vec![
                cargo(&["test", "--quiet"]),
                cargo(&["test", "--quiet", "-p", "qemu-tests", "--lib"]),
            ],
        ),
        suite("unit tests, i686", vec![i686]),
        suite("QEMU tests", vec![qemu]),
    ])
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = image::cargo();
    cargo.args(arguments);
    cargo
}
