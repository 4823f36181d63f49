//! Compression of single pages, as kdump-compressed files have them.

use std::io;

use dumpfile::kdump_file::{BLOCK, PageCodec};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes of a page.
const PAGE: usize = BLOCK as usize;

/// The tools of one thread.
pub(crate) struct PageCodecs {
    deflate: Compress,
    inflate: Decompress,
    snap: snap::raw::Encoder,
    unsnap: snap::raw::Decoder,
    zstd: zstd::bulk::Compressor<'static>,
    unzstd: zstd::bulk::Decompressor<'static>,
    /// Room for the longest block that a codec makes of a page.
    room: Vec<u8>,
}

impl PageCodecs {
    /// # Errors
    /// Fails without memory.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            deflate: Compress::new(Compression::fast(), true),
            inflate: Decompress::new(true),
            snap: snap::raw::Encoder::new(),
            unsnap: snap::raw::Decoder::new(),
            zstd: zstd::bulk::Compressor::new(1)?,
            unzstd: zstd::bulk::Decompressor::new()?,
            room: vec![0; zstd::zstd_safe::compress_bound(PAGE).max(2 * PAGE)],
        })
    }

    /// Compresses a page. [`None`] if it does not become shorter, or the codec is not written here.
    pub(crate) fn compress(&mut self, codec: PageCodec, page: &[u8]) -> Option<&[u8]> {
        let length = match codec {
            PageCodec::Raw | PageCodec::Lzo => return None,
            PageCodec::Zlib => {
                self.deflate.reset();
                let done = self.deflate.compress(page, &mut self.room, FlushCompress::Finish);
                done.ok().filter(|status| *status == Status::StreamEnd)?;
                usize::try_from(self.deflate.total_out()).ok()?
            }
            PageCodec::Snappy => self.snap.compress(page, &mut self.room).ok()?,
            PageCodec::Zstd => self.zstd.compress_to_buffer(page, &mut self.room[..]).ok()?,
        };
        (length < page.len()).then(|| &self.room[..length])
    }

    /// Decompresses a page. [`None`] if the bytes do not become a page.
    pub(crate) fn decompress(
        &mut self,
        codec: PageCodec,
        bytes: &[u8],
        page: &mut [u8],
    ) -> Option<()> {
        let length = match codec {
            PageCodec::Raw => {
                (bytes.len() == page.len()).then(|| page.copy_from_slice(bytes))?;
                bytes.len()
            }
            PageCodec::Zlib => {
                self.inflate.reset(true);
                let done = self.inflate.decompress(bytes, page, FlushDecompress::Finish);
                done.ok().filter(|status| *status == Status::StreamEnd)?;
                usize::try_from(self.inflate.total_out()).ok()?
            }
            PageCodec::Lzo => lzokay::decompress::decompress(bytes, page).ok()?,
            PageCodec::Snappy => self.unsnap.decompress(bytes, page).ok()?,
            PageCodec::Zstd => self.unzstd.decompress_to_buffer(bytes, page).ok()?,
        };
        (length == page.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_and_damage_does_not_become_one() {
        let mut codecs = PageCodecs::new().expect("memory");
        let page: Vec<u8> = (0..PAGE).map(|at| (at / 7 % 50) as u8).collect();
        for codec in [PageCodec::Zlib, PageCodec::Snappy, PageCodec::Zstd] {
            let bytes = codecs.compress(codec, &page).expect("shorter").to_vec();
            let mut back = vec![0; PAGE];
            codecs.decompress(codec, &bytes, &mut back).expect("the page");
            assert!(back == page, "{}", codec.name());
            let cut = codecs.decompress(codec, &bytes[..bytes.len() / 2], &mut back);
            assert_eq!(cut, None, "{}", codec.name());
            assert_eq!(codecs.decompress(codec, &bytes, &mut back[1..]), None);
            for other in PageCodec::ALL {
                let found = codecs.decompress(other, &bytes, &mut back);
                assert!(other == codec || found.is_none() || back != page, "{}", other.name());
            }
        }
    }
}
