//! A guest that never was: the page structs of a kernel with a given VMCOREINFO, laid out by that
//! text, as Linux fills them in.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use alloc::{borrow::ToOwned, format};
use core::cell::Cell;

use super::Filter;
use crate::SegmentMap;
use vmcore::{
    Error, PageFilter, PhysAddr, ReadPhys, Segment, SegmentKind, Verdict, WINDOW, WINDOW_PAGES,
};

macro_rules! texts {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../testdata/vmcoreinfo/", $name, ".txt")))),*]
    };
}

/// VMCOREINFO of seven kernels of Debian: each with the name of its file.
pub(super) const KERNELS: [(&str, &str); 7] = texts![
    "amd64-5.10",
    "amd64-6.1",
    "amd64-6.12",
    "amd64-7.2",
    "i386-5.10-686-pae",
    "i386-6.1-686-pae",
    "i386-6.1-686"
];

/// Number of pages: six windows.
pub(super) const PAGES: u64 = 6144;
/// The pages of the last window hold tables and structs.
pub(super) const TABLES_PAGE: u64 = 5120;
const TABLES: u64 = TABLES_PAGE << 12;
const STRUCTS: u64 = TABLES + 0x20_0000;
/// One past the last byte of memory.
const END: u64 = PAGES << 12;
/// Virtual addresses of x86_64: the kernel's image, memory, and page structs.
const IMAGE: u64 = 0xffff_ffff_8000_0000;
const DIRECT: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;

/// Memory that has pages here and there, and zeros elsewhere, up to [`END`].
#[derive(Clone, Default)]
pub(super) struct Memory {
    pages: BTreeMap<u64, Vec<u8>>,
    /// Pages that cannot be read.
    pub(super) broken: Vec<u64>,
    /// Number of reads.
    pub(super) reads: Cell<u64>,
}

impl Memory {
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let from = (at & 0xfff) as usize;
            let (now, later) = rest.split_at(rest.len().min(4096 - from));
            let page = self.pages.entry(at >> 12).or_insert_with(|| vec![0; 4096]);
            page[from..from + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
    }

    /// Leaves these pages, by their numbers; others have zeros.
    pub(super) fn retain(&mut self, is_left: impl Fn(u64) -> bool) {
        self.pages.retain(|page, _| is_left(*page));
    }

    pub(super) fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_phys(PhysAddr::new(at), &mut bytes).expect("memory");
        bytes
    }
}

impl ReadPhys for Memory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        self.reads.update(|reads| reads + 1);
        let mut at = at.get();
        let mut rest = into;
        while !rest.is_empty() {
            if at >= END || self.broken.contains(&(at >> 12)) {
                return Err(Error::Unreadable { at: PhysAddr::new(at) });
            }
            let from = (at & 0xfff) as usize;
            let (now, later) = rest.split_at_mut(rest.len().min(4096 - from));
            match self.pages.get(&(at >> 12)) {
                Some(page) => now.copy_from_slice(&page[from..from + now.len()]),
                None => now.fill(0),
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}

/// A guest whose pages all belong to the kernel at first.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) text: String,
    /// The numbers in the text, by their keys.
    numbers: BTreeMap<String, i64>,
    pub(super) memory: Memory,
    pub(super) word: usize,
    pub(super) size: u64,
    /// Virtual address of the first struct.
    pub(super) structs: u64,
    /// A page that the dump does not have.
    pub(super) hole: Option<u64>,
}

impl Guest {
    /// A guest with the kernel of this text, at other addresses.
    pub(super) fn new(text: &str) -> Self {
        let is_64 = text.contains("SIZE(list_head)=16");
        let mut guest = Self {
            text: text.to_owned(),
            numbers: BTreeMap::new(),
            memory: Memory::default(),
            word: if is_64 { 8 } else { 4 },
            size: 0,
            hole: None,
            structs: if is_64 { VMEMMAP } else { 0xc000_0000 + STRUCTS },
        };
        guest.line("X", "0");
        guest.size = guest.number("SIZE(page)").expect("a size").cast_unsigned();
        if is_64 {
            guest.sections()
        } else {
            guest.flat()
        }
        guest.set(0, &[("_mapcount", u64::MAX), ("_refcount", 1)]);
        let page = guest.memory.bytes(guest.place(0), guest.size as usize);
        guest.memory.write(guest.place(0), &page.repeat(PAGES as usize));
        guest
    }

    /// Replaces a line, or adds one.
    pub(super) fn line(&mut self, key: &str, value: &str) {
        self.remove(key);
        self.text += &format!("{key}={value}\n");
        self.count();
    }

    /// Removes a line.
    pub(super) fn remove(&mut self, key: &str) {
        let lines = self.text.lines();
        let others = lines.filter(|line| !line.starts_with(&format!("{key}=")));
        self.text = others.map(|line| format!("{line}\n")).collect();
        self.count();
    }

    /// Looks at the numbers of the text.
    fn count(&mut self) {
        let pairs = self.text.lines().filter_map(|line| line.split_once('='));
        let numbers = pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)));
        self.numbers = numbers.collect();
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.numbers.get(key).copied()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.number(key).is_some()
    }

    /// Mask of the flag `PG_name`.
    pub(super) fn flag(&self, name: &str) -> u64 {
        1 << self.number(&format!("NUMBER(PG_{name})")).expect("a flag")
    }

    fn long(&mut self, at: u64, value: u64) {
        let word = self.word;
        self.memory.write(at, &value.to_le_bytes()[..word]);
    }

    /// FLATMEM.
    fn flat(&mut self) {
        let node = TABLES + 0x100;
        self.line("SYMBOL(mem_map)", &format!("{:x}", 0xc000_0000 + TABLES));
        self.line("SYMBOL(contig_page_data)", &format!("{:x}", 0xc000_0000 + node));
        let offset = |key| self.number(key).expect("an offset").cast_unsigned();
        let start = offset("OFFSET(pglist_data.node_start_pfn)");
        let spanned = offset("OFFSET(pglist_data.node_spanned_pages)");
        self.lowmem(TABLES + 0x1000);
        self.long(TABLES, self.structs);
        self.long(node + start, 0);
        self.long(node + spanned, PAGES);
    }

    /// The page tables of i386, which map all memory by large pages.
    fn lowmem(&mut self, root: u64) {
        self.line("SYMBOL(swapper_pg_dir)", &format!("{:x}", 0xc000_0000 + root));
        let next = root + 0x1000;
        if self.text.contains("CONFIG_X86_PAE=y") {
            self.memory.write(root + 8 * 3, &(next | 1).to_le_bytes());
            for page in 0..END >> 21 {
                self.memory.write(next + 8 * page, &(page << 21 | 0x1e3).to_le_bytes());
            }
        } else {
            for page in 0..END >> 22 {
                self.long(root + 4 * (0x300 + page), page << 22 | 0x1e3);
            }
        }
    }

    /// SPARSEMEM with four levels of page tables, the last of which has the structs' pages.
    fn sections(&mut self) {
        let [root, pud, pmd, pte] = [0, 0x1000, 0x2000, 0x3000].map(|at| TABLES + 0x10_0000 + at);
        let index = |shift: u32| 8 * (VMEMMAP >> shift & 0x1ff);
        for (table, shift, next) in [(root, 39, pud), (pud, 30, pmd), (pmd, 21, pte)] {
            self.long(table + index(shift), next | 0x63);
        }
        for page in 0..(PAGES * self.size).div_ceil(4096) {
            self.long(pte + 8 * page, (STRUCTS + (page << 12)) | 0x163);
        }
        self.line("SYMBOL(init_top_pgt)", &format!("{:x}", IMAGE + root));
        self.line("NUMBER(phys_base)", "0");
        self.line("SYMBOL(mem_section)", &format!("{:x}", DIRECT + TABLES));
        if self.text.contains("SYMBOL(vmemmap)") {
            self.line("SYMBOL(vmemmap)", &format!("{VMEMMAP:x}"));
        }
        self.long(TABLES, DIRECT + TABLES + 0x1000);
        self.section(VMEMMAP | 0b1111);
    }

    /// Maps pages (x86_64), each with the lowest bits of its entry, one after the other from the
    /// virtual address on that is returned.
    pub(super) fn map(&mut self, pages: &[(u64, u64)]) -> u64 {
        let table = TABLES + 0x10_4000;
        self.long(TABLES + 0x10_2000 + 8, table | 0x63);
        for (index, (page, bits)) in (0..).zip(pages) {
            self.long(table + 8 * index, page << 12 | bits);
        }
        VMEMMAP + (1 << 21)
    }

    /// Maps a page of structs, by its number, to another one (x86_64), or to nothing.
    pub(super) fn remap(&mut self, number: u64, other: Option<u64>) {
        let entry = other.map_or(0, |other| (STRUCTS + (other << 12)) | 0x163);
        self.long(TABLES + 0x10_3000 + 8 * number, entry);
    }

    /// Changes the entry of the section of all pages (x86_64).
    pub(super) fn section(&mut self, map: u64) {
        self.long(TABLES + 0x1000, map);
    }

    /// Page number of the first page of structs.
    pub(super) const fn structs_page() -> u64 {
        STRUCTS >> 12
    }

    /// Place of the struct of a page (physical).
    pub(super) const fn place(&self, page: u64) -> u64 {
        STRUCTS + page * self.size
    }

    /// Address of the struct of a page (virtual).
    pub(super) const fn address(&self, page: u64) -> u64 {
        self.structs + page * self.size
    }

    /// Sets fields of the struct of a page.
    pub(super) fn set(&mut self, page: u64, fields: &[(&str, u64)]) {
        for (field, value) in fields {
            let offset = self.number(&format!("OFFSET(page.{field})")).expect("an offset");
            let at = self.place(page) + offset.cast_unsigned();
            let length = if matches!(*field, "_mapcount" | "_refcount") { 4 } else { self.word };
            self.memory.write(at, &value.to_le_bytes()[..length]);
        }
    }

    /// Value of the page type `PAGE_name_MAPCOUNT_VALUE`.
    pub(super) fn page_type(&self, name: &str) -> Option<u64> {
        self.number(&format!("NUMBER(PAGE_{name}_MAPCOUNT_VALUE)")).map(i64::cast_unsigned)
    }

    /// A free block.
    pub(super) fn free(&mut self, page: u64, order: u64) {
        let buddy = self.page_type("BUDDY").expect("the type");
        for page in page..page + (1 << order) {
            self.set(page, &[("_mapcount", u64::MAX), ("_refcount", 0)]);
        }
        self.set(page, &[("_mapcount", buddy), ("private", order)]);
    }

    /// The flag of a compound page's head.
    pub(super) fn head(&self) -> u64 {
        self.number("NUMBER(PG_head_mask)").expect("a mask").cast_unsigned()
    }

    /// Makes a compound page of pages whose first has these flags.
    pub(super) fn compound(&mut self, page: u64, order: u64, flags: u64) {
        self.set(page, &[("flags", flags | self.head())]);
        let is_mask = self.has("OFFSET(page.compound_info)");
        let pointer = match is_mask {
            true => !((self.size << order) - 1) | 1,
            false => self.address(page) | 1,
        };
        let field = if is_mask { "compound_info" } else { "compound_head" };
        for tail in page + 1..page + (1 << order) {
            self.set(tail, &[(field, pointer), ("_refcount", 0)]);
        }
        self.order(page, order);
    }

    /// Sets the order of a compound page.
    pub(super) fn order(&mut self, page: u64, order: u64) {
        match self.number("OFFSET(page.compound_order)") {
            Some(at) => {
                let at = self.place(page + 1) + at.cast_unsigned();
                self.memory.write(at, &[order as u8]);
            }
            None => self.set(page + 1, &[("flags", order)]),
        }
    }

    /// Makes a compound page one of hugetlb.
    pub(super) fn huge(&mut self, page: u64) {
        if let Some(huge) = self.page_type("HUGETLB") {
            return self.set(page, &[("_mapcount", huge)]);
        }
        let at = self.number("OFFSET(page.compound_dtor)").expect("a place").cast_unsigned();
        let number = self.number("NUMBER(HUGETLB_PAGE_DTOR)").expect("a number");
        self.memory.write(self.place(page + 1) + at, &[number as u8]);
    }

    /// Makes a page with these flags one of the slab allocator.
    pub(super) fn slab(&mut self, page: u64, flags: u64) {
        match self.page_type("SLAB") {
            Some(slab) => self.set(page, &[("_mapcount", slab), ("_refcount", 0)]),
            None => self.set(page, &[("flags", flags | self.flag("slab"))]),
        }
    }

    /// A pointer of the kernel.
    pub(super) const fn pointer(&self) -> u64 {
        if self.word == 8 { DIRECT + 0x1000 } else { 0xc000_1000 }
    }

    pub(super) fn segments(&self) -> SegmentMap {
        let vaddr = if self.word == 8 { DIRECT } else { 0xc000_0000 };
        let load = |(start, end): (u64, u64)| Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(start),
            vaddr: vaddr + start,
            paddr: PhysAddr::new(start),
            filesz: end - start,
            memsz: end - start,
            flags: 7,
        };
        let hole = self.hole.map_or(END, |page| page << 12);
        let parts = [(0, hole), ((hole + 0x1000).min(END), END)];
        SegmentMap::new(parts.map(load).map(Ok)).expect("room")
    }

    pub(super) fn filter(&self) -> Result<Filter<&Memory>, crate::Error> {
        Filter::new(&self.memory, self.segments(), self.text.as_bytes())
    }

    /// The verdicts on all pages that have a struct.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let filter = self.filter().unwrap_or_else(|error| panic!("{}", error.to_string()));
        let windows = (0..PAGES << 12).step_by(WINDOW as usize);
        windows
            .flat_map(|window| {
                let mut verdicts = [Verdict::Doubt; WINDOW_PAGES];
                filter.classify(PhysAddr::new(window), &mut verdicts);
                verdicts
            })
            .collect()
    }
}
