//! Mounts of the first process (Linux, `fs/namespace.c`, `fs/proc_namespace.c`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::paths;
use crate::report::{Severity, Warning};
use crate::{Error, Kernel, Object, printable};

/// Most mounts that are followed.
const MOST: usize = 1 << 20;
/// Flags of a mount that `/proc/mounts` shows (Linux, `MNT_*`).
const MOUNT_FLAGS: [(u64, &str); 7] = [
    (0x01, "nosuid"),
    (0x02, "nodev"),
    (0x04, "noexec"),
    (0x08, "noatime"),
    (0x10, "nodiratime"),
    (0x20, "relatime"),
    (0x80, "nosymfollow"),
];
const MOUNT_READ_ONLY: u64 = 0x40;
/// Flags of a file system that `/proc/mounts` shows (Linux, `SB_*`).
const SYSTEM_FLAGS: [(u64, &str); 4] =
    [(1 << 4, "sync"), (1 << 7, "dirsync"), (1 << 6, "mand"), (1 << 25, "lazytime")];
const SYSTEM_READ_ONLY: u64 = 1;

/// All mounts of a namespace.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mounts {
    /// By their numbers.
    pub mounts: Vec<Mount>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A mount, as in `/proc/mounts`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// Number of the mount that it is on.
    pub parent: u64,
    /// Name of the device, as mount(8) was given it.
    pub device: String,
    /// Major and minor number of the device.
    pub number: String,
    /// Its path.
    pub path: String,
    /// The folder of the file system that it shows: not `/` for a bind mount.
    pub root: String,
    /// Type of the file system.
    pub kind: String,
    /// Options that all file systems have: `rw,nosuid`. A file system's own are not known.
    pub options: String,
    /// Address of its `struct mount`.
    pub mount: Hex,
    /// Address of the `struct super_block`.
    pub super_block: Hex,
    /// True for a read-only file system whose writes have failed: ext4 and others turn read-only
    /// after an error (`errors=remount-ro`).
    pub is_turned_read_only: bool,
}

/// Reads the mounts that the first process sees: those on its root.
///
/// # Errors
/// The reason why not even the first mount is found.
pub fn read(kernel: &Kernel<'_>) -> Result<Mounts, Error> {
    let task = kernel.global("init_task")?;
    let space = task.field("nsproxy.mnt_ns")?.deref()?;
    let root = || {
        let root = task.field("fs.root.mnt")?.deref()?;
        Ok(root.container_of("struct mount", "mnt")?.address())
    };
    let mut holes = Holes::default();
    let root = holes.take("root of the first process", root());
    let mounts = of_namespace(&space, root, &mut holes)?;
    Ok(Mounts { mounts, missing: holes.into_list() })
}

/// Reads the mounts of a `struct mnt_namespace` that are on the mount `root`. They are a tree in
/// every kernel; the list of all has become a tree of another kind.
fn of_namespace(
    space: &Object<'_>,
    root: Option<u64>,
    holes: &mut Holes,
) -> Result<Vec<Mount>, Error> {
    let (mut open, mut mounts) = (vec![space.field("root")?.deref()?], Vec::new());
    while let Some(next) = open.pop() {
        if mounts.len() + open.len() >= MOST {
            let end = Error::Damaged { what: "mounts", at: next.address(), why: "too many" };
            holes.take("mounts", Err::<(), _>(end));
            break;
        }
        let is_seen = root.map_or(Ok(true), |root| paths::is_on(&next, root));
        if holes.take("mount", is_seen).unwrap_or(true) {
            mounts.extend(holes.take("mount", mount(&next)));
        }
        let below =
            next.field("mnt_mounts").and_then(|list| list.list("struct mount", "mnt_child"));
        open.extend(holes.walk("mounts", below));
    }
    mounts.sort_by_key(|mount: &Mount| mount.id);
    Ok(mounts)
}

fn mount(mount: &Object<'_>) -> Result<Mount, Error> {
    let system = mount.field("mnt.mnt_sb")?.deref()?;
    let root = mount.field("mnt.mnt_root")?.deref()?;
    let flags = mount.field("mnt.mnt_flags")?.number()?;
    let system_flags = system.field("s_flags")?.number()?;
    let mut kind = system.field("s_type.name")?.text()?;
    if let Ok(part) = system.field("s_subtype").and_then(|part| part.text()) {
        kind = format!("{kind}.{part}");
    }
    let device = mount.field("mnt_devname")?.deref_or_null()?;
    let device = device.map(|_| mount.field("mnt_devname")?.text()).transpose()?;
    let dev = system.field("s_dev")?.number()?;
    Ok(Mount {
        id: mount.field("mnt_id")?.number()?,
        parent: mount.field("mnt_parent.mnt_id")?.number()?,
        device: device.unwrap_or_else(|| "none".to_owned()),
        number: format!("{}:{}", dev >> 20, dev & 0xf_ffff),
        path: printable(&paths::full(mount, &root)?),
        root: printable(&paths::in_file_system(&root)?),
        kind,
        options: options(flags, system_flags),
        mount: Hex(mount.address()),
        super_block: Hex(system.address()),
        is_turned_read_only: has_error(&system, system_flags)?,
    })
}

/// The low twelve bits of an `errseq_t` are the error.
fn has_error(system: &Object<'_>, flags: u64) -> Result<bool, Error> {
    let error = system.field("s_wb_err")?.number()?;
    Ok(flags & SYSTEM_READ_ONLY != 0 && error & 0xfff != 0)
}

/// The options in the order of `/proc/mounts`.
fn options(flags: u64, system_flags: u64) -> String {
    let is_read_only = flags & MOUNT_READ_ONLY != 0 || system_flags & SYSTEM_READ_ONLY != 0;
    let mut words = vec![if is_read_only { "ro" } else { "rw" }];
    let system = SYSTEM_FLAGS.iter().filter(|(bit, _)| system_flags & bit != 0);
    let own = MOUNT_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    words.extend(system.chain(own).map(|(_, word)| *word));
    words.join(",")
}

/// Warnings about file systems that turned read-only.
pub fn warnings(mounts: &Mounts) -> Vec<Warning> {
    let turned = mounts.mounts.iter().filter(|mount| mount.is_turned_read_only);
    let text = |mount: &Mount| {
        format!("{} on {} is read-only after a write error", mount.device, mount.path)
    };
    let warning =
        |mount| Warning { severity: Severity::Warning, text: text(mount), section: "mount" };
    turned.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the kernel for these flags: `mount -o ro,nosuid,noatime,sync`, and defaults.
    #[test]
    fn options_have_the_order_of_proc_mounts() {
        assert_eq!(options(0x01 | 0x08, 1 | 1 << 4), "ro,sync,nosuid,noatime");
        assert_eq!(options(0x20, 0), "rw,relatime");
        assert_eq!(options(0x40 | 0x27, 0), "ro,nosuid,nodev,noexec,relatime");
    }
}
