//! Paths of dentries (Linux, `fs/d_path.c`).

use crate::object::printable;
use crate::{Error, Object};

/// Most parts of a path, with those of the mounts that it goes through.
const MOST_PARTS: usize = 4096;
/// Most bytes of a name (`NAME_MAX`).
const MOST_NAME: usize = 255;

/// The path of a `struct file`.
///
/// # Errors
/// As for [`full`].
pub(crate) fn of_file(file: &Object<'_>) -> Result<String, Error> {
    let path = file.first_of(&["f_path", "__f_path"])?;
    let mount = path.field("mnt")?.deref()?.container_of("struct mount", "mnt")?;
    Ok(printable(&full(&mount, &path.field("dentry")?.deref()?)?))
}

/// The path of a dentry in a mount, through the mounts above it.
///
/// # Errors
/// [`Error::Memory`], [`Error::NoMember`]; [`Error::Damaged`]: the path has no end.
pub(crate) fn full(mount: &Object<'_>, dentry: &Object<'_>) -> Result<Vec<u8>, Error> {
    let (mut mount, mut dentry, mut path) = (*mount, *dentry, Vec::new());
    for _ in 0..MOST_PARTS {
        let parent = dentry.field("d_parent")?;
        if dentry.address() == mount.field("mnt.mnt_root")?.number()? {
            let above = mount.field("mnt_parent")?.deref()?;
            if above.address() == mount.address() {
                return Ok(joined(path));
            }
            dentry = mount.field("mnt_mountpoint")?.deref()?;
            mount = above;
        } else if parent.number()? == dentry.address() {
            // A dentry outside of its mount: the path from the root of its file system.
            return Ok(joined(path));
        } else {
            path.push(name(&dentry)?);
            dentry = parent.deref()?;
        }
    }
    Err(Error::Damaged { what: "path", at: dentry.address(), why: "it has no end" })
}

/// True if a mount is on another one, or on one that is on it, and so on.
///
/// # Errors
/// [`Error::Memory`], [`Error::NoMember`]; [`Error::Damaged`]: the way up has no end.
pub(crate) fn is_on(mount: &Object<'_>, other: u64) -> Result<bool, Error> {
    let mut mount = *mount;
    for _ in 0..MOST_PARTS {
        let above = mount.field("mnt_parent")?.deref()?;
        if mount.address() == other || above.address() == mount.address() {
            return Ok(mount.address() == other);
        }
        mount = above;
    }
    Err(Error::Damaged { what: "path", at: mount.address(), why: "it has no end" })
}

/// The path of a dentry from the root of its file system.
///
/// # Errors
/// As for [`full`].
pub(crate) fn in_file_system(dentry: &Object<'_>) -> Result<Vec<u8>, Error> {
    let (mut dentry, mut path) = (*dentry, Vec::new());
    for _ in 0..MOST_PARTS {
        let parent = dentry.field("d_parent")?;
        if parent.number()? == dentry.address() {
            return Ok(joined(path));
        }
        path.push(name(&dentry)?);
        dentry = parent.deref()?;
    }
    Err(Error::Damaged { what: "path", at: dentry.address(), why: "it has no end" })
}

/// The name of a dentry in its folder.
///
/// # Errors
/// [`Error::Memory`], [`Error::NoMember`].
pub(crate) fn name(dentry: &Object<'_>) -> Result<Vec<u8>, Error> {
    let at = dentry.field("d_name.name")?.number()?;
    dentry.kernel().text(at, MOST_NAME)
}

/// The parts from the last to the first.
fn joined(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.reverse();
    let mut path = Vec::new();
    for part in &parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() { b"/".to_vec() } else { path }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn parts_are_joined_from_the_root_on() {
        assert_eq!(joined(vec![b"c d".to_vec(), b"a".to_vec()]), b"/a/c d");
        assert_eq!(joined(Vec::new()), b"/");
    }
}
