//! The images that are loaded: the capture kernel and purgatory.

pub(crate) mod bzimage;
pub(crate) mod elf;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod kernel_image;
pub(crate) mod purgatory;
