//! First kernels: their parts, and their ways to load a capture kernel.

pub mod bzimage;
pub(crate) mod dynamic;
pub mod first_kernel;
pub mod guest;
pub mod initramfs;
pub mod kexec_tools;
mod linux;
pub mod module_tree;
pub mod prepared;
pub mod said;
pub mod saved_pages;
pub(crate) mod shown_stacks;
pub mod slot;
pub mod sockets;
pub mod stock_capture;
pub mod virtio_modules;
