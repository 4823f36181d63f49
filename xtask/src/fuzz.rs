//! `cargo xtask fuzz`: libFuzzer over the parsers of foreign bytes. Nothing else needs it; its
//! findings are in `fuzz/corpus`, and every `cargo test` replays them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::programs;
use crate::workspace::{cargo, root, target_dir};
use log::info;

/// The driver of libFuzzer, and its version that is known to work with the pinned toolchain.
const DRIVER: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// The longest input in bytes: a page, and some bytes after it.
const MAX_LENGTH: u32 = 8192;

/// Command line of `cargo xtask fuzz`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this target [default: each in turn]
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Time that each target is fuzzed
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the task.
///
/// # Errors
/// Fails if something is missing, or an input broke a promise.
pub(crate) fn run(args: &Args) -> Result<()> {
    programs::ensure(programs::BUILD)?;
    programs::ensure(programs::FUZZ)?;
    let driver = driver()?;
    let targets = targets()?;
    if let Some(wanted) = args.target.as_ref().filter(|wanted| !targets.contains(wanted)) {
        bail!("no fuzz target \"{wanted}\"; there are {}", targets.join(", "));
    }
    let is_wanted = |target: &&String| args.target.as_ref().is_none_or(|wanted| wanted == *target);
    for target in targets.iter().filter(is_wanted) {
        fuzz(&driver, target, args)?;
    }
    Ok(())
}

/// The targets, by the names of their corpora.
fn targets() -> Result<Vec<String>> {
    let corpora = root().join("fuzz/corpus");
    let mut names = Vec::new();
    for folder in fs::read_dir(&corpora).context("reading fuzz/corpus")? {
        names.push(folder?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// cargo-fuzz, built into the target folder when it is not there.
fn driver() -> Result<PathBuf> {
    let (name, version) = DRIVER;
    let folder = target_dir().join("fuzz-driver");
    let driver = folder.join("bin").join(name);
    if !driver.is_file() {
        info!("missing here: {name} {version}: cargo install, about a minute");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--root"]).arg(&folder);
        let status = install.args(["--version", version, name]).status()?;
        ensure!(status.success(), "{name} does not install: see cargo's messages above");
    }
    Ok(driver)
}

/// New inputs go to the target folder; the project's corpus is only read.
fn fuzz(driver: &Path, target: &str, args: &Args) -> Result<()> {
    let found = target_dir().join("fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let corpus = root().join("fuzz/corpus").join(target);
    let mut run = cargo_fuzz(driver);
    run.args(["run", target]).args([&found, &corpus]).arg("--");
    // A driver leaks, on purpose, the memory of a device that does not stop.
    run.arg("-detect_leaks=0").env("ASAN_OPTIONS", "detect_leaks=0");
    run.arg(format!("-max_total_time={}", args.seconds)).arg(format!("-max_len={MAX_LENGTH}"));
    println!("\n== {target}, {} s", args.seconds);
    let status = run.status().context("cargo-fuzz does not start")?;
    ensure!(
        status.success(),
        "{target}: an input broke a promise, see above. Next step: put it into \
         fuzz/corpus/{target}, where cargo test -p fuzz-targets replays it, and mend the parser"
    );
    Ok(())
}

/// cargo-fuzz on the pinned toolchain: sanitizers and coverage are unstable options of rustc, and
/// the images are built with such options as well.
fn cargo_fuzz(driver: &Path) -> Command {
    let mut command = Command::new(driver);
    command.current_dir(root().join("fuzz")).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    if let Some(cargo) = env::var_os("CARGO") {
        command.env("CARGO", cargo);
    }
    command
}
