//! Users of a block device: mounts, swap, and devices on top of it.

use std::path::Path;
use std::{fs, io};

/// The user of the device with this number (major, minor) or of one of its partitions, if there is
/// one. `root` is `/`, or a folder with copies of files under /proc and /sys.
pub(crate) fn user(root: &Path, (major, minor): (u32, u32)) -> io::Result<Option<String>> {
    let folder = root.join(format!("sys/dev/block/{major}:{minor}"));
    let folder = fs::canonicalize(folder)?;
    let mut devices = vec![folder.clone()];
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.join("partition").exists() {
            devices.push(path);
        }
    }
    devices.sort();
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo"))?;
    // Kernels without swap have no such file.
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    for device in &devices {
        let found = user_of_one(device, &mounts, &swaps)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The user of the device that this folder under /sys describes.
fn user_of_one(device: &Path, mounts: &str, swaps: &str) -> io::Result<Option<String>> {
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let number = fs::read_to_string(device.join("dev"))?;
    // `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT …` (proc(5))
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        (words.next() == Some(number.trim())).then(|| words.nth(1).unwrap_or("?").to_owned())
    });
    if let Some(place) = mount {
        return Ok(Some(format!("{name} is mounted at {place}")));
    }
    let path = format!("/dev/{name}");
    if swaps.lines().any(|line| line.split_whitespace().next() == Some(path.as_str())) {
        return Ok(Some(format!("{name} is swap space")));
    }
    let holder = match fs::read_dir(device.join("holders")) {
        Ok(mut holders) => holders.next().transpose()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(holder.map(|holder| format!("{} is on top of {name}", holder.file_name().to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A disk 8:0 with a partition 8:1, and these files.
    fn system(mounts: &str, swaps: &str, holder: Option<&str>) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["sys/dev/block", "sys/devices/sda/sda1/holders", "proc/self"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        symlink("../../devices/sda", at("sys/dev/block/8:0")).expect("a link");
        symlink("../../devices/sda/sda1", at("sys/dev/block/8:1")).expect("a link");
        fs::write(at("sys/devices/sda/dev"), "8:0\n").expect("a file");
        fs::write(at("sys/devices/sda/sda1/dev"), "8:1\n").expect("a file");
        fs::write(at("sys/devices/sda/sda1/partition"), "1\n").expect("a file");
        fs::write(at("proc/self/mountinfo"), mounts).expect("a file");
        fs::write(at("proc/swaps"), swaps).expect("a file");
        if let Some(holder) = holder {
            fs::create_dir(at("sys/devices/sda/sda1/holders").join(holder)).expect("a folder");
        }
        root
    }

    fn users(mounts: &str, swaps: &str, holder: Option<&str>) -> [Option<String>; 2] {
        let root = system(mounts, swaps, holder);
        [(8, 0), (8, 1)].map(|device| user(root.path(), device).expect("good files"))
    }

    /// Lines as in proc(5).
    #[test]
    fn a_mounted_partition_is_seen_from_its_disk_too() {
        let line = "36 35 8:1 / /data rw,noatime - ext4 /dev/sda1 rw\n";
        let said = Some("sda1 is mounted at /data".to_owned());
        assert_eq!(users(line, "", None), [said.clone(), said]);
        let other = "36 35 8:17 / /data rw,noatime - ext4 /dev/sdb1 rw\n";
        assert_eq!(users(other, "", None), [None, None]);
    }

    #[test]
    fn swap_and_holders_are_seen() {
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda1  partition\t1\t0\t-2\n";
        assert_eq!(users("", swaps, None)[1].as_deref(), Some("sda1 is swap space"));
        assert_eq!(users("", "", Some("dm-0"))[0].as_deref(), Some("dm-0 is on top of sda1"));
    }

    #[test]
    fn what_is_not_known_is_an_error_and_not_free() {
        let root = system("", "", None);
        assert!(user(root.path(), (9, 9)).is_err());
    }
}
