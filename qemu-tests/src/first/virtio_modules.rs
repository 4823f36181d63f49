//! Modules that a Debian kernel loads for a virtio disk or for hot-added memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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
/// The driver of memory.
pub const MEMORY: &str = "virtio/virtio_mem.ko";

/// Returns `driver` and the modules that it needs, in load order, from the folder that Debian's
/// package unpacks to beside that of `kernel`.
///
/// # Errors
/// Fails if the kernel is not at its place in the package, or a module cannot be read.
pub fn of(kernel: &Path, driver: &str) -> Result<Vec<Vec<u8>>> {
    let version = kernel.file_name().and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"));
    let version = version.context("a kernel that is not called vmlinuz-VERSION")?;
    let root = kernel.parent().and_then(Path::parent).context("a kernel outside of /boot")?;
    let drivers = root.join("lib/modules").join(version).join("kernel/drivers");
    let read = |name: &&str| {
        let path = drivers.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    BUS.iter().chain([&driver]).map(read).collect()
}
