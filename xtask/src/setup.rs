//! `cargo xtask setup`: what the other tasks need and a fresh machine does not have.
//!
//! Idempotent, and it says what it does before it does it (on stderr, so that `--json` of other
//! tasks stays clean). Every task calls [`ensure`] with what it is about to use; nothing is
//! fetched that is already there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::{self, FirstKernelFiles};
use crate::image;

/// What `cargo xtask setup` takes on its command line.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Debian mirror to fetch the i386 packages from; default: the one in this host's apt sources
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// What a task is about to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The standard library's sources, the loader's target, rustfmt and clippy.
    pub toolchain: bool,
    /// QEMU for i386 and x86_64, and gdb.
    pub machine: bool,
    /// Debian's i386 kernel and busybox.
    pub first_kernel: bool,
}

impl Needs {
    /// Everything: what `cargo xtask setup` itself makes sure of.
    pub(crate) const ALL: Needs = Needs { toolchain: true, machine: true, first_kernel: true };
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(Needs::ALL, args.mirror.as_deref())?;
    if let Some(files) = debian::unpacked()? {
        say(&format!("first kernel: {} ({})", files.package, files.kernel.display()));
    }
    say("setup is complete");
    Ok(())
}

/// Makes sure of `needs`, fetching only what is missing.
///
/// # Errors
/// When something is missing and cannot be had; the text says what to type.
pub(crate) fn ensure(needs: Needs, mirror: Option<&str>) -> Result<()> {
    if needs.toolchain {
        ensure_toolchain()?;
    }
    if needs.machine {
        ensure_machine()?;
    }
    if needs.first_kernel {
        ensure_first_kernel(mirror)?;
    }
    Ok(())
}

/// Makes sure of Debian's i386 kernel and busybox, and says where they are.
pub(crate) fn ensure_first_kernel(mirror: Option<&str>) -> Result<FirstKernelFiles> {
    match debian::unpacked()? {
        Some(files) => Ok(files),
        None => debian::fetch(mirror),
    }
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

/// What rustup adds to the toolchain that `rust-toolchain.toml` pins. Listing it there is not
/// enough: where rustup's automatic installation is off, the file installs nothing.
fn ensure_toolchain() -> Result<()> {
    let sysroot = output_of(rustc().args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let library = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    rustup_adds("component", "rust-src", library.is_file())?;
    let musl = sysroot.join("lib/rustlib/i686-unknown-linux-musl/lib");
    rustup_adds("target", "i686-unknown-linux-musl", musl.is_dir())?;
    for tool in ["rustfmt", "clippy"] {
        let program = if tool == "clippy" { "cargo-clippy" } else { tool };
        rustup_adds("component", tool, sysroot.join("bin").join(program).is_file())?;
    }
    Ok(())
}

fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(image::root());
    command
}

fn rustup_adds(what: &str, name: &str, there: bool) -> Result<()> {
    if there {
        return Ok(());
    }
    say(&format!("the toolchain has no {name}: rustup {what} add {name}"));
    let mut command = Command::new("rustup");
    output_of(command.args([what, "add", name]).current_dir(image::root())).with_context(|| {
        format!(
            "{name} is missing and rustup cannot add it. Likely cause: no way to rustup's \
                 server, or a toolchain that rustup does not manage. Next step: run \
                 `rustup {what} add {name}` where the network is, then again"
        )
    })?;
    Ok(())
}

/// Programs of the host that the crash cycles use, and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 3] = [
    ("qemu-system-i386", "qemu-system-x86"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("gdb", "gdb"),
];

fn ensure_machine() -> Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    for (program, package) in PROGRAMS {
        if !is_installed(program) && !packages.contains(&package) {
            packages.push(package);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !is_root()? {
        bail!("missing here: {names}\n  type: sudo apt-get install {names}\n  and then again");
    }
    say(&format!("missing here: {names}: apt-get install {names}"));
    if packages.iter().any(|package| !apt_knows(package)) {
        say("apt has no lists of packages yet: apt-get update");
        output_of(Command::new("apt-get").args(["-q", "update"]))?;
    }
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["-q", "-y", "--no-install-recommends", "install"]).args(&packages);
    output_of(&mut install).with_context(|| format!("next step: apt-get install {names}"))?;
    Ok(())
}

fn apt_knows(package: &str) -> bool {
    let mut policy = Command::new("apt-cache");
    output_of(policy.args(["show", package])).is_ok_and(|text| !text.trim().is_empty())
}

fn is_root() -> Result<bool> {
    Ok(output_of(Command::new("id").arg("-u"))?.trim() == "0")
}
