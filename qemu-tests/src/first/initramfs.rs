//! Initramfs archives; that of a Linux first kernel holds busybox, the loader and a short `/init`.

use std::io::Write;

use anyhow::{Result, ensure};
use cpio::newc::{self, Builder};

/// The script `/init`.
const INIT: &str = include_str!("init.sh");
/// The busybox programs that `/init` uses.
const APPLETS: [&str; 16] = [
    "sh",
    "mount",
    "umount",
    "cat",
    "awk",
    "sed",
    "grep",
    "poweroff",
    "sleep",
    "true",
    "insmod",
    "dd",
    "mkdir",
    "mkfifo",
    "fallocate",
    "od",
];
/// The folder of the harness's files beside the user's own userland.
const OWN_FOLDER: &str = "kdump-rs";
const OWN_PREFIX: &str = "kdump-rs/";
/// `/init` there, as on the kernel's command line.
pub const OWN_INIT: &str = "/kdump-rs/init";
/// First line of `/init`, and the line that replaces it beside one's own userland.
const INTERPRETER: &str = "#!/bin/sh\n";
const OWN_INTERPRETER: &str = "#!/kdump-rs/bin/sh\n";
/// An archive after another begins at a multiple of this (bytes).
const ALIGNMENT: usize = 512;

/// Every folder that contains a file or is a mount point.
const FOLDERS: [&str; 11] =
    ["bin", "dev", "etc", "lib", "lib64", "memory", "modules", "proc", "sbin", "sys", "tmp"];

pub(crate) const FOLDER: u32 = 0o040_755;
pub(crate) const PROGRAM: u32 = 0o100_755;
pub(crate) const TEXT: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    /// The prefix of each name.
    prefix: &'static str,
}

impl Archive {
    /// Adds a file, a folder or a link, as `mode` says.
    ///
    /// # Errors
    /// Fails if the content is too long for the format.
    pub(crate) fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let length = u32::try_from(content.len())?;
        let name = format!("{}{name}", self.prefix);
        let mut writer = Builder::new(&name).mode(mode).write(&mut self.bytes, length);
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
        Ok(newc::trailer(self.bytes)?)
    }
}

/// A file for the archive: its path there, and its bytes.
pub type Packed = (String, Vec<u8>);

/// Contents of the initramfs of a first kernel.
pub struct Contents<'a> {
    /// A static busybox.
    pub busybox: &'a [u8],
    /// Our loader, or its substitute, and further programs: path and bytes.
    pub programs: Vec<Packed>,
    /// Its arguments, one a line in a file.
    pub arguments: &'a [String],
    /// `/init` keeps the disk or the partition with so many sectors of 512 bytes busy.
    pub busy_sectors: Option<u64>,
    /// Modules that are loaded first of all: they add memory, or are there when the loader looks.
    pub memory_modules: Vec<Vec<u8>>,
    /// Size of hot-added memory in bytes.
    pub hot_memory: u64,
    /// Further modules, in a folder: name and bytes.
    pub load_modules: Vec<Packed>,
    /// Those of them that are loaded before the capture kernel is, in this order: name and
    /// parameters.
    pub first_modules: Vec<String>,
    /// Arguments for saving the word of the kernel on every page, in a line.
    pub saved_pages: Option<String>,
    /// The kernel shows the stacks of its CPUs and tasks before the crash.
    pub shown_stacks: bool,
    /// The page from which on the kernel saves what its /proc says, in a line.
    pub said: Option<String>,
    /// crashinfo for the running kernel, and its sections, a line for each.
    pub live: Option<(Vec<u8>, String)>,
    /// Shell commands between the load and the crash.
    pub before_crash: String,
    /// One's own userland.
    pub userland: Option<&'a Userland>,
}

/// One's own userland in the first kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Userland {
    /// The initramfs, compressed or not.
    pub archive: Vec<u8>,
    /// Its first program: the first of these that is there.
    pub programs: Vec<String>,
}

impl Userland {
    /// Takes the initramfs `archive` for a first kernel whose command line has `words`. As in
    /// Linux, `rdinit=` names the program, else it is `/init`, else the one that `init=` names.
    ///
    /// # Errors
    /// Fails if it does not begin as any initramfs does.
    pub fn new(archive: Vec<u8>, words: &str) -> Result<Self> {
        ensure!(
            BEGINNINGS.iter().any(|beginning| archive.starts_with(beginning)),
            "this is no initramfs: neither a cpio archive (newc) nor one compressed in a way that \
             Linux knows. Next step: find . | cpio -o -H newc | gzip > initrd"
        );
        let values = |key: &'static str| {
            let words = words.split_whitespace().take_while(|word| *word != "--");
            words.filter_map(move |word| word.strip_prefix(key)).map(str::to_string)
        };
        let programs = match values("rdinit=").last() {
            Some(program) => vec![program],
            None => std::iter::once("/init".to_string()).chain(values("init=").last()).collect(),
        };
        Ok(Self { archive, programs })
    }
}

/// Possible beginnings of an initramfs: newc with and without checksums, gzip, bzip2, LZMA, XZ,
/// LZO, LZ4 (legacy), zstd (Linux, `lib/decompress.c`).
const BEGINNINGS: [&[u8]; 10] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x1f\x9e",
    b"BZh",
    b"\x5d\0",
    b"\xfd7zXZ\0",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
];

/// Packs the archive. One's own userland follows ours, which is not compressed, and nothing has a
/// name in both: Linux unpacks one archive after the other.
///
/// # Errors
/// Fails if a file is too long for the format.
pub fn pack(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let Some(userland) = contents.userland else {
        let archive = Archive::default();
        return add_all(contents, archive, INIT.to_string())?.finish();
    };
    let mut archive = Archive::default();
    for folder in [OWN_FOLDER, "dev", "proc", "sys"] {
        archive.add(folder, FOLDER, b"")?;
    }
    let programs: String = userland.programs.iter().map(|name| format!("{name}\n")).collect();
    archive.prefix = OWN_PREFIX;
    let init = INIT.replacen(INTERPRETER, OWN_INTERPRETER, 1);
    let mut archive = add_all(contents, archive, init)?;
    archive.add("etc/kdump.init", TEXT, programs.as_bytes())?;
    let mut bytes = archive.finish()?;
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes.extend(&userland.archive);
    Ok(bytes)
}

/// Everything that `/init` needs, and `init` as its text.
fn add_all(contents: &Contents<'_>, mut archive: Archive, init: String) -> Result<Archive> {
    for folder in FOLDERS {
        archive.add(folder, FOLDER, b"")?;
    }
    archive.add_busybox(contents.busybox, &APPLETS)?;
    for (name, program) in &contents.programs {
        archive.add(name, PROGRAM, program)?;
    }
    let lines: String = contents.arguments.iter().map(|word| format!("{word}\n")).collect();
    archive.add("etc/kdump.arguments", TEXT, lines.as_bytes())?;
    if let Some(sectors) = contents.busy_sectors {
        archive.add("etc/kdump.busy", TEXT, format!("{sectors}\n").as_bytes())?;
    }
    for (number, module) in contents.memory_modules.iter().enumerate() {
        archive.add(&format!("memory/{number}.ko"), TEXT, module)?;
    }
    if contents.hot_memory > 0 {
        let kib = (contents.hot_memory >> 10).to_string();
        archive.add("etc/kdump.hot-kib", TEXT, kib.as_bytes())?;
    }
    for (name, module) in &contents.load_modules {
        archive.add(&format!("modules/{name}"), TEXT, module)?;
    }
    if !contents.first_modules.is_empty() {
        let lines: String = contents.first_modules.iter().map(|line| format!("{line}\n")).collect();
        archive.add("etc/kdump.modules", TEXT, lines.as_bytes())?;
    }
    if let Some(arguments) = &contents.saved_pages {
        archive.add("etc/kdump.pages", TEXT, arguments.as_bytes())?;
    }
    if contents.shown_stacks {
        archive.add("etc/kdump.stacks", TEXT, b"")?;
    }
    if let Some(page) = &contents.said {
        archive.add("etc/kdump.said", TEXT, page.as_bytes())?;
    }
    if let Some((program, sections)) = &contents.live {
        archive.add("crashinfo", PROGRAM, program)?;
        archive.add("etc/kdump.live", TEXT, sections.as_bytes())?;
    }
    if !contents.before_crash.is_empty() {
        archive.add("etc/kdump.before", TEXT, contents.before_crash.as_bytes())?;
    }
    archive.add("init", PROGRAM, init.as_bytes())?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names and modes of the archive's files, and the bytes after it.
    fn listed(packed: &[u8]) -> (Vec<(String, u32)>, &[u8]) {
        let mut found = Vec::new();
        let mut rest = packed;
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            let is_trailer = reader.entry().is_trailer();
            if !is_trailer {
                found.push((reader.entry().name().to_string(), reader.entry().mode()));
            }
            rest = reader.finish().unwrap();
            if is_trailer {
                return (found, rest);
            }
        }
    }

    fn packed(userland: Option<&Userland>) -> Vec<u8> {
        let packed = pack(&Contents {
            busybox: b"BUSYBOX",
            programs: vec![("kdump-loader".into(), b"LOADER".to_vec())],
            arguments: &["--target".into()],
            busy_sectors: Some(1),
            memory_modules: vec![b"MEM".into()],
            hot_memory: 1 << 20,
            load_modules: vec![("brd.ko".into(), b"BRD".into())],
            first_modules: vec!["brd.ko rd_nr=1".into()],
            saved_pages: Some("16384 128\n".into()),
            shown_stacks: true,
            said: Some("16640\n".into()),
            live: Some((b"CRASHINFO".into(), "ps\n".into())),
            before_crash: "true".into(),
            userland,
        });
        packed.unwrap()
    }

    #[test]
    fn the_archive_holds_what_init_needs() {
        let packed = packed(None);
        let (found, _) = listed(&packed);
        assert!(found.contains(&("init".into(), PROGRAM)));
        assert!(found.contains(&("bin/awk".into(), LINK)));
        assert!(found.contains(&("etc/kdump.arguments".into(), TEXT)));
        assert!(found.contains(&("etc/kdump.busy".into(), TEXT)));
        assert!(found.contains(&("memory/0.ko".into(), TEXT)));
        assert!(found.contains(&("modules/brd.ko".into(), TEXT)));
        assert!(found.contains(&("etc/kdump.pages".into(), TEXT)));
        assert!(found.contains(&("etc/kdump.stacks".into(), TEXT)));
        assert!(found.contains(&("etc/kdump.said".into(), TEXT)));
        assert!(found.contains(&("crashinfo".into(), PROGRAM)));
        assert!(found.contains(&("etc/kdump.modules".into(), TEXT)));
        assert_eq!(found.len(), FOLDERS.len() + 1 + APPLETS.len() + 14);
    }

    #[test]
    fn ones_own_userland_follows_and_shares_no_name_but_mount_points() {
        let userland = Userland::new(b"\x1f\x8btheirs".to_vec(), "").unwrap();
        let packed = packed(Some(&userland));
        let (found, rest) = listed(&packed);
        let (padding, theirs) = rest.split_at(rest.len() - userland.archive.len());
        assert_eq!(theirs, userland.archive);
        assert_eq!((packed.len() - theirs.len()) % ALIGNMENT, 0);
        assert!(padding.iter().all(|byte| *byte == 0));
        for (name, mode) in &found {
            let is_ours = name == OWN_FOLDER || name.starts_with("kdump-rs/");
            let is_mount_point = ["dev", "proc", "sys"].contains(&name.as_str());
            assert!(is_ours || (is_mount_point && *mode == FOLDER), "{name}");
        }
        assert!(found.contains(&(OWN_INIT[1..].into(), PROGRAM)));
        assert!(found.contains(&("kdump-rs/etc/kdump.init".into(), TEXT)));
        assert!(INIT.starts_with(INTERPRETER));
    }

    #[test]
    fn the_first_program_is_the_one_that_linux_would_take() {
        let programs = |words| Userland::new(b"070701".to_vec(), words).unwrap().programs;
        assert_eq!(programs("quiet"), ["/init"]);
        assert_eq!(programs("init=/bin/a init=/bin/b"), ["/init", "/bin/b"]);
        assert_eq!(programs("rdinit=/a init=/b rdinit=/c"), ["/c"]);
        assert_eq!(programs("quiet -- rdinit=/a"), ["/init"], "that is for the program");
    }

    #[test]
    fn what_is_no_initramfs_is_refused() {
        for other in [&b"hsqs"[..], b"\x7fELF", b"", b"MZ"] {
            let error = Userland::new(other.to_vec(), "").unwrap_err().to_string();
            assert!(error.contains("cpio -o -H newc"), "{error}");
        }
    }
}
