//! Exact commands with which other tools open this dump.

use std::path::Path;

use serde::Serialize;
use vmcore::{EM_386, SegmentKind, vmcoreinfo_get};

use crate::VmcoreFile;
use crate::text::quoted;

/// Placeholder for a number that is not in the dump.
const OFFSET: &str = "OFFSET";
/// `CONFIG_PAGE_OFFSET` of most i386 kernels, and crash's default.
const USUAL_PAGE_OFFSET: u64 = 0xc000_0000;

/// Commands that open a vmcore, ready for a shell.
#[derive(Debug, Serialize)]
pub struct Readers {
    /// Path of the kernel's debug information once it is installed, or `vmlinux`.
    pub vmlinux: String,
    /// The package that contains it, with its distribution.
    pub package: Option<String>,
    /// Id of the kernel's build, in hexadecimal: that of its debug files.
    pub build_id: Option<String>,
    /// Commands that fetch the debug information, where they are known.
    pub fetch: Vec<String>,
    /// Our own command that needs no debug information (x86_64); none without a VMCOREINFO.
    pub crashinfo: Option<String>,
    /// Command for gdb.
    pub gdb: String,
    /// Command for crash(8).
    pub crash: String,
    /// Command for drgn.
    pub drgn: String,
    /// Our own command that shows the backtrace of each CPU.
    pub backtrace: String,
    /// Notes on these commands.
    pub notes: Vec<String>,
}

impl Readers {
    pub(crate) fn of(vmcore: &VmcoreFile, path: &Path) -> Self {
        // Without the note, all of its keys are missing.
        let text = vmcore.vmcoreinfo().unwrap_or_default();
        let is_i386 = vmcore.machine == EM_386;
        let mut notes = Vec::new();
        let copy = format!("kdump-collector extract {} -o vmcore", quoted(path));
        let (file, core) = match () {
            () if vmcore.is_on_disk() => {
                notes.push(format!("copy it first: {copy}"));
                ("vmcore".to_owned(), "vmcore".to_owned())
            }
            () if vmcore.is_kdump() || vmcore.is_flattened() => {
                notes.push(format!("gdb opens ELF files only: {copy}"));
                (quoted(path), "vmcore".to_owned())
            }
            () => (quoted(path), quoted(path)),
        };
        let (vmlinux, package) = vmcoreinfo_get(text, "OSRELEASE").map_or_else(unknown, debug_file);
        let offset = offset(text, is_i386, &vmlinux, &mut notes);
        let build_id = vmcoreinfo_get(text, "BUILD-ID").filter(|id| is_build_id(id));
        let install = package.as_deref().and_then(install);
        let find = build_id.map(|id| format!("debuginfod-find debuginfo {id}"));
        let gdb = match &offset {
            None => format!("gdb {vmlinux} {core}"),
            Some(offset) => format!(
                "gdb -iex 'set confirm off' -c {core} -ex 'add-symbol-file {vmlinux} -o {offset}'"
            ),
        };
        let options =
            if is_i386 { crash_options(vmcore, offset, &mut notes) } else { String::new() };
        Self {
            gdb,
            crash: format!("crash {options}{vmlinux} {file}"),
            drgn: format!("drgn -c {file} -s {vmlinux}"),
            backtrace: format!("kdump-collector backtrace {}", quoted(path)),
            build_id: build_id.map(ToOwned::to_owned),
            fetch: install.into_iter().chain(find).collect(),
            crashinfo: (!text.is_empty()).then(|| format!("crashinfo {}", quoted(path))),
            vmlinux,
            package,
            notes,
        }
    }
}

/// Offset that the symbols are moved by, if they are moved.
fn offset(text: &[u8], is_i386: bool, vmlinux: &str, notes: &mut Vec<String>) -> Option<String> {
    let hex = |key| u64::from_str_radix(vmcoreinfo_get(text, key)?, 16).ok();
    match (hex("KERNELOFFSET"), hex("SYMBOL(_stext)")) {
        (Some(0), _) => None,
        (Some(offset), _) => Some(format!("{offset:#x}")),
        // The kernel itself reports it on x86_64 only.
        (None, Some(stext)) if is_i386 => {
            notes.push(format!(
                "VMCOREINFO does not say how far the kernel has moved: {OFFSET} is {stext:#x} less what \
                 `nm {vmlinux} | grep ' _stext$'` says"
            ));
            Some(OFFSET.to_owned())
        }
        _ => None,
    }
}

/// Options of crash for an i386 kernel.
fn crash_options(vmcore: &VmcoreFile, offset: Option<String>, notes: &mut Vec<String>) -> String {
    notes.push(
        "crash 8 wants a symbol sys_open of i386 kernels: objcopy --add-symbol sys_open=.text:0 \
         VMLINUX NEW"
            .to_owned(),
    );
    let page_offset = page_offset(vmcore);
    let moved = offset.map(|offset| format!("--kaslr={offset} "));
    let is_told = moved.is_some() || page_offset.is_some_and(|place| place != USUAL_PAGE_OFFSET);
    let place = page_offset.filter(|_| is_told).map(|place| format!("-m page_offset={place:#x} "));
    moved.unwrap_or_default() + &place.unwrap_or_default()
}

/// Virtual address of physical address zero, if all PT_LOADs with a virtual address agree. QEMU
/// writes the physical address there, which makes the result zero; zero is dropped.
fn page_offset(vmcore: &VmcoreFile) -> Option<u64> {
    let loads = vmcore.segments.iter().filter(|segment| segment.kind == SegmentKind::Load);
    let mapped = loads.filter(|load| ![0, u32::MAX.into(), u64::MAX].contains(&load.vaddr));
    let mut places = mapped.map(|load| load.vaddr.checked_sub(load.paddr.get()));
    let first = places.next()??;
    let agree = places.all(|place| place == Some(first));
    (agree && first > 0).then_some(first)
}

fn unknown() -> (String, Option<String>) {
    ("vmlinux".to_owned(), None)
}

/// Path of a distribution's vmlinux for this release, and its package. The release comes from the
/// dump and goes into a shell: a release with unusual characters is refused.
fn debug_file(release: &str) -> (String, Option<String>) {
    let is_usual = |letter: char| letter.is_ascii_alphanumeric() || "._+~-".contains(letter);
    if release.is_empty() || !release.chars().all(is_usual) {
        return unknown();
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| release.ends_with(end));
    let boot = format!("/usr/lib/debug/boot/vmlinux-{release}");
    if ends(&["-amd64", "-686", "-686-pae"]) {
        (boot, Some(format!("Debian: linux-image-{release}-dbg")))
    } else if ends(&["-generic", "-lowlatency", "-aws", "-azure", "-gcp", "-kvm", "-oracle"]) {
        (boot, Some(format!("Ubuntu: linux-image-unsigned-{release}-dbgsym")))
    } else if (release.contains(".fc") || release.contains(".el")) && ends(&[".x86_64", ".i686"]) {
        let path = format!("/usr/lib/debug/lib/modules/{release}/vmlinux");
        (path, Some(format!("Fedora, RHEL: kernel-debuginfo-{release}")))
    } else {
        unknown()
    }
}

/// True for a build id: it goes into a shell.
fn is_build_id(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The command that installs a package, `Debian: linux-image-…-dbg`.
fn install(package: &str) -> Option<String> {
    let (distribution, name) = package.split_once(": ")?;
    match distribution {
        "Debian" => Some(format!("apt-get install {name}")),
        "Ubuntu" => Some(format!("apt-get install {name} (from the archive ddebs)")),
        "Fedora, RHEL" => {
            Some(format!("dnf debuginfo-install {}", name.replacen("-debuginfo", "", 1)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_fetch_debug_files() {
        let debian = install("Debian: linux-image-6.1.0-50-amd64-dbg");
        assert_eq!(debian.as_deref(), Some("apt-get install linux-image-6.1.0-50-amd64-dbg"));
        let fedora = install("Fedora, RHEL: kernel-debuginfo-6.5.6-300.fc39.x86_64");
        let expected = "dnf debuginfo-install kernel-6.5.6-300.fc39.x86_64";
        assert_eq!(fedora.as_deref(), Some(expected));
        assert_eq!(install("Other: x"), None);
        assert!(is_build_id("06f8bde30046985060c60820f7a11515a33afb06"));
        for other in ["", "06f8", "06f8bde3;x", "'06f8bde300469850'", &"a".repeat(65)] {
            assert!(!is_build_id(other), "{other}");
        }
    }

    #[test]
    fn debug_files_by_release() {
        let package = |release| debug_file(release).1.unwrap_or_default();
        assert_eq!(
            debug_file("6.1.0-50-686-pae"),
            (
                "/usr/lib/debug/boot/vmlinux-6.1.0-50-686-pae".to_owned(),
                Some("Debian: linux-image-6.1.0-50-686-pae-dbg".to_owned())
            )
        );
        assert_eq!(package("6.12.9+bpo-amd64"), "Debian: linux-image-6.12.9+bpo-amd64-dbg");
        assert_eq!(package("6.1.0-50-cloud-amd64"), "Debian: linux-image-6.1.0-50-cloud-amd64-dbg");
        assert_eq!(
            package("5.15.0-91-generic"),
            "Ubuntu: linux-image-unsigned-5.15.0-91-generic-dbgsym"
        );
        assert_eq!(
            debug_file("6.5.6-300.fc39.x86_64").0,
            "/usr/lib/debug/lib/modules/6.5.6-300.fc39.x86_64/vmlinux"
        );
        assert_eq!(
            package("5.14.0-362.el9.x86_64"),
            "Fedora, RHEL: kernel-debuginfo-5.14.0-362.el9.x86_64"
        );
        for other in ["", "6.9.0", "x;rm -rf $HOME-amd64", "a b-amd64", "'-amd64", "\u{202e}-amd64"]
        {
            assert_eq!(debug_file(other), unknown(), "{other}");
        }
    }
}
