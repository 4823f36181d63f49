//! Debug sections of a file: read part by part, or unpacked where they are compressed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object::{CompressedFileRange, CompressionFormat, Object, ObjectSection};

/// Most bytes of an unpacked section: that of a kernel with everything in it has 0.6 GB.
const MOST: u64 = 4 << 30;

/// A section.
#[derive(Debug)]
pub(super) enum Section {
    /// A part of a file: the first byte, and the length.
    File(Arc<File>, u64, u64),
    /// Unpacked, or small.
    Memory(Vec<u8>),
}

impl Section {
    /// A section by its name; an empty one if there is none.
    ///
    /// # Errors
    /// It cannot be read or unpacked.
    pub(super) fn find<'data>(
        file: &Arc<File>,
        elf: &impl Object<'data>,
        name: &str,
    ) -> io::Result<Self> {
        let Some(section) = elf.section_by_name(name) else { return Ok(Self::Memory(Vec::new())) };
        let range = section.compressed_file_range().map_err(io::Error::other)?;
        let part = Self::File(Arc::clone(file), range.offset, range.compressed_size);
        match range.format {
            CompressionFormat::None => Ok(part),
            _ => Ok(Self::Memory(part.unpacked(&range)?)),
        }
    }

    fn unpacked(&self, range: &CompressedFileRange) -> io::Result<Vec<u8>> {
        let packed = self.whole()?;
        let wrong = || io::Error::other("it is compressed in a way that is not known");
        let reader: Box<dyn Read> = match range.format {
            CompressionFormat::Zlib => Box::new(flate2::read::ZlibDecoder::new(&*packed)),
            CompressionFormat::Zstandard => Box::new(zstd::Decoder::with_buffer(&*packed)?),
            _ => return Err(wrong()),
        };
        let mut bytes = Vec::new();
        reader.take(range.uncompressed_size.min(MOST)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::File(_, _, length) => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// `length` bytes from an offset on.
    ///
    /// # Errors
    /// The section or the file has not as many.
    pub(super) fn read(&self, at: u64, length: u64) -> io::Result<Cow<'_, [u8]>> {
        let end = at.checked_add(length).filter(|end| *end <= self.length());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(&bytes[at as usize..end as usize])),
            Self::File(file, start, _) => {
                // The file has them before room is made.
                let start = start.checked_add(at).ok_or(io::ErrorKind::UnexpectedEof)?;
                let last = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
                if file.metadata()?.len() < last {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, start)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(super) fn whole(&self) -> io::Result<Cow<'_, [u8]>> {
        self.read(0, self.length())
    }
}

/// Names and forms, which are small.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) info: Section,
    pub(super) abbreviations: Vec<u8>,
    pub(super) strings: Vec<u8>,
    pub(super) line_strings: Vec<u8>,
    pub(super) string_offsets: Vec<u8>,
}

impl Sections {
    /// The debug sections of an ELF file.
    ///
    /// # Errors
    /// One cannot be read or unpacked.
    pub(super) fn find<'data>(file: &Arc<File>, elf: &impl Object<'data>) -> io::Result<Self> {
        let small =
            |name| Ok::<_, io::Error>(Section::find(file, elf, name)?.whole()?.into_owned());
        Ok(Self {
            info: Section::find(file, elf, ".debug_info")?,
            abbreviations: small(".debug_abbrev")?,
            strings: small(".debug_str")?,
            line_strings: small(".debug_line_str")?,
            string_offsets: small(".debug_str_offsets")?,
        })
    }
}
