//! Debian's own rustc, for a network that reaches Debian's archive and not rustup's server: found
//! in the index of the release and its security updates, unpacked under `target/debian/amd64`.
//!
//! Debian has a rustc that follows the web browsers' needs (`rustc-web`), with its sources. It
//! builds the standard library for the images, and for the loader, which is then linked against
//! Debian's static i386 glibc. Cargo and rust-lld stay those of the toolchain that runs xtask.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Deb, Packages, Suites};
use crate::apt_sources::{RELEASE, SECURITY};
use crate::programs::output_of;
use crate::rustup;
use crate::workspace::entries;

/// The loader's target: rustc-web brings no musl, so it is glibc, linked statically.
pub(crate) const LOADER_TARGET: &str = "i686-unknown-linux-gnu";
/// The compiler's package.
const RUSTC: &str = "rustc-web";
/// Packages of which only their own files are used: the compiler, the standard library's sources,
/// the static i386 glibc, and gcc's 32-bit start files.
const ALONE: [&str; 4] = [RUSTC, "rust-web-src", "libc6-dev-i386", "lib32gcc-*-dev"];
/// The compiler's standard library for the host, with the libraries that the compiler needs.
const LIBRARY: &str = "libstd-rust-web-dev";
/// The packages that the host has.
const STATUS: &str = "/var/lib/dpkg/status";

/// Debian's rustc with its sources and the i386 C library, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebianRust {
    /// The folder that the packages are unpacked in.
    root: PathBuf,
    /// Name and version of the compiler's package.
    pub package: String,
}

/// What an earlier run has unpacked, or `None`.
///
/// # Errors
/// When the folder is there and cannot be read.
pub(crate) fn unpacked() -> Result<Option<DebianRust>> {
    unpacked_in(&folder())
}

fn unpacked_in(root: &Path) -> Result<Option<DebianRust>> {
    let rust = || Ok(DebianRust { root: root.to_path_buf(), package: apt::package_in(root)? });
    root.is_dir().then(rust).transpose()
}

fn folder() -> PathBuf {
    apt::folder("amd64").join("root")
}

/// Fetches and unpacks the packages where they are not there, and checks that the compiler starts.
///
/// # Errors
/// When the host is no x86_64, no source has a rustc that is new enough, or apt or dpkg-deb fail.
pub(crate) fn fetch(mirror: Option<&str>) -> Result<DebianRust> {
    ensure!(env::consts::ARCH == "x86_64", "Debian's Rust is only fetched for x86_64 hosts");
    let status = fs::read_to_string(STATUS).with_context(|| format!("reading {STATUS}"))?;
    let packages = Packages {
        root: folder(),
        architecture: "amd64",
        suites: Suites::AllOf(&[RELEASE, SECURITY]),
        alone: ALONE.to_vec(),
        complete: vec![LIBRARY],
        installed: without_rust(&status),
    };
    packages.ensure_if(is_new_enough, mirror, |root| {
        let rust = unpacked_in(root)?;
        rust.as_ref().map_or(Ok(()), DebianRust::starts)?;
        Ok(rust)
    })
}

/// The host's packages but for its own rustc-web, whose files would be missing beside ours.
fn without_rust(status: &str) -> String {
    let others = status.split_inclusive("\n\n");
    others.filter(|stanza| !stanza.contains("rustc-web") && !stanza.contains("rust-web")).collect()
}

/// Refuses a rustc that is older than the one this workspace is written for.
fn is_new_enough(debs: &[Deb]) -> Result<()> {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let minor = |version: &str| -> Option<(u32, u32)> {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    let rustc = debs.iter().find(|deb| deb.name == RUSTC);
    let version = &rustc.with_context(|| format!("apt does not offer {RUSTC}"))?.version;
    ensure!(
        minor(version) >= minor(needed),
        "the newest {RUSTC} in the index is {version}, and {needed} is needed. It is in \
         {SECURITY}, which lies on a server of its own: with --mirror only {RELEASE} itself is \
         read. Next step: name {SECURITY} in this host's apt sources, and \
         cargo xtask setup --rust-from debian without --mirror"
    );
    Ok(())
}

impl DebianRust {
    /// Makes `cargo` build with this compiler, for any target.
    ///
    /// # Errors
    /// When the pinned toolchain has no rust-lld, or a path holds a colon.
    pub(crate) fn serve(&self, cargo: &mut Command) -> Result<()> {
        let linkers = rustup::sysroot()?.join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
        ensure!(
            linkers.join("rust-lld").is_file(),
            "there is no rust-lld in {}: the images are linked with it. Likely cause: a cargo \
             that is not rustup's. Next step: install rustup with the toolchain that \
             rust-toolchain.toml names",
            linkers.display()
        );
        let search = |variable| env::var_os(variable).unwrap_or_default();
        cargo.envs(self.environment(&linkers, &search("PATH"), &search("LD_LIBRARY_PATH"))?);
        Ok(())
    }

    /// Makes `cargo`, which [`DebianRust::serve`] has prepared, link for [`LOADER_TARGET`].
    ///
    /// # Errors
    /// When gcc's start files are not among the unpacked ones.
    pub(crate) fn serve_loader(&self, cargo: &mut Command) -> Result<()> {
        let versions = entries(&self.root.join("usr/lib/gcc/x86_64-linux-gnu"), "", "")?;
        let gcc = versions.last().context("gcc's 32-bit start files are not unpacked")?;
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.loader_flags(&gcc.join("32")));
        Ok(())
    }

    /// `linkers`: the folder of rust-lld; `path` and `libraries`: the variables as they are now.
    fn environment(
        &self,
        linkers: &Path,
        path: &OsStr,
        libraries: &OsStr,
    ) -> Result<[(&'static str, OsString); 3]> {
        let own = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|at| self.root.join(at));
        let libraries = own.into_iter().chain(folders(libraries));
        let path = folders(path).chain([linkers.to_path_buf()]);
        Ok([
            ("RUSTC", self.root.join("usr/bin/rustc").into_os_string()),
            ("LD_LIBRARY_PATH", env::join_paths(libraries)?),
            ("PATH", env::join_paths(path)?),
        ])
    }

    /// Flags for a static program, linked by the host's `cc` with the unpacked start files and
    /// libraries; in cargo's encoding, which allows for spaces in paths.
    fn loader_flags(&self, gcc: &Path) -> OsString {
        let mut flags = OsString::from("-Ctarget-feature=+crt-static");
        for folder in [&self.root.join("usr/lib32"), gcc] {
            for option in ["-B", "-L"] {
                flags.push("\x1f-Clink-arg=");
                flags.push(option);
                flags.push(folder);
            }
        }
        flags
    }

    /// Sees that the compiler finds its libraries.
    fn starts(&self) -> Result<()> {
        let [(_, rustc), libraries, _] =
            self.environment(Path::new(""), OsStr::new(""), OsStr::new(""))?;
        let mut command = Command::new(rustc);
        output_of(command.arg("--version").envs([libraries])).with_context(|| {
            format!("{} does not start on this host, which needs Debian {RELEASE}", self.package)
        })?;
        Ok(())
    }
}

/// The folders of a search path; an empty one has none.
fn folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let accepted = |version: &str| {
            let (name, version) = (RUSTC.to_string(), version.to_string());
            is_new_enough(&[Deb { name, version, size: 0 }])
        };
        assert!(accepted("1.100.0+dfsg1").is_ok());
        assert!(accepted("1.95.0+dfsg1").is_ok());
        assert!(accepted("1.94.9").unwrap_err().to_string().contains("bookworm-security"));
        assert!(accepted("1.9").is_err());
        assert!(accepted("").is_err());
        assert!(is_new_enough(&[]).is_err());
    }

    #[test]
    fn the_hosts_own_rustc_web_does_not_count() {
        let status = "Package: gcc\nStatus: install ok installed\n\n\
                      Package: libstd-rust-web-dev\nStatus: install ok installed\n\n\
                      Package: cargo-web\nDepends: rustc-web\n\nPackage: robust\n\n";
        let expected = "Package: gcc\nStatus: install ok installed\n\nPackage: robust\n\n";
        assert_eq!(without_rust(status), expected);
    }

    #[test]
    fn cargo_is_told_the_compiler_its_libraries_and_the_linker() {
        let rust = DebianRust { root: "/t/a b".into(), package: String::new() };
        let environment = rust
            .environment(Path::new("/rustlib/bin"), OsStr::new("/bin:/usr/bin"), OsStr::new(""))
            .unwrap();
        let libraries = "/t/a b/usr/lib/x86_64-linux-gnu:/t/a b/lib/x86_64-linux-gnu";
        let expected = [
            ("RUSTC", "/t/a b/usr/bin/rustc"),
            ("LD_LIBRARY_PATH", libraries),
            ("PATH", "/bin:/usr/bin:/rustlib/bin"),
        ];
        assert_eq!(environment, expected.map(|(name, value)| (name, value.into())));
        let environment =
            rust.environment(Path::new("/l"), OsStr::new(""), OsStr::new("/own")).unwrap();
        assert_eq!(environment[1].1.to_str(), Some(&*format!("{libraries}:/own")));
    }

    #[test]
    fn the_loader_is_linked_with_the_unpacked_files() {
        let rust = DebianRust { root: "/t/a b".into(), package: String::new() };
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
