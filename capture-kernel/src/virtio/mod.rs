//! virtio: our own virtqueue and the block device, over the transports of virtio-drivers.

pub mod blk;
pub mod device;
pub mod queue;
pub mod requests;
