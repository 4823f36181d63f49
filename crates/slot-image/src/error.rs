//! Faults of a slot image, with the likely cause and the next step.

use crate::Name;
use handoff::slot_image::MAX_SLOT_SEGMENTS;
use handoff::{Block, SlotHeader};
use vmcore::{PhysAddr, PhysRange};

/// The reason why an image is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Other first bytes, or too few for a header.
    #[error("this is not a slot image: make one with `kdump-loader pack`")]
    NotSlotImage,
    /// A header of another layout.
    #[error(
        "a slot image of version {found}, but only {} is known: pack it again",
        SlotHeader::VERSION
    )]
    OtherVersion {
        /// The value in its header.
        found: u32,
    },
    /// The header's own digest, its size, or an unknown flag is wrong.
    #[error("the header of the slot image is damaged: write the image again")]
    HeaderDamaged,
    /// The image was packed for another reservation.
    #[error(
        "the slot image is for {image}, but the first kernel has reserved {reserved}: change \
         crashkernel=, or pack it with that --slot"
    )]
    OtherSlot {
        /// The purpose of the image.
        image: PhysRange,
        /// The reservation.
        reserved: PhysRange,
    },
    /// The table of segments has no room.
    #[error("{count} segments, but a slot image has at most {MAX_SLOT_SEGMENTS}")]
    TooManySegments {
        /// Their number.
        count: usize,
    },
    /// A place that is no whole pages, is empty, or is outside the slot.
    #[error("the place of \"{name}\" is no whole pages inside the slot: pack the image again")]
    BadPlace {
        /// Which segment or region.
        name: Name,
    },
    /// Two places have bytes in common.
    #[error("\"{first}\" and \"{second}\" overlap in the slot: pack the image again")]
    Overlap {
        /// The one.
        first: Name,
        /// The other.
        second: Name,
    },
    /// Bytes that are not in the file, do not begin at a page, or are more than their place takes.
    #[error("the bytes of \"{name}\" are not in the file: the slot image was cut short")]
    NotInFile {
        /// Which segment.
        name: Name,
    },
    /// A segment's bytes do not have their digest.
    #[error("\"{name}\" in the slot image is damaged: write the image again")]
    SegmentDamaged {
        /// Which segment.
        name: Name,
    },
    /// Entry or parameter block are in no segment.
    #[error("the {what} is in no segment of the slot image: pack it again")]
    NotInSegment {
        /// The part that is outside.
        what: &'static str,
    },
    /// Purgatory's parameter block does not verify.
    #[error("purgatory's parameter block is damaged: pack the slot image again")]
    ParamsDamaged,
    /// The header says something else than the parameter block.
    #[error("header and parameter block of the slot image disagree on the {what}: pack it again")]
    Disagree {
        /// The other place.
        what: &'static str,
    },
    /// Purgatory would not check the region.
    #[error("purgatory checks no region that is {range}: pack the slot image again")]
    NoRegion {
        /// The region (physical).
        range: PhysRange,
    },
    /// The ELF core header does not fit.
    #[error(
        "the ELF core header has {length} bytes, its place {room}: pack the image with a larger \
         --elfcorehdr-size"
    )]
    CoreHeaderTooLong {
        /// Its length in bytes.
        length: usize,
        /// The room that there is, in bytes.
        room: u64,
    },
    /// The image is in a place where its segments are to go.
    #[error("the slot image at {at} is in the place of its own segments: put it elsewhere")]
    InTheWay {
        /// Its address (physical).
        at: PhysAddr,
    },
    /// The image does not fit into the backup region.
    #[error(
        "the slot image would have {size} bytes, but at most {room} can be put in place: use a \
         smaller capture kernel"
    )]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The size of the backup region in bytes.
        room: u64,
    },
    /// An address range that wraps.
    #[error("the slot image names an impossible range: {0}")]
    Range(#[from] vmcore::Error),
}

impl From<vmcore::RangeError> for Error {
    fn from(error: vmcore::RangeError) -> Self {
        Self::Range(error.into())
    }
}
