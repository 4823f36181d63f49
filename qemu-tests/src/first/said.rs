//! The words of a Linux first kernel's /proc right before the crash, saved as its word on its
//! pages is, and a machine in use before that: mounts, disks, networks, programs in many states.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::check::truth::Truth;
use crate::first::initramfs::Contents;
use crate::first::saved_pages::Area;
use crate::first::virtio_modules;
use crate::host::memory::{GuestMemory, PAGE};

/// Modules for disks and networks. Each needs those before it.
const MODULES: [&str; 7] = [
    "drivers/block/loop.ko",
    "drivers/net/dummy.ko",
    "lib/crc16.ko",
    "crypto/crc32c_generic.ko",
    "fs/mbcache.ko",
    "fs/jbd2/jbd2.ko",
    "fs/ext4/ext4.ko",
];
/// The machine in use, and the functions that save the words.
const SAID: &str = include_str!("said.sh");
/// Beginning of the line before each file.
const NAME: &[u8] = b"=== ";
/// Name of the file that is none: the end.
const END: &str = "end";

/// Puts all that it takes into the initramfs for the bzImage at `kernel`. Modules that its package
/// lacks are left out.
///
/// # Errors
/// A module cannot be read.
pub(crate) fn pack(area: &Area, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
    contents.said = Some(format!("{}\n", area.words().start / PAGE));
    virtio_modules::add(kernel, &MODULES, contents)?;
    contents.before_crash = format!("{SAID}\n{}", contents.before_crash);
    Ok(())
}

/// Files of /proc and the like, by the name that `said.sh` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(BTreeMap<String, Vec<u8>>);

impl Said {
    /// Reads what the first kernel has saved in `area`.
    ///
    /// # Errors
    /// Fails if it has not come to the end, or something has changed it since.
    pub fn read(area: &Area, memory: &GuestMemory, truth: &Truth) -> Result<Self> {
        let words = area.words();
        Self::parse(&truth.bytes(memory, words.start, words.end - words.start)?)
    }

    /// Reads the files that [`Said::write`] has written.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            files.insert(name, bytes);
        }
        Ok(Self(files))
    }

    /// Takes the bytes that the kernel has saved.
    ///
    /// # Errors
    /// They have no end.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut files = BTreeMap::<_, Vec<u8>>::new();
        let mut name = String::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(NAME) {
                Some(next) => {
                    name = String::from_utf8_lossy(next).trim_end().replace('/', "_");
                    if name == END {
                        return Ok(Self(files));
                    }
                    files.entry(name.clone()).or_default();
                }
                None => files.entry(name.clone()).or_default().extend(line),
            }
        }
        let last = files.keys().last().map_or("none", String::as_str);
        anyhow::bail!("the kernel's words have no end; their files go up to {last}")
    }

    /// The text of a file; `net/dev` is `net_dev`, `/sys/kernel/x` is `_sys_kernel_x`.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn text(&self, name: &str) -> Result<String> {
        let bytes = self.0.get(name).with_context(|| format!("the kernel has said no {name}"))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Writes them all into `folder`, which becomes new.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_each_other_up_to_the_end() {
        let words = b"=== version\nLinux\n=== net/dev\n a\n b\n=== version\n5\n=== end\n\0=== x\n";
        let said = Said::parse(words).unwrap();
        assert_eq!(said.text("net_dev").unwrap(), " a\n b\n");
        assert_eq!(said.text("version").unwrap(), "Linux\n5\n");
        assert!(said.text("x").unwrap_err().to_string().contains("has said no x"));
        let error = Said::parse(b"=== version\nLinux\n").unwrap_err().to_string();
        assert!(error.contains("up to version"), "{error}");
    }
}
