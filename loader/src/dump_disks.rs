//! The dump disks of this machine: where a dump can go when nobody says where.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dumpfile::DiskId;
use dumpfile::disk::{FIRST_OFFSET, FoundDisk};

/// What Linux calls virtio-blk disks; the capture kernel writes to no others.
const PREFIX: &str = "vd";
/// Most disks that are looked at.
const MOST: usize = 256;

/// A disk that carries our header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDumpDisk {
    /// Its device: `/dev/vdb`.
    pub device: PathBuf,
    /// Its id.
    pub id: DiskId,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpDisks {
    /// The disks, by name.
    pub found: Vec<FoundDumpDisk>,
    /// Whether there are disks that could not be read.
    pub unreadable: bool,
}

impl DumpDisks {
    /// Looks at the first blocks of every virtio disk under `root`, a folder that looks like `/`. Disks
    /// are opened for reading only.
    pub fn find(root: &Path) -> Self {
        let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(PREFIX)).take(MOST).collect();
        names.sort();
        let mut disks = Self::default();
        for name in names {
            match front(&root.join("dev").join(&name)) {
                Ok(front) => {
                    let found = FoundDisk::decode(&front).ok();
                    let device = Path::new("/dev").join(name);
                    disks.found.extend(found.map(|found| FoundDumpDisk { device, id: found.id() }));
                }
                Err(error) => disks.unreadable |= error.kind() != ErrorKind::NotFound,
            }
        }
        disks
    }
}

fn front(device: &Path) -> std::io::Result<Vec<u8>> {
    let mut front = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(device)?;
    file.take(FIRST_OFFSET).read_to_end(&mut front)?;
    Ok(front)
}

impl fmt::Display for FoundDumpDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (virtio-blk:id={})", self.device.display(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dumpfile::DiskHeader;
    use dumpfile::disk::v1;

    #[test]
    fn virtio_disks_with_our_header_are_found() {
        let root = tempfile::tempdir().expect("a folder");
        let ids = [DiskId([1; 16]), DiskId([2; 16])];
        let old = v1::DiskHeader::new(ids[0]).encode().to_vec();
        let new = [[0xee; 4096], DiskHeader::new(ids[1]).encode()];
        let mut torn = DiskHeader::new(ids[1]).encode();
        torn[100] = 1;
        let disks: [(&str, Vec<u8>); 6] = [
            ("vdb", [torn, new[1]].concat()),
            ("vda", old.clone()),
            ("vdc", new.concat()),
            ("vdd", Vec::new()),
            ("sda", old.clone()),
            ("vda1", old),
        ];
        for (name, bytes) in &disks {
            let block = root.path().join("sys/block").join(name);
            fs::create_dir_all(root.path().join("dev")).expect("a folder");
            fs::write(root.path().join("dev").join(name), bytes).expect("a disk");
            // A partition has no folder there.
            if *name != "vda1" {
                fs::create_dir_all(block).expect("a folder");
            }
        }
        fs::create_dir_all(root.path().join("sys/block/vdz")).expect("a folder");
        let found = DumpDisks::find(root.path());
        let disk = |device: &str, id| FoundDumpDisk { device: device.into(), id };
        assert_eq!(found.found, [disk("/dev/vda", ids[0]), disk("/dev/vdb", ids[1])]);
        assert!(!found.unreadable, "no device is no disk");
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        // Reading a folder fails, for root as well.
        for folder in ["sys/block/vda", "dev/vda"] {
            fs::create_dir_all(root.path().join(folder)).expect("a folder");
        }
        assert_eq!(DumpDisks::find(root.path()), DumpDisks { found: vec![], unreadable: true });
        assert_eq!(DumpDisks::find(Path::new("/no/such")), DumpDisks::default());
    }
}
