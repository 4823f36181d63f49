//! Building the images. This is the one place that knows the unstable flags, the target description
//! and the profile that they are built with.

use crate::rustup;
use crate::toolchain::Toolchain;
use crate::workspace::{cargo, target_dir};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Largest capture kernel that we ship, as an ELF file without debug information, in bytes.
const CAPTURE_KERNEL_BUDGET: u64 = 512 << 10;
/// Largest purgatory, likewise.
const PURGATORY_BUDGET: u64 = 16 << 10;
/// Largest `crashinfo`.
const CRASHINFO_BUDGET: u64 = 10 << 20;
/// The target of a `crashinfo` that is linked statically: with a target of its own, flags for it do
/// not reach build scripts.
const CRASHINFO_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Paths of the images. The `*_symbols` files are the same programs with their debug information.
pub struct Images {
    /// The capture kernel as it is loaded.
    pub capture_kernel: PathBuf,
    /// The capture kernel with symbols.
    pub capture_kernel_symbols: PathBuf,
    /// Purgatory as it is loaded: with relocations and symbols, without debug information.
    pub purgatory: PathBuf,
    /// The test guest, with symbols.
    pub guest: PathBuf,
    /// The loader with both images in it: a static i386 Linux program.
    pub loader: PathBuf,
}

/// The description of the i386 target, which is a file of boot-stub.
fn target_json() -> Result<PathBuf> {
    // bootloader-locator asks cargo about the package in the current folder.
    env::set_current_dir(env!("CARGO_MANIFEST_DIR"))?;
    let manifest = bootloader_locator::locate_bootloader("boot_stub").map_err(|error| {
        anyhow::anyhow!("boot-stub is not found among xtask's dependencies: {error}")
    })?;
    let folder = manifest.parent().context("boot-stub's manifest has no folder")?;
    Ok(folder.join("i686-kdump.json"))
}

/// A cargo call for the bare-metal packages: `build` or `clippy`.
pub fn cargo_for_images(subcommand: &str, toolchain: &Toolchain) -> Result<Command> {
    let mut cargo = cargo();
    toolchain.serve(&mut cargo)?;
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .arg(subcommand)
        .args(["--profile", "image", "--target"])
        .arg(target_json()?)
        .args(["-Zjson-target-spec", "-Zbuild-std=core,alloc,compiler_builtins"])
        .arg("-Zbuild-std-features=compiler-builtins-mem,optimize_for_size")
        .args(["-p", "purgatory", "-p", "capture-kernel", "-p", "guest"]);
    Ok(cargo)
}

/// Builds purgatory, the capture kernel and the test guest, checks their sizes, and builds the
/// loader with the first two in it.
pub fn build() -> Result<Images> {
    let toolchain = Toolchain::chosen()?;
    let status = cargo_for_images("build", &toolchain)?.status().context("cargo does not start")?;
    ensure!(status.success(), "the images do not build: see cargo's messages above");
    let built = target_dir().join("i686-kdump/image");
    let folder = target_dir().join("images");
    fs::create_dir_all(&folder)?;
    let images = Images {
        capture_kernel: folder.join("capture-kernel.elf"),
        capture_kernel_symbols: built.join("capture-kernel"),
        purgatory: folder.join("purgatory.elf"),
        guest: built.join("guest"),
        loader: target_dir().join(toolchain.loader_target()).join("release/kdump-loader"),
    };
    let kernel = stripped(&images.capture_kernel_symbols)?;
    write_within(&images.capture_kernel, &movable(kernel), CAPTURE_KERNEL_BUDGET)?;
    write_within(&images.purgatory, &fs::read(built.join("purgatory"))?, PURGATORY_BUDGET)?;
    build_loader(&images, &toolchain)?;
    Ok(images)
}

/// Builds the loader for x86_64 kernels that run no i386 programs, with the images in it, and
/// returns its path.
///
/// # Errors
/// Fails if it does not build, or the chosen Rust has no static library for it.
pub fn build_loader_x86_64(images: &Images) -> Result<PathBuf> {
    let toolchain = Toolchain::chosen()?;
    ensure!(
        toolchain == Toolchain::Rustup,
        "the x86_64 loader needs rustup's target; cargo xtask setup --rust-from rustup"
    );
    let target = rustup::LOADER_TARGET_X86_64;
    run_loader_build(cargo(), images, target)?;
    Ok(target_dir().join(target).join("release/kdump-loader"))
}

/// Builds the collector, a program of the host, and returns its path.
///
/// # Errors
/// Fails if it does not build.
pub fn build_collector() -> Result<PathBuf> {
    let status = cargo().args(["build", "--release", "-p", "collector"]).status();
    let status = status.context("cargo does not start")?;
    ensure!(status.success(), "the collector does not build: see cargo's messages above");
    Ok(target_dir().join("release/kdump-collector"))
}

/// Builds `crashinfo`, one static program, checks its size, and returns its path. It is linked
/// against the static glibc, which is there with every C compiler: zstd's library is C.
///
/// # Errors
/// Fails if it does not build, or is larger than its budget.
pub fn build_crashinfo() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.args(["build", "--release", "--target", CRASHINFO_TARGET, "-p", "postmortem"]);
    let status = cargo.status().context("cargo does not start")?;
    ensure!(status.success(), "crashinfo does not build: see cargo's messages above");
    let path = target_dir().join(CRASHINFO_TARGET).join("release/crashinfo");
    let size = fs::metadata(&path)?.len();
    ensure!(size <= CRASHINFO_BUDGET, "crashinfo has {size} of {CRASHINFO_BUDGET} bytes");
    Ok(path)
}

/// Builds the program that opens sockets in a Linux first kernel, and returns its path. It runs
/// where the loader does.
///
/// # Errors
/// Fails if it does not build.
pub fn build_sockets() -> Result<PathBuf> {
    let toolchain = Toolchain::chosen()?;
    let target = toolchain.loader_target();
    let mut cargo = cargo_for_i386(&toolchain)?;
    let status = cargo.args(["build", "--release", "--target", target, "-p", "sockets"]).status();
    let status = status.context("cargo does not start")?;
    ensure!(
        status.success(),
        "the program with sockets does not build: see cargo's messages above"
    );
    Ok(target_dir().join(target).join("release/sockets"))
}

/// A cargo call for static i386 Linux programs.
fn cargo_for_i386(toolchain: &Toolchain) -> Result<Command> {
    let mut cargo = cargo();
    toolchain.serve(&mut cargo)?;
    if let Toolchain::Debian(rust) = toolchain {
        rust.serve_loader(&mut cargo)?;
        // It comes without an i386 standard library.
        cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
    }
    Ok(cargo)
}

fn build_loader(images: &Images, toolchain: &Toolchain) -> Result<()> {
    run_loader_build(cargo_for_i386(toolchain)?, images, toolchain.loader_target())
}

fn run_loader_build(mut cargo: Command, images: &Images, target: &str) -> Result<()> {
    let status = cargo
        .args(["build", "--release", "--target", target, "-p", "loader"])
        .env("KDUMP_CAPTURE_KERNEL", &images.capture_kernel)
        .env("KDUMP_PURGATORY", &images.purgatory)
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "the loader does not build: see cargo's messages above");
    Ok(())
}

/// The bytes of `elf` without its symbols and debug information.
fn stripped(elf: &Path) -> Result<Vec<u8>> {
    let output = elf.with_extension("stripped");
    let status = Command::new("strip").arg("-o").args([&output, elf]).status();
    let status = status.context("cannot run `strip`: install binutils, which comes with gcc")?;
    ensure!(status.success(), "`strip` failed on {}", elf.display());
    Ok(fs::read(&output)?)
}

/// Marks `elf` as ET_DYN. The capture kernel finds its physical base at entry, so a loader may move
/// it as a whole; ELF says that with the file type, and the linker says ET_EXEC because nothing in
/// it needs a relocation.
fn movable(mut elf: Vec<u8>) -> Vec<u8> {
    const E_TYPE: usize = 16;
    const ET_DYN: u16 = 3;
    elf[E_TYPE..E_TYPE + 2].copy_from_slice(&ET_DYN.to_le_bytes());
    elf
}

fn write_within(path: &Path, bytes: &[u8], budget: u64) -> Result<()> {
    let size = bytes.len() as u64;
    if size > budget {
        bail!("{} has {size} bytes, over its budget of {budget}", path.display());
    }
    if fs::read(path).ok().as_deref() != Some(bytes) {
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
