//! virtio: our own virtqueue, the block device, the console and the memory device, over the
//! transports of virtio-drivers.

pub mod blk;
pub mod console;
pub mod device;
mod inbox;
pub mod mem;
mod queue;
mod requests;
pub mod scsi;
