//! Symbol tables of kernels that never were, as `scripts/kallsyms.c` lays them out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::{KernelMemory, SegmentMap, VirtualMemory};
use vmcore::fake::FakeMemory;
use vmcore::{PhysAddr, Segment, SegmentKind};

/// Physical address of the kernel's image.
pub(crate) const PADDR: u64 = 0x100_0000;

/// A kernel of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Length of an address in bytes.
    pub(crate) word: usize,
    /// Virtual address of the image, which begins with `_stext`.
    pub(crate) image: u64,
    pub(crate) encode: fn(address: u64, base: u64, place: u64) -> u32,
    pub(crate) has_base: bool,
    /// True if names may be longer than 127 tokens.
    pub(crate) has_long: bool,
}

/// One of each encoding. Values below the image are those of per-CPU variables.
pub(crate) const KINDS: [Kind; 4] = [
    // x86_64 before 6.15.
    Kind {
        word: 8,
        image: 0xffff_ffff_8100_0000,
        encode: |address, base, _| {
            if address < base {
                address as u32
            } else {
                (base.wrapping_sub(address) as u32).wrapping_sub(1)
            }
        },
        has_base: true,
        has_long: true,
    },
    // x86_64 of 6.15 to 6.19.
    Kind {
        word: 8,
        image: 0xffff_ffff_8100_0000,
        encode: |address, base, _| address.wrapping_sub(base) as u32,
        has_base: true,
        has_long: true,
    },
    // x86_64 from 7.0 on.
    Kind {
        word: 8,
        image: 0xffff_ffff_9a80_0000,
        encode: |address, _, place| address.wrapping_sub(place) as u32,
        has_base: false,
        has_long: true,
    },
    // i386.
    Kind {
        word: 4,
        image: 0xdd00_0000,
        encode: |address, base, _| address.wrapping_sub(base) as u32,
        has_base: true,
        has_long: false,
    },
];

impl Kind {
    /// True for an encoding of kernels before 6.0.
    pub(crate) fn encodes_as_before_6(self) -> bool {
        self.word == 4 || self.has_small()
    }

    /// True if per-CPU variables have small values.
    pub(crate) fn has_small(self) -> bool {
        (self.encode)(0x1000, self.image, self.image) == 0x1000
    }
}

/// A kernel's image with its tables.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) vmcoreinfo: String,
    /// The tables by their names in Linux.
    pub(crate) places: Vec<(&'static str, u64)>,
}

/// Tokens of more than one character, at places of characters that no name has.
const TOKENS: [(u8, &str); 4] = [(b'#', "sys_"), (b'%', "Tdo_"), (0x80, "__"), (0xff, "read")];

/// A token's text.
fn token(index: u8) -> String {
    let long = TOKENS.iter().find(|(place, _)| *place == index).map(|(_, text)| *text);
    let single = (b'!'..=0x7f).contains(&index).then(|| char::from(index));
    long.map(String::from).or(single.map(String::from)).unwrap_or_default()
}

/// The tokens of a name.
fn compressed(mut name: &str) -> Vec<u8> {
    let mut tokens = Vec::new();
    while let Some(first) = name.bytes().next() {
        let long = TOKENS.iter().find_map(|(place, text)| Some((*place, name.strip_prefix(text)?)));
        let (token, rest) = long.unwrap_or((first, &name[1..]));
        tokens.push(token);
        name = rest;
    }
    tokens
}

impl Image {
    /// The image of a kernel with these symbols, sorted by address: the type and the name in one.
    pub(crate) fn new(kind: Kind, symbols: &[(u64, &str)]) -> Self {
        // Some text, and data that looks like nothing.
        let bytes = (0..0x1003_u32).map(|at| (at * 7 / 8) as u8).collect();
        let mut image = Self { kind, bytes, vmcoreinfo: String::new(), places: Vec::new() };
        image.label("kallsyms_offsets");
        for (address, _) in symbols {
            let place = image.end();
            image.bytes.extend((kind.encode)(*address, kind.image, place).to_le_bytes());
        }
        if kind.has_base {
            image.label("kallsyms_relative_base");
            image.bytes.extend(&kind.image.to_le_bytes()[..kind.word]);
        }
        image.label("kallsyms_num_syms");
        image.bytes.extend((symbols.len() as u32).to_le_bytes());
        image.names(symbols);
        image.label("kallsyms_token_table");
        let mut places = Vec::new();
        let start = image.bytes.len();
        for index in 0..=u8::MAX {
            places.extend(((image.bytes.len() - start) as u16).to_le_bytes());
            image.bytes.extend(token(index).bytes());
            image.bytes.push(0);
        }
        image.label("kallsyms_token_index");
        image.bytes.extend(places);
        // More read-only data comes after the tables.
        image.bytes.resize(image.bytes.len().next_multiple_of(0x1000) + 0x1000, 0xcc);
        image.describe();
        image
    }

    fn names(&mut self, symbols: &[(u64, &str)]) {
        self.label("kallsyms_names");
        let (start, mut markers) = (self.bytes.len(), Vec::new());
        for (index, (_, name)) in symbols.iter().enumerate() {
            if index % 256 == 0 {
                markers.extend(((self.bytes.len() - start) as u32).to_le_bytes());
            }
            let name = compressed(name);
            if name.len() < 128 || !self.kind.has_long {
                self.bytes.push(name.len() as u8);
            } else {
                self.bytes.extend([0x80 | name.len() as u8 & 0x7f, (name.len() >> 7) as u8]);
            }
            self.bytes.extend(name);
        }
        self.label("kallsyms_markers");
        self.bytes.extend(markers);
    }

    /// Address of the next byte.
    fn end(&self) -> u64 {
        self.kind.image + self.bytes.len() as u64
    }

    /// A variable begins here.
    fn label(&mut self, name: &'static str) {
        self.bytes.resize(self.bytes.len().next_multiple_of(self.kind.word), 0);
        self.places.push((name, self.end()));
    }

    /// Writes VMCOREINFO as a kernel does that names its tables.
    fn describe(&mut self) {
        let word = 2 * self.kind.word;
        self.vmcoreinfo = format!("SYMBOL(_stext)={:x}\nSIZE(list_head)={word}\n", self.kind.image);
        for (name, at) in &self.places {
            self.vmcoreinfo += &format!("SYMBOL({name})={at:x}\n");
        }
    }

    /// The result of `read` with the memory of this kernel.
    pub(crate) fn with<T>(&self, read: impl FnOnce(VirtualMemory<'_, FakeMemory>) -> T) -> T {
        let memory = FakeMemory::with(PADDR, self.bytes.clone());
        let (length, source) = (self.bytes.len() as u64, PhysAddr::new(PADDR));
        let load = Segment {
            kind: SegmentKind::Load,
            source,
            vaddr: self.kind.image,
            paddr: source,
            filesz: length,
            memsz: length,
            flags: 7,
        };
        let segments = SegmentMap::new([Ok(load)]).expect("room");
        read(VirtualMemory::new(KernelMemory::new(&memory, &segments), self.vmcoreinfo.as_bytes()))
    }
}
