//! A machine that never was: code, unwind tables and stacks at places of their own.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::Write;

use super::{Start, Unwinder};
use crate::{KernelMemory, Modules, SegmentMap, Symbols, Trace, VirtualMemory};
use vmcore::{EM_386, EM_X86_64, Error, PhysAddr, ReadPhys, Segment, SegmentKind};

/// Length of a piece of memory in bytes.
pub(super) const PIECE: usize = 0x4000;

/// Places of x86_64.
pub(super) mod amd64 {
    pub(in super::super) const TEXT: u64 = 0xffff_ffff_8100_0000;
    pub(in super::super) const INIT: u64 = 0xffff_ffff_8200_0000;
    pub(in super::super) const ADDRESSES: u64 = 0xffff_ffff_8300_0000;
    pub(in super::super) const ENTRIES: u64 = 0xffff_ffff_8310_0000;
    pub(in super::super) const HEADER: u64 = 0xffff_ffff_8320_0000;
    /// Stacks of a task, of interrupts, of an exception.
    pub(in super::super) const TASK: u64 = 0xffff_c900_0001_0000;
    pub(in super::super) const IRQ: u64 = 0xffff_c900_0000_8000;
    pub(in super::super) const IST: u64 = 0xffff_fe00_0001_0000;
    pub(super) const ALL: [u64; 8] = [TEXT, INIT, ADDRESSES, ENTRIES, HEADER, TASK, IRQ, IST];
}

/// Places of i386.
pub(super) mod i386 {
    pub(in super::super) const TEXT: u64 = 0xc100_0000;
    pub(in super::super) const INIT: u64 = 0xc200_0000;
    /// Stacks of 8 KiB, of a task and of interrupts.
    pub(in super::super) const TASK: u64 = 0xc300_0000;
    pub(in super::super) const TOP: u64 = TASK + 0x2000;
    pub(in super::super) const IRQ: u64 = 0xc280_0000;
    pub(super) const ALL: [u64; 4] = [TEXT, INIT, TASK, IRQ];
}

/// Memory by virtual addresses, and the text of VMCOREINFO.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) is_64: bool,
    /// Start and bytes of each piece.
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
    pub(super) text: String,
    /// Address and value of each word that was written.
    pub(super) written: Vec<(u64, u64)>,
}

impl Fake {
    /// A machine without functions; its code is `nop`.
    pub(super) fn new(is_64: bool) -> Self {
        let places: &[u64] = if is_64 { &amd64::ALL } else { &i386::ALL };
        let piece =
            |(index, at): (usize, &u64)| (*at, vec![if index < 2 { 0x90 } else { 0 }; PIECE]);
        let pieces = places.iter().enumerate().map(piece).collect();
        let mut fake = Self { is_64, pieces, text: String::new(), written: Vec::new() };
        let names = ["_stext", "_etext", "_sinittext", "_einittext"];
        let ends = [places[0], places[0] + PIECE as u64, places[1], places[1] + PIECE as u64];
        names.into_iter().zip(ends).for_each(|(name, at)| fake.symbol(name, at));
        fake
    }

    /// Gives a symbol another address.
    pub(super) fn symbol(&mut self, name: &str, at: u64) {
        let start = format!("SYMBOL({name})=");
        let others = self.text.lines().filter(|line| !line.starts_with(&start));
        self.text = others.map(|line| format!("{line}\n")).collect();
        writeln!(self.text, "SYMBOL({name})={at:x}").expect("room");
    }

    pub(super) const fn word(&self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    /// The bytes from `at` on, to the end of their piece.
    pub(super) fn bytes(&mut self, at: u64) -> &mut [u8] {
        let has = |(start, bytes): &&mut (u64, Vec<u8>)| {
            (*start..*start + bytes.len() as u64).contains(&at)
        };
        let (start, bytes) = self.pieces.iter_mut().find(has).expect("a piece");
        &mut bytes[(at - *start) as usize..]
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.bytes(at)[..bytes.len()].copy_from_slice(bytes);
    }

    /// Writes words, one after the other.
    pub(super) fn words(&mut self, at: u64, words: &[u64]) {
        let length = self.word();
        for (at, word) in (at..).step_by(length as usize).zip(words) {
            self.write(at, &word.to_le_bytes()[..length as usize]);
            self.written.push((at, *word));
        }
    }

    /// Writes a call of `target` that returns to `back`.
    pub(super) fn call(&mut self, back: u64, target: u64) {
        let distance = target.wrapping_sub(back) as u32;
        self.write(back - 5, &[0xe8]);
        self.write(back - 4, &distance.to_le_bytes());
    }

    /// Writes the unwind tables: addresses in ascending order, and entries.
    pub(super) fn orc(&mut self, entries: &[(u64, [u8; 6])]) {
        use amd64::{ADDRESSES, ENTRIES};
        let count = entries.len() as u64;
        for (number, (at, entry)) in (0..).zip(entries) {
            let place = ADDRESSES + 4 * number;
            self.write(place, &(at.wrapping_sub(place) as u32).to_le_bytes());
            self.write(ENTRIES + 6 * number, entry);
        }
        self.symbol("__start_orc_unwind_ip", ADDRESSES);
        self.symbol("__stop_orc_unwind_ip", ADDRESSES + 4 * count);
        self.symbol("__start_orc_unwind", ENTRIES);
        self.symbol("__stop_orc_unwind", ENTRIES + 6 * count);
    }

    /// The trace of an unwinder of this machine.
    pub(super) fn trace(&self, start: Start, most: usize) -> Trace {
        self.counted_trace(start, most).0
    }

    /// The same, with the number of reads of memory.
    pub(super) fn counted_trace(&self, start: Start, most: usize) -> (Trace, u64) {
        let load = |(index, (at, bytes)): (u64, &(u64, Vec<u8>))| {
            let source = PhysAddr::new((index + 1) << 24);
            let (kind, filesz) = (SegmentKind::Load, bytes.len() as u64);
            Segment { kind, source, vaddr: *at, paddr: source, filesz, memsz: filesz, flags: 7 }
        };
        let loads = (0..).zip(&self.pieces).map(load);
        let memory = Counted { pieces: &self.pieces, reads: Cell::new(0) };
        let loads = SegmentMap::new(loads.map(Ok)).expect("room");
        let text = self.text.as_bytes();
        let virtual_memory = VirtualMemory::new(KernelMemory::new(&memory, &loads), text);
        let symbols = Symbols::of(text).expect("addresses");
        let machine = if self.is_64 { EM_X86_64 } else { EM_386 };
        let modules = Modules::read(virtual_memory, text, &symbols).unwrap_or_default();
        let unwinder = Unwinder::new(virtual_memory, machine, text, &symbols, &modules);
        (unwinder.trace(start, most, &mut || true), memory.reads.get())
    }
}

/// Piece `n` is at the physical address `n + 1 << 24`.
struct Counted<'a> {
    pieces: &'a [(u64, Vec<u8>)],
    reads: Cell<u64>,
}

impl ReadPhys for Counted<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        self.reads.update(|reads| reads + 1);
        let (index, offset) = ((at.get() >> 24) as usize, at.get() as usize & 0xff_ffff);
        let piece = self.pieces.get(index.wrapping_sub(1));
        let bytes = piece.and_then(|piece| piece.1.get(offset..)?.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(Error::Unreadable { at })?);
        Ok(())
    }
}
