//! The views of a dump as the source of a sender.

use crate::driver::Error;
use crate::dump::{Dump, NamedView};
use crate::list;
use crate::selection::Zeros;
use crate::targets::TargetError;
use alloc::vec::Vec;
use core::ptr;
use dumpfile::chunk::{self, ChunkEntry, Codec, Encoder, MOST_COMPRESSED};
use dumpfile::disk::PageCounts;
use dumpfile::wire::{CLASSES, Known, MAX_BULK, MAX_VIEWS, Run, Source, Unreadable, ViewInfo};
use handoff::layout::PAGE_SIZE;
use vmcore::{DumpOffset, Level, PageClass, PhysAddr, Piece, ReadPhys, What};

/// A run of zeros of this many bytes ends a bulk: the frame that it takes must be worth it.
const ZERO_RUN: u64 = 16 << 10;
/// Bytes that we made are sent by DMA only where there are as many as this.
const MANY: u64 = 1024;

/// Memory for the compression of chunks: some 150 KiB.
pub(super) struct Compressor {
    encoder: Encoder,
    /// The chunk that was encoded last: the view's number, its entry, and its stored bytes in
    /// `out`.
    last: Option<(u16, ChunkEntry)>,
    out: Vec<u8>,
}

impl Compressor {
    /// Memory for it, if `rest` bytes of heap are free besides.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(rest: u64) -> Result<Self, TargetError> {
        let rest = usize::try_from(rest).or(Err(TargetError::Device(Error::NoMemory)))?;
        let _kept = list::with_room::<u8>(rest)?;
        let out = list::filled(MOST_COMPRESSED, 0)?;
        let encoder = Encoder::new().or(Err(TargetError::Device(Error::NoMemory)))?;
        Ok(Self { encoder, last: None, out })
    }

    /// The stored bytes of the chunk that was encoded last; none if it is not compressed.
    pub(super) fn stored(&self) -> &[u8] {
        let last = self.last.filter(|(_, entry)| entry.codec == Codec::Lz4);
        let length = last.map_or(0, |(_, entry)| entry.stored as usize);
        self.out.get(..length).unwrap_or_default()
    }
}

/// The views of a dump.
pub(super) struct Views<'d, M> {
    dump: &'d Dump,
    /// The bulk at the dump's level.
    bulk: Option<&'d NamedView>,
    pub(super) memory: &'d M,
    /// True if contents of a view were looked at.
    pub(super) touched: bool,
    /// For the chunks of large views.
    pub(super) lz4: Option<Compressor>,
    /// Numbers of pages by class of the view that was counted last.
    totals: Option<(u16, [u64; CLASSES])>,
}

impl<'d, M: ReadPhys> Views<'d, M> {
    /// The views of `dump`, with `bulk` instead of its own.
    pub(super) fn new(
        dump: &'d Dump,
        bulk: Option<&'d NamedView>,
        memory: &'d M,
        lz4: Option<Compressor>,
    ) -> Self {
        Self { dump, bulk, memory, touched: false, lz4, totals: None }
    }

    /// The source of the bytes of `view` from `offset` on: at most `most`, at least one.
    ///
    /// # Errors
    /// [`TargetError::NothingToSend`] when there are none.
    pub(super) fn part(&self, view: u16, offset: u64, most: u64) -> Result<Piece<'d>, TargetError> {
        self.piece(view, offset, most).ok_or(TargetError::NothingToSend)
    }

    fn named(&self, view: u16) -> Option<(&'d NamedView, bool)> {
        self.dump.views(self.bulk).take(MAX_VIEWS.into()).nth(view.into())
    }

    /// A view that is as large as memory: it has pages and chunks.
    fn large(&self, view: u16) -> Option<&'d NamedView> {
        let (named, pushed) = self.named(view)?;
        (self.is_bulk(named) || !pushed).then_some(named)
    }

    fn is_bulk(&self, named: &NamedView) -> bool {
        self.bulk.is_some_and(|bulk| ptr::eq(bulk, named))
    }

    /// Numbers of pages by class, as they are selected: by their structs, not by their contents.
    fn count(&self, named: &NamedView) -> [u64; CLASSES] {
        // A test for zeros would read all memory before the first of it leaves.
        let unread =
            self.is_bulk(named).then(|| self.dump.bulk_at(named.view.level(), Zeros::Keep));
        let view = unread.flatten().map_or_else(|| named.view.clone(), |bulk| bulk.view);
        let pages = PageCounts::new(chunk::totals(&*view));
        *pages.with_doubt(view.in_doubt()).by_code()
    }

    /// Level and pages of the bulk, if its level leaves some out.
    pub(super) fn bulk_pages(&mut self) -> Option<(Level, PageCounts)> {
        let level = self.bulk?.view.level();
        let number = u16::try_from(self.dump.small().count()).ok()?;
        let pages = (level != Level::ALL).then(|| self.totals(number))??;
        Some((level, PageCounts::new(pages)))
    }

    fn piece(&self, view: u16, offset: u64, most: u64) -> Option<Piece<'d>> {
        self.named(view)?.0.view.piece(DumpOffset::new(offset), most)
    }

    /// Class of the first pages of the `most` bytes of memory from `start` on.
    fn scan(&self, start: PhysAddr, most: u64) -> Run {
        let (mut done, mut zeros) = (0, 0);
        while done < most && (zeros < ZERO_RUN || zeros == done) {
            let Some(at) = start.checked_add(done) else { break };
            let length = (PAGE_SIZE - at.get() % PAGE_SIZE).min(most - done);
            let Ok(is_zero) = self.memory.is_zero(at, length) else { break };
            match is_zero {
                true => zeros += length,
                false if zeros == done && zeros >= ZERO_RUN => break,
                false => zeros = 0,
            }
            done += length;
        }
        match done - zeros {
            0 if done == 0 => Run::Read,
            0 => Run::Zeros(done),
            bulk => Run::Bulk(bulk),
        }
    }
}

impl<M: ReadPhys> Source for Views<'_, M> {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let is_compressed = self.lz4.is_some() && self.large(view).is_some();
        let codec = if is_compressed { Codec::Lz4 } else { Codec::Raw };
        let (NamedView { name, view, start }, pushed) = self.named(view)?;
        let (length, level) = (view.len(), view.level().get());
        Some(ViewInfo { name, length, start: *start, pushed, level, codec })
    }

    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        self.touched = true;
        let (named, _) = self.named(view).ok_or(Unreadable)?;
        let read = named.view.read_at(DumpOffset::new(offset), bytes, self.memory);
        if read == Ok(bytes.len()) { Ok(()) } else { Err(Unreadable) }
    }

    fn known(&self, view: u16, offset: u64, most: u64) -> Known {
        let mut kept = 0;
        while let Some(piece) = self.piece(view, offset + kept, most - kept) {
            match piece.what {
                What::Left(class) if kept == 0 => return Known::Left(class, piece.len),
                What::Zero if kept == 0 => return Known::Left(PageClass::Zero, piece.len),
                What::Left(_) => break,
                What::Bytes(_) | What::Phys(_) | What::Zero => kept += piece.len,
            }
            if kept >= most.min(MAX_BULK.into()) {
                break;
            }
        }
        Known::Kept(kept)
    }

    fn chunk(&mut self, view: u16, chunk: u32) -> Option<ChunkEntry> {
        let named = self.large(view)?;
        let Compressor { encoder, last, out } = self.lz4.as_mut()?;
        if let Some((of, entry)) = last
            && (*of, entry.chunk) == (view, chunk)
        {
            return Some(*entry);
        }
        self.touched = true;
        let entry = encoder.encode(&*named.view, chunk, self.memory, out);
        *last = Some((view, entry));
        Some(entry)
    }

    fn stored(
        &mut self,
        view: u16,
        chunk: u32,
        offset: u32,
        bytes: &mut [u8],
    ) -> Result<(), Unreadable> {
        self.chunk(view, chunk).ok_or(Unreadable)?;
        let stored = self.lz4.as_ref().map(Compressor::stored).unwrap_or_default();
        let from = stored.get(offset as usize..).and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(Unreadable)?);
        Ok(())
    }

    fn totals(&mut self, view: u16) -> Option<[u64; CLASSES]> {
        let named = self.large(view)?;
        let counted = self.totals.filter(|(of, _)| *of == view).map(|(_, totals)| totals);
        let totals = counted.unwrap_or_else(|| self.count(named));
        self.totals = Some((view, totals));
        Some(totals)
    }

    fn run(&mut self, view: u16, offset: u64, most: u64) -> Run {
        self.touched = true;
        let Some(piece) = self.piece(view, offset, most) else { return Run::Read };
        match piece.what {
            What::Zero | What::Left(_) => Run::Zeros(piece.len),
            What::Bytes(_) if piece.len >= MANY => Run::Bulk(piece.len),
            What::Bytes(_) => Run::Read,
            What::Phys(range) => self.scan(range.start(), piece.len),
        }
    }
}
