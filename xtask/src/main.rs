//! `cargo xtask`: the project's tasks.

mod debian;
mod setup;

#[derive(clap::Parser)]
enum Cli {
    Setup(setup::Args),
}

fn main() -> anyhow::Result<()> {
    match <Cli as clap::Parser>::parse() {
        Cli::Setup(args) => setup::run(&args),
    }
}
