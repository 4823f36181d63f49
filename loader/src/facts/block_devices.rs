//! Disks and partitions of this machine, as sysfs has them, and the controllers that they are on.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Bytes of a sector in `size` and `start`, whatever the disk's own are.
const SECTOR: u64 = 512;
/// Most disks, and most partitions of a disk, that are looked at.
const MOST: usize = 256;
/// Names of devices that keep nothing after a crash, or have no room for a dump.
const PASSED_OVER: [&str; 6] = ["loop", "ram", "zram", "sr", "fd", "mtdblock"];

/// A disk or a partition.
#[derive(Clone, Debug)]
pub(crate) struct BlockDevice {
    /// Linux's name for it: `sda2`.
    pub(crate) name: String,
    /// Its folder in sysfs.
    folder: PathBuf,
    /// For a partition, its number.
    pub(crate) partition: Option<u32>,
}

/// A disk with its partitions.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The whole of it.
    pub(crate) whole: BlockDevice,
    /// Its partitions, by number.
    pub(crate) partitions: Vec<BlockDevice>,
    /// [`None`] if the capture kernel has a driver for it; otherwise what it is on.
    pub(crate) undriven: Option<String>,
}

impl BlockDevice {
    /// The text of one of its files, without white space at the ends.
    pub(crate) fn fact(&self, fact: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(fact)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, fact: &str) -> Option<u64> {
        self.fact(fact)?.parse().ok()
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        self.number("size")?.checked_mul(SECTOR)
    }

    /// The place of a partition on its disk, in bytes.
    pub(crate) fn start(&self) -> Option<u64> {
        self.number("start")?.checked_mul(SECTOR)
    }

    /// Size of a disk's own sectors in bytes.
    pub(crate) fn sector(&self) -> Option<u32> {
        self.fact("queue/logical_block_size")?.parse().ok()
    }

    /// True if the kernel reports it read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.fact("ro").as_deref() == Some("1")
    }

    /// Its device file in a folder that looks like `/`.
    pub(crate) fn device(&self, root: &Path) -> PathBuf {
        root.join("dev").join(self.name.replace('!', "/"))
    }
}

impl Disk {
    /// The disks under `root`, a folder that looks like `/`, by name; true if there are more.
    /// [`None`] if there is no list of them, as in a saved system.
    pub(crate) fn all(root: &Path) -> Option<(Vec<Self>, bool)> {
        let mut names = names(&root.join("sys/block"))?;
        names.retain(|name| {
            let kind = name.trim_end_matches(|last: char| last.is_ascii_digit());
            !PASSED_OVER.contains(&kind)
        });
        let more = names.len() > MOST;
        names.truncate(MOST);
        Some((names.into_iter().map(|name| Self::read(root, name)).collect(), more))
    }

    fn read(root: &Path, name: String) -> Self {
        let folder = root.join("sys/block").join(&name);
        let mut partitions: Vec<_> = names(&folder)
            .into_iter()
            .flatten()
            .filter(|part| part.starts_with(&name))
            .filter_map(|part| {
                let mut part =
                    BlockDevice { folder: folder.join(&part), name: part, partition: None };
                part.partition = Some(part.fact("partition")?.parse().ok()?);
                Some(part)
            })
            .collect();
        partitions.sort_by_key(|part| part.partition);
        partitions.truncate(MOST);
        let whole = BlockDevice { name, folder, partition: None };
        let undriven = undriven(root, &whole);
        Self { whole, partitions, undriven }
    }
}

fn names(folder: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Some(names)
}

/// The thing that a disk is on, if the capture kernel has no driver for it.
fn undriven(root: &Path, disk: &BlockDevice) -> Option<String> {
    let name = disk.name.as_str();
    let path = fs::canonicalize(&disk.folder).unwrap_or_default();
    let parts: Vec<_> = path.components().map(Component::as_os_str).collect();
    let is_on = |bus: &str| {
        let numbered = |part: &str| {
            part.strip_prefix(bus)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        parts.iter().any(|part| part.to_str().is_some_and(numbered))
    };
    if is_on("usb") {
        return Some("USB".to_owned());
    }
    match name {
        _ if name.starts_with("vd") => None,
        _ if name.starts_with("nvme") => {
            let transport = disk.fact("device/transport").filter(|transport| transport != "pcie");
            transport.map(|transport| format!("NVMe over {transport}"))
        }
        _ if name.starts_with("sd") && is_on("virtio") => None,
        _ if name.starts_with("sd") => pci_class(root, &path),
        _ if name.starts_with("dm-") => Some("the device mapper (LVM, dm-crypt, multipath)".into()),
        _ if name.starts_with("md") => Some("a Linux software RAID".to_owned()),
        _ => Some(format!("a device of another kind ({name})")),
    }
}

/// The kind of the PCI function nearest to a SCSI disk, unless it is AHCI.
fn pci_class(root: &Path, disk: &Path) -> Option<String> {
    let root = fs::canonicalize(root).unwrap_or_default();
    let class =
        disk.ancestors().take_while(|folder| folder.starts_with(&root)).find_map(|folder| {
            let text = fs::read_to_string(folder.join("class")).ok()?;
            u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
        });
    let Some(class) = class else { return Some("a controller that sysfs does not name".into()) };
    let name = match class >> 8 {
        0x0106 if class == AHCI => return None,
        0x0101 => "an IDE controller",
        0x0104 => "a RAID controller (for SATA disks, the firmware's setup may have AHCI instead)",
        0x0107 => "a SAS controller",
        _ => return Some(format!("a controller of PCI class {class:#08x}")),
    };
    Some(name.to_owned())
}

/// PCI class, subclass and programming interface of AHCI.
const AHCI: u32 = 0x01_0601;
