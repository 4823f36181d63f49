//! The wire protocol: how a dump goes over a byte stream that may lose, damage and repeat bytes,
//! and that also carries console text. One protocol for serial lines and virtio-console ports.
//!
//! # Roles
//! The [`Sender`] is the capture kernel, the [`Receiver`] the collector. Neither does I/O nor looks
//! at a clock: both are given frames and a time in milliseconds from any start, and return the next
//! action. [`FrameReader`] turns the bytes of a stream into frames and text.
//!
//! # A frame, version 2
//! All numbers are little-endian.
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 1 | [`MARK`]: a byte that no UTF-8 text contains |
//! | 1 | 1 | mask: XORed to every byte behind it; in a frame above [`SMALL_FRAME`] bytes only to the rest of the header |
//! | 2 | 1 | version of the protocol |
//! | 3 | 1 | kind |
//! | 4 | 2 | length of the body in bytes |
//! | 6 | 2 | low half of the CRC-32C of bytes 2–5 |
//! | 8 | 4 | sequence number |
//! | 12 | length | body |
//! | 12 + length | 4 | CRC-32C of the session number (4 bytes), of bytes 2–11 and of the body, unmasked |
//!
//! The mask is chosen such that [`MARK`] occurs nowhere after the frame's first byte: 254 bytes
//! cannot rule out 255 masks. A reader that has lost bytes is therefore in step again at the next
//! frame, and no dump, whatever a hostile program has put into its memory, can contain bytes that
//! are taken for a frame. Larger frames are for links that lose nothing; their bodies are not
//! masked, so that they can be sent from their place in memory. There the session number replaces
//! the mask: it is chosen after the machine has died. The header's layout is the same in every
//! version.
//!
//! # Bodies
//!
//! | kind | name | from | body |
//! |---|---|---|---|
//! | 1 | announce | sender | id 16, length of all that is pushed 8, largest frame 4, number of views 2, flags 2 (bit 0: bulk) |
//! | 2 | hello | receiver | session 4, largest frame 4, flags 2 (bit 0: push, bit 1: takes bulk, bit 2: takes lz4) |
//! | 3 | welcome | sender | as announce |
//! | 4 | view | sender | view 2, flags 2 (bit 0: pushed), length 8, start 8, level 1, codec 1, zero 2, name 1–[`MAX_NAME`] of `a-z0-9-` |
//! | 5 | data | sender | view 2, offset 8, bytes |
//! | 6 | zero | sender | range: view 2, offset 8, length 8 |
//! | 7 | left | sender | range that is left out, its class 1 ([`PageClass`](vmcore::PageClass)) |
//! | 8 | ack | receiver | highest sequence number seen 4, which of the 64 before it were seen 8 (bit 0: the last) |
//! | 9 | want | receiver | 0–[`MAX_WANTS`] ranges |
//! | 10 | check | receiver | range |
//! | 11 | checked | sender | range, SHA-256 of its bytes 32 |
//! | 12 | done | receiver | how it ended 1 ([`End`]) |
//! | 13 | bye | sender | nothing |
//! | 14 | bulk | sender | view 2, offset 8, length 4; behind the trailer as many bytes of the view (1–[`MAX_BULK`]), unmasked and not covered by any checksum |
//! | 15 | chunk | sender | view 2, number 4, codec 1 ([`Codec`](crate::chunk::Codec)), flags 1 (bit 0: has a CRC, bit 1: the stored bytes stand behind the trailer, unmasked), stored 4 (1–65536), CRC-32C of the stored bytes 4, left 8 ([`Left`](crate::chunk::Left)) |
//! | 16 | part | sender | view 2, number 4, offset in the stored bytes 4, bytes |
//! | 18 | totals | sender | view 2, pages of it by class 16 × 8 (index 0: kept; 15: in doubt, counted twice) |
//!
//! Announce and hello are checked with session number 0, everything else with the number that the
//! hello chose: bytes left in the pipe from an earlier receiver are not accepted.
//!
//! # The course of a session
//! 1. The sender announces itself every now and then. A receiver says hello, also unasked, until it
//!    gets the welcome. Frames are no larger than either side takes. A hello with another session
//!    number is a new session, at any time: so a receiver that was restarted goes on. The same
//!    hello again gets the welcome again and nothing else: the list goes on.
//! 2. The sender lists its views, each with name and length. With *push* it then sends those that
//!    are flagged as pushed, in their order: small, precious views come first. Without, and once
//!    the receiver asks for missing parts, it sends the ranges of the last `want` (*pull*).
//! 3. View, data, zero, left, bulk, chunk, part and totals frames are counted: each time one is
//!    sent it gets the next sequence number. A link does not reorder, so a frame below the highest
//!    number seen that was not seen is lost and is sent again under a new number. The others have
//!    sequence numbers of their own (receiver) or none (sender: zero). The end that misses the
//!    answer repeats them.
//! 4. Without bulk (below), once nothing is missing, the receiver has the sender hash the sent
//!    bytes, range by range, and compares that with the stored bytes. Ranges that differ are
//!    fetched again. CRC-32C over the whole would not do: it is blind to errors that the frames'
//!    own CRC-32C has missed.
//! 5. `done` says how it ended, `bye` that this was heard.
//!
//! # Chunks
//! A view whose codec is not raw goes in [`chunk`](crate::chunk)s if these become shorter: chunk
//! frames followed by the stored bytes if bulks were agreed, otherwise a chunk frame and then its
//! parts. All other bytes go as data, bulk and zero frames, also in such a view: chunks that do not
//! become shorter, those of which only a part is wanted, and those with memory that cannot be read,
//! so that it is named line by line. Wants, checks and the ranges that a receiver holds are ranges
//! of the raw view; hashes take parts that are left out as zero.
//!
//! Pages that are left out are named by the chunk they are in, or by left frames (zero frames for
//! zeros). In a view of chunks, left frames end at the end of a chunk if the run goes on. The
//! totals have the sender's selection as a whole; they come before the first contents of a view or
//! its first hash. No want can name them: a hash is not sent before they are acknowledged.
//!
//! The receiver keeps the stored bytes of a few chunks until each is whole, then checks their
//! CRC-32C. A chunk that is damaged, whose head was lost or that was begun when the session ended
//! stays missing and is asked for again; a chunk that is damaged three times counts as different.
//! The sender encodes a chunk again when it is sent again: the same memory gives the same bytes.
//! A want does not begin a chunk again whose parts are being sent: these go on to the last if it
//! names the chunk.
//!
//! # Bulk
//! A virtio-console port is a socket on the host: it loses and damages nothing, and a processor
//! that looks at each byte would be the slowest part of the way. So if the hello takes bulk and the
//! sender is set up for it, as the flag in its welcome shows, contents go as bulks, from their
//! place in memory, and are neither summed nor hashed: there is no step 4. All frames are small
//! ones then, and at most [`BULK_IN_FLIGHT`] bytes are not acknowledged.
//!
//! A bulk can be torn only together with the link. Bytes that have come are kept. The rest may be
//! the first bytes that the next session sees, and a hostile memory has whole frames in it. They
//! lack the session number. Announcements need none, and one of another version is believed only if
//! no welcome comes. A false large frame could hide a real one: none is accepted before the
//! welcome, nor with bulk.

mod codec;
mod decode;
mod error;
mod frame;
mod layout;
mod reader;
mod receiver;
mod sender;
mod source;
mod window;

pub use codec::encode;
pub use error::WireError;
pub use frame::{CLASSES, Chunk, End, Frame, Greeting, Hello, Packet, Range, ViewInfo, Wants};
pub use reader::{Damage, Event, FrameReader, Piece, Stored};
pub use receiver::{
    Held, HeldView, Plan, Receiver, ReceiverError, ReceiverStep, ReceiverTimes, Verdict, ViewState,
    Write,
};
pub use sender::{Outcome, Sender, SenderConfig, SenderStep};
pub use source::{Known, Run, Source, Unreadable};
pub use window::Slot;

/// First byte of every frame. UTF-8 has no such byte (RFC 3629, section 1), and telnet gives it no
/// meaning.
pub const MARK: u8 = 0xf6;
/// Version of the protocol. An end of another version is refused.
pub const VERSION: u8 = 2;
/// Length of the header before the body, in bytes.
pub const HEADER_SIZE: usize = 12;
/// Length of the checksum after the body, in bytes.
pub const TRAILER_SIZE: usize = 4;
/// The largest frame that is masked as a whole, in bytes: the limit on a serial line, and the size
/// that both ends must be able to take. Only data frames are ever larger.
pub const SMALL_FRAME: usize = 256;
/// The largest frame that a length of 16 bits allows, rounded down to 16, in bytes.
pub const MAX_FRAME: usize = 65_536;
/// Most bytes in one bulk.
pub const MAX_BULK: u32 = 1 << 20;
/// Most bytes of bulks that are sent and not acknowledged.
pub const BULK_IN_FLIGHT: u64 = 16 << 20;
/// Most views that a sender may have.
pub const MAX_VIEWS: u16 = 16;
/// Longest name of a view, in bytes.
pub const MAX_NAME: usize = 32;
/// Most ranges in a `want`.
pub const MAX_WANTS: usize = 8;
/// Most counted frames in flight: an `ack` covers no more.
pub const MAX_WINDOW: usize = 64;
/// Most separate ranges of a view that a receiver tells apart: what is foreign cannot make the list
/// longer.
pub const MAX_RANGES: usize = 1 << 16;

/// Parts of a view, as (start, end), end exclusive, in bytes.
pub type Ranges = vmcore::Ranges<vmcore::Bounded<(u64, u64), MAX_RANGES>>;
