//! Modules of a Debian kernel: those for a virtio disk or for hot-added memory, and any other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::first::initramfs::{Contents, Packed};

/// Modules that any virtio device on the PCI bus needs. Each needs those before it.
const BUS: [&str; 5] = [
    "virtio/virtio.ko",
    "virtio/virtio_ring.ko",
    "virtio/virtio_pci_modern_dev.ko",
    "virtio/virtio_pci_legacy_dev.ko",
    "virtio/virtio_pci.ko",
];
/// The driver of a disk.
pub const DISK: &str = "block/virtio_blk.ko";
/// The driver of a balloon.
pub const BALLOON: &str = "virtio/virtio_balloon.ko";
/// The driver of memory.
pub const MEMORY: &str = "virtio/virtio_mem.ko";

/// Returns `driver` and the modules that it needs, in load order, from the folder that Debian's
/// package unpacks to beside that of `kernel`.
///
/// # Errors
/// Fails if the kernel is not at its place in the package, or a module cannot be read.
pub fn of(kernel: &Path, driver: &str) -> Result<Vec<Vec<u8>>> {
    let drivers = folder(kernel)?.join("drivers");
    let read = |name: &&str| {
        let path = drivers.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    BUS.iter().chain([&driver]).map(read).collect()
}

/// The folder of all modules that Debian's package unpacks beside that of `kernel`.
///
/// # Errors
/// Fails if the kernel is not at its place in the package.
pub fn folder(kernel: &Path) -> Result<PathBuf> {
    let version = kernel.file_name().and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"));
    let parent = kernel.parent().context("a kernel outside of any folder")?;
    // From 7.x on the kernel itself lies at usr/lib/modules/VERSION/vmlinuz.
    let Some(version) = version else { return Ok(parent.join("kernel")) };
    let root = parent.parent().context("a kernel outside of /boot")?;
    Ok(root.join("lib/modules").join(version).join("kernel"))
}

/// A module by its name and its bytes, if the kernel's package has it. Later packages have it
/// compressed, and insmod takes it like that. `module` is a path below the folder of modules.
///
/// # Errors
/// As for [`folder`]; or the module cannot be read.
pub fn packed(kernel: &Path, module: &str) -> Result<Option<Packed>> {
    let plain = folder(kernel)?.join(module);
    let compressed = plain.with_extension("ko.xz");
    let Some(path) = [&plain, &compressed].into_iter().find(|path| path.exists()) else {
        return Ok(None);
    };
    let name = module.rsplit('/').next().context("a path")?;
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Some((name.to_string(), bytes)))
}

/// Adds modules for the bzImage at `kernel` that are loaded before the capture kernel is: paths
/// below the package's folder of modules, each with its parameters. Those that the package lacks
/// are left out.
///
/// # Errors
/// As for [`packed`].
pub fn add(kernel: &Path, modules: &[&str], contents: &mut Contents<'_>) -> Result<()> {
    for module in modules {
        let (path, parameters) = module.split_once(' ').unwrap_or((module, ""));
        if let Some((name, bytes)) = packed(kernel, path)? {
            contents.first_modules.push(format!("{name} {parameters}"));
            contents.load_modules.push((name, bytes));
        }
    }
    Ok(())
}
