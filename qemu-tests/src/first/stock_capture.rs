//! A stock Linux as the capture kernel: the common setup today.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::first::dynamic;
use crate::first::initramfs::{Archive, FOLDER, PROGRAM, Packed, TEXT};
use crate::first::virtio_modules;

/// Paths of kernel and initramfs in the first kernel's initramfs.
pub const KERNEL: &str = "capture-kernel";
/// See [`KERNEL`].
pub const INITRAMFS: &str = "capture-initramfs";
/// Its command line, before the loader's additions. One CPU and no left-over devices, as the
/// kernel's documentation asks for (kdump.rst). `earlyprintk=` before `quiet` lets only the
/// kernel's first lines out, so that its start can be seen, and its console does not hold it up.
pub const COMMAND_LINE: &str = "earlyprintk=ttyS0,115200 console=ttyS0,115200 quiet nr_cpus=1 irqpoll \
     reset_devices panic=-1 nokaslr";
/// In the first line of every Linux.
pub const FIRST_LINE: &str = "Linux version ";
/// The script `/init`.
const INIT: &str = include_str!("stock-capture.sh");
/// First bytes of a kdump-compressed dump (`KDUMP_SIGNATURE` of makedumpfile).
const KDUMP: &[u8; 8] = b"KDUMP   ";
/// The busybox programs that it uses.
const APPLETS: [&str; 9] = ["sh", "mount", "insmod", "cat", "stat", "dd", "awk", "reboot", "sleep"];

/// A Linux and the contents of its initramfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StockCapture {
    /// Its bzImage, as Debian's package unpacks it.
    pub kernel: PathBuf,
    /// The ELF file that is compressed in the bzImage, to be loaded instead: it starts sooner. For
    /// kexec-tools.
    pub vmlinux: Option<PathBuf>,
    /// A static busybox.
    pub busybox: PathBuf,
    /// The folder that Debian's makedumpfile was unpacked into, for a dump of kernel pages alone
    /// (`-l -d 31`); [`None`] for a raw one.
    pub makedumpfile: Option<PathBuf>,
}

impl StockCapture {
    /// Kernel and initramfs, for the first kernel's initramfs.
    ///
    /// # Errors
    /// Fails if a file cannot be read; the text names it.
    pub fn files(&self) -> Result<Vec<Packed>> {
        let kernel = read(self.vmlinux.as_ref().unwrap_or(&self.kernel))?;
        Ok(vec![(KERNEL.into(), kernel), (INITRAMFS.into(), self.initramfs()?)])
    }

    /// Checks that the disk begins with a dump of makedumpfile, if that was to write it.
    ///
    /// # Errors
    /// Fails if the disk cannot be read, or begins with something else.
    pub(crate) fn check_signature(&self, disk: &Path) -> Result<()> {
        let mut signature = [0; KDUMP.len()];
        File::open(disk)?.read_exact(&mut signature).context("reading the dump disk")?;
        let is_right = self.makedumpfile.is_none() || signature == *KDUMP;
        ensure!(is_right, "the disk does not begin with a kdump-compressed dump");
        Ok(())
    }

    fn initramfs(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in
            ["bin", "dev", "etc", "lib", "lib64", "modules", "proc", "sys", "tmp", "usr", "usr/bin"]
        {
            archive.add(folder, FOLDER, b"")?;
        }
        archive.add_busybox(&read(&self.busybox)?, &APPLETS)?;
        let mut list = String::new();
        for (number, module) in
            virtio_modules::of(&self.kernel, virtio_modules::DISK)?.iter().enumerate()
        {
            archive.add(&format!("modules/{number}.ko"), TEXT, module)?;
            list.push_str(&format!("{number}.ko\n"));
        }
        archive.add("etc/modules.list", TEXT, list.as_bytes())?;
        if let Some(root) = &self.makedumpfile {
            for (name, bytes) in dynamic::with_libraries(root, "usr/bin/makedumpfile")? {
                archive.add(&name, PROGRAM, &bytes)?;
            }
        }
        archive.add("init", PROGRAM, INIT.as_bytes())?;
        archive.finish()
    }
}

/// Returns the arguments with which our loader loads it. Linux needs the low memory that purgatory
/// has saved.
pub fn loader_arguments() -> Vec<String> {
    let (kernel, initramfs) = (format!("/{KERNEL}"), format!("/{INITRAMFS}"));
    let words = [
        "--kernel",
        &kernel,
        "--initrd",
        &initramfs,
        "--command-line",
        COMMAND_LINE,
        "--low-memory",
    ];
    words.map(str::to_string).to_vec()
}

/// Copies the first `length` bytes of the disk, which `dd` wrote, to `out`; returns their SHA-256.
///
/// # Errors
/// Fails if a file cannot be read or written, or the disk is shorter.
pub fn extract(disk: &Path, length: u64, out: &Path) -> Result<[u8; 32]> {
    let mut from = File::open(disk).context("opening the dump disk")?.take(length);
    let mut to = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut copied = 0;
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        to.write_all(&chunk[..read])?;
        hash.update(&chunk[..read]);
        copied += read as u64;
    }
    ensure!(copied == length, "the dump disk ends after {copied} of {length} bytes");
    Ok(hash.finalize().into())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
