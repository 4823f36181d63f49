//! Formats of a dump that is stored or sent: the dump disk, the frames of the [`wire`] protocol,
//! and two formats of others that tools for dumps read: [kdump-compressed](kdump_file) and
//! [`flattened`].
//!
//! The bulk of a dump consists of [`chunk`]s, wherever it goes.
//!
//! A [dump disk](disk) is a disk, or one of its [`partitions`], that is ours alone: a header, then
//! dumps. The capture kernel writes only to one that carries a header with the requested id;
//! `collector` puts that header there.
//!
//! The layout is a contract between programs of different age: it has a version, it is pinned byte
//! by byte in the tests, and data that is read back is checked before use.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod checksum;
pub mod chunk;
pub mod disk;
pub mod flattened;
mod id;
pub mod kdump_file;
mod left_ranges;
pub mod partitions;
pub mod wire;

pub use checksum::Crc32c;
pub use disk::{Contents, DiskError, DiskHeader, DiskState};
pub use id::{DiskId, DiskIdError};
pub use left_ranges::{LeftRange, LeftRanges};
