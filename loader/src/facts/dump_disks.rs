//! The dump disks of this machine: the default targets of a dump.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dumpfile::disk::{BLOCK, DumpHeader, FIRST_OFFSET, FoundDisk};
use dumpfile::{DiskHeader, DiskId};

/// Prefix of Linux's names for virtio-blk disks; the capture kernel writes to no others.
const PREFIX: &str = "vd";
/// Most disks that are looked at.
const MOST: usize = 256;
/// Bytes of a sector in `/sys/block/NAME/size`, whatever the disk's own are.
const SECTOR: u64 = 512;

/// A disk that carries our header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDumpDisk {
    /// Its device: `/dev/vdb`.
    pub device: PathBuf,
    /// Its id.
    pub id: DiskId,
    /// Its size in bytes, as the kernel has it.
    pub capacity: Option<u64>,
    /// True if the kernel reports it read-only.
    pub read_only: bool,
    /// Which dumps are on it, as the capture kernel will see them.
    pub directory: DiskHeader,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpDisks {
    /// The disks, by name.
    pub found: Vec<FoundDumpDisk>,
    /// True if there are disks that could not be read.
    pub unreadable: bool,
    /// Number of virtio disks, dump disks or not; `None` if it is unknown, as in a saved system.
    pub seen: Option<usize>,
}

impl DumpDisks {
    /// Looks at the first blocks of every virtio disk under `root`, a folder that looks like `/`.
    /// Disks are opened for reading only.
    pub fn find(root: &Path) -> Self {
        let Ok(entries) = fs::read_dir(root.join("sys/block")) else { return Self::default() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(PREFIX)).collect();
        names.sort();
        let mut disks =
            Self { found: Vec::new(), unreadable: names.len() > MOST, seen: Some(names.len()) };
        for name in names.iter().take(MOST) {
            match dump_disk(root, name) {
                Ok(found) => disks.found.extend(found),
                Err(error) => disks.unreadable |= error.kind() != ErrorKind::NotFound,
            }
        }
        disks
    }

    /// Those that carry this id.
    pub(crate) fn with_id(&self, id: DiskId) -> impl Iterator<Item = &FoundDumpDisk> {
        self.found.iter().filter(move |disk| disk.id == id)
    }

    /// A list of all of them as text.
    pub(crate) fn list(&self) -> String {
        let disks: Vec<_> = self.found.iter().map(ToString::to_string).collect();
        disks.join(", ")
    }
}

/// The disk of this name, if it is a dump disk.
fn dump_disk(root: &Path, name: &str) -> io::Result<Option<FoundDumpDisk>> {
    let path = root.join("dev").join(name);
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let Ok(found) = FoundDisk::decode(&read(&file, 0, FIRST_OFFSET as usize)?) else {
        return Ok(None);
    };
    let fact = |fact: &str| {
        let text = fs::read_to_string(root.join("sys/block").join(name).join(fact));
        text.ok().map(|text| text.trim().to_owned())
    };
    let sectors = fact("size").and_then(|sectors| sectors.parse::<u64>().ok());
    Ok(Some(FoundDumpDisk {
        device: Path::new("/dev").join(name),
        id: found.id(),
        capacity: sectors.and_then(|sectors| sectors.checked_mul(SECTOR)),
        read_only: fact("ro").as_deref() == Some("1"),
        directory: directory(&found, &file),
    }))
}

/// The directory as the capture kernel reads it: a dump's own header knows more than the directory.
fn directory(found: &FoundDisk, file: &File) -> DiskHeader {
    let mut header = found.header;
    let dumps = header.dumps;
    for dump in dumps.as_slice().iter().filter(|dump| dump.state.is_partial()) {
        let front = read(file, dump.offset, 2 * BLOCK).unwrap_or_default();
        if let Ok(own) = DumpHeader::decode_copies(&front, header.id, dump) {
            header.dumps.set_state(dump.sequence, own.state);
        }
    }
    header
}

/// The bytes at an offset, fewer where the disk ends.
fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl fmt::Display for FoundDumpDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (disk:id={})", self.device.display(), self.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dumpfile::DiskState;
    use dumpfile::chunk::Codec;
    use dumpfile::disk::{Contents, DumpEntry, NewDump};

    /// An empty dump disk of this many bytes, whose id is 16 times `id`.
    pub(crate) fn disk(device: &str, id: u8, capacity: u64) -> FoundDumpDisk {
        let id = DiskId([id; 16]);
        let directory = DiskHeader::new(id);
        FoundDumpDisk {
            device: device.into(),
            id,
            capacity: Some(capacity),
            read_only: false,
            directory,
        }
    }

    #[test]
    fn virtio_disks_with_our_header_are_found() {
        let root = tempfile::tempdir().expect("a folder");
        let ids = [DiskId([1; 16]), DiskId([2; 16])];
        let old = DiskHeader::new(ids[0]).encode().to_vec();
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
        let disks: Vec<_> = found.found.iter().map(ToString::to_string).collect();
        let [old, new] = ids.map(|id| format!("(disk:id={id})"));
        assert_eq!(disks, [format!("/dev/vda {old}"), format!("/dev/vdb {new}")]);
        assert!(!found.unreadable, "no device is no disk");
        assert_eq!(found.seen, Some(5));
    }

    #[test]
    fn what_is_on_a_disk_is_what_the_capture_kernel_will_find() {
        let root = tempfile::tempdir().expect("a folder");
        let id = DiskId([7; 16]);
        let new = NewDump {
            contents: Contents::Vmcore,
            views: &[],
            room: 0,
            raw_length: 4096,
            codec: Codec::Raw,
            checksums: false,
        };
        let mut whole = DumpHeader::new(id, 1, 9, &new).expect("a header");
        let entry = DumpEntry {
            sequence: 1,
            offset: FIRST_OFFSET,
            length: whole.committed,
            state: DiskState::IN_PROGRESS,
            key: 9,
        };
        whole.state = DiskState::COMPLETE;
        let mut header = DiskHeader { next: 2, ..DiskHeader::new(id) };
        header.dumps.push(entry).expect("it has a place");
        let bytes = [header.encode(), header.encode(), whole.encode(), [0; BLOCK]].concat();
        let empty = DiskHeader::new(id).encode().to_vec();
        let disks = [
            ("vda", bytes, "6291456", "0"),
            ("vdb", empty.clone(), "8", "1"),
            ("vdc", empty, "what", "0"),
        ];
        fs::create_dir_all(root.path().join("dev")).expect("a folder");
        for (name, bytes, size, ro) in disks {
            fs::write(root.path().join("dev").join(name), bytes).expect("a disk");
            let block = root.path().join("sys/block").join(name);
            fs::create_dir_all(&block).expect("a folder");
            fs::write(block.join("size"), format!("{size}\n")).expect("a file");
            fs::write(block.join("ro"), format!("{ro}\n")).expect("a file");
        }
        let found = DumpDisks::find(root.path()).found;
        let states = found[0].directory.dumps.as_slice()[0].state;
        assert_eq!(states, DiskState::COMPLETE, "its own header knows more");
        assert_eq!(found[1].directory, DiskHeader::new(id));
        let facts: Vec<_> = found.iter().map(|disk| (disk.capacity, disk.read_only)).collect();
        assert_eq!(facts, [(Some(3 << 30), false), (Some(4096), true), (None, false)]);
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        // Reading a folder fails, for root as well.
        for folder in ["sys/block/vda", "dev/vda"] {
            fs::create_dir_all(root.path().join(folder)).expect("a folder");
        }
        assert_eq!(
            DumpDisks::find(root.path()),
            DumpDisks { found: vec![], unreadable: true, seen: Some(1) }
        );
        assert_eq!(DumpDisks::find(Path::new("/no/such")), DumpDisks::default());
    }
}
