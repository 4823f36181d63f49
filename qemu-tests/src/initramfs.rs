//! Initramfs archives; that of a Linux first kernel holds busybox, the loader and a short `/init`.

use std::io::Write;

use anyhow::Result;
use cpio::newc::{self, Builder};

/// What `/init` does; see the script.
const INIT: &str = include_str!("init.sh");
/// The busybox programs that `/init` uses.
const APPLETS: [&str; 11] =
    ["sh", "mount", "cat", "awk", "sed", "grep", "poweroff", "sleep", "true", "insmod", "dd"];

/// Every folder that something lies in or is mounted on.
const FOLDERS: [&str; 13] = [
    "bin",
    "dev",
    "etc",
    "lib",
    "lib/i386-linux-gnu",
    "lib/x86_64-linux-gnu",
    "lib64",
    "memory",
    "modules",
    "proc",
    "sbin",
    "sys",
    "tmp",
];

pub(crate) const FOLDER: u32 = 0o040_755;
pub(crate) const PROGRAM: u32 = 0o100_755;
pub(crate) const TEXT: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    /// Adds a file, a folder or a link, as `mode` says.
    ///
    /// # Errors
    /// When the content is longer than the format has numbers for.
    pub(crate) fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let length = u32::try_from(content.len())?;
        let mut writer = Builder::new(name).mode(mode).write(&mut self.0, length);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    /// Adds busybox and the names of its programs.
    ///
    /// # Errors
    /// As [`Archive::add`].
    pub(crate) fn add_busybox(&mut self, busybox: &[u8], applets: &[&str]) -> Result<()> {
        self.add("bin/busybox", PROGRAM, busybox)?;
        for applet in applets {
            self.add(&format!("bin/{applet}"), LINK, b"busybox")?;
        }
        Ok(())
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// Never in practice: it writes to memory.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(newc::trailer(self.0)?)
    }
}

/// What goes into the initramfs of a first kernel.
pub struct Contents<'a> {
    /// A static busybox.
    pub busybox: &'a [u8],
    /// Our loader, or what stands in for it: path and bytes.
    pub programs: &'a [(&'static str, Vec<u8>)],
    /// Its arguments, one a line in a file.
    pub arguments: &'a [String],
    /// Modules that are loaded in this order; with them, `/init` keeps a second virtio disk busy.
    pub modules: &'a [Vec<u8>],
    /// Modules that are loaded first of all; they add memory.
    pub memory_modules: &'a [Vec<u8>],
    /// How much, in bytes.
    pub hot_memory: u64,
    /// What the shell does between the load and the crash.
    pub before_crash: &'a str,
}

/// Packs the archive.
///
/// # Errors
/// When a file is longer than the format has numbers for.
pub fn pack(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, FOLDER, b"")?;
    }
    archive.add_busybox(contents.busybox, &APPLETS)?;
    for (name, program) in contents.programs {
        archive.add(name, PROGRAM, program)?;
    }
    let lines: String = contents.arguments.iter().map(|word| format!("{word}\n")).collect();
    archive.add("etc/kdump.arguments", TEXT, lines.as_bytes())?;
    for (number, module) in contents.modules.iter().enumerate() {
        archive.add(&format!("modules/{number}.ko"), TEXT, module)?;
    }
    for (number, module) in contents.memory_modules.iter().enumerate() {
        archive.add(&format!("memory/{number}.ko"), TEXT, module)?;
    }
    if contents.hot_memory > 0 {
        let kib = (contents.hot_memory >> 10).to_string();
        archive.add("etc/kdump.hot-kib", TEXT, kib.as_bytes())?;
    }
    if !contents.before_crash.is_empty() {
        archive.add("etc/kdump.before", TEXT, contents.before_crash.as_bytes())?;
    }
    archive.add("init", PROGRAM, INIT.as_bytes())?;
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_what_init_needs() {
        let packed = pack(&Contents {
            busybox: b"BUSYBOX",
            programs: &[("loader", b"LOADER".to_vec())],
            arguments: &["--target".into()],
            modules: &[b"KO".into()],
            memory_modules: &[b"MEM".into()],
            hot_memory: 1 << 20,
            before_crash: "true",
        });
        let packed = packed.unwrap();
        let mut found = Vec::new();
        let mut rest = packed.as_slice();
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            found.push((reader.entry().name().to_string(), reader.entry().mode()));
            rest = reader.finish().unwrap();
        }
        assert!(found.contains(&("init".into(), PROGRAM)));
        assert!(found.contains(&("bin/awk".into(), LINK)));
        assert!(found.contains(&("etc/kdump.arguments".into(), TEXT)));
        assert!(found.contains(&("modules/0.ko".into(), TEXT)));
        assert!(found.contains(&("memory/0.ko".into(), TEXT)));
        assert_eq!(found.len(), FOLDERS.len() + 1 + APPLETS.len() + 7);
    }
}
