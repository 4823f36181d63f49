//! Dumps on a disk, as the capture kernel stores them.

#![allow(dead_code, reason = "each test file uses a part")]

use dumpfile::chunk::{CHUNK, ChunkEntry, Codec, Left, PAGE};
use dumpfile::disk::{
    BLOCK, DumpHeader, NewDump, SmallView, StoredChunks, ViewName, encode_segment,
};
use dumpfile::{Contents, Crc32c, DiskHeader, DiskId, DiskState};

/// Bytes of the raw view in a segment.
pub const SEGMENT: usize = 1 << 20;
/// The key of all dumps here.
pub const KEY: u32 = 0x1234_5678;

/// A dump that is to be stored.
pub struct Dump<'a> {
    pub state: DiskState,
    pub stage: u32,
    pub contents: Contents,
    pub views: &'a [(&'static str, Vec<u8>)],
    pub bulk: &'a [u8],
    /// Number of segments that are there; each has [`SEGMENT`] bytes of the dump.
    pub segments: usize,
    pub checksums: bool,
}

impl<'a> Dump<'a> {
    /// A whole dump.
    pub fn complete(bulk: &'a [u8]) -> Self {
        Self {
            state: DiskState::COMPLETE,
            stage: 0x60,
            contents: Contents::Vmcore,
            views: &[],
            bulk,
            segments: usize::MAX,
            checksums: false,
        }
    }

    /// Its header and its region, which has room for all of it.
    pub fn region(&self, id: DiskId, sequence: u64) -> (DumpHeader, Vec<u8>) {
        let views: Vec<_> = self.views.iter().map(|(name, bytes)| small(name, bytes)).collect();
        let new = NewDump {
            contents: self.contents,
            views: &views,
            room: 0,
            raw_length: self.bulk.len() as u64,
            codec: Codec::Raw,
            checksums: self.checksums,
        };
        let header = DumpHeader::new(id, sequence, KEY, &new).expect("it has places");
        let mut header = DumpHeader { state: self.state, stage: self.stage, ..header };
        let mut region = vec![0xee; header.bulk_start as usize];
        for (view, (_, bytes)) in header.views().iter().zip(self.views) {
            let at = view.offset as usize;
            region[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let parts = self.bulk.chunks(SEGMENT).take(self.segments);
        for (number, part) in parts.enumerate() {
            let first = (number * SEGMENT) as u64 / CHUNK;
            region.extend(segment(&mut header, number as u32, part, first as u32, self.checksums));
            header.committed = region.len() as u64;
        }
        region[..BLOCK].copy_from_slice(&header.encode());
        region[BLOCK..2 * BLOCK].fill(0);
        let whole =
            self.bulk.len().next_multiple_of(BLOCK) + self.bulk.len().div_ceil(SEGMENT) * BLOCK;
        region.resize(region.len().max(header.bulk_start as usize + whole), 0xee);
        (header, region)
    }

    /// A disk with this dump only.
    pub fn disk(&self, id: DiskId) -> Vec<u8> {
        let (_, region) = self.region(id, 1);
        let placed = DiskHeader::new(id).place(u64::MAX, region.len() as u64, KEY, false);
        let mut header = placed.expect("it is empty").header;
        header.dumps.set_state(1, self.state);
        [&header.encode()[..], &header.encode(), &region].concat()
    }
}

fn small(name: &str, bytes: &[u8]) -> SmallView {
    let name = ViewName::new(name).expect("a name");
    let (length, crc) = (bytes.len() as u64, Crc32c::of(bytes));
    SmallView { name, length, crc, ..SmallView::default() }
}

/// A segment with `part` of the dump, which begins with chunk `first`. Pages of zeros are left out
/// where a chunk has no others.
fn segment(
    header: &mut DumpHeader,
    number: u32,
    part: &[u8],
    first: u32,
    checksums: bool,
) -> Vec<u8> {
    let start = header.committed;
    let mut bytes = vec![0; BLOCK];
    let mut chunks: Vec<StoredChunks> = Vec::new();
    for (chunk, raw) in (first..).zip(part.chunks(CHUNK as usize)) {
        let mut raw = raw.to_vec();
        raw.resize(raw.len().next_multiple_of(PAGE as usize), 0);
        let is_zero = raw.iter().all(|byte| *byte == 0);
        let mut left = Left::default();
        if is_zero {
            (0..raw.len() / PAGE as usize).for_each(|page| left.set(page, vmcore::PageClass::Zero));
            raw.clear();
        }
        let crc = (checksums && !is_zero).then(|| Crc32c::of(&raw));
        let entry = ChunkEntry { chunk, codec: Codec::Raw, stored: raw.len() as u32, crc, left };
        let at = if raw.is_empty() { 0 } else { start + bytes.len() as u64 };
        let new = StoredChunks { entry, repeat: 0, at };
        header.pages.add(&new, header.raw_length);
        if !chunks.last_mut().is_some_and(|last| last.join(&new, header.raw_length)) {
            chunks.push(new);
        }
        bytes.extend(raw);
    }
    let length = (bytes.len() - BLOCK) as u64;
    let block = bytes.first_chunk_mut().expect("a block");
    encode_segment(header, number, length, &chunks, block);
    bytes
}
