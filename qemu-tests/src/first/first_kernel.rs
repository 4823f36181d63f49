//! The kernels that die, by name.

use std::path::PathBuf;

/// Which first kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstKernel {
    /// A Linux with our loader in its initramfs.
    Linux {
        /// Its name in the report.
        name: String,
        /// True for an x86_64 kernel, false for i386.
        is_64_bit: bool,
        /// Its bzImage.
        kernel: PathBuf,
        /// True if it is known to say of itself all that the checks need. Of another one, checks
        /// that lack something are skipped.
        is_known: bool,
        /// A static busybox that runs under it.
        busybox: PathBuf,
        /// Our loader, a static i386 program with the images in it.
        loader: PathBuf,
    },
    /// The test guest, a multiboot ELF; the harness itself plans the slot.
    Guest {
        /// The ELF file, with its symbols.
        elf: PathBuf,
        /// The way in which the slot is filled.
        loading: Loading,
    },
}

impl FirstKernel {
    /// Its name in the report.
    pub fn name(&self) -> &str {
        match self {
            FirstKernel::Linux { name, .. } => name,
            FirstKernel::Guest { .. } => "guest",
        }
    }

    /// True if it takes a CPU with 64-bit mode.
    pub fn is_64_bit(&self) -> bool {
        matches!(self, FirstKernel::Linux { is_64_bit: true, .. })
    }
}

/// The way in which the slot is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// QEMU puts every segment of a whole plan into its place.
    Placed,
    /// The guest unpacks and seals a slot image that it gets as a multiboot module.
    Module,
    /// The same, but the image was sealed when it was packed.
    SealedModule,
    /// The guest unpacks and seals a slot image in place, at the backup region.
    InPlace,
}
