//! Where a sender's bytes come from.

use super::ViewInfo;

/// Where the bytes come from.
pub trait Source {
    /// A view; `None` from the number of views on. At most [`MAX_VIEWS`](super::MAX_VIEWS).
    fn view(&self, view: u16) -> Option<ViewInfo<'_>>;

    /// Fills `bytes` from `offset` on, which lies within the view. The same bytes each time.
    ///
    /// # Errors
    /// [`Unreadable`] when the memory cannot be read: the range becomes a hole.
    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable>;

    /// How many bytes from `offset` on are zero, as far as that is known without reading them.
    fn zeros(&self, _view: u16, _offset: u64) -> u64 {
        0
    }

    /// What comes next from `offset` on, where bulks may be sent. It looks no further than `most` bytes
    /// ahead (not zero, at most [`MAX_BULK`](super::MAX_BULK), all within the view), so that no call
    /// takes long. A bulk may have short runs of zeros in it, and no byte that cannot be read.
    fn run(&mut self, view: u16, offset: u64, most: u64) -> Run {
        run_by_reading(self, view, offset, most)
    }
}

/// What the bytes from some offset on are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many are zero. More are, if that is known without looking.
    Zeros(u64),
    /// So many can be sent from where they lie.
    Bulk(u64),
    /// They are to be read: they lie nowhere, are few, or cannot be read.
    Read,
}

/// Memory that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// How much is looked at at once, in bytes: a bulk ends where as many are zero.
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
