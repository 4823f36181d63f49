//! The two images that go into the slot.

use handoff::SetupHeader;

use crate::images::bzimage;
use crate::images::error::ImageError;
use crate::images::kernel_image::KernelImage;
use crate::images::purgatory::PurgatoryImage;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The ELF files that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// The capture kernel: an i386 ELF image, ours or an uncompressed Linux `vmlinux`.
    pub capture_kernel: &'a [u8],
    /// Purgatory: an i386 ELF executable linked at 0 with its relocations kept.
    pub purgatory: &'a [u8],
}

impl<'a> Images<'a> {
    /// Reads and checks the capture kernel: an ELF file or a Linux bzImage.
    pub(crate) fn kernel(&self) -> Result<KernelImage<'a>, ImageError> {
        match SetupHeader::find(self.capture_kernel) {
            Some(header) => bzimage::parse(self.capture_kernel, header),
            None => KernelImage::from_elf(self.capture_kernel),
        }
    }

    /// Reads and checks purgatory.
    pub(crate) fn purgatory(&self) -> Result<PurgatoryImage, ImageError> {
        PurgatoryImage::parse(self.purgatory)
    }
}

/// The capture kernel inside this program, when it was built with one.
pub fn embedded_capture_kernel() -> Option<&'static [u8]> {
    CAPTURE_KERNEL
}

/// The purgatory inside this program, when it was built with one.
pub fn embedded_purgatory() -> Option<&'static [u8]> {
    PURGATORY
}
