//! Stock kexec-tools in the place of our loader: the capture kernel comes from us, its loader and its
//! purgatory do not.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the capture kernel lies in the initramfs.
const IMAGE: &str = "capture-kernel";
/// The program.
const PROGRAM: &str = "sbin/kexec";
/// Its interpreter and its libraries, for a first kernel of either width.
const I386_LIBRARIES: [&str; 2] = ["lib/ld-linux.so.2", "lib/i386-linux-gnu/libc.so.6"];
const AMD64_LIBRARIES: [&str; 2] = ["lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"];

/// Debian's kexec-tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KexecTools {
    /// The folder that the packages were unpacked into.
    pub root: PathBuf,
    /// Whether the memory map goes on the command line (`--pass-memmap-cmdline`) besides into
    /// boot_params.
    pub memmap: bool,
}

/// A file for the initramfs: its path there, and its bytes.
pub type Packed = (&'static str, Vec<u8>);

impl KexecTools {
    /// What goes into the initramfs besides what is always there.
    ///
    /// # Errors
    /// When a file cannot be read; the text names it.
    pub fn files(&self, capture_kernel: &[u8]) -> Result<Vec<Packed>> {
        let is_amd64 = self.root.join(AMD64_LIBRARIES[0]).exists();
        let libraries = if is_amd64 { AMD64_LIBRARIES } else { I386_LIBRARIES };
        let mut files = vec![(IMAGE, capture_kernel.to_vec())];
        for name in [PROGRAM].into_iter().chain(libraries) {
            let path = self.root.join(name);
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            files.push((name, bytes));
        }
        Ok(files)
    }

    /// Its command line. `words` are those of the capture kernel.
    pub fn arguments(&self, words: &str, core_headers: Option<&str>) -> Vec<String> {
        let append = format!("--append={words}");
        let mut arguments = vec!["-p", "--type=elf-x86", "--args-linux"];
        arguments.extend(core_headers);
        if self.memmap {
            arguments.push("--pass-memmap-cmdline");
        }
        arguments.extend([append.as_str(), "/capture-kernel"]);
        arguments.into_iter().map(str::to_string).collect()
    }
}
