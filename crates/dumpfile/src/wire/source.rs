//! Source of a sender's bytes.

use vmcore::PageClass;

use super::{CLASSES, ViewInfo};
use crate::chunk::ChunkEntry;

/// Source of the bytes.
pub trait Source {
    /// A view; `None` from the number of views on. At most [`MAX_VIEWS`](super::MAX_VIEWS).
    fn view(&self, view: u16) -> Option<ViewInfo<'_>>;

    /// Fills `bytes` from `offset` on, which is within the view. The same bytes each time.
    ///
    /// # Errors
    /// [`Unreadable`] when the memory cannot be read: the range is left out as unreadable.
    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable>;

    /// The bytes from `offset` on, at most `most` of them, as far as they are known without a look
    /// at memory.
    fn known(&self, _view: u16, _offset: u64, most: u64) -> Known {
        Known::Kept(most)
    }

    /// Encodes a chunk of a view whose codec is not raw. The stored bytes of this chunk are there
    /// until the next call. [`None`] if it cannot be encoded: then the chunk is sent as it is.
    fn chunk(&mut self, _view: u16, _chunk: u32) -> Option<ChunkEntry> {
        None
    }

    /// Copies stored bytes from `offset` on of a chunk that was encoded before, not always as the
    /// last one.
    ///
    /// # Errors
    /// [`Unreadable`] when there are not as many.
    fn stored(
        &mut self,
        _view: u16,
        _chunk: u32,
        _offset: u32,
        _bytes: &mut [u8],
    ) -> Result<(), Unreadable> {
        Err(Unreadable)
    }

    /// Number of pages of a view by class code, 0 for the kept ones, as they were selected.
    /// [`None`] for a view without pages. The same each time.
    fn totals(&mut self, _view: u16) -> Option<[u64; CLASSES]> {
        None
    }

    /// The kind of the bytes from `offset` on, where bulks may be sent. It looks no further than
    /// `most` bytes ahead (not zero, at most [`MAX_BULK`](super::MAX_BULK), all within the view),
    /// so that no call takes long. A bulk may have short runs of zeros in it, and no byte that
    /// cannot be read.
    fn run(&mut self, view: u16, offset: u64, most: u64) -> Run {
        run_by_reading(self, view, offset, most)
    }
}

/// Bytes of a view, as they were selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This many bytes are not left out. More of them may follow: the sender looks no further than
    /// [`MAX_BULK`](super::MAX_BULK) for that.
    Kept(u64),
    /// So many are left out, or are zeros. More of them may follow.
    Left(PageClass, u64),
}

/// Kind of the bytes from some offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many are zero. More are, if that is known without looking.
    Zeros(u64),
    /// This many bytes can be sent from their place in memory.
    Bulk(u64),
    /// The bytes must be read: they have no place in memory, are few, or cannot be read.
    Read,
}

/// Memory that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Number of bytes that are examined at once: a bulk ends where as many are zero.
const BLOCK: usize = 1024;

fn run_by_reading<S: Source + ?Sized>(source: &mut S, view: u16, offset: u64, most: u64) -> Run {
    let (mut block, mut done, mut zero) = ([0; BLOCK], 0, None);
    while done < most {
        let length = usize::try_from(most - done).unwrap_or(BLOCK).min(BLOCK);
        let bytes = &mut block[..length];
        if source.read(view, offset + done, bytes).is_err() {
            break;
        }
        let this = bytes.iter().all(|byte| *byte == 0);
        if *zero.get_or_insert(this) != this {
            break;
        }
        done += length as u64;
    }
    match zero {
        None => Run::Read,
        Some(true) => Run::Zeros(done),
        Some(false) => Run::Bulk(done),
    }
}
