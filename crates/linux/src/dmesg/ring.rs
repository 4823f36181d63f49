//! printk's ring buffer (Linux 5.10 and later, `kernel/printk/printk_ringbuffer.c`).
//!
//! ```text
//! SYMBOL(prb) ──▶ printk_ringbuffer
//!                 ├── descriptors, by id: id and state · begin of its block · end of its block
//!                 ├── infos, by id:       seq · time · length of the text · caller
//!                 └── text ring:          blocks, each a long with the id and then the text
//! ```
//!
//! Ids and positions grow without limit and wrap at the width of a `long`. Their low bits are the
//! index. The upper two bits of a descriptor's state word are its state, the rest is its id. The id
//! shows if the descriptor was reused.

use alloc::vec::Vec;

use super::layout::{Layout, MOST_USED};
use super::memory::{MAX_SIZE_BITS, MAX_TEXT, add, number};
use super::record::{Caller, Record, Skipped};
use crate::{Error, KernelMemory};
use vmcore::ReadPhys;

/// Most descriptors, one for each 32 bytes of text (`PRB_AVGBITS`), as a power of two.
const MAX_COUNT_BITS: u64 = MAX_SIZE_BITS - 5;

/// States of a descriptor (`enum desc_state`): being written.
const RESERVED: u64 = 0;
/// Written, but its writer may still continue the line.
const COMMITTED: u64 = 1;
/// Written, and final.
const FINALIZED: u64 = 2;

/// Begin and end of a record without text (`NO_LPOS`), as opposed to one whose text found no room.
const EMPTY_TEXT: u64 = 3;

/// The log, from its oldest record to its newest.
pub(super) struct RingLog<'a, M> {
    memory: KernelMemory<'a, M>,
    layout: Layout,
    pub(super) ring: Ring,
    /// Id of the next record.
    next: u64,
    /// Number of ids left.
    left: u64,
    /// Number of bytes of text left: all records together fit in the text ring.
    room: u64,
    skipped: Skipped,
    /// The text that was read last, behind the id of its block.
    text: Vec<u8>,
}

/// Contents of the `printk_ringbuffer`: virtual addresses, and checked numbers.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    descs: u64,
    infos: u64,
    /// Number of descriptors, and of infos.
    pub(super) count: u64,
    data: u64,
    size_bits: u64,
}

/// Meaning of a descriptor.
enum Item {
    /// A record, whose text was read.
    Record(Info),
    /// A record that was still being written, or has lost its text.
    Unfinished,
    /// No record: it was overwritten, or precedes the first one.
    Nothing,
}

/// Contents of a record besides its text.
struct Info {
    seq: u64,
    ts_nsec: u64,
    caller: Caller,
    text_len: usize,
}

impl<'a, M: ReadPhys> RingLog<'a, M> {
    /// As [`super::Dmesg::open`].
    pub(super) fn open(memory: KernelMemory<'a, M>, vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let layout = Layout::parse(vmcoreinfo)?;
        let mut text = Vec::new();
        text.try_reserve_exact(MAX_TEXT + size_of::<u64>()).map_err(|_| Error::NO_MEMORY)?;
        let ring = Ring { descs: 0, infos: 0, count: 0, data: 0, size_bits: 0 };
        let skipped = Skipped::default();
        let mut log = Self { memory, layout, ring, next: 0, left: 0, room: 0, skipped, text };
        log.find_ring()?;
        Ok(log)
    }

    fn find_ring(&mut self) -> Result<(), Error> {
        let layout = self.layout;
        let prb = self.word(layout.prb, 0)?;
        let count_bits = self.bits(prb, layout.count_bits, "count_bits", MAX_COUNT_BITS)?;
        let size_bits = self.bits(prb, layout.size_bits, "size_bits", MAX_SIZE_BITS)?;
        let count = 1 << count_bits;
        let (descs, infos) = (self.word(prb, layout.descs)?, self.word(prb, layout.infos)?);
        let data = self.word(prb, layout.data)?;
        self.ring = Ring { descs, infos, count, data, size_bits };
        self.check_ends()?;
        let head = self.word(prb, layout.head_id)? & self.id_mask();
        let tail = self.word(prb, layout.tail_id)? & self.id_mask();
        // The number of records is at most that of descriptors; a tail with more is wrong.
        self.left = (head.wrapping_sub(tail) & self.id_mask()).saturating_add(1).min(count);
        self.next = head.wrapping_sub(self.left - 1) & self.id_mask();
        self.room = self.ring.size();
        Ok(())
    }

    /// Checks that the last byte of each array has an address, before each of many records fails by
    /// itself. Mapped but unreadable memory only costs the records in it.
    fn check_ends(&self) -> Result<(), Error> {
        let Ring { descs, infos, count, data, .. } = self.ring;
        let ends = [
            (descs, count.saturating_mul(self.layout.desc_size)),
            (infos, count.saturating_mul(self.layout.info_size)),
            (data, self.ring.size()),
        ];
        ends.into_iter().try_for_each(|(start, length)| {
            match self.number(start, length.saturating_sub(1), 1) {
                Err(Error::Dump(vmcore::Error::Unreadable { .. })) => Ok(()),
                read => read.map(drop),
            }
        })
    }

    /// The next record, unless the log is at its end.
    pub(super) fn next_record(&mut self) -> Option<Record<'_>> {
        let info = loop {
            self.left = self.left.checked_sub(1)?;
            let id = self.next;
            self.next = id.wrapping_add(1) & self.id_mask();
            match self.fetch(id) {
                Ok(Item::Record(info)) if info.text_len as u64 <= self.room => break info,
                Ok(Item::Record(_)) | Err(_) => self.skipped.damaged += 1,
                Ok(Item::Unfinished) => self.skipped.unfinished += 1,
                Ok(Item::Nothing) => {}
            }
        };
        self.room -= info.text_len as u64;
        Some(info.record(self.text.get(self.layout.word..).unwrap_or_default()))
    }

    /// Records skipped so far.
    pub(super) const fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Skips all but the last `count` places for records, without reading them. Places without a
    /// record count as well.
    pub(super) fn look_at_last(&mut self, count: u64) {
        let passed = self.left.saturating_sub(count);
        (self.next, self.left) =
            (self.next.wrapping_add(passed) & self.id_mask(), count.min(self.left));
    }

    /// Skips the oldest records until the `cost` of the rest is at most `budget`.
    pub(super) fn keep_last(&mut self, mut budget: u64, cost: impl Fn(&Record<'_>) -> u64) {
        let end = self.next.wrapping_add(self.left);
        for kept in 0..self.left {
            let id = end.wrapping_sub(kept + 1) & self.id_mask();
            let Ok(Item::Record(info)) = self.fetch(id) else { continue };
            match budget.checked_sub(cost(
                &info.record(self.text.get(self.layout.word..).unwrap_or_default()),
            )) {
                Some(left) => budget = left,
                None => {
                    (self.next, self.left) = (id.wrapping_add(1) & self.id_mask(), kept);
                    return;
                }
            }
        }
    }

    /// Reads the record with this id, its text into `self.text`.
    fn fetch(&mut self, id: u64) -> Result<Item, Error> {
        let layout = self.layout;
        let index = id & (self.ring.count - 1);
        let [desc_used, info_used] = layout.used;
        let desc = self.item(self.ring.descs, index, layout.desc_size, desc_used)?;
        let state = desc.field(layout.state, layout.word);
        if state & self.id_mask() != id {
            return Err(Error::BadLog { field: "state_var", value: state });
        }
        match state >> (self.word_bits() - 2) {
            COMMITTED | FINALIZED => {}
            RESERVED => return Ok(Item::Unfinished),
            _ => return Ok(Item::Nothing),
        }
        let info = self.item(self.ring.infos, index, layout.info_size, info_used)?;
        let info = Info {
            seq: info.field(layout.seq, 8),
            ts_nsec: info.field(layout.ts_nsec, 8),
            caller: Caller(info.field(layout.caller_id, 4) as u32),
            text_len: info.field(layout.text_len, 2) as usize,
        };
        let [begin, next] = [layout.begin, layout.next].map(|at| desc.field(at, layout.word));
        if begin & next & 1 == 1 {
            let is_empty = (begin, next, info.text_len) == (EMPTY_TEXT, EMPTY_TEXT, 0);
            return Ok(if is_empty { Item::Record(info) } else { Item::Unfinished });
        }
        self.read_text(id, begin, next, info.text_len)?;
        Ok(Item::Record(info))
    }

    /// The first `used` bytes of item `index` of an array with items of `size` bytes, in one read.
    fn item(&self, array: u64, index: u64, size: u64, used: usize) -> Result<Bytes, Error> {
        let at = add(array, index.checked_mul(size).ok_or(Error::Unmapped { at: array })?)?;
        let mut bytes = [0; MOST_USED];
        self.memory.read(at, &mut bytes[..used])?;
        Ok(Bytes(bytes))
    }

    /// Reads the text of the block from `begin` up to `next`, which must begin with `id`.
    fn read_text(&mut self, id: u64, begin: u64, next: u64, length: usize) -> Result<(), Error> {
        let (start, size) = self.block(begin, next)?;
        let word = self.layout.word as u64;
        let text_len = length as u64;
        if size.checked_sub(word).is_none_or(|room| room < text_len) {
            return Err(Error::BadLog { field: "text_len", value: text_len });
        }
        if self.text.len() < self.layout.word + length {
            // Within the room that `open` has reserved: few records are long.
            self.text.resize(self.layout.word + length.min(MAX_TEXT), 0);
        }
        let into = self.text.get_mut(..self.layout.word + length).ok_or(Error::NO_MEMORY)?;
        self.memory.read(add(self.ring.data, start)?, into)?;
        let mut found = [0; 8];
        found[..self.layout.word].copy_from_slice(&into[..self.layout.word]);
        match u64::from_le_bytes(found) {
            found if found == id => Ok(()),
            value => Err(Error::BadLog { field: "data block's id", value }),
        }
    }

    /// Offset in the text ring of the block from position `begin` up to `next`, and its length in
    /// bytes. A block that does not fit before the end of the ring is at its start.
    fn block(&self, begin: u64, next: u64) -> Result<(u64, u64), Error> {
        let (size, mask) = (self.ring.size(), self.word_mask());
        let round = |position: u64| (position & mask) >> self.ring.size_bits;
        let index = |position: u64| position & (size - 1);
        if !begin.is_multiple_of(self.layout.word as u64) {
            return Err(Error::BadLog { field: "text_blk_lpos.begin", value: begin });
        }
        let length = next.wrapping_sub(begin) & mask;
        if round(begin) == round(next.wrapping_sub(1)) && (1..=size).contains(&length) {
            return Ok((index(begin), length));
        }
        if round(begin.wrapping_add(size)) == round(next) {
            return Ok((0, index(next)));
        }
        Err(Error::BadLog { field: "text_blk_lpos.next", value: next })
    }

    /// A size of the ring as a power of two. It must be at most `most`.
    fn bits(&self, at: u64, offset: u64, field: &'static str, most: u64) -> Result<u64, Error> {
        let value = self.number(at, offset, 4)?;
        if value <= most { Ok(value) } else { Err(Error::BadLog { field, value }) }
    }

    /// The `long` or pointer at `at + offset` (virtual).
    fn word(&self, at: u64, offset: u64) -> Result<u64, Error> {
        self.number(at, offset, self.layout.word)
    }

    /// The number of `length` bytes at `at + offset` (virtual).
    fn number(&self, at: u64, offset: u64, length: usize) -> Result<u64, Error> {
        number(&self.memory, at, offset, length)
    }

    fn word_bits(&self) -> u32 {
        8 * self.layout.word as u32
    }

    /// Mask of the bits of a `long`.
    fn word_mask(&self) -> u64 {
        u64::MAX >> (64 - self.word_bits())
    }

    /// Mask of the id in a state word.
    fn id_mask(&self) -> u64 {
        self.word_mask() >> 2
    }
}

impl Ring {
    /// Length of the text ring in bytes.
    pub(super) const fn size(&self) -> u64 {
        1 << self.size_bits
    }
}

impl Info {
    fn record<'t>(&self, text: &'t [u8]) -> Record<'t> {
        let Self { seq, ts_nsec, caller, text_len } = *self;
        Record {
            seq: Some(seq),
            ts_nsec: Some(ts_nsec),
            caller: Some(caller),
            shows_caller: false,
            text: text.get(..text_len).unwrap_or_default(),
        }
    }
}

/// The bytes of a descriptor or an info.
struct Bytes([u8; MOST_USED]);

impl Bytes {
    /// The little-endian number of `length` bytes, at most 8, at `offset`; the layout has checked
    /// that it is there.
    fn field(&self, offset: u64, length: usize) -> u64 {
        let mut number = [0; 8];
        let from = self.0.get(offset as usize..).and_then(|from| from.get(..length));
        number[..length].copy_from_slice(from.unwrap_or(&[0; 8][..length]));
        u64::from_le_bytes(number)
    }
}
