//! `cargo xtask setup`: everything that other tasks need and a fresh machine does not have.
//!
//! Idempotent; each step is reported before it is made. Other tasks call the parts of it that
//! they are about to use; nothing is fetched that is already there.

use anyhow::Result;
use log::info;

use crate::debian::{Architecture, DebianFiles, KERNELS};
use crate::drgn::Drgn;
use crate::programs;
use crate::python;
use crate::toolchain::{RustFrom, Toolchain};

/// Command line of `cargo xtask setup`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Debian mirror to fetch packages from; default: those in this host's apt sources
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Origin of the Rust that builds the images and the loader from now on
    #[arg(long, value_name = "FROM", value_enum, default_value_t)]
    pub rust_from: RustFrom,
}

/// Runs the task: makes sure of everything.
///
/// # Errors
/// Fails if something is missing and cannot be fetched; the text names the command to type.
pub(crate) fn run(args: &Args) -> Result<()> {
    machine(args)?;
    for architecture in [Architecture::I386, Architecture::Amd64] {
        DebianFiles::ensure(architecture, args.mirror.as_deref())?;
    }
    Drgn::ensure(args.mirror.as_deref())?;
    python::environment(args.mirror.as_deref())?;
    for known in KERNELS {
        if let Some((kernel, package)) = known.unpacked()? {
            info!("first kernel {}: {package} ({})", known.name, kernel.display());
        }
    }
    info!("setup is complete");
    Ok(())
}

/// Makes sure of the tools that build the images and the loader: Rust with the standard library's
/// sources and the loader's target, a C linker, strip; with rustup's Rust also rustfmt and clippy.
///
/// # Errors
/// As [`run`].
pub(crate) fn builds(args: &Args) -> Result<()> {
    programs::ensure(programs::BUILD)?;
    Toolchain::ensure(args.rust_from, args.mirror.as_deref())
}

/// Makes sure of the build tools, and of QEMU for i386 and x86_64, and gdb.
///
/// # Errors
/// As [`run`].
pub(crate) fn machine(args: &Args) -> Result<()> {
    builds(args)?;
    programs::ensure(programs::MACHINE)
}
