//! The two headers (`disk_dump_header`, `kdump_sub_header`).

use alloc::vec::Vec;

use super::{BLOCK, HEADERS, KdumpError, MOST_PAGES, SIGNATURE};

/// Bytes of a name in [`Utsname`], with its NUL (Linux, `struct new_utsname`).
pub const UTSNAME_FIELD: usize = 65;
/// The version that is written.
const VERSION: u32 = 6;

/// The dead kernel's names: system, node, release, version, machine, domain.
pub type Utsname = [[u8; UTSNAME_FIELD]; 6];

/// The machine of the dead kernel, which decides the width of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 32 bits, and 64-bit numbers at multiples of 4.
    I386,
    /// 64 bits.
    X86_64,
}

/// Bytes of the file that are named by a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// The headers of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdumpHeader {
    /// The machine of the dead kernel.
    pub machine: Machine,
    /// Its names. QEMU fills in the machine only.
    pub utsname: Utsname,
    /// Time of the dump, in seconds since 1970.
    pub time: u64,
    /// `status`: the codecs ([`super::PageCodec::flag`]), and bit 3 for an incomplete dump.
    pub status: u32,
    /// Blocks of the sub header with notes (`sub_hdr_size`).
    pub sub_blocks: u64,
    /// Blocks of both bitmaps.
    pub bitmap_blocks: u64,
    /// One past the highest page frame.
    pub max_mapnr: u64,
    /// Number of CPUs whose registers are in the notes.
    pub cpus: u32,
    /// The physical address of the kernel's image, less that for which it was linked.
    pub phys_base: u64,
    /// The dump level (makedumpfile `-d`).
    pub dump_level: u32,
    /// The text of VMCOREINFO, in the notes as well.
    pub vmcoreinfo: Part,
    /// The notes.
    pub notes: Part,
}

/// Offsets of the fields, in bytes. `status` begins a row of ten 32-bit fields in the header; the
/// others are in the sub header.
struct Layout {
    word: usize,
    timestamp: usize,
    status: usize,
    dump_level: usize,
    start_pfn: usize,
    vmcoreinfo: usize,
    notes: usize,
    start_pfn_64: usize,
    size: usize,
}

const I386: Layout = Layout {
    word: 4,
    timestamp: 404,
    status: 412,
    dump_level: 4,
    start_pfn: 12,
    vmcoreinfo: 20,
    notes: 32,
    start_pfn_64: 56,
    size: 80,
};
const X86_64: Layout = Layout {
    word: 8,
    timestamp: 408,
    status: 424,
    dump_level: 8,
    start_pfn: 16,
    vmcoreinfo: 32,
    notes: 48,
    start_pfn_64: 80,
    size: 104,
};
/// Offsets after `status`.
const BLOCK_SIZE: usize = 4;
const SUB_BLOCKS: usize = 8;
const BITMAP_BLOCKS: usize = 12;
const MAX_MAPNR: usize = 16;
const NR_CPUS: usize = 36;
/// Offset of the names in the header.
const UTSNAME: usize = 12;

impl Machine {
    const fn layout(self) -> &'static Layout {
        match self {
            Self::I386 => &I386,
            Self::X86_64 => &X86_64,
        }
    }
}

/// Bytes of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], KdumpError> {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or(KdumpError::Cut)
    }

    fn u32(&self, at: usize) -> Result<u32, KdumpError> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, KdumpError> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A number of `width` bytes: 4 or 8.
    fn word(&self, at: usize, width: usize) -> Result<u64, KdumpError> {
        if width == 4 { self.u32(at).map(u64::from) } else { self.u64(at) }
    }

    /// An offset of 64 bits, and a length as wide as the machine's words.
    fn part(&self, at: usize, width: usize) -> Result<Part, KdumpError> {
        Ok(Part { offset: self.u64(at)?, size: self.word(at + 8, width)? })
    }
}

impl KdumpHeader {
    /// Headers of a new file for `max_mapnr` page frames and `notes` bytes of notes, with their
    /// places in it. `vmcoreinfo` is the place of that text in the notes. The other fields are
    /// empty.
    ///
    /// # Errors
    /// [`KdumpError::Field`] if there are too many pages or notes.
    pub fn new(
        machine: Machine,
        max_mapnr: u64,
        notes: usize,
        vmcoreinfo: Part,
    ) -> Result<Self, KdumpError> {
        let size = machine.layout().size as u64;
        let start = BLOCK + size;
        let notes = Part { offset: start, size: notes as u64 };
        let vmcoreinfo = match vmcoreinfo.size {
            0 => Part::default(),
            size => Part { offset: start + vmcoreinfo.offset, size },
        };
        let header = Self {
            machine,
            utsname: [[0; UTSNAME_FIELD]; 6],
            time: 0,
            status: 0,
            sub_blocks: (size + notes.size).div_ceil(BLOCK),
            bitmap_blocks: 2 * max_mapnr.div_ceil(8 * BLOCK),
            max_mapnr,
            cpus: 0,
            phys_base: 0,
            dump_level: 0,
            vmcoreinfo,
            notes,
        };
        header.check()
    }

    /// Reads the headers from the front of a file: [`HEADERS`] bytes, or all that there are.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(front: &[u8]) -> Result<Self, KdumpError> {
        if !front.starts_with(&SIGNATURE) {
            return Err(KdumpError::NotOurs);
        }
        let main = Fields(front.get(..BLOCK as usize).ok_or(KdumpError::Cut)?);
        let version = main.u32(8)?;
        if !(1..=VERSION).contains(&version) {
            return Err(KdumpError::Version(version));
        }
        let fits = |machine: &Machine| {
            let status = machine.layout().status;
            let field = |at| main.u32(status + at).map(u64::from);
            field(BLOCK_SIZE) == Ok(BLOCK) && field(SUB_BLOCKS).is_ok_and(|blocks| blocks > 0)
        };
        // The fields of the one are a time and a number of pages in the other, which cannot fit.
        let machine = [Machine::X86_64, Machine::I386].into_iter().find(fits);
        let machine = machine.ok_or(KdumpError::Machine)?;
        Self::decode_fields(&main, &Fields(&front[BLOCK as usize..]), machine, version)?.check()
    }

    fn decode_fields(
        main: &Fields<'_>,
        sub: &Fields<'_>,
        machine: Machine,
        version: u32,
    ) -> Result<Self, KdumpError> {
        let layout = machine.layout();
        let field = |at| main.u32(layout.status + at);
        let part = |since, at| match version >= since {
            true => sub.part(at, layout.word),
            false => Ok(Part::default()),
        };
        if version >= 2 && sub.u32(layout.dump_level + 4)? != 0 {
            return Err(KdumpError::Split);
        }
        let mut utsname = [[0; UTSNAME_FIELD]; 6];
        for (index, name) in utsname.iter_mut().enumerate() {
            *name = main.array(UTSNAME + index * UTSNAME_FIELD)?;
        }
        let max_mapnr = match version {
            6.. => sub.u64(layout.start_pfn_64 + 16)?,
            _ => field(MAX_MAPNR)?.into(),
        };
        Ok(Self {
            machine,
            utsname,
            time: main.word(layout.timestamp, layout.word)?,
            status: field(0)?,
            sub_blocks: field(SUB_BLOCKS)?.into(),
            bitmap_blocks: field(BITMAP_BLOCKS)?.into(),
            max_mapnr,
            cpus: field(NR_CPUS)?,
            phys_base: sub.word(0, layout.word)?,
            dump_level: sub.u32(layout.dump_level)?,
            vmcoreinfo: part(3, layout.vmcoreinfo)?,
            notes: part(4, layout.notes)?,
        })
    }

    /// Both headers, padded to whole blocks; the notes follow at [`Self::notes`].
    pub fn encode(&self) -> Vec<u8> {
        let layout = self.machine.layout();
        let mut bytes = alloc::vec![0; HEADERS];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &SIGNATURE);
        put(8, &VERSION.to_le_bytes());
        for (index, name) in self.utsname.iter().enumerate() {
            put(UTSNAME + index * UTSNAME_FIELD, name);
        }
        put(layout.timestamp, &self.time.to_le_bytes()[..layout.word]);
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let fields = [
            (0, self.status),
            (BLOCK_SIZE, BLOCK as u32),
            (SUB_BLOCKS, short(self.sub_blocks)),
            (BITMAP_BLOCKS, short(self.bitmap_blocks)),
            (MAX_MAPNR, short(self.max_mapnr)),
            (NR_CPUS, self.cpus),
        ];
        fields.iter().for_each(|(at, value)| put(layout.status + at, &value.to_le_bytes()));
        let sub = BLOCK as usize;
        put(sub, &self.phys_base.to_le_bytes()[..layout.word]);
        put(sub + layout.dump_level, &self.dump_level.to_le_bytes());
        let end = &self.max_mapnr.to_le_bytes();
        put(sub + layout.start_pfn + layout.word, &end[..layout.word]);
        for (at, part) in [(layout.vmcoreinfo, self.vmcoreinfo), (layout.notes, self.notes)] {
            put(sub + at, &part.offset.to_le_bytes());
            put(sub + at + 8, &part.size.to_le_bytes()[..layout.word]);
        }
        put(sub + layout.start_pfn_64 + 8, end);
        put(sub + layout.start_pfn_64 + 16, end);
        bytes
    }

    /// Checks that all parts have a place in a file.
    fn check(self) -> Result<Self, KdumpError> {
        let field = |field, value, is_good| match is_good {
            true => Ok(()),
            false => Err(KdumpError::Field { field, value }),
        };
        let Self { sub_blocks, bitmap_blocks, max_mapnr, .. } = self;
        field("sub_hdr_size", sub_blocks, (1..=1 << 20).contains(&sub_blocks))?;
        field("max_mapnr", max_mapnr, (1..=MOST_PAGES).contains(&max_mapnr))?;
        let has_room = bitmap_blocks.is_multiple_of(2)
            && bitmap_blocks / 2 >= max_mapnr.div_ceil(8 * BLOCK)
            && u32::try_from(bitmap_blocks).is_ok();
        field("bitmap_blocks", bitmap_blocks, has_room)?;
        let end = self.bitmap1();
        let fits = |part: &Part| part.offset.checked_add(part.size).is_some_and(|at| at <= end);
        field("size_note", self.notes.size, self.notes.size == 0 || fits(&self.notes))?;
        let text = &self.vmcoreinfo;
        field("size_vmcoreinfo", text.size, text.size == 0 || fits(text))?;
        Ok(self)
    }

    /// True if whoever wrote the dump did not get to its end.
    pub const fn is_incomplete(&self) -> bool {
        self.status & 8 != 0
    }

    /// Offset of the bitmap of RAM.
    pub const fn bitmap1(&self) -> u64 {
        (1 + self.sub_blocks) * BLOCK
    }

    /// Offset of the bitmap of the pages in the file.
    pub const fn bitmap2(&self) -> u64 {
        self.bitmap1() + self.bitmap_blocks / 2 * BLOCK
    }

    /// Bytes of a bitmap that have bits of pages.
    pub const fn bitmap_length(&self) -> u64 {
        self.max_mapnr.div_ceil(8)
    }

    /// Offset of the first page descriptor.
    pub const fn descriptors(&self) -> u64 {
        (1 + self.sub_blocks + self.bitmap_blocks) * BLOCK
    }
}
