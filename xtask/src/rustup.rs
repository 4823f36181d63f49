//! The Rust that `rust-toolchain.toml` pins, and rustup's additions to it. Listing them there is
//! not enough: if rustup's automatic installation is off, the file installs nothing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::root;
use log::info;

use crate::programs::output_of;

/// The loader's target.
pub(crate) const LOADER_TARGET: &str = "i686-unknown-linux-musl";

/// The target of the loader for x86_64 kernels that run no i386 programs.
pub(crate) const LOADER_TARGET_X86_64: &str = "x86_64-unknown-linux-musl";

/// Makes sure of the parts that build the images and the loader: the standard library's sources and
/// the loader's targets.
///
/// # Errors
/// Fails if rustup cannot add a missing part.
pub(crate) fn ensure_builds() -> Result<()> {
    let rustlib = sysroot()?.join("lib/rustlib");
    let library = rustlib.join("src/rust/library/core/src/lib.rs");
    add("component", "rust-src", library.is_file())?;
    for target in [LOADER_TARGET, LOADER_TARGET_X86_64] {
        add("target", target, rustlib.join(target).join("lib").is_dir())?;
    }
    Ok(())
}

/// Makes sure of rustfmt and clippy.
///
/// # Errors
/// As [`ensure_builds`].
pub(crate) fn ensure_checks() -> Result<()> {
    let programs = sysroot()?.join("bin");
    add("component", "rustfmt", programs.join("rustfmt").is_file())?;
    add("component", "clippy", programs.join("cargo-clippy").is_file())
}

/// The folder of the pinned toolchain.
///
/// # Errors
/// Fails if there is no rustc.
pub(crate) fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(output_of(rustc().args(["--print", "sysroot"]))?.trim()))
}

/// The name and version that its rustc prints.
///
/// # Errors
/// Fails if there is no rustc.
pub(crate) fn version() -> Result<String> {
    Ok(output_of(rustc().arg("--version"))?.trim().to_string())
}

fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(root());
    command
}

fn add(what: &str, name: &str, there: bool) -> Result<()> {
    if there {
        return Ok(());
    }
    info!("the toolchain has no {name}: rustup {what} add {name}");
    let mut command = Command::new("rustup");
    output_of(command.args([what, "add", name]).current_dir(root())).with_context(|| {
        format!(
            "{name} is missing and rustup cannot add it. Likely cause: no way to rustup's \
             server, or a toolchain that rustup does not manage. Next step: run \
             `rustup {what} add {name}` where the network is, or take Debian's Rust: \
             cargo xtask setup --rust-from debian"
        )
    })?;
    Ok(())
}
