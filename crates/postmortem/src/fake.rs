//! A small dead kernel, put together by hand: an ELF core with memory, VMCOREINFO and BTF. For
//! tests and fuzz targets.
//!
//! ```text
//! let mut fake = Fake::amd64();
//! fake.structure("node", 16, &[("next", "struct node *", 0), ("value", "int", 8)]);
//! let node = fake.place_words(&[0, 5]);
//! fake.symbol("first", node);
//! let dump = fake.dump();
//! let kernel = Kernel::open(&dump)?;
//! kernel.object("struct node", kernel.symbol("first")?)?.field("value")?.number()?; // 5
//! ```

use std::sync::atomic::{AtomicU32, Ordering};

use vmcore::{Class, EM_386, EM_X86_64, PhysAddr, Segment, SegmentKind};

use crate::Dump;

mod btf;

use btf::BtfBuilder;

/// First bytes of the file: headers and notes. The memory is after them.
const HEAD: usize = 64 << 10;
/// Physical address of the memory.
const PHYSICAL: u64 = 0x10_0000;
/// Virtual addresses of physical address 0.
const DIRECT_AMD64: u64 = 0xffff_8880_0000_0000;
const DIRECT_I386: u64 = 0xc000_0000;

/// A kernel in the making.
#[derive(Clone, Debug)]
pub struct Fake {
    machine: u16,
    vmcoreinfo: String,
    memory: Vec<u8>,
    types: BtfBuilder,
}

impl Fake {
    /// A kernel with 64-bit pointers.
    pub fn amd64() -> Self {
        Self::new(EM_X86_64)
    }

    /// A kernel with 32-bit pointers.
    pub fn i386() -> Self {
        Self::new(EM_386)
    }

    fn new(machine: u16) -> Self {
        let vmcoreinfo = "OSRELEASE=6.1.0-fake\nPAGESIZE=4096\n".to_owned();
        let types = BtfBuilder::new(if machine == EM_386 { 4 } else { 8 });
        Self { machine, vmcoreinfo, memory: vec![0; 64], types }
    }

    /// Bytes of a pointer.
    pub const fn word(&self) -> usize {
        if self.machine == EM_386 { 4 } else { 8 }
    }

    /// Virtual address of the first byte of memory.
    pub const fn start(&self) -> u64 {
        PHYSICAL + if self.machine == EM_386 { DIRECT_I386 } else { DIRECT_AMD64 }
    }

    /// Adds a line to VMCOREINFO.
    pub fn line(&mut self, line: &str) {
        self.vmcoreinfo += line;
        self.vmcoreinfo.push('\n');
    }

    /// Adds a symbol.
    pub fn symbol(&mut self, name: &str, at: u64) {
        self.line(&format!("SYMBOL({name})={at:x}"));
    }

    /// Adds a struct of `size` bytes; its members are name, type as C spells it, and offset in
    /// bytes. A type `unsigned int:3+5` is a bitfield of three bits, five bits after the offset.
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, &str, u32)]) {
        self.types.compound("struct", name, size, members);
    }

    /// Adds a union.
    pub fn union(&mut self, name: &str, size: u32, members: &[(&str, &str, u32)]) {
        self.types.compound("union", name, size, members);
    }

    /// Adds an enum of four bytes.
    pub fn enumeration(&mut self, name: &str, values: &[(&str, i32)]) {
        self.types.enumeration(name, values);
    }

    /// Adds a typedef.
    pub fn typedef(&mut self, name: &str, of: &str) {
        self.types.typedef(name, of);
    }

    /// Adds the type of a variable, as BTF has it for per-CPU variables.
    pub fn variable(&mut self, name: &str, of: &str) {
        self.types.variable(name, of);
    }

    /// Adds memory, aligned to 8; its virtual address.
    pub fn place(&mut self, bytes: &[u8]) -> u64 {
        self.place_aligned(bytes, 8)
    }

    /// The same aligned to `align`.
    pub fn place_aligned(&mut self, bytes: &[u8], align: usize) -> u64 {
        let at = self.memory.len().next_multiple_of(align);
        self.memory.resize(at, 0);
        self.memory.extend_from_slice(bytes);
        self.start() + at as u64
    }

    /// Adds pointers or `unsigned long`s; their virtual address.
    pub fn place_words(&mut self, words: &[u64]) -> u64 {
        let bytes = self.words(words);
        self.place(&bytes)
    }

    /// Overwrites memory that was added.
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - self.start()) as usize;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Overwrites pointers or `unsigned long`s.
    ///
    /// # Panics
    /// Panics if there is no memory.
    pub fn put_words(&mut self, at: u64, words: &[u64]) {
        let bytes = self.words(words);
        self.put(at, &bytes);
    }

    fn words(&self, words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()[..self.word()].to_vec()).collect()
    }

    /// The vmcore as a file.
    ///
    /// # Panics
    /// Panics if the headers have no room.
    pub fn file(&self) -> Vec<u8> {
        let mut fake = self.clone();
        let btf = self.types.file();
        let at = fake.place(&btf);
        fake.symbol("__start_BTF", at);
        fake.symbol("__stop_BTF", at + btf.len() as u64);
        fake.memory.resize(fake.memory.len().next_multiple_of(4096), 0);
        let text = fake.vmcoreinfo.as_bytes();
        let note = vmcore::note_of_text(b"VMCOREINFO", text).expect("room for the note");
        let segment = |kind, source: usize, paddr, length: usize| Segment {
            kind,
            source: PhysAddr::new(source as u64),
            vaddr: if kind == SegmentKind::Load { fake.start() } else { 0 },
            paddr: PhysAddr::new(paddr),
            filesz: length as u64,
            memsz: length as u64,
            flags: 7,
        };
        let segments = [
            segment(SegmentKind::Note, 4096, 0, note.len()),
            segment(SegmentKind::Load, HEAD, PHYSICAL, fake.memory.len()),
        ];
        let mut file = vmcore::build(self.machine, Class::Elf64, &segments).expect("two segments");
        file.resize(4096, 0);
        file.extend(note);
        assert!(file.len() <= HEAD, "VMCOREINFO is too long");
        file.resize(HEAD, 0);
        file.extend(fake.memory);
        file
    }

    /// Offset in the file of a virtual address.
    pub const fn offset(&self, at: u64) -> u64 {
        HEAD as u64 + (at - self.start())
    }

    /// The dump, opened.
    ///
    /// # Panics
    /// Panics if the system has no room for a file of this size.
    pub fn dump(&self) -> Dump {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("postmortem-fake-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, self.file()).expect("room for the vmcore");
        let dump = Dump::open(&path, None).expect("a vmcore");
        // It stays open.
        std::fs::remove_file(&path).expect("it is there");
        dump
    }
}
