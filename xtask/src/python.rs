//! `cargo xtask python`: the Python package as a wheel, installed into an environment below
//! `target/python` and tested there, on fake dumps and on those that the QEMU tests keep.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian;
use crate::environment::Environment;
use crate::fakes;
use crate::workspace::{entries, remove_folder, root, target_dir};

/// Largest wheel, in bytes.
const WHEEL_BUDGET: u64 = 5 << 20;
/// Packages of the environment, each with its reason.
const PACKAGES: &str = include_str!("../../python/requirements.txt");

/// Command line of `cargo xtask python`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also on the dumps that `cargo xtask test --full` keeps
    #[arg(long)]
    full: bool,
    /// Words for pytest: files, `-k NAME`, `--no-dumps` without the dumps of the QEMU tests
    #[arg(last = true)]
    pytest: Vec<OsString>,
}

/// Builds, installs, lints and tests the package.
///
/// # Errors
/// Fails if something is missing, the package does not build, or a test fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let environment = installed()?;
    let fakes = folder("fakes");
    fakes::write(&fakes)?;
    succeeds(environment.program("ruff").args(["check", "--no-cache", "."]))?;
    let mut pytest = environment.program("pytest");
    pytest.env("KDUMP_TEST_FAKES", fakes).env("KDUMP_TEST_DUMPS", dumps());
    if args.full {
        let vmlinux = debian::I386.debug_information(None)?;
        pytest.arg("--full").env("KDUMP_TEST_DEBUG_I386", vmlinux);
    }
    succeeds(pytest.args(&args.pytest))
}

/// The environment with the package in it, which is built first.
///
/// # Errors
/// Fails as [`wheel`]; or pip refuses it.
pub(crate) fn installed() -> Result<Environment> {
    let environment = environment(None)?;
    environment.install_wheel(&wheel(&folder("wheel"))?)?;
    Ok(environment)
}

/// Makes sure of the environment that the package is built and tested in.
///
/// # Errors
/// Python or PyPI cannot be reached; the text names the command to type.
pub(crate) fn environment(mirror: Option<&str>) -> Result<Environment> {
    Environment::ensure(folder("environment"), PACKAGES, mirror)
}

/// The folder with the dumps that the QEMU tests keep.
pub(crate) fn dumps() -> PathBuf {
    folder("dumps")
}

/// Builds the wheel into `folder`, in the place of an earlier one, and checks its size.
///
/// # Errors
/// Fails as [`environment`]; or the wheel does not build, or it is larger than its budget.
pub(crate) fn wheel(folder: &Path) -> Result<PathBuf> {
    let environment = environment(None)?;
    // A wheel of another version would stay.
    let fresh = folder.join("wheel.new");
    remove_folder(&fresh)?;
    succeeds(environment.program("maturin").args(["build", "--release", "--out"]).arg(&fresh))?;
    let built = entries(&fresh, "kdump-", ".whl")?.pop().context("maturin has left no wheel")?;
    let size = fs::metadata(&built)?.len();
    ensure!(size <= WHEEL_BUDGET, "{} has {size} of {WHEEL_BUDGET} bytes", built.display());
    for earlier in entries(folder, "kdump-", ".whl")? {
        fs::remove_file(&earlier).with_context(|| format!("removing {}", earlier.display()))?;
    }
    let wheel = folder.join(built.file_name().context("a path with a name")?);
    fs::rename(&built, &wheel).with_context(|| format!("renaming {}", built.display()))?;
    remove_folder(&fresh)?;
    Ok(wheel)
}

fn folder(name: &str) -> PathBuf {
    target_dir().join("python").join(name)
}

/// Runs a program in the package's folder, its output shown.
fn succeeds(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root().join("python")).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}: see its messages above");
    Ok(())
}
