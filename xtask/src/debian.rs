//! Packages of Debian's archive: first kernels, busybox and stock tools, i386 and amd64.
//! The mirror is the one that the host's own apt sources name; `--mirror` names another.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Packages, RELEASE};
use crate::workspace::entries;

/// Stock tools that our images and dumps must get along with.
const TOOLS: &[&str] = &["kexec-tools", "makedumpfile"];
/// Dependencies of the tools' scripts, which are not run here.
const NOT_FOR_TOOLS: [&str; 2] = ["perl", "debconf"];
/// The same of iproute2, and parts of it that are not run here.
const NOT_FOR_IPROUTE: [&str; 3] = ["debconf", "libcap2-bin", "libdb5.3"];

/// One of Debian's architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// 32 bits, with PAE.
    I386,
    /// x86_64.
    Amd64,
}

impl Architecture {
    /// Debian's word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::Amd64 => "amd64",
        }
    }

    /// Folder that its packages are unpacked into. (`amd64` is taken by Debian's Rust.)
    const fn folder(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::Amd64 => "linux-amd64",
        }
    }

    /// A part of its folder, for packages of the release.
    fn packages(self, part: &str) -> Packages<'static> {
        Packages {
            root: apt::folder(self.folder()).join(part),
            architecture: self.name(),
            suites: &[RELEASE],
            ..Packages::default()
        }
    }
}

/// A kernel of Debian's archive, unpacked when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebianKernel {
    /// Its name for `--first-kernel`.
    pub name: &'static str,
    /// Its CPU architecture.
    pub architecture: Architecture,
    /// The suites that have it, the cheapest to look into first.
    suites: &'static [&'static str],
    /// Its package, with `*` for the number that changes with each update.
    package: &'static [&'static str; 1],
}

/// The newest release that has an i386 kernel, for CPUs with PAE.
pub(crate) const I386: DebianKernel = DebianKernel {
    name: "debian-i386",
    architecture: Architecture::I386,
    suites: &[RELEASE],
    package: &["linux-image-6.1.0-*-686-pae"],
};
/// Two-level page tables, and no memory above 4 GiB.
pub(crate) const I386_NONPAE: DebianKernel =
    DebianKernel { name: "debian-i386-nonpae", package: &["linux-image-6.1.0-*-686"], ..I386 };
/// The x86_64 kernel of the same release.
pub(crate) const AMD64: DebianKernel = DebianKernel {
    name: "debian-amd64",
    architecture: Architecture::Amd64,
    package: &["linux-image-6.1.0-*-amd64"],
    ..I386
};
/// The first with the log as a ring of records; VMCOREINFO names no symbol tables.
pub(crate) const AMD64_5_10: DebianKernel = DebianKernel {
    name: "debian-amd64-5.10",
    suites: &["bullseye"],
    package: &["linux-image-5.10.0-*-amd64"],
    ..AMD64
};
/// The oldest i386 kernel.
pub(crate) const I386_5_10: DebianKernel = DebianKernel {
    name: "debian-i386-5.10",
    suites: &["bullseye"],
    package: &["linux-image-5.10.0-*-686-pae"],
    ..I386
};
/// Preemptible: spinlocks sleep, and pages wait elsewhere.
pub(crate) const AMD64_RT: DebianKernel =
    DebianKernel { name: "debian-amd64-rt", package: &["linux-image-6.1.0-*-rt-amd64"], ..AMD64 };
/// The kernel of Debian 13; the backports' index is a thirtieth of its own.
pub(crate) const AMD64_6_12: DebianKernel = DebianKernel {
    name: "debian-amd64-6.12",
    suites: &["bookworm-backports", "trixie"],
    package: &["linux-image-6.12.*-amd64"],
    ..AMD64
};
/// The first in which `panic` calls `vpanic`. The packages have other names, and the modules are in
/// one of their own.
pub(crate) const AMD64_7_2: DebianKernel = DebianKernel {
    name: "debian-amd64-7.2",
    suites: &["sid", "forky"],
    package: &["linux-binary-7.2.*-amd64"],
    ..AMD64
};

/// All of them.
pub(crate) const KERNELS: [DebianKernel; 8] =
    [I386, AMD64, I386_NONPAE, I386_5_10, AMD64_RT, AMD64_5_10, AMD64_6_12, AMD64_7_2];

/// Two files for a Linux first kernel's boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstKernelFiles {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The static busybox.
    pub busybox: PathBuf,
    /// Name and version of the kernel's package.
    pub package: String,
}

/// Everything of one of Debian's architectures that tests use.
pub(crate) struct DebianFiles {
    pub first_kernel: FirstKernelFiles,
    /// The folder with kexec-tools and makedumpfile.
    pub tools: PathBuf,
    /// The folder with ss and ip.
    pub iproute: PathBuf,
}

impl DebianFiles {
    /// Makes sure of the ordinary kernel, busybox, ss, ip and the tools of this architecture.
    ///
    /// # Errors
    /// Those of [`Packages::ensure`].
    pub(crate) fn ensure(architecture: Architecture, mirror: Option<&str>) -> Result<DebianFiles> {
        let first_kernel = DebianKernel::of(architecture).ensure(mirror)?;
        let iproute = iproute(architecture, mirror)?;
        Ok(DebianFiles { first_kernel, tools: tools(architecture, mirror)?, iproute })
    }
}

impl DebianKernel {
    /// The one that `--first-kernel` calls `name`.
    pub(crate) fn named(name: &str) -> Option<DebianKernel> {
        KERNELS.into_iter().find(|kernel| kernel.name == name)
    }

    /// The ordinary one of this architecture.
    pub(crate) fn of(architecture: Architecture) -> DebianKernel {
        match architecture {
            Architecture::I386 => I386,
            Architecture::Amd64 => AMD64,
        }
    }

    /// Makes sure of the kernel and of busybox.
    ///
    /// # Errors
    /// Those of [`Packages::ensure`].
    pub(crate) fn ensure(&self, mirror: Option<&str>) -> Result<FirstKernelFiles> {
        let kernel = self.packages().ensure(mirror, kernel_in);
        let kernel = kernel.with_context(|| {
            let suites = self.suites.join(" or ");
            format!(
                "{} is not to be had: its package {} is looked for in {suites}, and a suite can \
                 leave the mirror",
                self.name, self.package[0]
            )
        })?;
        let package = apt::package_in(&self.packages().root)?;
        Ok(FirstKernelFiles { kernel, busybox: busybox(self.architecture, mirror)?, package })
    }

    /// Makes sure of the vmlinux with the debug information of exactly this kernel, for hundreds of
    /// MB; names of packages with it are those of the kernel's, and `-dbg`.
    ///
    /// # Errors
    /// Those of [`Packages::ensure`]; and if the mirror has another version of the kernel by now.
    pub(crate) fn debug_information(&self, mirror: Option<&str>) -> Result<PathBuf> {
        let kernel = self.ensure(mirror)?.package;
        let (name, version) = kernel.split_once(' ').context("the kernel's package has no name")?;
        let name = format!("{name}-dbg");
        let packages = Packages {
            root: apt::folder(self.architecture.folder()).join(format!("debug-{version}")),
            alone: &[&name],
            only: Some("./usr/lib/debug/boot/vmlinux-*"),
            ..self.packages()
        };
        let found = packages.ensure(mirror, |root| {
            Ok(entries(&root.join("usr/lib/debug/boot"), "vmlinux-", "")?.pop())
        })?;
        let unpacked = apt::package_in(&packages.root)?;
        ensure!(
            unpacked == format!("{name} {version}"),
            "the debug information is {unpacked}, and the kernel is {kernel}: the mirror has a \
             newer one. Next step: remove {} and {}",
            self.packages().root.display(),
            packages.root.display()
        );
        Ok(found)
    }

    /// The bzImage that an earlier run has unpacked, and its package's name and version.
    ///
    /// # Errors
    /// Fails if the folder is there and cannot be read.
    pub(crate) fn unpacked(&self) -> Result<Option<(PathBuf, String)>> {
        let root = self.packages().root;
        let Some(kernel) = kernel_in(&root)? else { return Ok(None) };
        Ok(Some((kernel, apt::package_in(&root)?)))
    }

    fn packages(&self) -> Packages<'static> {
        let ordinary = DebianKernel::of(self.architecture).name;
        let variant = self.name.strip_prefix(ordinary).unwrap_or(self.name);
        let folder = format!("{}{variant}", self.architecture.folder());
        Packages {
            root: apt::folder(&folder).join("root"),
            architecture: self.architecture.name(),
            suites: self.suites,
            alone: self.package,
            ..Packages::default()
        }
    }
}

/// The bzImage among a package's files: `boot/vmlinuz-VERSION`, or, from 7.x on,
/// `usr/lib/modules/VERSION/vmlinuz`.
fn kernel_in(root: &Path) -> Result<Option<PathBuf>> {
    let mut kernels = entries(&root.join("boot"), "vmlinuz-", "")?;
    let versions = entries(&root.join("usr/lib/modules"), "", "")?;
    kernels.extend(versions.into_iter().map(|version| version.join("vmlinuz")));
    Ok(kernels.into_iter().find(|kernel| kernel.is_file()))
}

/// A package that need not come along, as dpkg's status file has it.
fn stanza(name: &str, architecture: Architecture) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nVersion: 99\nArchitecture: {}\n\
         Multi-Arch: allowed\n\n",
        architecture.name()
    )
}

/// Makes sure of Debian's kexec-tools and makedumpfile with the libraries that they use; returns
/// the folder that they are unpacked into.
fn tools(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let packages = Packages {
        complete: TOOLS,
        installed: NOT_FOR_TOOLS.map(|name| stanza(name, architecture)).concat(),
        ..architecture.packages("tools")
    };
    packages.ensure(mirror, |root| Ok(root.is_dir().then(|| root.to_path_buf())))
}

/// Makes sure of Debian's ss and ip with their libraries; returns the folder that they are unpacked
/// into.
fn iproute(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let packages = Packages {
        complete: &["iproute2"],
        installed: NOT_FOR_IPROUTE.map(|name| stanza(name, architecture)).concat(),
        ..architecture.packages("iproute2")
    };
    packages.ensure(mirror, |root| Ok(root.join("bin/ss").exists().then(|| root.to_path_buf())))
}

/// Makes sure of crash(8) with its libraries, for kernels of this architecture; returns the folder
/// that it is unpacked into. It is of the release after ours: 8.0.2 finds three tasks in the raw
/// dumps of these kernels.
///
/// # Errors
/// Those of [`Packages::ensure`].
pub(crate) fn crash(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let packages = Packages {
        suites: &["trixie"],
        complete: &["crash"],
        installed: stanza("binutils", architecture),
        ..architecture.packages("crash")
    };
    packages.ensure(mirror, |root| Ok(root.is_dir().then(|| root.to_path_buf())))
}

/// Makes sure of a static busybox of this architecture.
///
/// # Errors
/// Those of [`Packages::ensure`].
pub(crate) fn busybox(architecture: Architecture, mirror: Option<&str>) -> Result<PathBuf> {
    let packages = Packages { alone: &["busybox-static"], ..architecture.packages("busybox") };
    let file = |root: &Path| root.join("bin/busybox");
    packages.ensure(mirror, |root| Ok(file(root).is_file().then(|| file(root))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_kernel_has_a_name_and_a_folder_of_its_own() {
        for (at, kernel) in KERNELS.iter().enumerate() {
            assert_eq!(DebianKernel::named(kernel.name), Some(*kernel));
            for other in &KERNELS[at + 1..] {
                assert_ne!(kernel.packages().root, other.packages().root);
            }
        }
        assert_eq!(DebianKernel::named("debian"), None);
    }

    #[test]
    fn the_bzimage_is_found_in_old_and_new_packages() {
        for place in ["boot/vmlinuz-6.1.0-50-amd64", "usr/lib/modules/7.2.13+deb14-amd64/vmlinuz"] {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(kernel_in(root.path()).unwrap(), None);
            let kernel = root.path().join(place);
            fs::create_dir_all(kernel.parent().unwrap()).unwrap();
            fs::write(&kernel, "").unwrap();
            assert_eq!(kernel_in(root.path()).unwrap(), Some(kernel));
        }
    }
}
