//! Programs of the host: looked for in `PATH`, and installed by apt where we are root.

use std::process::Command;

use anyhow::{Context, Result, bail};

use log::info;

/// A program and the Debian packages that it needs.
pub(crate) type Program = (&'static str, &'static [&'static str]);

/// Programs for builds: the linker of build scripts, and the one that removes the images' symbols.
pub(crate) const BUILD: &[Program] = &[("cc", &["gcc", "libc6-dev"]), ("strip", &["binutils"])];

/// Programs for crash cycles.
pub(crate) const MACHINE: &[Program] = &[
    ("qemu-system-i386", &["qemu-system-x86"]),
    ("qemu-system-x86_64", &["qemu-system-x86"]),
    ("qemu-nbd", &["qemu-utils"]),
    ("gdb", &["gdb"]),
];

/// Programs that unpack the Linux in a bzImage.
pub(crate) const UNPACK: &[Program] = &[("xz", &["xz-utils"])];

/// Programs that change a kernel's symbols.
pub(crate) const SYMBOLS: &[Program] = &[("objcopy", &["binutils"])];

/// Programs for Python environments.
pub(crate) const PYTHON: &[Program] = &[("python3", &["python3"])];

/// Further programs for fuzzing: libFuzzer is built from its C++ sources.
pub(crate) const FUZZ: &[Program] = &[("c++", &["g++"])];

/// Installs those of `programs` that are missing.
///
/// # Errors
/// Fails if one is missing and we are not root or apt cannot install it; the text names the command
/// to type.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let packages = missing(programs, is_installed);
    if packages.is_empty() { Ok(()) } else { install(&packages) }
}

/// Installs Debian packages.
///
/// # Errors
/// Fails if we are not root or apt cannot install them; the text names the command to type.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !is_root()? {
        bail!("missing here: {names}\n  type: sudo apt-get install {names}\n  and then again");
    }
    info!("missing here: {names}: apt-get install {names}");
    if packages.iter().any(|package| !apt_knows(package)) {
        info!("apt has no lists of packages yet: apt-get update");
        output_of(Command::new("apt-get").args(["-q", "update"]))?;
    }
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["-q", "-y", "--no-install-recommends", "install"]).args(packages);
    output_of(&mut install).with_context(|| format!("next step: apt-get install {names}"))?;
    Ok(())
}

/// The packages of those programs that are not here, each once.
fn missing(programs: &[Program], is_here: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (_, needed) in programs.iter().filter(|(program, _)| !is_here(program)) {
        for package in *needed {
            if !packages.contains(package) {
                packages.push(*package);
            }
        }
    }
    packages
}

fn apt_knows(package: &str) -> bool {
    let mut policy = Command::new("apt-cache");
    output_of(policy.args(["show", package])).is_ok_and(|text| !text.trim().is_empty())
}

fn is_root() -> Result<bool> {
    Ok(output_of(Command::new("id").arg("-u"))?.trim() == "0")
}

/// True when a program of that name is in one of `PATH`'s folders.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs `command` to its end, its output captured, and returns that output.
///
/// # Errors
/// Fails if it cannot be started or fails; the error carries the command and its stderr.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command.output().with_context(|| format!("cannot start: {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}\n  ended with {}\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_packages_once() {
        assert_eq!(missing(BUILD, |program| program != "cc"), ["gcc", "libc6-dev"]);
        assert_eq!(missing(BUILD, |program| program != "strip"), ["binutils"]);
        assert_eq!(missing(MACHINE, |_| false), ["qemu-system-x86", "qemu-utils", "gdb"]);
        assert_eq!(missing(MACHINE, |_| true), Vec::<&str>::new());
    }
}
