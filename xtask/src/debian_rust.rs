//! Debian's own rustc, for a network that reaches Debian's archive and not rustup's server: found
//! in the index of the release and its security updates, unpacked under `target/debian/amd64`.
//!
//! Debian has a rustc that follows the web browsers' needs (`rustc-web`), with its sources. It
//! builds the standard library for the images, and for the loader, which is then linked against
//! Debian's static i386 glibc. Cargo and rust-lld stay those of the toolchain that runs xtask.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{self, Apt, entries};
use crate::apt_sources::{RELEASE, SECURITY, sources};
use crate::image::target_dir;
use crate::package_index::{Package, PackageIndex};
use crate::rustup;
use crate::setup::{output_of, say};

/// The loader's target: rustc-web brings no musl, so it is glibc, linked statically.
pub(crate) const LOADER_TARGET: &str = "i686-unknown-linux-gnu";
/// The compiler's package.
const RUSTC: &str = "rustc-web";
/// Its standard library for the host, on which the compiler's own libraries hang.
const LIBRARY: &str = "libstd-rust-web-dev";
/// What [`LIBRARY`] brings in the compiler's own version: fetched even where one is installed.
const LIBRARY_FAMILY: &str = "libstd-rust-web-";
/// Packages of which we want the files and nothing that they depend on: the compiler, the standard
/// library's sources, the static i386 glibc.
const ALONE: [&str; 3] = [RUSTC, "rust-web-src", "libc6-dev-i386"];
/// What dpkg-query is asked to say of every package of the host.
const STATUS_FORMAT: &str = "${db:Status-Abbrev} ${Architecture} ${Package}\\n";
/// What the package with gcc's 32-bit start files is called around gcc's version.
const START_FILES: (&str, &str) = ("lib32gcc-", "-dev");

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
    let root = folder().join("root");
    if !root.is_dir() {
        return Ok(None);
    }
    let label = root.join("package");
    let package =
        fs::read_to_string(&label).with_context(|| format!("reading {}", label.display()))?;
    Ok(Some(DebianRust { root, package }))
}

/// Finds, fetches and unpacks the packages, and sees that the compiler starts.
///
/// # Errors
/// When the host is no x86_64, no source has a rustc that is new enough, or apt or dpkg-deb fail.
pub(crate) fn fetch(mirror: Option<&str>) -> Result<DebianRust> {
    ensure!(env::consts::ARCH == "x86_64", "Debian's Rust is only fetched for x86_64 hosts");
    let sources = sources(mirror, &[RELEASE, SECURITY])?;
    let apt = Apt::new(&folder().join("apt"), "amd64", &sources)?;
    let text = apt.cache(&["dumpavail"])?;
    let index = PackageIndex::parse(&text);
    let host = output_of(Command::new("dpkg-query").args(["-W", "-f", STATUS_FORMAT]))?;
    let chosen = choose(&index, &installed(&host))?;
    say_sizes(&chosen);
    let names: Vec<String> =
        chosen.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    let root = folder().join("root");
    let fresh = apt.unpack(&names, &root)?;
    let package = format!("{RUSTC} {}", index.get(RUSTC)?.version);
    DebianRust { root: fresh.clone(), package: package.clone() }.starts()?;
    apt::settle(&fresh, &root, &package)?;
    Ok(DebianRust { root, package })
}

fn folder() -> PathBuf {
    target_dir().join("debian/amd64")
}

fn say_sizes(packages: &[&Package<'_>]) {
    let mb = |bytes: u64| bytes / 1_000_000;
    let size = mb(packages.iter().map(|package| package.size).sum());
    let unpacked = mb(packages.iter().map(|package| package.unpacked_size).sum());
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    say(&format!("fetching {} ({size} MB, {unpacked} MB unpacked)", names.join(" ")));
}

/// The packages to fetch: those of [`ALONE`], gcc's start files, and [`LIBRARY`] with the libraries
/// that the compiler needs and the host does not have.
fn choose<'i, 't>(
    index: &'i PackageIndex<'t>,
    installed: &HashSet<&str>,
) -> Result<Vec<&'i Package<'t>>> {
    is_new_enough(index.get(RUSTC)?.version)?;
    let mut chosen: BTreeMap<&str, &Package<'_>> = BTreeMap::new();
    for name in ALONE.into_iter().chain([start_files(index)?]) {
        chosen.insert(name, index.get(name)?);
    }
    let mut wanted = vec![LIBRARY];
    while let Some(name) = wanted.pop() {
        let package = index.get(name)?;
        if chosen.insert(package.name, package).is_none() {
            wanted.extend(package.depends().filter_map(|choices| missing(choices, installed)));
        }
    }
    Ok(chosen.into_values().collect())
}

/// The first of `choices`, unless the host has one of them and it need not be the compiler's own.
fn missing<'t>(choices: Vec<&'t str>, installed: &HashSet<&str>) -> Option<&'t str> {
    let serves = |name: &&str| installed.contains(name) && !name.starts_with(LIBRARY_FAMILY);
    if choices.iter().any(serves) { None } else { choices.first().copied() }
}

/// gcc's start files of the newest gcc in the index.
fn start_files<'t>(index: &PackageIndex<'t>) -> Result<&'t str> {
    let gcc = |name: &str| -> Option<u32> {
        name.strip_prefix(START_FILES.0)?.strip_suffix(START_FILES.1)?.parse().ok()
    };
    let newest = index.names().filter_map(|name| Some((gcc(name)?, name))).max();
    let Some((_, name)) = newest else {
        bail!("the index has no {}N{}", START_FILES.0, START_FILES.1);
    };
    Ok(name)
}

/// Refuses a rustc that is older than the one this workspace is written for.
fn is_new_enough(version: &str) -> Result<()> {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let minor = |version: &str| -> Option<(u32, u32)> {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    ensure!(
        minor(version) >= minor(needed),
        "the newest {RUSTC} in the index is {version}, and {needed} is needed. It is in \
         {SECURITY}, which lies on a server of its own: with --mirror only {RELEASE} itself is \
         read. Next step: name {SECURITY} in this host's apt sources, and \
         cargo xtask setup --rust-from debian without --mirror"
    );
    Ok(())
}

/// The host's installed packages that its own programs can use, from dpkg-query's answer.
fn installed(host: &str) -> HashSet<&str> {
    let mut names = HashSet::new();
    for line in host.lines() {
        if let ["ii", "amd64" | "all", name] = line.split_whitespace().collect::<Vec<_>>()[..] {
            names.insert(name);
        }
    }
    names
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

    /// As the index of 2026 has them, with the fields that count.
    const INDEX: &str = "\
Package: rustc-web
Version: 1.96.0+dfsg1-1~deb12u2
Depends: libc6 (>= 2.34), libstd-rust-web-dev (= 1.96.0+dfsg1-1~deb12u2), gcc, libc-dev

Package: libstd-rust-web-dev
Version: 1.96.0+dfsg1-1~deb12u2
Depends: libstd-rust-web-1.96 (= 1.96.0+dfsg1-1~deb12u2)

Package: libstd-rust-web-1.85
Version: 1.85.0+dfsg3-1~deb12u3
Depends: libc6, libllvm19

Package: libstd-rust-web-1.96
Version: 1.96.0+dfsg1-1~deb12u2
Depends: libc6 (>= 2.34), libllvm22, libstdc++6 (>= 11)

Package: libllvm22
Version: 1:22.1.8-1~deb12u1
Depends: libc6 (>= 2.36), libedit2 (>= 2.11), libz3-4 (>= 4.8.12)

Package: libedit2
Version: 3.1
Depends: libbsd0 | libbsd1, libc6 (>= 2.33)

Package: libbsd0
Version: 0.11

Package: libz3-4
Version: 4.8.12
Depends: libc6, libstdc++6

Package: rust-web-src
Version: 1.96.0+dfsg1-1~deb12u2

Package: libc6-dev-i386
Version: 2.36
Depends: libc6-i386 (= 2.36), libc6-dev (= 2.36)

Package: lib32gcc-9-dev
Version: 9.1

Package: lib32gcc-12-dev
Version: 12.2.0
Depends: libx32gcc-s1

Package: lib32gcc-s1
Version: 12.2.0
";

    fn names(index: &str, host: &[&str]) -> Result<Vec<String>> {
        let index = PackageIndex::parse(index);
        let chosen = choose(&index, &host.iter().copied().collect())?;
        Ok(chosen.iter().map(|package| package.name.to_string()).collect())
    }

    #[test]
    fn what_the_host_lacks_comes_along() {
        let bare = names(INDEX, &["libc6", "libstdc++6"]).unwrap();
        let alone = ["lib32gcc-12-dev", "libc6-dev-i386"];
        let rust = ["libstd-rust-web-1.96", "libstd-rust-web-dev", "rust-web-src", "rustc-web"];
        let needed = ["libbsd0", "libedit2", "libllvm22", "libz3-4"];
        let mut expected = [&alone[..], &rust, &needed].concat();
        expected.sort_unstable();
        assert_eq!(bare, expected);
    }

    #[test]
    fn what_the_host_has_does_not_except_the_compilers_own() {
        let host = ["libc6", "libstdc++6", "libllvm22", "libstd-rust-web-1.96", "rustc-web"];
        let expected = [
            "lib32gcc-12-dev",
            "libc6-dev-i386",
            "libstd-rust-web-1.96",
            "libstd-rust-web-dev",
            "rust-web-src",
            "rustc-web",
        ];
        assert_eq!(names(INDEX, &host).unwrap(), expected);
        let host = ["libc6", "libstdc++6", "libz3-4", "libbsd1"];
        assert!(!names(INDEX, &host).unwrap().contains(&"libbsd0".to_string()));
    }

    #[test]
    fn an_old_rustc_and_a_missing_package_are_refused_by_name() {
        let host = ["libc6", "libstdc++6"];
        let old = INDEX.replace("Version: 1.96.0", "Version: 1.85.0");
        let error = names(&old, &host).unwrap_err().to_string();
        assert!(error.contains("1.85.0+dfsg1") && error.contains("bookworm-security"), "{error}");
        let error = names(INDEX, &["libc6"]).unwrap_err().to_string();
        assert!(error.contains("libstdc++6"), "{error}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_new_enough("1.100.0+dfsg1").is_ok());
        assert!(is_new_enough("1.95.0+dfsg1").is_ok());
        assert!(is_new_enough("1.94.9").is_err());
        assert!(is_new_enough("1.9").is_err());
        assert!(is_new_enough("").is_err());
    }

    #[test]
    fn installed_means_whole_and_of_this_architecture() {
        let host = "ii  amd64 libz3-4\nrc  amd64 libedit2\nii  i386 libxml2\nii  all tzdata\n";
        assert_eq!(installed(host), HashSet::from(["libz3-4", "tzdata"]));
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
