//! There is no dump disk, it has a fault, or it is too small. [`Attachment`] has the faults.

use super::hooks::*;

pub(super) struct Disk(pub(super) Attachment);

impl Hooks for Disk {
    fn disk(&self, _size: &mut u64, attachment: &mut Attachment) {
        *attachment = self.0;
    }
}

pub(super) struct DiskSize(pub(super) u64);

impl Hooks for DiskSize {
    fn disk(&self, size: &mut u64, _attachment: &mut Attachment) {
        *size = self.0;
    }
}
