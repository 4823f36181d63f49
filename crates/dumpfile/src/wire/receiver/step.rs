//! Settings of a receiver, and the steps for its caller.

use alloc::borrow::Cow;

use crate::wire::Range;

/// Times that a receiver waits before it repeats itself, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverTimes {
    /// For an answer, or for more of the missing parts.
    pub retry: u64,
    /// For the hash of a range.
    pub check: u64,
    /// Until frames that have come are acknowledged at the latest.
    pub ack: u64,
    /// Between signs of life when there is nothing to say.
    pub alive: u64,
}

impl Default for ReceiverTimes {
    fn default() -> Self {
        Self { retry: 500, check: 2000, ack: 20, alive: 1000 }
    }
}

/// Bytes for the receiver's caller to write: they are not there yet. Everything else is zero there,
/// so zeros need not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The view's number.
    pub view: u16,
    /// Offset in bytes.
    pub offset: u64,
    /// The bytes: those of the frame, or the pages of a chunk.
    pub bytes: Cow<'a, [u8]>,
}

/// Next step of the receiver's caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverStep {
    /// Send the first so many bytes of the buffer, then ask again.
    Send(usize),
    /// Hash the bytes written in this range, report if the hash is the same
    /// ([`Receiver::compared`]), then ask again.
    Compare(Range, [u8; 32]),
    /// Ask again when bytes have come, or at this time in milliseconds.
    Wait(u64),
    /// The end.
    Finished(Verdict),
}

/// Result of the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was wanted is there, and the same as on the other side where that was
    /// compared.
    Complete,
    /// Ranges stay different, however often they are sent: [`ViewState::differs`] has them.
    Differs,
}
