//! The pump: moves the extents of a view to a sink, as they are and in order.

use crate::Failure;
use crate::dma::{DmaBuffer, Readable, SlotMemory};
use crate::virtio::queue::MAX_PIECES;
use arrayvec::ArrayVec;
use vmcore::{DumpOffset, View, What};

/// Every request ends at a multiple of this many bytes, so that it suits disks with any block size.
pub const BLOCK: u64 = 4096;

/// What one call of [`Sink::send`] may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes, a multiple of 4096.
    pub bytes: u64,
    /// The most pieces.
    pub pieces: usize,
    /// The most bytes of one piece.
    pub piece: u64,
}

/// What takes a view by DMA.
pub trait Sink {
    /// What [`Self::send`] takes.
    fn limits(&self) -> Limits;

    /// Takes the bytes of `pieces` as the view's bytes from `at` on; together they are a multiple of
    /// 4096. They may still be on their way when this returns, so their memory must stay.
    ///
    /// # Errors
    /// When this or an earlier piece could not be sent.
    fn send(&mut self, at: DumpOffset, pieces: &[Readable]) -> Result<(), Failure>;

    /// Waits until everything that was sent has arrived.
    ///
    /// # Errors
    /// When something has not.
    fn drain(&mut self) -> Result<(), Failure>;
}

/// Pieces that go out with one call of [`Sink::send`], and the way there.
struct Pump<'s, S: Sink, F: FnOnce()> {
    sink: &'s mut S,
    at: u64,
    pieces: ArrayVec<Readable, MAX_PIECES>,
    bytes: u64,
    first_arrived: Option<F>,
}

/// Sends all of `view` to `sink`, and zeros behind it up to a whole block. What stands before the first memory, the headers and notes, goes
/// alone; the first thing sent is waited for, and then `first_arrived` is called.
///
/// `zeros` holds [`BLOCK`] zeros. After an error the device may still read them, and those of
/// `view`: both stay until the sink has answered or is stopped.
///
/// # Errors
/// The first thing that could not be sent.
pub fn send(
    view: &dyn View,
    zeros: &DmaBuffer,
    slot: SlotMemory,
    sink: &mut impl Sink,
    first_arrived: impl FnOnce(),
) -> Result<(), Failure> {
    let first_arrived = Some(first_arrived);
    let mut pump = Pump { sink, at: 0, pieces: ArrayVec::new(), bytes: 0, first_arrived };
    let mut next = DumpOffset::new(0);
    while let Some(piece) = view.piece(next, u64::MAX) {
        match piece.what {
            What::Bytes(bytes) => pump.add(slot.readable(bytes).ok_or(Failure::NoMemory)?)?,
            What::Zero | What::Left(_) => pump.add_zeros(piece.len, zeros)?,
            What::Phys(range) => {
                if pump.at == 0 && pump.bytes.is_multiple_of(BLOCK) {
                    pump.send()?;
                }
                pump.add(Readable::old(range))?;
            }
        }
        next = piece.end();
    }
    pump.add_zeros(view.len().next_multiple_of(BLOCK) - view.len(), zeros)?;
    pump.send()?;
    pump.sink.drain()
}

impl<S: Sink, F: FnOnce()> Pump<'_, S, F> {
    /// Adds all of `piece`, sending whenever there is enough.
    fn add(&mut self, mut piece: Readable) -> Result<(), Failure> {
        let limits = self.sink.limits();
        while piece.length() > 0 {
            let room = (limits.bytes - self.bytes).min(limits.piece);
            let (now, later) = piece.split(room);
            self.pieces.push(now);
            self.bytes += now.length();
            piece = later;
            if self.is_full(limits) {
                self.send()?;
            }
        }
        Ok(())
    }

    fn add_zeros(&mut self, mut length: u64, zeros: &DmaBuffer) -> Result<(), Failure> {
        while length > 0 {
            let now = length.min(BLOCK);
            self.add(zeros.readable(0, now as usize))?;
            length -= now;
        }
        Ok(())
    }

    fn is_full(&self, limits: Limits) -> bool {
        self.bytes >= limits.bytes || self.pieces.len() >= limits.pieces.min(MAX_PIECES)
    }

    /// Sends as many whole blocks as there are; what is left waits for more.
    fn send(&mut self) -> Result<(), Failure> {
        if self.bytes == 0 {
            return Ok(());
        }
        let whole = self.bytes / BLOCK * BLOCK;
        if whole == 0 {
            return Err(Failure::Fragmented);
        }
        let mut rest = ArrayVec::<Readable, MAX_PIECES>::new();
        let mut send = ArrayVec::<Readable, MAX_PIECES>::new();
        let mut room = whole;
        for piece in self.pieces.drain(..) {
            let (now, later) = piece.split(room);
            room -= now.length();
            send.extend((now.length() > 0).then_some(now));
            rest.extend((later.length() > 0).then_some(later));
        }
        self.sink.send(DumpOffset::new(self.at), &send)?;
        self.at += whole;
        self.bytes -= whole;
        self.pieces = rest;
        if let Some(first_arrived) = self.first_arrived.take() {
            self.sink.drain()?;
            first_arrived();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{physical, slot};
    use proptest::prelude::*;
    use std::vec::Vec;
    use vmcore::{Extent, Extents, PhysRange};

    /// Takes every piece by its physical address, as a device would.
    struct Recorder {
        limits: Limits,
        bytes: Vec<u8>,
        drained_at: Option<usize>,
    }

    impl Sink for Recorder {
        fn limits(&self) -> Limits {
            self.limits
        }

        #[expect(unsafe_code, reason = "physical addresses of the test are pointers")]
        fn send(&mut self, at: DumpOffset, pieces: &[Readable]) -> Result<(), Failure> {
            assert_eq!(at.get(), self.bytes.len() as u64, "in order, nothing left out");
            assert!(pieces.len() <= self.limits.pieces);
            let total: u64 = pieces.iter().map(|piece| piece.length()).sum();
            assert!(total.is_multiple_of(4096) && total > 0 && total <= self.limits.bytes);
            for piece in pieces {
                assert!(piece.length() > 0 && piece.length() <= self.limits.piece);
                let start = piece.range().start().get() as *const u8;
                // SAFETY: the pieces lie in vectors of the test, or in the pump's page of zeros.
                let bytes = unsafe { core::slice::from_raw_parts(start, piece.length() as usize) };
                self.bytes.extend_from_slice(bytes);
            }
            Ok(())
        }

        fn drain(&mut self) -> Result<(), Failure> {
            self.drained_at.get_or_insert(self.bytes.len());
            Ok(())
        }
    }

    fn zeros() -> DmaBuffer {
        DmaBuffer::new(slot(), BLOCK as usize).expect("memory")
    }

    /// A head of whole pages, then loads as `vmcore()` lays them out: each followed by zeros up to
    /// the next page. Returns what must arrive as well.
    fn view(head: &[u8], loads: &[Vec<u8>]) -> (Extents, Vec<u8>) {
        let mut expected = head.to_vec();
        let mut extents = std::vec![Extent::Bytes(head.to_vec())];
        for load in loads {
            let gap = load.len().next_multiple_of(4096) - load.len();
            let range = PhysRange::new(physical(load), load.len() as u64).expect("no wrap");
            extents.extend([Extent::Phys(range), Extent::Zero(gap as u64)]);
            expected.extend_from_slice(load);
            expected.resize(expected.len() + gap, 0);
        }
        (Extents::new(extents).expect("small"), expected)
    }

    proptest! {
        #[test]
        fn everything_arrives_once_and_in_order(
            loads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..12),
            pages in 1_u64..8,
            pieces in 3_usize..=MAX_PIECES,
            piece in 1_u64..10,
        ) {
            let head = [0x7f; 8192];
            let (view, expected) = view(&head, &loads);
            let limits = Limits { bytes: pages * 4096, pieces, piece: piece * 4096 };
            let mut target = Recorder { limits, bytes: Vec::new(), drained_at: None };
            let mut announced = 0;
            send(&view, &zeros(), slot(), &mut target, || announced += 1).expect("everything fits");
            prop_assert!(target.bytes == expected);
            prop_assert_eq!(announced, 1);
            // The head is there before anything of the memory is sent.
            prop_assert_eq!(target.drained_at, Some(head.len().min(limits.bytes as usize)));
        }
    }

    #[test]
    fn memory_alone_is_announced_when_its_first_request_is_there() {
        let memory = std::vec![3_u8; 3 * 8192];
        let range = PhysRange::new(physical(&memory), memory.len() as u64).expect("no wrap");
        let view = Extents::new(std::vec![Extent::Phys(range)]).expect("small");
        let limits = Limits { bytes: 8192, pieces: MAX_PIECES, piece: 1 << 20 };
        let mut target = Recorder { limits, bytes: Vec::new(), drained_at: None };
        let mut announced = 0;
        send(&view, &zeros(), slot(), &mut target, || announced += 1).expect("everything fits");
        assert_eq!((announced, target.drained_at), (1, Some(8192)));
        assert_eq!(target.bytes, memory);
    }

    #[test]
    fn a_view_that_is_no_whole_number_of_blocks_is_filled_up() {
        let view = Extents::new(std::vec![Extent::Bytes(std::vec![7; 5000])]).expect("small");
        let limits = Limits { bytes: 8192, pieces: MAX_PIECES, piece: 1 << 20 };
        let mut target = Recorder { limits, bytes: Vec::new(), drained_at: None };
        send(&view, &zeros(), slot(), &mut target, || ()).expect("everything fits");
        assert_eq!(target.bytes, [&[7; 5000][..], &[0; 3192]].concat());
    }

    #[test]
    fn crumbs_that_never_make_a_block_are_refused() {
        let crumb = [1_u8; 16];
        let range = PhysRange::new(physical(&crumb), 16).expect("no wrap");
        let view = Extents::new(std::vec![Extent::Phys(range); 256]).expect("small");
        let limits = Limits { bytes: 1 << 20, pieces: MAX_PIECES, piece: 1 << 20 };
        let mut target = Recorder { limits, bytes: Vec::new(), drained_at: None };
        assert_eq!(send(&view, &zeros(), slot(), &mut target, || ()), Err(Failure::Fragmented));
    }
}
