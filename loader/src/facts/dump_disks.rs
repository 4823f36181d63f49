//! The dump disks of this machine: the default targets of a dump.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dumpfile::disk::{BLOCK, DumpHeader, FIRST_OFFSET, FoundDisk};
use dumpfile::{DiskHeader, DiskId, partitions};

use crate::facts::block_devices::{BlockDevice, Disk};

/// A disk or a partition that carries our header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDumpDisk {
    /// Its device: `/dev/vdb`, `/dev/sda2`.
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

/// A disk or a partition that carries our header, where the capture kernel does not find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// Its device.
    pub device: PathBuf,
    /// Its id.
    pub id: DiskId,
    /// The reason: `is on USB`.
    pub why: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpDisks {
    /// The disks, by name.
    pub found: Vec<FoundDumpDisk>,
    /// Those of no use.
    pub out_of_reach: Vec<OutOfReach>,
    /// True if there are disks that could not be read.
    pub unreadable: bool,
    /// Number of disks that the capture kernel has a driver for, dump disks or not; `None` if it is
    /// unknown, as in a saved system.
    pub seen: Option<usize>,
}

impl DumpDisks {
    /// Looks at the first blocks of every disk and partition under `root`, a folder that looks like
    /// `/`. Disks are opened for reading only.
    pub fn find(root: &Path) -> Self {
        let Some((disks, more)) = Disk::all(root) else { return Self::default() };
        let seen = disks.iter().filter(|disk| disk.undriven.is_none()).count();
        let mut found = Self { unreadable: more, seen: Some(seen), ..Self::default() };
        for disk in &disks {
            found.look(root, disk, &disk.whole);
            disk.partitions.iter().for_each(|partition| found.look(root, disk, partition));
        }
        found
    }

    /// Looks at `device`, which is `disk` or a partition of it.
    fn look(&mut self, root: &Path, disk: &Disk, device: &BlockDevice) {
        let looked = dump_disk(root, device).and_then(|found| match found {
            Some(found) => Ok(Some((why_not(root, disk, device)?, found))),
            None => Ok(None),
        });
        match looked {
            Ok(None) => {}
            Ok(Some((None, found))) => self.found.push(found),
            Ok(Some((Some(why), FoundDumpDisk { device, id, .. }))) => {
                self.out_of_reach.push(OutOfReach { device, id, why });
            }
            Err(error) => {
                let is_needed = disk.undriven.is_none() && error.kind() != ErrorKind::NotFound;
                self.unreadable |= is_needed;
            }
        }
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

    /// The same for those of no use, if there are some.
    pub(crate) fn list_out_of_reach(&self) -> Option<String> {
        let disks: Vec<_> = self.out_of_reach.iter().map(ToString::to_string).collect();
        (!disks.is_empty()).then(|| disks.join(", "))
    }
}

/// The reason why the capture kernel does not find a dump disk, if there is one.
fn why_not(root: &Path, disk: &Disk, device: &BlockDevice) -> io::Result<Option<String>> {
    if let Some(place) = &disk.undriven {
        let why = format!("is on {place}, for which the capture kernel has no driver");
        return Ok(Some(why));
    }
    let (Some(_), Some(start)) = (device.partition, device.start()) else { return Ok(None) };
    let (size, sector) = (disk.whole.size(), disk.whole.sector());
    let file = open(root, &disk.whole)?;
    let read = &mut |at, into: &mut [u8]| file.read_exact_at(into, at);
    let (size, sector) = (size.unwrap_or_default(), sector.unwrap_or_default());
    let known = partitions::Disk { size, sector, read }.partitions(&mut |_| ())?;
    let is_known = known.iter().any(|partition| partition.place.start == start);
    let why = "is a partition that the capture kernel does not find (it knows GPT and MBR, and \
               leaves partitions alone that overlap)";
    Ok((!is_known).then(|| why.to_owned()))
}

/// Opens a device for reading.
fn open(root: &Path, device: &BlockDevice) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(device.device(root))
}

/// The device, if it is a dump disk.
fn dump_disk(root: &Path, device: &BlockDevice) -> io::Result<Option<FoundDumpDisk>> {
    let file = open(root, device)?;
    let Ok(found) = FoundDisk::decode(&read(&file, 0, FIRST_OFFSET as usize)?) else {
        return Ok(None);
    };
    Ok(Some(FoundDumpDisk {
        device: device.device(Path::new("/")),
        id: found.id(),
        capacity: device.size(),
        read_only: device.is_read_only(),
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

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, id, why } = self;
        write!(f, "{} (disk:id={id}) {why}", device.display())
    }
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
    use std::fs;
    use std::os::unix::fs::symlink;

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

    /// A folder that looks like `/`, with sysfs as Linux has it.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }

        /// A disk below this folder of `/sys/devices`.
        fn disk(&self, devices: &str, name: &str, bytes: &[u8]) {
            let folder = format!("sys/devices/{devices}/block/{name}");
            self.write(&format!("{folder}/size"), format!("{}\n", bytes.len() / 512));
            self.write(&format!("{folder}/queue/logical_block_size"), "512\n");
            self.write(&format!("dev/{name}"), bytes);
            let link = self.0.path().join("sys/block").join(name);
            fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
            symlink(self.0.path().join(folder), link).expect("a link");
        }

        /// A partition of a disk, as the kernel has it.
        fn partition(&self, disk: &str, name: &str, sectors: (usize, usize), bytes: &[u8]) {
            let number = name.trim_start_matches(disk).trim_start_matches('p');
            let (start, size) = sectors;
            for (file, number) in
                [("partition", number), ("start", &start.to_string()), ("size", &size.to_string())]
            {
                self.write(&format!("sys/block/{disk}/{name}/{file}"), format!("{number}\n"));
            }
            self.write(&format!("dev/{name}"), &bytes[start * 512..][..size * 512]);
        }

        fn find(&self) -> DumpDisks {
            DumpDisks::find(self.0.path())
        }
    }

    fn header(id: u8) -> Vec<u8> {
        DiskHeader::new(DiskId([id; 16])).encode().to_vec()
    }

    #[test]
    fn disks_with_our_header_are_found() {
        let machine = Machine::new();
        let mut torn = header(2);
        torn[100] = 1;
        let function = "pci0000:00/0000:00";
        machine.write(&format!("sys/devices/{function}:1f.2/class"), "0x010601\n");
        let ata = format!("{function}:1f.2/ata1/host0/target0:0:0/0:0:0:0");
        let scsi = format!("{function}:04.0/virtio2/host1/target1:0:0/1:0:0:0");
        machine.disk(&format!("{function}:02.0/virtio0"), "vda", &header(1));
        machine.disk(&format!("{function}:03.0/virtio1"), "vdb", &[torn, header(2)].concat());
        machine.disk(&scsi, "sda", &header(3));
        machine.disk(&ata, "sdb", &header(4));
        machine.disk("virtual/nvme-subsystem/nvme-subsys0", "nvme0n1", &header(5));
        machine.disk(&format!("{function}:05.0/nvme/nvme1"), "nvme1n1", &[0xee; 8192]);
        machine.disk("virtual", "loop0", &header(6));
        fs::create_dir_all(machine.0.path().join("sys/block/vdz")).expect("a folder");
        let found = machine.find();
        let disks: Vec<_> =
            found.found.iter().map(|disk| (disk.device.to_str(), disk.id)).collect();
        let expected = [("nvme0n1", 5), ("sda", 3), ("sdb", 4), ("vda", 1), ("vdb", 2)]
            .map(|(name, id)| (format!("/dev/{name}"), DiskId([id; 16])));
        let expected = expected.each_ref().map(|(name, id)| (Some(name.as_str()), *id));
        assert_eq!(disks, expected);
        assert!(!found.unreadable, "no device is no disk");
        assert_eq!((found.seen, found.out_of_reach), (Some(7), vec![]));
    }

    #[test]
    fn a_dump_disk_that_the_capture_kernel_cannot_drive_is_named() {
        let machine = Machine::new();
        let function = "pci0000:00/0000:00:14.0";
        machine.write(&format!("sys/devices/{function}/class"), "0x0c0330\n");
        machine.write("sys/devices/pci0000:00/0000:00:17.0/class", "0x010400\n");
        machine.disk(&format!("{function}/usb2/2-1/host3"), "sda", &header(1));
        machine.disk("pci0000:00/0000:00:17.0/host4", "sdb", &header(2));
        machine.disk("virtual", "dm-0", &header(3));
        machine.disk("virtual", "md127", &header(4));
        machine.disk("virtual/nvme-fabrics/ctl/nvme3", "nvme3n1", &header(5));
        machine.write("sys/block/nvme3n1/device/transport", "tcp\n");
        machine.disk("platform/mmc/mmc0", "mmcblk0", &header(6));
        machine.disk(&format!("{function}/usb2/2-2/host5"), "sdc", &[0; 8192]);
        fs::remove_file(machine.0.path().join("dev/sdc")).expect("a file");
        fs::create_dir(machine.0.path().join("dev/sdc")).expect("a folder");
        let DumpDisks { found, out_of_reach, unreadable, seen } = machine.find();
        assert_eq!((found, unreadable, seen), (vec![], false, Some(0)));
        let said: Vec<_> = out_of_reach.iter().map(ToString::to_string).collect();
        for (said, words) in said.iter().zip([
            ["/dev/dm-0 ", "device mapper"],
            ["/dev/md127 ", "software RAID"],
            ["/dev/mmcblk0 ", "another kind"],
            ["/dev/nvme3n1 ", "NVMe over tcp"],
            ["/dev/sda (disk:id=0101", "is on USB, for which the capture kernel has no driver"],
            ["/dev/sdb ", "a RAID controller"],
        ]) {
            assert!(words.iter().all(|words| said.contains(words)), "{said}");
        }
        assert_eq!(said.len(), 6);
    }

    /// A disk of 256 sectors with partitions at sectors 63 and 128, the first of which is ours.
    fn partitioned() -> Vec<u8> {
        let mut bytes = vec![0xee; 256 * 512];
        bytes[446..512].fill(0);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (entry, start, count) in [(446, 63_u32, 65_u32), (462, 128, 128)] {
            bytes[entry + 4] = 0x83;
            bytes[entry + 8..][..4].copy_from_slice(&start.to_le_bytes());
            bytes[entry + 12..][..4].copy_from_slice(&count.to_le_bytes());
        }
        bytes[63 * 512..][..4096].copy_from_slice(&header(7));
        bytes
    }

    #[test]
    fn partitions_are_dump_disks_if_the_capture_kernel_finds_them() {
        let (machine, bytes) = (Machine::new(), partitioned());
        for name in ["nvme0n1", "vda"] {
            machine.disk(&format!("pci0000:00/0000:00:03.0/{name}"), name, &bytes);
        }
        machine.partition("nvme0n1", "nvme0n1p1", (63, 65), &bytes);
        machine.partition("nvme0n1", "nvme0n1p2", (128, 128), &bytes);
        machine.partition("vda", "vda1", (63, 65), &bytes);
        let found = machine.find();
        let facts: Vec<_> =
            found.found.iter().map(|disk| (disk.device.to_str(), disk.capacity)).collect();
        let size = Some(65 * 512);
        assert_eq!(facts, [(Some("/dev/nvme0n1p1"), size), (Some("/dev/vda1"), size)]);
        // A table that only Linux knows.
        let mut unknown = bytes.clone();
        unknown[510] = 0;
        machine.write("dev/vda", unknown);
        let found = machine.find();
        assert_eq!((found.found.len(), found.out_of_reach.len()), (1, 1));
        assert!(found.out_of_reach[0].why.contains("does not find"), "{found:?}");
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
            DumpDisks { unreadable: true, seen: Some(1), ..DumpDisks::default() }
        );
        assert_eq!(DumpDisks::find(Path::new("/no/such")), DumpDisks::default());
    }
}
