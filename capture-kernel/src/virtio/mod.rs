//! virtio: our own virtqueue, the block device and the console, over the transports of
//! virtio-drivers.

pub mod blk;
pub mod console;
pub mod device;
pub mod inbox;
pub mod queue;
pub mod requests;
