//! `cargo xtask test`: everything that CI runs, suite by suite, with the time that each took.

use crate::debian::{self, Architecture, DebianFiles, DebianKernel};
use crate::image::{self, Images};
use crate::python;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Packages whose tests also run as 32-bit programs, as they do in the kernel and in the loader.
const ALSO_ON_I686: [&str; 8] =
    ["handoff", "vmcore", "cmdline", "linux", "slot-image", "dumpfile", "capture-kernel", "loader"];

/// Further first kernels, and their names in the QEMU tests.
const KERNELS: [(&str, DebianKernel); 4] = [
    ("KDUMP_TEST_LINUX_I386_5_10", debian::I386_5_10),
    ("KDUMP_TEST_LINUX_AMD64_5_10", debian::AMD64_5_10),
    ("KDUMP_TEST_LINUX_I386_NONPAE", debian::I386_NONPAE),
    ("KDUMP_TEST_LINUX_AMD64_6_12", debian::AMD64_6_12),
];
/// Kernels of `--full` alone. One can leave the mirror by an update.
const KERNELS_OF_FULL: [(&str, DebianKernel); 2] = [
    ("KDUMP_TEST_LINUX_AMD64_RT", debian::AMD64_RT),
    ("KDUMP_TEST_LINUX_AMD64_7_2", debian::AMD64_7_2),
];

/// The suite that keeps dumps for Python.
const CYCLES: &str = "QEMU tests";

/// Command line of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Run only the suites whose name contains this text
    #[arg(value_name = "SUITE")]
    only: Option<String>,
    /// Also the tests that take long: guests of 3 GiB and more one by one, ten times the repeats,
    /// and debuggers on filtered dumps
    #[arg(long)]
    full: bool,
}

impl Args {
    fn runs(&self, suite: &str) -> bool {
        self.only.as_deref().is_none_or(|only| suite.contains(only))
    }
}

/// One suite: its name and the commands that it consists of, or why it cannot run here.
struct Suite {
    name: &'static str,
    commands: Result<Vec<Command>>,
}

/// Runs all suites and prints a table of their times.
///
/// # Errors
/// Fails if a suite failed, after all of them have run.
pub fn run(args: &Args) -> Result<()> {
    setup::machine(&setup::Args::default())?;
    let debian = [
        DebianFiles::ensure(Architecture::I386, None)?,
        DebianFiles::ensure(Architecture::Amd64, None)?,
    ];
    let kernels = further_kernels(args.full)?;
    let start = Instant::now();
    let images = image::build()?;
    let mut environment = test_environment(&images, &debian)?;
    environment.extend(kernels);
    if args.full {
        environment.push(("KDUMP_TEST_DEBUG_I386", debian::I386.debug_information(None)?));
    }
    if args.runs(CYCLES) {
        workspace::remove_folder(&python::dumps())?;
    }
    let mut results = vec![("images and their sizes", start.elapsed(), true)];
    for suite in suites(args.full, &environment)? {
        if args.runs(suite.name) {
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

/// Paths of the further kernels; those that are missing are fetched.
fn further_kernels(full: bool) -> Result<Vec<(&'static str, PathBuf)>> {
    let of_full: &[_] = if full { &KERNELS_OF_FULL } else { &[] };
    let kernels = KERNELS.iter().chain(of_full);
    kernels.map(|(variable, kernel)| Ok((*variable, kernel.ensure(None)?.kernel))).collect()
}

fn run_suite(suite: Suite) -> Result<(&'static str, Duration, bool)> {
    println!("\n== {}", suite.name);
    let start = Instant::now();
    let mut passed = true;
    match suite.commands {
        Ok(commands) => {
            for mut command in commands {
                let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
                passed &= status.success();
            }
        }
        Err(reason) => {
            println!("{reason:#}");
            passed = false;
        }
    }
    Ok((suite.name, start.elapsed(), passed))
}

fn suites(full: bool, environment: &[(&str, PathBuf)]) -> Result<Vec<Suite>> {
    let toolchain = Toolchain::chosen()?;
    let qemu = |arguments: &[&str]| {
        let mut qemu = cargo(&["test", "-p", "qemu-tests"]);
        qemu.args(arguments).envs(environment.iter().cloned());
        Ok(vec![qemu])
    };
    let suite = |name, commands| Suite { name, commands };
    let mut suites = vec![
        suite("format", Ok(vec![cargo(&["fmt", "--all", "--check"])])),
        suite(
            "lints, host",
            Ok(vec![cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])]),
        ),
        suite("lints, images", lints_of_images(&toolchain).map(|lints| vec![lints])),
        suite(
            "unit tests, x86_64",
            Ok(vec![
                cargo(&["test", "--quiet"]),
                cargo(&["test", "--quiet", "-p", "qemu-tests", "--lib"]),
            ]),
        ),
        suite("unit tests, i686", unit_tests_i686(&toolchain).map(|tests| vec![tests])),
        suite(CYCLES, qemu(&["--test=cycles", "--test=memory", "--", "--test-threads=2"])),
        suite("QEMU, guest cycles in a row", guest_cycles(if full { "200" } else { "20" })),
    ];
    if full {
        suites.push(suite("QEMU, large guests", qemu(&["--test=full", "--", "--test-threads=1"])));
        suites.push(suite("debuggers on filtered dumps", own(&["debuggers"])));
    }
    // It reads the dumps that the suites before it have kept.
    let python: &[_] = if full { &["python", "--full"] } else { &["python"] };
    suites.push(suite("Python tests", own(python)));
    Ok(suites)
}

/// Paths for the QEMU tests: of the images, the collector, and Debian's first kernels and tools,
/// i386 and amd64.
fn test_environment(
    images: &Images,
    [i386, amd64]: &[DebianFiles; 2],
) -> Result<Vec<(&'static str, PathBuf)>> {
    let collector = image::build_collector()?;
    let mut environment = vec![
        ("KDUMP_TEST_COLLECTOR", collector),
        ("KDUMP_TEST_CRASHINFO", image::build_crashinfo()?),
        ("KDUMP_TEST_DUMPS", python::dumps()),
        ("KDUMP_TEST_CAPTURE_KERNEL", images.capture_kernel.clone()),
        ("KDUMP_TEST_CAPTURE_KERNEL_SYMBOLS", images.capture_kernel_symbols.clone()),
        ("KDUMP_TEST_PURGATORY", images.purgatory.clone()),
        ("KDUMP_TEST_GUEST", images.guest.clone()),
        ("KDUMP_TEST_LOADER", images.loader.clone()),
        ("KDUMP_TEST_SOCKETS", image::build_sockets()?),
        ("KDUMP_TEST_LINUX_I386", i386.first_kernel.kernel.clone()),
        ("KDUMP_TEST_BUSYBOX", i386.first_kernel.busybox.clone()),
        ("KDUMP_TEST_TOOLS_I386", i386.tools.clone()),
        ("KDUMP_TEST_IPROUTE_I386", i386.iproute.clone()),
        ("KDUMP_TEST_LINUX_AMD64", amd64.first_kernel.kernel.clone()),
        ("KDUMP_TEST_BUSYBOX_AMD64", amd64.first_kernel.busybox.clone()),
        ("KDUMP_TEST_TOOLS_AMD64", amd64.tools.clone()),
        ("KDUMP_TEST_IPROUTE_AMD64", amd64.iproute.clone()),
    ];
    match image::build_loader_x86_64(images) {
        Ok(loader) => environment.push(("KDUMP_TEST_LOADER_X86_64", loader)),
        Err(error) => println!("{error:#}"),
    }
    Ok(environment)
}

/// Cycles of the test guest, one after the other.
fn guest_cycles(count: &str) -> Result<Vec<Command>> {
    own(&["qemu-crash", "--first-kernel", "guest", "--memory", "64M", "--repeat", count])
}

/// Another task of this program.
fn own(arguments: &[&str]) -> Result<Vec<Command>> {
    let mut xtask = Command::new(std::env::current_exe().context("where this program lies")?);
    xtask.args(arguments);
    Ok(vec![xtask])
}

fn lints_of_images(toolchain: &Toolchain) -> Result<Command> {
    ensure!(
        *toolchain == Toolchain::Rustup,
        "lints of the images need rustup's clippy and sources; cargo xtask setup --rust-from rustup"
    );
    let mut clippy = image::cargo_for_images("clippy", toolchain)?;
    clippy.args(["--", "-D", "warnings"]);
    Ok(clippy)
}

fn unit_tests_i686(toolchain: &Toolchain) -> Result<Command> {
    ensure!(
        *toolchain == Toolchain::Rustup,
        "unit tests on i686 need rustup's target; cargo xtask setup --rust-from rustup"
    );
    let mut tests = cargo(&["test", "--quiet", "--target", toolchain.loader_target()]);
    tests.args(ALSO_ON_I686.iter().flat_map(|package| ["-p", package]));
    Ok(tests)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(arguments);
    cargo
}
