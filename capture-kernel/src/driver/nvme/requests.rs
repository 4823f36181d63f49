//! Commands in flight on the I/O queue, each with its PRP list, the time by which it must be back,
//! and all memory that the controller may use for it.

use super::command::Data;
use super::control::PAGE;
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, DmaPiece, Pieces, SlotMemory, Stopped, ZEROS};
use crate::{Clock, Deadline, list};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use vmcore::PhysRange;

/// The most bytes of a command's data.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// Bytes of a PRP list: an entry for each page. So none crosses a page.
const LIST: usize = (MOST_BYTES / PAGE) as usize * size_of::<u64>();
/// Bits of a command's number that are its slot.
const SLOT_BITS: u32 = 4;
/// The most commands in flight.
pub(super) const MOST: usize = 1 << SLOT_BITS;

/// The data that a command moves. The command owns it until the controller has answered.
pub(super) enum Body {
    /// The controller reads these: whole pages.
    Out(Pieces),
    /// The controller fills the first so many bytes of this, and no code reads it meanwhile.
    In(DmaBuffer, usize),
}

impl Body {
    /// Length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Out(pieces) => pieces.iter().map(DmaPiece::length).sum(),
            Self::In(_, length) => *length as u64,
        }
    }
}

/// A command that the controller has.
struct InFlight {
    id: u16,
    deadline: Deadline,
    /// The offset on the disk from which data is lost if it fails.
    writes_at: u64,
    /// Leaked where the command is dropped without an answer: the controller may still use it.
    body: ManuallyDrop<Body>,
}

/// A command that is back.
pub(super) struct Done {
    /// As in [`Requests::start`].
    pub(super) writes_at: u64,
    /// The buffer that the controller has filled, if there was one.
    pub(super) buffer: Option<DmaBuffer>,
}

/// All commands in flight.
pub(super) struct Requests {
    slots: Vec<Option<InFlight>>,
    /// For each slot a PRP list.
    lists: DmaBuffer,
    zeros: DmaBuffer,
    /// Number of commands so far: so that an answer that comes twice is for no command.
    count: u16,
}

impl Requests {
    /// Room for so many commands at a time, [`MOST`] at most.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(slot: SlotMemory, most: usize) -> Result<Self, Error> {
        let most = most.min(MOST);
        let mut slots = list::with_room(most)?;
        slots.resize_with(most, || None);
        let lists = DmaBuffer::new(slot, most * LIST)?;
        Ok(Self { slots, lists, zeros: DmaBuffer::new(slot, ZEROS as usize)?, count: 0 })
    }

    /// At most so many commands at a time, at least one.
    pub(super) fn limit(&mut self, most: u16) {
        self.slots.truncate(most.max(1).into());
    }

    /// A number for the next command in this slot.
    pub(super) fn next_id(&mut self, slot: usize) -> u16 {
        self.count = self.count.wrapping_add(1);
        self.count << SLOT_BITS | slot as u16
    }

    /// A free slot, if there is one.
    pub(super) fn free(&self) -> Option<usize> {
        self.slots.iter().position(Option::is_none)
    }

    /// Puts a command into a slot from [`Self::free`]; it must be back by `deadline`. If it fails,
    /// the disk's data from `writes_at` on is lost. Returns its number, and its PRP entries.
    ///
    /// # Errors
    /// [`Error::Fragmented`] for data that is not in whole pages, or too long.
    pub(super) fn start(
        &mut self,
        slot: usize,
        body: Body,
        deadline: Deadline,
        writes_at: u64,
    ) -> Result<(u16, Data), Error> {
        let Self { lists, zeros, .. } = self;
        let mut list = List { lists, start: slot * LIST, pages: 0, data: [0; 2] };
        match &body {
            Body::Out(pieces) => {
                pieces.iter().try_for_each(|piece| list.add(addresses(piece, zeros)))?;
            }
            Body::In(buffer, length) => list.add(buffer.share(0..*length))?,
        }
        let data = list.finish();
        let id = self.next_id(slot);
        let body = ManuallyDrop::new(body);
        self.slots[slot] = Some(InFlight { id, deadline, writes_at, body });
        Ok((id, data))
    }
    /// The command with this number, which is back: its memory is ours again.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when the controller does not have it.
    pub(super) fn finish(&mut self, id: u16) -> Result<Done, Error> {
        let slot = self.slots.get_mut(usize::from(id) % MOST);
        let request = slot.and_then(|slot| slot.take_if(|request| request.id == id));
        let request = request.ok_or(Error::BadAnswer(id.into()))?;
        let buffer = match ManuallyDrop::into_inner(request.body) {
            Body::In(buffer, _) => Some(buffer),
            Body::Out(_) => None,
        };
        Ok(Done { writes_at: request.writes_at, buffer })
    }

    /// True if nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// True if one of them should be back by now.
    pub(super) fn is_late(&self, clock: &dyn Clock) -> bool {
        self.slots.iter().flatten().any(|request| request.deadline.is_over(clock))
    }

    /// The lowest offset on the disk from which data is lost if all of them fail.
    pub(super) fn writes_at(&self) -> u64 {
        self.slots.iter().flatten().map(|request| request.writes_at).min().unwrap_or(u64::MAX)
    }

    /// The controller is stopped: nothing is in flight any more, and all memory is ours again.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        for request in self.slots.iter_mut().filter_map(Option::take) {
            if let Body::In(mut buffer, _) = ManuallyDrop::into_inner(request.body) {
                buffer.release(stopped);
            }
        }
        self.lists.release(stopped);
        self.zeros.release(stopped);
    }
}

fn addresses(piece: &DmaPiece, zeros: &DmaBuffer) -> PhysRange {
    match piece {
        DmaPiece::Old(range) => *range,
        DmaPiece::Frozen(frozen, part) => frozen.share(part.clone()),
        DmaPiece::Zeros(count) => zeros.share(0..*count as usize),
    }
}

/// A PRP list in the making.
struct List<'r> {
    lists: &'r mut DmaBuffer,
    /// Its place there.
    start: usize,
    /// Number of pages so far.
    pages: usize,
    /// The first two of them.
    data: Data,
}

impl List<'_> {
    /// Adds the pages of a range; the end of the last one may be missing.
    fn add(&mut self, range: PhysRange) -> Result<(), Error> {
        let count = range.length().div_ceil(PAGE);
        let is_ours = range.start().is_aligned(PAGE) && count <= (LIST / 8 - self.pages) as u64;
        if !is_ours {
            return Err(Error::Fragmented);
        }
        for page in (range.start().get()..).step_by(PAGE as usize).take(count as usize) {
            if let Some(entry) = self.data.get_mut(self.pages) {
                *entry = page;
            }
            if self.pages > 0 {
                self.lists.write(self.start + (self.pages - 1) * 8, page);
            }
            self.pages += 1;
        }
        Ok(())
    }

    /// The PRP entries of the command: two pages, or the first one and the list of the others.
    fn finish(self) -> Data {
        let [first, second] = self.data;
        match self.pages {
            0..=2 => [first, second],
            _ => [first, self.lists.share(self.start..self.start + LIST).start().get()],
        }
    }
}
