//! The Rust that builds the images and the loader: rustup's, or Debian's where rustup's server is
//! out of reach. Everything that runs on the host itself is built by the Rust that runs xtask.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use log::{info, warn};

use crate::debian_rust::{self, DebianRust};
use crate::rustup;
use crate::workspace::target_dir;

/// `--rust-from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RustFrom {
    /// Debian's where that was chosen before; else rustup's, and Debian's where rustup's fails
    #[default]
    Auto,
    /// The pinned toolchain, with rustup's additions
    Rustup,
    /// Debian's rustc-web and its sources, unpacked under target/
    Debian,
}

/// The Rust that was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The pinned toolchain.
    Rustup,
    /// Debian's compiler under the pinned toolchain's cargo.
    Debian(DebianRust),
}

impl Toolchain {
    /// Makes sure of the Rust that `from` asks for, reports it, and remembers it for later
    /// tasks.
    ///
    /// # Errors
    /// Fails if it cannot be fetched; the text names the command to type.
    pub(crate) fn ensure(from: RustFrom, mirror: Option<&str>) -> Result<()> {
        let toolchain = match from {
            RustFrom::Rustup => rustup_builds()?,
            RustFrom::Auto if !memory().exists() => rustup_builds().or_else(|error| {
                warn!("{error:#}");
                info!("so Debian's Rust it is");
                debian(mirror)
            })?,
            RustFrom::Auto | RustFrom::Debian => debian(mirror)?,
        };
        let (memory, exists) = (memory(), memory().exists());
        match &toolchain {
            Toolchain::Rustup => {
                rustup::ensure_checks()?;
                info!("Rust: {}", rustup::version()?);
                if exists { fs::remove_file(&memory) } else { Ok(()) }
            }
            Toolchain::Debian(rust) => {
                let package = rust.package()?;
                info!("Rust: Debian's {package} (back: cargo xtask setup --rust-from rustup)");
                fs::write(&memory, "debian\n")
            }
        }
        .with_context(|| format!("remembering the choice in {}", memory.display()))
    }

    /// The Rust that was chosen last; rustup's where nothing was chosen.
    ///
    /// # Errors
    /// Fails if Debian's was chosen and is not there any more.
    pub(crate) fn chosen() -> Result<Toolchain> {
        if !memory().exists() {
            return Ok(Toolchain::Rustup);
        }
        let rust = DebianRust::unpacked().context(
            "Debian's Rust was chosen and is not unpacked. Next step: \
             cargo xtask setup --rust-from debian, or --rust-from rustup",
        )?;
        Ok(Toolchain::Debian(rust))
    }

    /// Makes `cargo` build with this Rust, for any target.
    ///
    /// # Errors
    /// Fails if a part of it is missing.
    pub(crate) fn serve(&self, cargo: &mut Command) -> Result<()> {
        match self {
            Toolchain::Rustup => Ok(()),
            Toolchain::Debian(rust) => rust.serve(cargo),
        }
    }

    /// The target that the loader is built for.
    pub(crate) fn loader_target(&self) -> &'static str {
        match self {
            Toolchain::Rustup => rustup::LOADER_TARGET,
            Toolchain::Debian(_) => debian_rust::LOADER_TARGET,
        }
    }
}

fn rustup_builds() -> Result<Toolchain> {
    rustup::ensure_builds()?;
    Ok(Toolchain::Rustup)
}

fn debian(mirror: Option<&str>) -> Result<Toolchain> {
    Ok(Toolchain::Debian(DebianRust::ensure(mirror)?))
}

/// The file that exists while Debian's Rust is the chosen one.
fn memory() -> PathBuf {
    target_dir().join("rust-from")
}
