//! Sockets of all kinds, routes and neighbours in a Linux first kernel, and Debian's ss and ip, which
//! list them right before the crash: a word that is not ours.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::first::dynamic;
use crate::first::initramfs::Contents;
use crate::first::virtio_modules;

/// Modules with which ss asks for more than /proc has, each after those that it needs.
const MODULES: [&str; 5] = [
    "net/ipv4/inet_diag.ko",
    "net/ipv4/tcp_diag.ko",
    "net/ipv4/udp_diag.ko",
    "net/ipv4/raw_diag.ko",
    "net/unix/unix_diag.ko",
];
/// The programs that list sockets and networks.
const LISTING: [&str; 2] = ["bin/ss", "bin/ip"];
/// The program that opens the sockets.
const PROGRAM: &str = "sockets";

/// The programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The static program that opens sockets.
    pub program: PathBuf,
    /// The folder that Debian's iproute2 is unpacked into, of the kernel's architecture.
    pub iproute: PathBuf,
}

impl Sockets {
    /// Puts them into the initramfs for the bzImage at `kernel`. Modules that its package lacks are
    /// left out.
    ///
    /// # Errors
    /// A program, a library or a module cannot be read.
    pub(crate) fn pack(&self, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
        virtio_modules::add(kernel, &MODULES, contents)?;
        let program = fs::read(&self.program);
        let program = program.with_context(|| format!("reading {}", self.program.display()))?;
        contents.programs.push((PROGRAM.into(), program));
        let mut seen = HashSet::new();
        for listing in LISTING {
            let files = dynamic::with_libraries(&self.iproute, listing)?;
            contents
                .programs
                .extend(files.into_iter().filter(|(name, _)| seen.insert(name.clone())));
        }
        Ok(())
    }
}
