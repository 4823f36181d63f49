//! Stock kexec-tools in the place of our loader: the capture kernel comes from us, its loader and
//! its purgatory do not.

use std::path::PathBuf;

use anyhow::Result;

use crate::first::dynamic;
use crate::first::initramfs::Packed;
use crate::first::stock_capture::{self, StockCapture};

/// The program.
const PROGRAM: &str = "sbin/kexec";
/// Debian's kexec-tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KexecTools {
    /// The folder that the packages were unpacked into.
    pub root: PathBuf,
    /// True if the memory map goes on the command line (`--pass-memmap-cmdline`) besides into
    /// boot_params.
    pub memmap: bool,
}

impl KexecTools {
    /// Returns the files for the initramfs besides those that are always there.
    ///
    /// # Errors
    /// Fails if a file cannot be read; the text names it.
    pub fn files(&self) -> Result<Vec<Packed>> {
        dynamic::with_libraries(&self.root, PROGRAM)
    }

    /// Its command line for a stock Linux as capture kernel. An ELF file has to be called a Linux.
    pub fn stock_arguments(&self, stock: &StockCapture) -> Vec<String> {
        let append = format!("--append={}", stock_capture::COMMAND_LINE);
        let (kernel, initramfs) = (stock_capture::KERNEL, stock_capture::INITRAMFS);
        let (initramfs, kernel) = (format!("--initrd=/{initramfs}"), format!("/{kernel}"));
        let kind: &[&str] = if stock.vmlinux.is_some() { &["--args-linux"] } else { &[] };
        let words = ["-p"].iter().chain(kind).copied().chain([&*initramfs, &append, &kernel]);
        words.map(str::to_string).collect()
    }

    /// Returns its command line for our capture kernel with the kernel's own words `words`.
    /// `--append` is last: Debian's 2.0.25 gives its options for x86 and for ELF files the same
    /// numbers, so `--pass-memmap-cmdline` takes the text of an `--append` before it away.
    pub fn arguments(&self, words: &str, core_headers: Option<&str>) -> Vec<String> {
        let append = format!("--append={words}");
        let mut arguments = vec!["-p", "--type=elf-x86", "--args-linux"];
        arguments.extend(core_headers);
        if self.memmap {
            arguments.push("--pass-memmap-cmdline");
        }
        let image = format!("/{}", stock_capture::KERNEL);
        arguments.extend([append.as_str(), &image]);
        arguments.into_iter().map(str::to_string).collect()
    }
}
