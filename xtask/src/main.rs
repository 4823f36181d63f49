//! `cargo xtask`: everything that cargo alone cannot do. One file per task.

mod addresses;
mod answers;
mod apt;
mod apt_sources;
mod bench;
mod console;
mod cycle;
mod debian;
mod debian_rust;
mod debuggers;
mod dist;
mod distribution;
mod drgn;
mod environment;
mod fakes;
mod formats;
mod fuzz;
mod image;
mod interop;
mod makedumpfile;
mod matrix;
mod programs;
mod python;
mod qemu_crash;
mod readers;
mod rustup;
mod setup;
mod stacks;
mod test;
mod toolchain;
mod vmlinux;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, crashes and tests kdump-rs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build purgatory, the capture kernel, the test guest, the loader and crashinfo
    Build,
    /// Write the files of a package besides the programs: manual pages, completions, a unit, the
    /// Python package
    Dist,
    /// Fetch what the other tasks need
    Setup(setup::Args),
    /// Crash a kernel under QEMU, capture its memory and check every byte of it
    QemuCrash(qemu_crash::Args),
    /// Crash kernels with stock tools in our places, have stock tools read the dumps, print the
    /// matrix
    Interop(interop::Args),
    /// Have drgn and crash list tasks and stacks in dumps at level 31, and compare with a raw one
    Debuggers,
    /// Build the Python package, install it below target/, lint it and run its tests
    Python(python::Args),
    /// Measure dumps beside those of a stock Linux and of QEMU, and the smallest slot
    Bench(bench::Args),
    /// Feed a parser of foreign bytes with libFuzzer's inputs
    Fuzz(fuzz::Args),
    /// Run everything that CI runs: format, lints, unit tests, QEMU tests
    Test(test::Args),
}

fn main() -> ExitCode {
    console::start();
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let done = match task {
        Task::Build => {
            setup::builds(&setup::Args::default())?;
            let images = image::build()?;
            match image::build_loader_x86_64(&images) {
                Ok(loader) => println!("{}", loader.display()),
                Err(error) => eprintln!("left out: {error:#}"),
            }
            for path in [&images.capture_kernel, &images.purgatory, &images.guest, &images.loader] {
                println!("{}", path.display());
            }
            println!("{}", image::build_crashinfo()?.display());
            Ok(())
        }
        Task::Dist => dist::run(),
        Task::Setup(args) => setup::run(&args),
        Task::QemuCrash(args) => return qemu_crash::run(&args),
        Task::Interop(args) => interop::run(&args),
        Task::Debuggers => debuggers::run(),
        Task::Python(args) => python::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Test(args) => test::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
