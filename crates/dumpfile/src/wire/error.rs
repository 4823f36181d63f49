//! Reasons that bytes are no frame of ours.

/// Error in a frame whose checksum is right, or in a buffer for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A kind that this version does not have.
    #[error("a frame has the unknown kind {0}: the other end is at fault")]
    Kind(u8),
    /// A body that is too short or too long for its kind.
    #[error("a frame of kind {kind} has a body of {length} bytes: the other end is at fault")]
    Body {
        /// The frame's kind.
        kind: u8,
        /// Length of its body in bytes.
        length: usize,
    },
    /// A range of no bytes, one that ends past 64 bits, or a bulk of more than
    /// [`MAX_BULK`](super::MAX_BULK) bytes.
    #[error("a frame names the range {offset:#x}+{length:#x}: the other end is at fault")]
    Range {
        /// Its start in the view, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A view number from [`MAX_VIEWS`](super::MAX_VIEWS) on.
    #[error("a frame names view {0}, and there are 16 at most: the other end is at fault")]
    View(u16),
    /// A class of left-out bytes that this version does not have.
    #[error("a frame names the unknown class {0} of left-out bytes: the other end is at fault")]
    Class(u8),
    /// A codec that this version does not have.
    #[error("a frame names the unknown codec {0}: the other end is at fault")]
    Codec(u8),
    /// A chunk of no stored bytes or of more than it has raw ones, or a part outside of these.
    #[error(
        "a frame names the stored bytes {offset}+{length} of a chunk: the other end is at fault"
    )]
    Stored {
        /// Offset in the stored bytes.
        offset: u32,
        /// Number of bytes.
        length: u64,
    },
    /// A name that is not 1–32 letters, digits and dashes.
    #[error("a view has a name that is no name: the other end is at fault")]
    Name,
    /// An end that takes frames shorter than 256 bytes.
    #[error("the other end takes frames of {0} bytes at most, and 256 are the least")]
    FrameLimit(u32),
    /// The buffer for a frame is too short for it.
    #[error("a frame of {needed} bytes does not fit into {room}")]
    Room {
        /// Length of the frame in bytes.
        needed: usize,
        /// Length of the buffer in bytes.
        room: usize,
    },
}
