//! The two images that go into the slot.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The ELF files that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// The capture kernel: an i386 ELF image, ours or an uncompressed Linux `vmlinux`.
    pub capture_kernel: &'a [u8],
    /// Purgatory: an i386 ELF executable linked at 0 with its relocations kept.
    pub purgatory: &'a [u8],
}

/// The capture kernel inside this program, when it was built with one.
pub fn embedded_capture_kernel() -> Option<&'static [u8]> {
    CAPTURE_KERNEL
}

/// The purgatory inside this program, when it was built with one.
pub fn embedded_purgatory() -> Option<&'static [u8]> {
    PURGATORY
}
