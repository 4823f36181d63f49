//! Debian's own rustc, for a network that reaches Debian's archive and not rustup's server: found
//! in the index of the release and its security updates, unpacked under `target/debian/amd64`.
//!
//! Debian has a rustc that follows the web browsers' needs (`rustc-web`), with its sources. It
//! builds the standard library for the images, and for the loader, which is then linked against
//! Debian's static i386 glibc. Cargo and rust-lld stay those of the toolchain that runs xtask.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Packages, RELEASE};
use crate::programs::output_of;
use crate::rustup;
use crate::workspace::entries;

/// The loader's target: rustc-web brings no musl, so it is glibc, linked statically.
pub(crate) const LOADER_TARGET: &str = "i686-unknown-linux-gnu";
/// The compiler's package.
const RUSTC: &str = "rustc-web";
/// Packages of which only their own files are used: the compiler, the standard library's sources,
/// the static i386 glibc, and gcc's 32-bit start files.
const ALONE: &[&str] = &[RUSTC, "rust-web-src", "libc6-dev-i386", "lib32gcc-*-dev"];
/// The compiler's standard library for the host, with the libraries that the compiler needs.
const LIBRARY: &[&str] = &["libstd-rust-web-dev"];
/// The packages that the host has.
const STATUS: &str = "/var/lib/dpkg/status";

/// Debian's rustc with its sources and the i386 C library, unpacked into this folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebianRust(PathBuf);

fn folder() -> PathBuf {
    apt::folder("amd64").join("root")
}

/// Packages of the host that its own programs can use, from dpkg's status file. Their dependencies
/// do not count: a host need not be in order. Rust must come as a whole, and is left out.
fn installed(status: &str) -> String {
    let is_kept = |line: &&str| {
        let (field, _) = line.split_once(':').unwrap_or_default();
        ["Package", "Status", "Version", "Architecture", "Multi-Arch", "Provides"].contains(&field)
    };
    let stanzas = status.split("\n\n").map(|text| text.lines().filter(is_kept).collect::<Vec<_>>());
    let is_own = |lines: &Vec<&str>| {
        let own =
            ["Architecture: amd64", "Architecture: all"].iter().any(|own| lines.contains(own));
        own && !lines[0].contains("rust")
    };
    stanzas.filter(is_own).map(|lines| lines.join("\n") + "\n\n").collect()
}

impl DebianRust {
    /// The compiler that an earlier run has unpacked, or `None`.
    pub(crate) fn unpacked() -> Option<Self> {
        Self::in_folder(&folder())
    }

    fn in_folder(root: &Path) -> Option<Self> {
        root.is_dir().then(|| Self(root.to_path_buf()))
    }

    /// Fetches and unpacks the packages where they are not there, and checks that the compiler
    /// starts.
    ///
    /// # Errors
    /// Fails if the host is no x86_64, no source has a rustc that is new enough, or apt or dpkg-deb
    /// fail.
    pub(crate) fn ensure(mirror: Option<&str>) -> Result<Self> {
        ensure!(env::consts::ARCH == "x86_64", "Debian's Rust is only fetched for x86_64 hosts");
        let status = fs::read_to_string(STATUS).with_context(|| format!("reading {STATUS}"))?;
        let packages = Packages {
            root: folder(),
            architecture: "amd64",
            suites: &[RELEASE],
            security: true,
            alone: ALONE,
            complete: LIBRARY,
            installed: installed(&status),
            only: None,
            oldest: env!("CARGO_PKG_RUST_VERSION"),
        };
        packages.ensure(mirror, |root| {
            let rust = Self::in_folder(root);
            rust.as_ref().map_or(Ok(()), Self::starts)?;
            Ok(rust)
        })
    }

    /// Name and version of the compiler's package.
    ///
    /// # Errors
    /// Fails if it is not there any more.
    pub(crate) fn package(&self) -> Result<String> {
        apt::package_in(&self.0)
    }

    /// Makes `cargo` build with this compiler, for any target.
    ///
    /// # Errors
    /// Fails if the pinned toolchain has no rust-lld, or a path holds a colon.
    pub(crate) fn serve(&self, cargo: &mut Command) -> Result<()> {
        let linkers = rustup::sysroot()?.join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
        ensure!(
            linkers.join("rust-lld").is_file(),
            "there is no rust-lld in {}: the images are linked with it. Likely cause: a cargo \
             that is not rustup's. Next step: install rustup with the toolchain that \
             rust-toolchain.toml names",
            linkers.display()
        );
        cargo.env("RUSTC", self.rustc()).env("LD_LIBRARY_PATH", self.libraries()?);
        let path = env::var_os("PATH").unwrap_or_default();
        cargo.env("PATH", env::join_paths(env::split_paths(&path).chain([linkers]))?);
        Ok(())
    }

    /// Makes `cargo`, which [`DebianRust::serve`] has prepared, link for [`LOADER_TARGET`].
    ///
    /// # Errors
    /// Fails if gcc's start files are not among the unpacked ones.
    pub(crate) fn serve_loader(&self, cargo: &mut Command) -> Result<()> {
        let versions = entries(&self.0.join("usr/lib/gcc/x86_64-linux-gnu"), "", "")?;
        let gcc = versions.last().context("gcc's 32-bit start files are not unpacked")?;
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.loader_flags(&gcc.join("32")));
        Ok(())
    }

    fn rustc(&self) -> PathBuf {
        self.0.join("usr/bin/rustc")
    }

    /// The search path with the compiler's libraries first.
    fn libraries(&self) -> Result<OsString> {
        let own = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|at| self.0.join(at));
        let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let others = env::split_paths(&others).filter(|folder| !folder.as_os_str().is_empty());
        Ok(env::join_paths(own.into_iter().chain(others))?)
    }

    /// Flags for a static program, linked by the host's `cc` with the unpacked start files and
    /// libraries; in cargo's encoding, which allows for spaces in paths.
    fn loader_flags(&self, gcc: &Path) -> OsString {
        let mut flags = OsString::from("-Ctarget-feature=+crt-static");
        for folder in [&self.0.join("usr/lib32"), gcc] {
            for option in ["-B", "-L"] {
                flags.push("\x1f-Clink-arg=");
                flags.push(option);
                flags.push(folder);
            }
        }
        flags
    }

    /// Checks that the compiler finds its libraries.
    fn starts(&self) -> Result<()> {
        let mut rustc = Command::new(self.rustc());
        rustc.arg("--version").env("LD_LIBRARY_PATH", self.libraries()?);
        output_of(&mut rustc).with_context(|| {
            format!("{RUSTC} does not start on this host, which needs Debian {RELEASE}")
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_packages_count_except_rust() {
        let stanza = |name: &str, architecture: &str, more: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\n{more}Architecture: {architecture}\n\
                 Version: 1\n\n"
            )
        };
        let status = [
            stanza("libz3-4", "amd64", "Depends: libc6\nDescription: a\n Package: no\n"),
            stanza("libxml2", "i386", ""),
            stanza("libstd-rust-web-dev", "amd64", ""),
            stanza("tzdata", "all", "Conflicts: rust\n"),
        ];
        let expected = stanza("libz3-4", "amd64", "") + &stanza("tzdata", "all", "");
        assert_eq!(installed(&status.concat()), expected);
    }

    #[test]
    fn the_compiler_finds_its_own_libraries_first() {
        let libraries = DebianRust("/t/a b".into()).libraries().unwrap();
        let own = "/t/a b/usr/lib/x86_64-linux-gnu:/t/a b/lib/x86_64-linux-gnu";
        assert!(libraries.to_str().unwrap().starts_with(own), "{libraries:?}");
    }

    #[test]
    fn the_loader_is_linked_with_the_unpacked_files() {
        let rust = DebianRust("/t/a b".into());
        let flags = rust.loader_flags(Path::new("/t/a b/gcc/12/32"));
        let flags: Vec<&str> = flags.to_str().unwrap().split('\x1f').collect();
        let expected = [
            "-Ctarget-feature=+crt-static",
            "-Clink-arg=-B/t/a b/usr/lib32",
            "-Clink-arg=-L/t/a b/usr/lib32",
            "-Clink-arg=-B/t/a b/gcc/12/32",
            "-Clink-arg=-L/t/a b/gcc/12/32",
        ];
        assert_eq!(flags, expected);
    }
}
