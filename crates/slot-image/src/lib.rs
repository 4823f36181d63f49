//! Slot images, both ways: the loader packs one, a first kernel takes it, unpacks and seals it.
//!
//! ```text
//! loader: segments ──encode──▶ bytes ──parse──▶ SlotImage ──segments──▶ places in the slot
//!                                                   └──params──▶ seal(ELF core header)
//! ```
//!
//! The format is `handoff::slot_image`; the bytes may come from a flash chip, so nothing in them is
//! believed before it was checked.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod encode;
mod error;
mod name;
mod params;
mod parse;

pub use encode::{Contents, ContentsSegment, encode};
pub use error::Error;
pub use name::Name;
pub use params::{seal, set_region_digest, sign, verify_params};
pub use parse::{Segment, SlotImage, backup_place, parse};

#[cfg(test)]
mod tests;
