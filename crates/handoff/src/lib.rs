//! The data that one stage of a crash hands to the next, and nothing else.
//!
//! ```text
//! loader ──PurgatoryParams──▶ purgatory ──BootParams──▶ capture kernel
//!    └─────SlotHeader──▶ a first kernel that unpacks the slot by itself
//! ```
//!
//! Types and constants: no I/O, no `unsafe`, no logic but to find a header and its length. This
//! crate is purgatory's whole audit surface, so it is kept small enough to be read in one sitting.
//! Every layout that another program (Linux, kexec-tools, an older loader) depends on is pinned
//! field by field in the tests.

#![no_std]
#![forbid(unsafe_code)]

pub mod block;
pub mod boot_params;
pub mod layout;
pub mod purgatory;
pub mod setup_header;
pub mod slot_image;
pub mod stage;

pub use block::{Block, BlockHeader};
pub use boot_params::{BootParams, E820Entry};
pub use purgatory::PurgatoryParams;
pub use setup_header::SetupHeader;
pub use slot_image::{SlotHeader, SlotPlace, SlotSegment};
pub use stage::Stage;
