//! Slot images: files with a whole slot, for first kernels without kexec_load.

pub(crate) mod flash;
pub(crate) mod in_use;
pub(crate) mod inspect;
pub(crate) mod pack;
