//! A dump disk: any block device that carries our header with the id that was asked for
//! (`dumpfile::disk`). Nothing is ever written to another.
//!
//! The order of writes makes a dump safe against a loss of power at any moment. If no dump is given
//! up, the directory, the first small views and the dump's header go out together, in any order,
//! and one flush follows: a header that the directory does not name is not looked for, a dump
//! without a header has nothing in it, and small views have checksums. If one is given up, the
//! directory is flushed before anything of it is overwritten. Then come the other small views, and
//! the bulk (`bulk.rs`), of which a header names the flushed part.

mod bulk;
mod chunks;
mod dump_disk;
#[cfg(test)]
mod levels;
mod locate;
#[cfg(test)]
mod nvme;
mod options;
mod place;
#[cfg(test)]
mod power_loss;
mod scratch;
#[cfg(test)]
mod tests;

pub use dump_disk::DumpDisk;
pub use locate::{Located, locate};
pub use options::WriteOptions;
