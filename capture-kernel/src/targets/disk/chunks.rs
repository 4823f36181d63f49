//! The chunks of a bulk: their order, the parts that are kept, and the end of a segment that was
//! cut.

use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::ops::Range;
use dumpfile::chunk::{CHUNK, ChunkEntry, PAGE, PAGES, pages_of};
use dumpfile::disk::{BLOCK, StoredChunks};
use vmcore::{DumpOffset, PhysAddr, PhysRange, Piece, What};

/// Most parts of a dump that can go first.
const MOST_URGENT: usize = 128;
/// Most ranges of chunks that they divide a dump into, each chunk in one: parts end at twice as
/// many places.
const MOST_RANGES: usize = 2 * MOST_URGENT + 1;

/// Ranges of chunks, none of which share one.
type Ranges = ArrayVec<Range<u32>, MOST_RANGES>;

/// Takes away the chunks of the segment at `start` whose stored bytes end after `there`, and all
/// after the first of these. Returns the end of the segment.
pub(super) fn cut(chunks: &mut Vec<StoredChunks>, there: u64, start: u64) -> u64 {
    let mut end = start + BLOCK as u64;
    let mut kept = 0;
    for chunks in chunks.iter_mut() {
        let stored = u64::from(chunks.entry.stored);
        let room = there.saturating_sub(chunks.at).checked_div(stored);
        let fit = room.map_or(chunks.count(), |room| room.min(u64::from(chunks.count())) as u32);
        if fit == 0 {
            break;
        }
        let is_whole = fit == chunks.count();
        *chunks = chunks.first(fit);
        kept += 1;
        if stored > 0 {
            end = chunks.end().next_multiple_of(BLOCK as u64);
        }
        if !is_whole {
            break;
        }
    }
    chunks.truncate(kept);
    end
}

/// The runs of kept pages of a chunk, as offsets in the raw view.
pub(super) fn kept_runs(entry: &ChunkEntry, raw_length: u64) -> ArrayVec<Range<u64>, PAGES> {
    let mut runs = ArrayVec::<Range<u64>, PAGES>::new();
    for page in 0..pages_of(entry.chunk, raw_length) {
        let at = entry.start() + page as u64 * PAGE;
        match runs.last_mut() {
            _ if entry.left.get(page).is_some() => {}
            Some(last) if last.end == at => last.end += PAGE,
            _ => runs.push(at..at + PAGE),
        }
    }
    runs
}

/// The rest of a piece after its first `count` bytes.
pub(super) fn after(piece: Piece<'_>, count: u64) -> Piece<'_> {
    let what = match piece.what {
        What::Bytes(bytes) => What::Bytes(bytes.get(count as usize..).unwrap_or_default()),
        What::Phys(range) => {
            let start = PhysAddr::new(range.start().get() + count);
            What::Phys(PhysRange::from_bounds(start, range.end()).expect("before its end"))
        }
        other => other,
    };
    let at = DumpOffset::new(piece.at.get() + count);
    Piece { at, len: piece.len - count, what }
}

/// The chunks of a view of `length` bytes, those of the `urgent` parts first, in the order of these,
/// all chunks once.
pub(super) fn order(
    length: u64,
    urgent: &[Range<u64>],
) -> impl Iterator<Item = Range<u32>> + use<> {
    let end = length.div_ceil(CHUNK) as u32;
    let chunk = |number: u64| number.min(end.into()) as u32;
    let mut ranges = Ranges::new();
    for part in urgent.iter().take(MOST_URGENT) {
        add(&mut ranges, chunk(part.start / CHUNK)..chunk(part.end.div_ceil(CHUNK)));
    }
    add(&mut ranges, 0..end);
    ranges.into_iter()
}

/// Adds those chunks of `part` that are in none of the `ranges`.
fn add(ranges: &mut Ranges, part: Range<u32>) {
    let mut at = part.start;
    while at < part.end {
        if let Some(taken) = ranges.iter().find(|range| range.contains(&at)) {
            at = taken.end;
            continue;
        }
        let starts = ranges.iter().map(|range| range.start).filter(|start| *start > at);
        let end = starts.min().map_or(part.end, |start| start.min(part.end));
        ranges.push(at..end);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn chunks(length: u64, urgent: &[Range<u64>]) -> Vec<u32> {
        order(length, urgent).flatten().collect()
    }

    #[test]
    fn urgent_parts_go_first_and_everything_goes_once() {
        let (k, all) = (CHUNK, 10 * CHUNK - 5);
        assert_eq!(chunks(all, &[]), (0..10).collect::<Vec<_>>());
        let parts = [6 * k + 1..8 * k, 0..1, 7 * k..7 * k + 1];
        assert_eq!(chunks(all, &parts), [6, 7, 0, 1, 2, 3, 4, 5, 8, 9]);
        let around = [3 * k..4 * k, 5 * k..6 * k, 2 * k..8 * k];
        assert_eq!(chunks(all, &around), [3, 5, 2, 4, 6, 7, 0, 1, 8, 9]);
        let (beyond, turned) = (9 * k..u64::MAX, 4 * k..2 * k);
        assert_eq!(chunks(all, &[beyond, turned])[..2], [9, 0]);
        assert_eq!(chunks(0, &parts), vec![0; 0]);
    }

    /// As many parts as there can be, each in another's middle or apart from all.
    #[test]
    fn many_parts_have_room() {
        let apart = (0..200).map(|part| (3 * part + 1) * CHUNK..(3 * part + 2) * CHUNK);
        let nested = (0..200).map(|part| (300 - part) * CHUNK..(301 + part) * CHUNK);
        let mixed = apart.clone().take(MOST_URGENT - 1).chain(core::iter::once(0..u64::MAX));
        for parts in [apart.collect::<Vec<_>>(), nested.collect(), mixed.collect()] {
            let mut all = chunks(1000 * CHUNK, &parts);
            assert_eq!(all[0], (parts[0].start / CHUNK) as u32);
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_segment_is_cut_before_the_first_byte_that_is_not_there() {
        let entry = |chunk, stored| ChunkEntry { chunk, stored, ..ChunkEntry::default() };
        let stored =
            |chunk, stored, repeat, at| StoredChunks { entry: entry(chunk, stored), repeat, at };
        let whole = vec![
            stored(0, 0, 9, 0),
            stored(10, 0x1_0000, 1, 0x9000),
            stored(12, 0, 0, 0),
            stored(13, 0x500, 0, 0x2_9000),
            stored(14, 0x1000, 0, 0x2_a000),
        ];
        let cut_at = |there| {
            let mut chunks = whole.clone();
            let end = cut(&mut chunks, there, 0x8000);
            (chunks.iter().map(|chunks| chunks.count()).sum::<u32>(), end)
        };
        assert_eq!(cut_at(0x9000), (10, 0x9000));
        assert_eq!(cut_at(0x1_8fff), (10, 0x9000));
        assert_eq!(cut_at(0x1_9000), (11, 0x1_9000));
        assert_eq!(cut_at(0x2_9000), (13, 0x2_9000));
        assert_eq!(cut_at(0x2_9500), (14, 0x2_a000));
        assert_eq!(cut_at(u64::MAX), (15, 0x2_b000));
    }
}
