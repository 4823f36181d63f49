//! Page descriptors.

use super::{BLOCK, KdumpError};

/// Bytes of a page descriptor.
pub const DESCRIPTOR: usize = 24;

/// The encoding of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PageCodec {
    /// None.
    Raw = 0,
    /// A zlib stream (makedumpfile `-c`).
    Zlib = 1,
    /// An LZO1X block (`-l`).
    Lzo = 2,
    /// A raw snappy block (`-p`).
    Snappy = 4,
    /// A zstd frame (`-z`).
    Zstd = 0x20,
}

impl PageCodec {
    /// All encodings.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    /// Its bit in `flags` of a page descriptor, and in `status` of the header.
    pub const fn flag(self) -> u32 {
        self as u32
    }

    /// Its name, as command lines and reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "none",
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

/// The place of a page's bytes (`page_desc_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageDescriptor {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Number of bytes: 1 to 4096.
    pub size: u32,
    /// Their encoding.
    pub codec: PageCodec,
}

impl PageDescriptor {
    /// As the file has it.
    pub fn encode(&self) -> [u8; DESCRIPTOR] {
        let mut bytes = [0; DESCRIPTOR];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.codec.flag().to_le_bytes());
        bytes
    }

    /// Reads a descriptor, and checks what can be checked without the file.
    ///
    /// # Errors
    /// [`KdumpError::Descriptor`].
    pub fn decode(bytes: &[u8; DESCRIPTOR]) -> Result<Self, KdumpError> {
        let ([offset, rest, _], []) = bytes.as_chunks::<8>() else {
            return Err(KdumpError::Cut);
        };
        let ([size, flags], []) = rest.as_chunks::<4>() else { return Err(KdumpError::Cut) };
        let (size, flags) = (u32::from_le_bytes(*size), u32::from_le_bytes(*flags));
        let codec = PageCodec::ALL.into_iter().find(|codec| codec.flag() == flags);
        let fits = |codec: &PageCodec| match codec {
            PageCodec::Raw => u64::from(size) == BLOCK,
            _ => (1..=BLOCK).contains(&u64::from(size)),
        };
        let codec = codec.filter(fits).ok_or(KdumpError::Descriptor { size, flags })?;
        Ok(Self { offset: u64::from_le_bytes(*offset), size, codec })
    }
}
