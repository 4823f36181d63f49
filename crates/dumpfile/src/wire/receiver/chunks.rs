//! Chunks of which some stored bytes have come.

use alloc::vec::Vec;

use crate::chunk::{CHUNK, ChunkEntry};
use crate::wire::Ranges;

/// Most stored bytes of all of them. Data in flight completes an incomplete one; only a few others
/// can have begun until then.
const MOST: u64 = 4 * CHUNK;
/// Most of them, as each takes a little more.
const COUNT: usize = 64;

/// Chunks of which some stored bytes have come, oldest first.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<Begun>);

/// One of them.
#[derive(Debug)]
struct Begun {
    view: u16,
    entry: ChunkEntry,
    bytes: Vec<u8>,
    have: Ranges,
}

impl Chunks {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes room for a chunk that begins. The oldest ones are dropped for it: parts missing in the
    /// end are requested again.
    pub(super) fn begin(&mut self, view: u16, entry: ChunkEntry) {
        if self.0.iter().any(|begun| begun.view == view && begun.entry == entry) {
            return;
        }
        self.0.retain(|begun| (begun.view, begun.entry.chunk) != (view, entry.chunk));
        while self.0.len() >= COUNT || self.total() + u64::from(entry.stored) > MOST {
            if self.0.is_empty() {
                return;
            }
            self.0.remove(0);
        }
        // A chunk at most.
        let bytes = alloc::vec![0; entry.stored as usize];
        self.0.push(Begun { view, entry, bytes, have: Ranges::new() });
    }

    /// Adds stored bytes of a chunk that has begun; returns it when it has all.
    pub(super) fn add(
        &mut self,
        (view, chunk): (u16, u32),
        offset: u32,
        bytes: &[u8],
    ) -> Option<(ChunkEntry, Vec<u8>)> {
        let is_it = |begun: &Begun| (begun.view, begun.entry.chunk) == (view, chunk);
        let index = self.0.iter().position(is_it)?;
        let begun = self.0.get_mut(index)?;
        let start = offset as usize;
        let place = begun.bytes.get_mut(start..start.checked_add(bytes.len())?)?;
        place.copy_from_slice(bytes);
        let whole = u64::from(begun.entry.stored);
        let end = u64::from(offset) + bytes.len() as u64;
        if begun.have.insert((offset.into(), end)).is_err() || !begun.have.contains((0, whole)) {
            return None;
        }
        let Begun { entry, bytes, .. } = self.0.remove(index);
        Some((entry, bytes))
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|begun| u64::from(begun.entry.stored)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Codec;

    fn entry(chunk: u32, stored: u32) -> ChunkEntry {
        ChunkEntry { chunk, stored, codec: Codec::Lz4, crc: Some(1), ..ChunkEntry::default() }
    }

    #[test]
    fn parts_come_in_any_order_and_more_than_once() {
        let mut chunks = Chunks::default();
        chunks.begin(1, entry(7, 6));
        assert_eq!(chunks.add((1, 7), 4, b"ef"), None);
        assert_eq!(chunks.add((1, 8), 0, b"xy"), None, "another chunk");
        assert_eq!(chunks.add((2, 7), 0, b"xy"), None, "another view");
        assert_eq!(chunks.add((1, 7), 5, b"xy"), None, "outside");
        assert_eq!(chunks.add((1, 7), 0, b"ab"), None);
        chunks.begin(1, entry(7, 6));
        assert_eq!(chunks.add((1, 7), 0, b"ab"), None);
        let whole = Some((entry(7, 6), b"abcdef".to_vec()));
        assert_eq!(chunks.add((1, 7), 2, b"cd"), whole);
        assert_eq!(chunks.add((1, 7), 2, b"cd"), None, "it is through");
        // A chunk that begins anew with another length has no bytes yet.
        chunks.begin(1, entry(7, 3));
        chunks.add((1, 7), 0, b"ab");
        chunks.begin(1, entry(7, 4));
        assert_eq!(chunks.add((1, 7), 2, b"cd"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever begins, memory has a bound, and the last one that began is there.
        #[test]
        fn memory_has_a_bound(all in prop::collection::vec((0u16..16, any::<u32>(), 1u32..=65_536), 1..200)) {
            let mut chunks = Chunks::default();
            for (view, chunk, stored) in all {
                chunks.begin(view, entry(chunk, stored));
                prop_assert!(chunks.total() <= MOST && chunks.0.len() <= COUNT);
                prop_assert!(chunks.0.iter().all(|begun| begun.bytes.len() <= CHUNK as usize));
                prop_assert_eq!(chunks.0.last().map(|begun| begun.entry), Some(entry(chunk, stored)));
            }
        }
    }
}
