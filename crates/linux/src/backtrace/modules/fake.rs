//! Modules of kernels that never were.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::{KernelMemory, SegmentMap, VirtualMemory};
use vmcore::fake::FakeMemory;
use vmcore::{PhysAddr, Segment, SegmentKind};

const PADDR: u64 = 0x300_0000;
/// Length of the memory of modules.
const LENGTH: usize = 0x4000;
/// The list's head, in the kernel's data.
const HEAD: usize = 0x10;
/// Structs: one in each 0x400 bytes.
const STRUCTS: usize = 0x400;

/// A layout of a kernel's structs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) word: usize,
    /// True from Linux 6.4 on.
    has_mem: bool,
    /// Virtual address of the memory of modules.
    pub(crate) at: u64,
}

/// x86_64 of 6.1 and 6.12, i386 of 6.1.
pub(crate) const SHAPES: [Shape; 3] = [
    Shape { word: 8, has_mem: false, at: 0xffff_ffff_c040_0000 },
    Shape { word: 8, has_mem: true, at: 0xffff_ffff_c040_0000 },
    Shape { word: 4, has_mem: false, at: 0xf840_0000 },
];

/// A module of a test: its text, and symbols with their distance from its start.
#[derive(Clone, Debug)]
pub(crate) struct FakeModule {
    pub(crate) name: &'static str,
    /// Distance of the text from the start of the memory of modules, and its length.
    pub(crate) text: (u64, u64),
    /// The same for the text of its start-up.
    pub(crate) init: (u64, u64),
    pub(crate) symbols: Vec<(u64, &'static str)>,
}

/// The memory of modules.
#[derive(Clone, Debug)]
pub(crate) struct ModuleMemory {
    pub(crate) shape: Shape,
    pub(crate) bytes: Vec<u8>,
    pub(crate) vmcoreinfo: String,
}

impl Shape {
    /// Offsets in `struct module`: name, base and size of the text, base and size of the start-up's
    /// text, the pointer to the symbols, and the ORC tables. They are not those of any Linux.
    fn fields(self) -> [usize; 7] {
        let word = self.word;
        let start = 0x80;
        match self.has_mem {
            // An element of `mem` has four words: base at 1, size at 2. Text is 0 and 4.
            true => [
                3 * word,
                start + word,
                start + 2 * word,
                start + 17 * word,
                start + 18 * word,
                0x180,
                0x1c0,
            ],
            false => [
                3 * word,
                start,
                start + word + 4,
                start + 8 * word,
                start + 9 * word + 4,
                0x180,
                0x1c0,
            ],
        }
    }

    fn lines(self) -> String {
        let word = self.word;
        let texts = if self.has_mem {
            format!(
                "OFFSET(module.mem)=128\nSIZE(module_memory)={}\nOFFSET(module_memory.base)={word}\n\
                 OFFSET(module_memory.size)={}\n",
                4 * word,
                2 * word
            )
        } else {
            format!(
                "OFFSET(module.core_layout)=128\nOFFSET(module.init_layout)={}\n\
                 OFFSET(module_layout.base)=0\nOFFSET(module_layout.text_size)={}\n",
                128 + 8 * word,
                word + 4
            )
        };
        format!(
            "SIZE(list_head)={}\nSYMBOL(modules)={:x}\nOFFSET(module.list)={word}\n\
             OFFSET(module.name)={}\n{texts}OFFSET(module.kallsyms)={}\n\
             OFFSET(mod_kallsyms.symtab)=0\nOFFSET(mod_kallsyms.num_symtab)={word}\n\
             OFFSET(mod_kallsyms.strtab)={}\nOFFSET(module.arch)={}\n\
             OFFSET(mod_arch_specific.num_orcs)=0\nOFFSET(mod_arch_specific.orc_unwind_ip)=8\n\
             OFFSET(mod_arch_specific.orc_unwind)=16\n",
            2 * word,
            self.at + HEAD as u64,
            3 * word,
            0x180,
            2 * word,
            0x1c0
        )
    }
}

impl ModuleMemory {
    pub(crate) fn new(shape: Shape, modules: &[FakeModule]) -> Self {
        let mut memory = Self { shape, bytes: vec![0; LENGTH], vmcoreinfo: shape.lines() };
        let node = |index: usize| match index % (modules.len() + 1) {
            0 => HEAD,
            index => STRUCTS * index + shape.word,
        };
        for index in 0..=modules.len() {
            memory.pointer(node(index), node(index + 1));
        }
        for (index, module) in modules.iter().enumerate() {
            memory.module(STRUCTS * (index + 1), module);
        }
        memory
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn number(&mut self, at: usize, number: u64, length: usize) {
        self.put(at, &number.to_le_bytes()[..length]);
    }

    fn pointer(&mut self, at: usize, to: usize) {
        self.number(at, self.shape.at + to as u64, self.shape.word);
    }

    fn module(&mut self, at: usize, module: &FakeModule) {
        let [name, base, size, init, init_size, kallsyms, orc] = self.shape.fields();
        self.put(at + name, module.name.as_bytes());
        self.pointer(at + base, module.text.0 as usize);
        self.number(at + size, module.text.1, 4);
        self.pointer(at + init, module.init.0 as usize);
        self.number(at + init_size, module.init.1, 4);
        self.number(at + orc, 3, 4);
        self.number(at + orc + 8, 0x1111, self.shape.word);
        self.number(at + orc + 16, 0x2222, self.shape.word);
        let (table, symbols, strings) = (at + 0x200, at + 0x220, at + 0x320);
        self.pointer(at + kallsyms, table);
        self.pointer(table, symbols);
        self.number(table + self.shape.word, module.symbols.len() as u64 + 1, 4);
        self.pointer(table + 2 * self.shape.word, strings);
        let mut end = 1;
        for (index, (offset, name)) in module.symbols.iter().enumerate() {
            let value = self.shape.at + module.text.0 + offset;
            // Elf32_Sym and Elf64_Sym; an undefined one has section 0.
            let section = u64::from(!name.starts_with('U'));
            let (length, section_at, value_at) =
                if self.shape.word == 4 { (16, 14, 4) } else { (24, 6, 8) };
            let entry = symbols + (index + 1) * length;
            self.number(entry, end as u64, 4);
            self.number(entry + section_at, section, 2);
            self.number(entry + value_at, value, self.shape.word);
            self.put(strings + end, name.as_bytes());
            end += name.len() + 1;
        }
    }

    /// The result of `read` with this memory.
    pub(crate) fn with<T>(&self, read: impl FnOnce(VirtualMemory<'_, FakeMemory>) -> T) -> T {
        let memory = FakeMemory::with(PADDR, self.bytes.clone());
        let source = PhysAddr::new(PADDR);
        let (vaddr, filesz) = (self.shape.at, self.bytes.len() as u64);
        let kind = SegmentKind::Load;
        let load = Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 };
        let segments = SegmentMap::new([Ok(load)]).expect("room");
        read(VirtualMemory::new(KernelMemory::new(&memory, &segments), self.vmcoreinfo.as_bytes()))
    }
}
