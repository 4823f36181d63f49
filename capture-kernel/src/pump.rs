//! The pump: moves the extents of a view to a sink, in order.

use crate::driver::Error;
use crate::driver::dma::{Limits, Pieces};
use crate::gather::{Added, Copies, Gather};
use core::mem;
use vmcore::{DumpOffset, Piece, View, What};

/// Every request ends at a multiple of this many bytes, so that it suits disks with any block size.
pub const BLOCK: u64 = 4096;

/// A receiver of a view by DMA.
pub trait Sink {
    /// Limits of [`Self::send`].
    fn limits(&self) -> Limits;

    /// Takes the bytes of `pieces` as the view's bytes from `at` on; together they are a multiple
    /// of
    /// 4096. They may still be on their way when this returns.
    ///
    /// # Errors
    /// This or an earlier piece could not be sent.
    fn send(&mut self, at: DumpOffset, pieces: Pieces) -> Result<(), Error>;

    /// Waits until one of the requests on their way has arrived, so that its pieces are free; false
    /// when none is on its way.
    ///
    /// # Errors
    /// One has not arrived.
    fn wait_for_one(&mut self) -> Result<bool, Error>;

    /// Waits until everything that was sent has arrived.
    ///
    /// # Errors
    /// Something has not arrived.
    fn drain(&mut self) -> Result<(), Error>;
}

/// The next request, and the way there.
struct Pump<'s, S: Sink, F: FnOnce()> {
    sink: &'s mut S,
    gather: Gather<'s>,
    at: u64,
    first_arrived: Option<F>,
}

/// Sends all of `view` to `sink`, then zeros up to a whole block. The bytes before the first
/// memory, headers and notes, go alone; the pump waits for the first thing sent, and then calls
/// `first_arrived`.
///
/// # Errors
/// The first thing that could not be sent.
pub fn send(
    view: &dyn View,
    copies: Copies<'_>,
    sink: &mut impl Sink,
    first_arrived: impl FnOnce(),
) -> Result<(), Error> {
    let limits = sink.limits();
    let gather = Gather::new(copies, limits, BLOCK);
    let mut pump = Pump { sink, gather, at: 0, first_arrived: Some(first_arrived) };
    let (mut next, mut is_head) = (DumpOffset::new(0), true);
    while let Some(piece) = view.piece(next, limits.bytes) {
        if let What::Phys(_) = piece.what
            && mem::take(&mut is_head)
            && pump.gather.bytes() >= BLOCK
        {
            pump.send()?;
        }
        next = pump.add(piece)?;
    }
    let end = view.len().next_multiple_of(BLOCK);
    while next.get() < end {
        next = pump.add(Piece { at: next, len: end - next.get(), what: What::Zero })?;
    }
    pump.send()?;
    pump.sink.drain()
}

impl<S: Sink, F: FnOnce()> Pump<'_, S, F> {
    /// Adds the beginning of `piece`, and sends the earlier bytes first if there are enough.
    /// Returns the offset after it.
    fn add(&mut self, piece: Piece<'_>) -> Result<DumpOffset, Error> {
        loop {
            match self.gather.add(piece)? {
                Added::Taken(count) => return Ok(DumpOffset::new(piece.at.get() + count)),
                Added::NoBuffer if self.gather.bytes() < BLOCK => {
                    if !self.sink.wait_for_one()? {
                        return Err(Error::NoMemory);
                    }
                }
                Added::Full | Added::NoBuffer => self.send()?,
            }
        }
    }

    /// Sends as many whole blocks as there are; the rest waits for more.
    fn send(&mut self) -> Result<(), Error> {
        if self.gather.bytes() == 0 {
            return Ok(());
        }
        let (pieces, length) = self.gather.take()?;
        self.sink.send(DumpOffset::new(self.at), pieces)?;
        self.at += length;
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
    use crate::driver::dma::{DmaPiece, MAX_PIECES, Pool};
    use crate::fake::{Pointers, bytes_of, physical, slot};
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;
    use vmcore::{Extent, Extents, PhysAddr, PhysRange, ReadPhys};

    /// Takes every piece by its physical address, as a device would.
    struct Recorder {
        limits: Limits,
        bytes: Vec<u8>,
        drained_at: Option<usize>,
        sent: usize,
        waits: usize,
        /// The number of requests that it answers late, and those requests.
        keeps: Option<usize>,
        kept: VecDeque<Pieces>,
    }

    impl Recorder {
        fn new(bytes: u64, pieces: usize, piece: u64) -> Self {
            let limits = Limits { bytes, pieces, piece, align: 1, address_bits: 64 };
            Self {
                limits,
                bytes: Vec::new(),
                drained_at: None,
                sent: 0,
                waits: 0,
                keeps: None,
                kept: VecDeque::new(),
            }
        }
    }

    impl Sink for Recorder {
        fn limits(&self) -> Limits {
            self.limits
        }

        fn send(&mut self, at: DumpOffset, pieces: Pieces) -> Result<(), Error> {
            assert_eq!(at.get(), self.bytes.len() as u64, "in order, nothing left out");
            assert!(pieces.len() <= self.limits.pieces);
            let total: u64 = pieces.iter().map(DmaPiece::length).sum();
            assert!(total.is_multiple_of(4096) && total > 0 && total <= self.limits.bytes);
            for piece in &pieces {
                assert!(piece.length() > 0 && piece.length() <= self.limits.piece);
                assert!(piece.length().is_multiple_of(self.limits.align.into()));
                if let DmaPiece::Old(range) = piece {
                    assert!(range.start().is_aligned(self.limits.align.into()));
                }
                self.bytes.extend(bytes_of(piece));
            }
            if let Some(most) = self.keeps {
                assert!(self.kept.len() <= most);
                self.kept.push_back(pieces);
                if self.kept.len() > most {
                    self.kept.pop_front();
                }
            }
            self.sent += 1;
            Ok(())
        }

        fn wait_for_one(&mut self) -> Result<bool, Error> {
            self.waits += 1;
            Ok(self.kept.pop_front().is_some())
        }

        fn drain(&mut self) -> Result<(), Error> {
            self.drained_at.get_or_insert(self.bytes.len());
            self.kept.clear();
            Ok(())
        }
    }

    /// Sends `view` with four buffers of a block.
    fn pump(view: &dyn View, target: &mut Recorder) -> (Result<(), Error>, usize) {
        let pool = Pool::new(slot(), 4, 4096).expect("memory");
        let (mut announced, copies) = (0, Copies { pool: &pool, memory: &Pointers });
        let sent = send(view, copies, target, || announced += 1);
        if sent.is_ok() {
            let all: Vec<_> = std::iter::from_fn(|| pool.lease()).collect();
            assert_eq!(all.len(), 4, "all buffers are back");
        }
        (sent, announced)
    }

    /// A head of whole pages, then loads as `vmcore()` lays them out: each followed by zeros up to
    /// the next page. Returns the expected bytes as well.
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
            head in prop::sample::select(std::vec![4096_usize, 8192, 40_960]),
            pages in 1_u64..8,
            pieces in 1_usize..=MAX_PIECES,
            piece in 1_u64..10,
            align in prop::sample::select(std::vec![1_u32, 512, 4096]),
            keeps in prop::option::of(0_usize..6),
        ) {
            let (view, expected) = view(&std::vec![0x7f; head], &loads);
            let mut target = Recorder::new(pages * 4096, pieces, piece * 4096);
            target.limits.align = align;
            target.keeps = keeps;
            let (sent, announced) = pump(&view, &mut target);
            prop_assert_eq!(sent, Ok(()));
            prop_assert!(target.bytes == expected);
            prop_assert_eq!(announced, 1);
            // Headers and notes have arrived before the first byte of memory is sent.
            prop_assert!(target.drained_at.is_some_and(|at| at <= head));
        }

        /// Of every shape, in the smallest parts: with one piece a request, too.
        #[test]
        fn crumbs_of_any_kind_arrive(
            crumbs in prop::collection::vec((0_usize..3, 1_usize..1000), 1..200),
            pieces in 1_usize..=MAX_PIECES,
            align in prop::sample::select(std::vec![1_u32, 512]),
            keeps in prop::option::of(0_usize..6),
        ) {
            let memory: Vec<u8> = (0..1024_u32).map(|at| at as u8 | 1).collect();
            let mut expected = Vec::new();
            let extents = crumbs.iter().map(|(kind, length)| {
                let bytes = &memory[..*length];
                let extent = match kind {
                    0 => Extent::Bytes(bytes.to_vec()),
                    1 => Extent::Phys(PhysRange::new(physical(bytes), *length as u64).expect("ok")),
                    _ => Extent::Zero(*length as u64),
                };
                expected.extend(if *kind == 2 { std::vec![0; *length] } else { bytes.to_vec() });
                extent
            });
            let view = Extents::new(extents.collect()).expect("small");
            expected.resize(expected.len().next_multiple_of(4096), 0);
            let mut target = Recorder::new(16_384, pieces, 1 << 20);
            (target.limits.align, target.keeps) = (align, keeps);
            prop_assert_eq!(pump(&view, &mut target).0, Ok(()));
            prop_assert!(target.bytes == expected);
        }
    }

    fn phys(bytes: &[u8]) -> Extent {
        Extent::Phys(PhysRange::new(physical(bytes), bytes.len() as u64).expect("no wrap"))
    }

    #[test]
    fn memory_alone_is_announced_when_its_first_request_is_there() {
        let memory = std::vec![3_u8; 3 * 8192];
        let view = Extents::new(std::vec![phys(&memory)]).expect("small");
        let mut target = Recorder::new(8192, MAX_PIECES, 1 << 20);
        let (sent, announced) = pump(&view, &mut target);
        assert_eq!((sent, announced, target.drained_at), (Ok(()), 1, Some(8192)));
        assert_eq!(target.bytes, memory);
    }

    #[test]
    fn a_view_that_is_no_whole_number_of_blocks_is_filled_up() {
        let view = Extents::new(std::vec![Extent::Bytes(std::vec![7; 5000])]).expect("small");
        let mut target = Recorder::new(8192, MAX_PIECES, 1 << 20);
        pump(&view, &mut target).0.expect("everything fits");
        assert_eq!(target.bytes, [&[7; 5000][..], &[0; 3192]].concat());
    }

    /// Contiguous memory: as many requests as there are limits of bytes in it.
    #[test]
    fn requests_are_as_large_as_they_can_be() {
        let memory = std::vec![3_u8; 10 << 20];
        let view = Extents::new(std::vec![phys(&memory)]).expect("small");
        let mut target = Recorder::new(1 << 20, MAX_PIECES, 1 << 32);
        pump(&view, &mut target).0.expect("everything fits");
        assert_eq!((target.sent, target.waits), (10, 0));
        // Scattered pages: 32 at a time.
        let pages: Vec<_> = memory.chunks(8192).take(64).map(|page| phys(&page[..4096])).collect();
        let view = Extents::new(pages).expect("small");
        let mut target = Recorder::new(1 << 20, MAX_PIECES, 1 << 32);
        pump(&view, &mut target).0.expect("everything fits");
        assert_eq!(target.sent, 2);
    }

    #[test]
    fn without_a_buffer_one_is_waited_for_and_without_a_request_it_is_an_error() {
        let view = Extents::new(std::vec![Extent::Bytes(std::vec![7; 64 << 10])]).expect("small");
        let mut target = Recorder::new(1 << 20, MAX_PIECES, 1 << 20);
        target.keeps = Some(10);
        pump(&view, &mut target).0.expect("everything fits");
        assert_eq!(target.bytes, [7; 64 << 10]);
        assert!(target.waits > 0);
        let pool = Pool::new(slot(), 1, 4096).expect("memory");
        let _taken = pool.lease();
        let copies = Copies { pool: &pool, memory: &Pointers };
        assert_eq!(send(&view, copies, &mut target, || ()), Err(Error::NoMemory));
    }

    /// The device takes 7 pieces of 512 bytes: less than a block of 4096 bytes.
    #[test]
    fn a_device_that_cannot_take_a_block_is_an_error() {
        let crumbs = std::vec![phys(&[1; 16]); 256];
        let view = Extents::new(crumbs).expect("small");
        let mut target = Recorder::new(1 << 20, 7, 512);
        assert_eq!(pump(&view, &mut target).0, Err(Error::Fragmented));
    }

    /// It cannot be read, and the device cannot take it in place.
    #[test]
    fn unreadable_memory_that_must_be_copied_is_an_error() {
        struct Bad;
        impl ReadPhys for Bad {
            fn read_phys(&self, at: PhysAddr, _: &mut [u8]) -> Result<(), vmcore::Error> {
                Err(vmcore::Error::MachineCheck { at })
            }
        }
        let memory = std::vec![1_u8; 8192];
        let at = &memory[8192 - 4096 - physical(&memory).get() as usize % 512 - 1..];
        let view = Extents::new(std::vec![phys(&at[..4096])]).expect("small");
        let mut target = Recorder::new(1 << 20, MAX_PIECES, 1 << 20);
        target.limits.align = 512;
        let pool = Pool::new(slot(), 4, 4096).expect("memory");
        let copies = Copies { pool: &pool, memory: &Bad };
        let failure = Error::Unreadable(physical(at));
        assert_eq!(send(&view, copies, &mut target, || ()), Err(failure));
    }
}
