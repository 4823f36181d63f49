//! `cargo xtask setup`: what the other tasks need and a fresh machine does not have.
//!
//! Idempotent, and it says what it does before it does it (on stderr, so that `--json` of other
//! tasks stays clean). Every task calls [`ensure`] with what it is about to use; nothing is
//! fetched that is already there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::{self, Architecture};
use crate::debian_kernels::{self, DebianKernel, FirstKernelFiles};
use crate::drgn::Drgn;
use crate::programs;
use crate::toolchain::{RustFrom, Toolchain};

/// What `cargo xtask setup` takes on its command line.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Debian mirror to fetch packages from; default: those in this host's apt sources
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Whose Rust builds the images and the loader, from now on
    #[arg(long, value_name = "FROM", value_enum, default_value_t)]
    pub rust_from: RustFrom,
}

/// What a task is about to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// What builds the images and the loader: Rust with the standard library's sources and the
    /// loader's target, a C linker, strip; with rustup's Rust also rustfmt and clippy.
    pub toolchain: bool,
    /// QEMU for i386 and x86_64, and gdb.
    pub machine: bool,
    /// Debian's i386 kernel and busybox.
    pub first_kernel: bool,
    /// Debian's amd64 kernel and busybox.
    pub first_kernel_amd64: bool,
    /// Debian's kexec-tools and makedumpfile, i386 and amd64.
    pub tools: bool,
    /// drgn, from PyPI.
    pub drgn: bool,
}

impl Needs {
    /// Everything: what `cargo xtask setup` itself makes sure of.
    pub(crate) const ALL: Needs = Needs {
        toolchain: true,
        machine: true,
        first_kernel: true,
        first_kernel_amd64: true,
        tools: true,
        drgn: true,
    };
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(Needs::ALL, args)?;
    for known in debian_kernels::ALL {
        if let Some((kernel, package)) = known.unpacked()? {
            say(&format!("first kernel {}: {package} ({})", known.name, kernel.display()));
        }
    }
    say("setup is complete");
    Ok(())
}

/// Makes sure of `needs`, fetching only what is missing.
///
/// # Errors
/// When something is missing and cannot be had; the text says what to type.
pub(crate) fn ensure(needs: Needs, args: &Args) -> Result<()> {
    let mirror = args.mirror.as_deref();
    if needs.toolchain {
        programs::ensure(programs::BUILD)?;
        Toolchain::ensure(args.rust_from, mirror)?;
    }
    if needs.machine {
        programs::ensure(programs::MACHINE)?;
    }
    if needs.first_kernel {
        debian_kernels::I386.ensure(mirror)?;
    }
    if needs.first_kernel_amd64 {
        debian_kernels::AMD64.ensure(mirror)?;
    }
    if needs.tools {
        debian::tools(Architecture::I386, mirror)?;
        debian::tools(Architecture::Amd64, mirror)?;
    }
    if needs.drgn {
        Drgn::ensure()?;
    }
    Ok(())
}

/// Everything of one of Debian's architectures that tests use.
pub(crate) struct DebianFiles {
    pub first_kernel: FirstKernelFiles,
    /// The folder with kexec-tools and makedumpfile.
    pub tools: PathBuf,
}

/// Makes sure of everything of this architecture, and says where it is.
pub(crate) fn ensure_debian(architecture: Architecture) -> Result<DebianFiles> {
    let first_kernel = DebianKernel::of(architecture).ensure(None)?;
    Ok(DebianFiles { first_kernel, tools: debian::tools(architecture, None)? })
}

/// One line of progress on stderr.
pub(crate) fn say(what: &str) {
    eprintln!("setup: {what}");
}

/// Runs `command` to its end, its output captured, and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; the error carries the command and what it said.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("cannot start: {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}\n  ended with {}\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// True when a program of that name is in one of `PATH`'s folders.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
