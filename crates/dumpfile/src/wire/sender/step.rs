//! Settings of a sender, and the steps for its caller.

use crate::chunk::Codec;
use crate::wire::{MAX_FRAME, Range, SMALL_FRAME};

/// Settings of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    /// Tells this dump from every other.
    pub id: [u8; 16],
    /// Largest frame in bytes: [`SMALL_FRAME`] on a serial line, and where bulks are sent.
    pub max_frame: usize,
    /// Send bulks to a receiver that takes them: nothing is summed or hashed then.
    pub bulk: bool,
    /// The encoding of chunks in views that have one, for a receiver that takes it.
    pub codec: Codec,
    /// Timeout for a receiver, or for a frame from it, in milliseconds.
    pub timeout: u64,
    /// Interval between announcements, in milliseconds.
    pub announce_every: u64,
    /// Time until a frame is sent again, in milliseconds without any acknowledgement. Doubled up to
    /// eightfold while there is none.
    pub retransmit_after: u64,
    /// Time to stay after the end, in case the receiver has not got the `bye`, in milliseconds.
    pub linger: u64,
}

impl SenderConfig {
    /// For a serial line.
    pub const fn serial(id: [u8; 16]) -> Self {
        Self {
            id,
            max_frame: SMALL_FRAME,
            bulk: false,
            codec: Codec::Raw,
            timeout: 30_000,
            announce_every: 1000,
            retransmit_after: 500,
            linger: 2000,
        }
    }

    /// For a virtio-console port, which loses nothing: unacknowledged data waits for the
    /// collector's disk, and a `bye` that was sent arrives. With `bulk: false` contents are summed
    /// and hashed, in large frames.
    pub const fn console(id: [u8; 16]) -> Self {
        let (max_frame, retransmit_after) = (MAX_FRAME, 10_000);
        Self { max_frame, bulk: true, retransmit_after, linger: 0, ..Self::serial(id) }
    }
}

/// Next step of the sender's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderStep {
    /// Send the first so many bytes of the buffer, then ask again.
    Send(usize),
    /// Send the first `head` bytes of the buffer, directly after them the bytes of `range` from
    /// their place in memory, then ask again. The buffer may be used again once these have left.
    Bulk {
        /// Length of the bulk's frame in bytes.
        head: usize,
        /// The range of a view that follows it, at most [`MAX_BULK`](crate::wire::MAX_BULK) bytes.
        range: Range,
    },
    /// Send the first `head` bytes of the buffer, directly after them the stored bytes of this
    /// chunk from the last call of [`Source::chunk`](crate::wire::Source::chunk), then ask again.
    Chunk {
        /// Length of the chunk's frame in bytes.
        head: usize,
        /// The view's number.
        view: u16,
        /// The chunk's number.
        chunk: u32,
    },
    /// Look for bytes from the receiver, then ask again: there is more to do.
    Busy,
    /// Ask again when bytes have come, or at this time in milliseconds.
    Wait(u64),
    /// The end.
    Finished(Outcome),
}

/// Result of the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outcome {
    /// The receiver has everything, and has compared it where that was agreed.
    #[error("the collector has the whole dump")]
    Complete,
    /// No receiver has said hello.
    #[error(
        "no collector answers: is `kdump-collector receive` running at the other end of the line?"
    )]
    Nobody,
    /// The receiver has fallen silent.
    #[error("the collector has fallen silent before it had the whole dump")]
    Silent,
    /// The receiver gave up.
    #[error("the collector has given up: it says why")]
    GaveUp,
    /// The receiver speaks another version.
    #[error(
        "the collector speaks version {0} of the wire protocol, this kernel version {VERSION}: use \
         programs of the same release on both sides",
        VERSION = crate::wire::VERSION
    )]
    Version(u8),
}
