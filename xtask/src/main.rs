//! `cargo xtask`: everything that cargo alone cannot do. One file per task.

mod image;

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
    /// Build purgatory, the capture kernel and the test guest
    Build,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Build => {
            let images = image::build()?;
            println!("{}", images.capture_kernel.display());
            Ok(())
        }
    }
}
