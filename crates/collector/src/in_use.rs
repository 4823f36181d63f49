//! Users of a block device, as sysfs and procfs name them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Something that would lose its data, and the block device that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Linux's name of the device: the one that was named, a partition of it, or its disk.
    pub device: String,
    /// The user.
    pub user: User,
}

/// A user of a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A file system, mounted there.
    Mounted(String),
    /// Swap.
    Swap,
    /// An array of Linux's software RAID: its name.
    Raid(String),
    /// A volume of the device mapper: its name, and the kind of it where that is known.
    Mapped(String, Option<Mapping>),
    /// Another device on top of it: its name.
    Other(String),
}

/// A kind of volumes of the device mapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Of LVM.
    Lvm,
    /// Encrypted.
    Crypt,
    /// The same disk over several paths.
    Multipath,
}

impl InUse {
    /// The first user of the block device with these numbers, of one of its partitions, or of the
    /// disk that it is a partition of. `root` is a folder that looks like `/`.
    pub(crate) fn find(root: &Path, major: u32, minor: u32) -> Option<Self> {
        let link = root.join("sys/dev/block").join(format!("{major}:{minor}"));
        let folder = fs::canonicalize(link).ok()?;
        let disk = folder.parent().filter(|_| folder.join("partition").exists());
        let disk_held = disk.and_then(|disk| Some((disk, holder(root, disk)?)));
        let held = disk_held.map(|(disk, user)| Self { device: name(disk), user });
        let parts = entries(&folder).filter(|part| part.join("partition").exists());
        held.or_else(|| {
            [folder.clone()].into_iter().chain(parts).find_map(|part| Self::of(root, &part))
        })
    }

    /// The user of the device that has this folder in sysfs.
    fn of(root: &Path, folder: &Path) -> Option<Self> {
        let device = name(folder);
        let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
        let user = mount(root, number.trim(), &device)
            .or_else(|| is_swap(root, &device).then_some(User::Swap))
            .or_else(|| holder(root, folder))?;
        Some(Self { device, user })
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().replace('!', "/")
}

/// Everything in a folder, by name.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all.into_iter()
}

/// The place where a file system on the device is mounted (proc(5), `mountinfo`). File systems over
/// several devices have a number of their own, and are known by their source.
fn mount(root: &Path, number: &str, device: &str) -> Option<User> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let source = format!("/dev/{device}");
    mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let (_, after) = line.split_once(" - ")?;
        let is_ours = words.get(2) == Some(&number) || after.split(' ').nth(1) == Some(&source);
        is_ours.then(|| words.get(4).map(|point| User::Mounted(unescaped(point))))?
    })
}

/// White space and backslashes are octal there.
fn unescaped(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn is_swap(root: &Path, device: &str) -> bool {
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    let source = format!("/dev/{device}");
    swaps.lines().skip(1).any(|line| line.split_whitespace().next() == Some(&source))
}

/// The device on top of a device.
fn holder(root: &Path, folder: &Path) -> Option<User> {
    let holder = name(&entries(&folder.join("holders")).next()?);
    if holder.starts_with("md") {
        return Some(User::Raid(holder));
    }
    if !holder.starts_with("dm-") {
        return Some(User::Other(holder));
    }
    let mapper = root.join("sys/block").join(&holder).join("dm");
    let fact = |fact| fs::read_to_string(mapper.join(fact)).ok().map(|text| text.trim().to_owned());
    let uuid = fact("uuid").unwrap_or_default();
    let kind = match uuid.split('-').next() {
        Some("LVM") => Some(Mapping::Lvm),
        Some("CRYPT") => Some(Mapping::Crypt),
        Some("mpath") => Some(Mapping::Multipath),
        _ => None,
    };
    Some(User::Mapped(fact("name").unwrap_or(holder), kind))
}

impl fmt::Display for InUse {
    /// The use, and the next step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, user } = self;
        match user {
            User::Mounted(at) => {
                write!(
                    f,
                    "/dev/{device} is mounted at {at}: `umount` it, or name another partition"
                )
            }
            User::Swap => write!(f, "/dev/{device} is swap: `swapoff /dev/{device}` first"),
            User::Raid(array) => write!(
                f,
                "/dev/{device} is part of the RAID array {array}: take it out (`mdadm --remove`), \
                 or name another disk"
            ),
            User::Mapped(volume, Some(Mapping::Lvm)) => write!(
                f,
                "/dev/{device} is part of LVM (it holds the volume {volume}): take it out \
                 (`pvmove`, `vgreduce`), or name another disk"
            ),
            User::Mapped(volume, Some(Mapping::Crypt)) => write!(
                f,
                "/dev/{device} is encrypted and open as {volume}: `cryptsetup close {volume}` first"
            ),
            User::Mapped(volume, Some(Mapping::Multipath)) => write!(
                f,
                "/dev/{device} is a path of the multipath disk {volume}: the capture kernel sees \
                 paths as disks of their own; name another disk"
            ),
            User::Mapped(volume, None) => write!(
                f,
                "/dev/{device} is part of the device mapper's volume {volume}: `dmsetup remove` \
                 it, or name another disk"
            ),
            User::Other(holder) => {
                write!(f, "/dev/{device} is part of {holder}: stop that, or name another disk")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with `sda` (8:0), its partitions `sda1` (8:1) to `sda3`, and `sdb` (8:16).
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().expect("a folder"));
            let disk = "sys/devices/pci0000:00/0000:00:1f.2/ata1/block";
            for (number, folder) in
                [("8:0", "sda"), ("8:1", "sda/sda1"), ("8:3", "sda/sda3"), ("8:16", "sdb")]
            {
                machine.write(&format!("{disk}/{folder}/dev"), &format!("{number}\n"));
                if let Some(part) = folder.strip_prefix("sda/sda") {
                    machine.write(&format!("{disk}/{folder}/partition"), &format!("{part}\n"));
                }
                machine.write("sys/dev/block/x", "");
                let link = machine.0.path().join("sys/dev/block").join(number);
                symlink(machine.0.path().join(disk).join(folder), link).expect("a link");
            }
            machine
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }

        fn hold(&self, folder: &str, holder: &str) {
            let file = format!("sys/devices/pci0000:00/0000:00:1f.2/ata1/block/{folder}/holders");
            self.write(&format!("{file}/{holder}"), "");
        }

        /// The device in use, and its user, when the device 8:`minor` is named.
        fn user(&self, minor: u32) -> Option<(String, User)> {
            InUse::find(self.0.path(), 8, minor).map(|InUse { device, user }| (device, user))
        }
    }

    fn some(device: &str, user: User) -> Option<(String, User)> {
        Some((device.to_owned(), user))
    }

    #[test]
    fn a_mounted_partition_is_in_use_and_so_is_its_disk() {
        let machine = Machine::new();
        assert_eq!([0, 1, 3, 16, 99].map(|minor| machine.user(minor)), [const { None }; 5]);
        machine.write(
            "proc/self/mountinfo",
            "21 1 8:3 / /mnt/a\\040disk rw,relatime shared:1 - ext4 /dev/sda3 rw\n\
             22 1 0:38 /@ / rw,relatime - btrfs /dev/sdb rw,subvol=/@\n\
             23 1 0:5 / /proc rw - proc proc rw\n",
        );
        let mounted = some("sda3", User::Mounted("/mnt/a disk".into()));
        assert_eq!((machine.user(0), machine.user(3)), (mounted.clone(), mounted));
        assert_eq!(machine.user(1), None, "another partition");
        assert_eq!(machine.user(16), some("sdb", User::Mounted("/".into())), "several devices");
    }

    #[test]
    fn swap_is_in_use() {
        let machine = Machine::new();
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        machine.write("proc/swaps", &format!("{head}/dev/sda1    partition\t999\t0\t-2\n"));
        assert_eq!(machine.user(1), some("sda1", User::Swap));
        assert_eq!((machine.user(0), machine.user(3)), (machine.user(1), None));
    }

    #[test]
    fn holders_are_named_by_what_they_are() {
        let kinds = [
            ("LVM-Aq1", Some(Mapping::Lvm), "vgreduce"),
            ("CRYPT-LUKS2-0-x", Some(Mapping::Crypt), "cryptsetup close root"),
            ("mpath-36", Some(Mapping::Multipath), "paths as disks"),
            ("", None, "dmsetup"),
        ];
        for (uuid, kind, next) in kinds {
            let machine = Machine::new();
            machine.hold("sda/sda3", "dm-0");
            machine.write("sys/block/dm-0/dm/name", "root\n");
            machine.write("sys/block/dm-0/dm/uuid", &format!("{uuid}\n"));
            let expected = some("sda3", User::Mapped("root".into(), kind));
            assert_eq!((machine.user(3), machine.user(1)), (expected, None));
            let said = InUse::find(machine.0.path(), 8, 3).expect("in use").to_string();
            assert!(said.contains("/dev/sda3") && said.contains(next), "{said}");
        }
        let machine = Machine::new();
        machine.hold("sda", "md127");
        machine.hold("sdb", "bcache0");
        let raid = some("sda", User::Raid("md127".into()));
        assert_eq!((machine.user(3), machine.user(0)), (raid.clone(), raid), "the whole disk is");
        assert_eq!(machine.user(16), some("sdb", User::Other("bcache0".into())));
    }
}
