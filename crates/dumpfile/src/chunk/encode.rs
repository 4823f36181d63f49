//! The encoder: the kept pages of a chunk, compressed.

use alloc::vec::Vec;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use vmcore::{DumpOffset, Error, PageClass, ReadPhys, View, What};

use super::{CHUNK, ChunkEntry, Codec, PAGE, left_of, pages_of};
use crate::Crc32c;

/// Room that a compressed chunk takes while it is made, in bytes. It is smaller in the end.
pub const MOST_COMPRESSED: usize = get_maximum_output_size(CHUNK as usize);

/// Memory for the compression of one chunk at a time: 64 KiB for its pages, 16 KiB for the table of
/// LZ4.
pub struct Encoder {
    pages: Vec<u8>,
    table: CompressTable,
}

impl Encoder {
    /// An encoder.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new() -> Result<Self, Error> {
        let mut pages = Vec::new();
        // The table is allocated without a way to fail: so there must be room for it as well.
        pages.try_reserve_exact(CHUNK as usize + (16 << 10)).map_err(|_| Error::NoMemory)?;
        pages.shrink_to(CHUNK as usize);
        Ok(Self { pages, table: CompressTable::large() })
    }

    /// Compresses chunk `chunk` of `view` to the front of `out`, which has [`MOST_COMPRESSED`]
    /// bytes. Pages of zeros are left out as such, pages that `mem` cannot read as unreadable. A
    /// chunk that does not become shorter by a page is [`Codec::Raw`]: its stored bytes are the
    /// kept pages, and `out` is undefined. The same memory gives the same bytes each time.
    pub fn encode(
        &mut self,
        view: &dyn View,
        chunk: u32,
        mem: &dyn ReadPhys,
        out: &mut [u8],
    ) -> ChunkEntry {
        let mut entry = ChunkEntry { chunk, left: left_of(view, chunk), ..ChunkEntry::default() };
        self.pages.clear();
        for page in 0..pages_of(chunk, view.len()) {
            if entry.left.get(page).is_none()
                && let Some(class) = self.add(view, entry.start() + page as u64 * PAGE, mem)
            {
                entry.left.set(page, class);
            }
        }
        entry.stored = self.pages.len() as u32;
        let most = self.pages.len().saturating_sub(PAGE as usize);
        match compress_into_with_table(&self.pages, out, &mut self.table) {
            Ok(length) if length > 0 && length <= most => {
                entry.codec = Codec::Lz4;
                entry.stored = length as u32;
                entry.crc = Some(Crc32c::of(&out[..length]));
            }
            _ => {}
        }
        entry
    }

    /// The kept pages of the chunk that was encoded last.
    pub fn pages(&self) -> &[u8] {
        &self.pages
    }

    /// Adds the page at `at` of the view; its class if it is left out instead.
    fn add(&mut self, view: &dyn View, at: u64, mem: &dyn ReadPhys) -> Option<PageClass> {
        let start = self.pages.len();
        // Within the room that was reserved.
        self.pages.resize(start + PAGE as usize, 0);
        let class = match read_page(view, at, mem, &mut self.pages[start..]) {
            Err(_) => PageClass::Unreadable,
            Ok(()) if is_zero(&self.pages[start..]) => PageClass::Zero,
            Ok(()) => return None,
        };
        self.pages.truncate(start);
        Some(class)
    }
}

/// Reads a page; its last bytes may be after the view's end.
fn read_page(
    view: &dyn View,
    mut at: u64,
    mem: &dyn ReadPhys,
    mut into: &mut [u8],
) -> Result<(), Error> {
    while let Some(piece) = view.piece(DumpOffset::new(at), into.len() as u64) {
        let (bytes, rest) = into.split_at_mut(piece.len as usize);
        match piece.what {
            What::Bytes(from) => bytes.copy_from_slice(from),
            What::Phys(range) => mem.read_phys(range.start(), bytes)?,
            What::Zero | What::Left(_) => {}
        }
        (at, into) = (piece.end().get(), rest);
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
