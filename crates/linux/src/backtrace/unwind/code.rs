//! The dead kernel's code: the addresses that are code, and the calls in it.

use core::ops::Range;

use super::super::modules::Modules;
use crate::{Trust, VirtualMemory};
use vmcore::ReadPhys;

/// The longest call in bytes.
const LONGEST: usize = 7;

/// The instruction before an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// A call of this address.
    Direct(u64),
    /// A call through a register or through memory.
    Indirect,
    /// No call.
    Other,
    /// The code cannot be read.
    Unreadable,
}

impl Before {
    /// True for a call.
    pub(super) const fn is_call(self) -> bool {
        matches!(self, Self::Direct(_) | Self::Indirect)
    }
}

/// Code, and the memory that it is in.
#[derive(Debug)]
pub(super) struct Code<'a, M> {
    pub(super) memory: VirtualMemory<'a, M>,
    /// True for x86_64.
    pub(super) is_64: bool,
    /// The kernel's text.
    pub(super) kernel: Range<u64>,
    /// The text of its start-up. It is freed after that, but not the frames of its functions.
    pub(super) init: Range<u64>,
    pub(super) modules: &'a Modules,
}

impl<M: ReadPhys> Code<'_, M> {
    /// Length of a word of the stack in bytes.
    pub(super) const fn word(&self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    /// The highest address.
    pub(super) const fn highest(&self) -> u64 {
        if self.is_64 { u64::MAX } else { u32::MAX as u64 }
    }

    /// The word at `at`; [`None`] if it cannot be read, or is not at a word's place.
    pub(super) fn read(&self, at: u64) -> Option<u64> {
        let word = self.word();
        if !at.is_multiple_of(word) {
            return None;
        }
        self.memory.value(at, word as usize).ok()
    }

    /// The word at `at` plus an offset.
    pub(super) fn read_at(&self, at: u64, offset: i64) -> Option<u64> {
        self.read(at.checked_add_signed(offset)?)
    }

    /// True for an address in the kernel's own text.
    pub(super) fn is_kernel(&self, at: u64) -> bool {
        self.kernel.contains(&at) || self.init.contains(&at)
    }

    /// True for an address in the kernel's text or in that of a module.
    pub(super) fn is_text(&self, at: u64) -> bool {
        self.is_kernel(at) || self.modules.find(at).is_some()
    }

    /// Trust in `at` as an address to which a function returns: [`None`] for one that cannot be,
    /// because it is not text, or no call is before it. The calls of the start-up may be gone.
    pub(super) fn returns(&self, at: u64) -> Option<Trust> {
        if !self.is_text(at) {
            return None;
        }
        match self.before(at) {
            _ if self.init.contains(&at) => Some(Trust::Sure),
            Before::Direct(_) | Before::Indirect => Some(Trust::Sure),
            Before::Unreadable => Some(Trust::Guess),
            Before::Other => None,
        }
    }

    /// Decides which instruction ends at `at`. Bytes may look like a call by chance, since
    /// instructions cannot be read backwards.
    pub(super) fn before(&self, at: u64) -> Before {
        let mut bytes = [0; LONGEST];
        let Some(from) = at.checked_sub(LONGEST as u64) else { return Before::Other };
        if self.memory.read(from, &mut bytes).is_err() {
            return Before::Unreadable;
        }
        let [_, _, 0xe8, distance @ ..] = bytes else { return indirect(&bytes, self.is_64) };
        let target = at.wrapping_add_signed(i32::from_le_bytes(distance).into());
        Before::Direct(target & self.highest())
    }
}

fn indirect(bytes: &[u8; LONGEST], is_64: bool) -> Before {
    // The return to a pushed segment and address, by which the first function of a CPU is called.
    let is_far = is_64 && bytes[5..] == [0x48, 0xcb];
    if is_far || (2..=LONGEST).any(|length| is_indirect(&bytes[LONGEST - length..])) {
        return Before::Indirect;
    }
    Before::Other
}

/// True for a call through a register or through memory: `ff /2` (Intel's manual, volume 2, tables
/// 2-2 and 2-3). These bytes are all of it.
fn is_indirect(bytes: &[u8]) -> bool {
    let [0xff, form, rest @ ..] = bytes else { return false };
    let (kind, reg, base) = (form >> 6, form >> 3 & 7, form & 7);
    let has_sib = kind != 3 && base == 4;
    let sib_base = rest.first().map(|sib| sib & 7).filter(|_| has_sib);
    let displacement = match kind {
        0 if base == 5 || sib_base == Some(5) => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    reg == 2 && rest.len() == usize::from(has_sib) + displacement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelMemory, SegmentMap};
    use vmcore::fake::FakeMemory;
    use vmcore::{PhysAddr, Segment, SegmentKind};

    fn ends_with(code: &[u8], is_64: bool) -> Before {
        const AT: u64 = 0xc100_0000;
        let source = PhysAddr::new(0x100_0000);
        let (kind, filesz) = (SegmentKind::Load, 16);
        let load =
            Segment { kind, source, vaddr: AT, paddr: source, filesz, memsz: filesz, flags: 5 };
        let loads = SegmentMap::new([Ok(load)]).expect("room");
        let mut bytes = [0x90; 16];
        bytes[16 - code.len()..].copy_from_slice(code);
        let memory = FakeMemory::with(0x100_0000, bytes);
        let memory = VirtualMemory::new(KernelMemory::new(&memory, &loads), b"");
        let (kernel, modules) = (AT..AT + 17, &Modules::default());
        Code { memory, is_64, kernel, init: 0..0, modules }.before(AT + 16)
    }

    /// Encodings as an assembler makes them.
    #[test]
    fn calls_are_told_from_other_instructions() {
        let direct = [0xe8, 0xf0, 0xff, 0xff, 0xff];
        assert_eq!(ends_with(&direct, true), Before::Direct(0xc100_0000));
        assert_eq!(ends_with(&[0xe8, 0, 0, 0, 0x40], false), Before::Direct(0x0100_0010));
        let indirect: [&[u8]; 12] = [
            &[0xff, 0xd0],                   // call *%rax
            &[0x41, 0xff, 0xd3],             // call *%r11
            &[0xff, 0x13],                   // call *(%rbx)
            &[0xff, 0x14, 0x24],             // call *(%rsp)
            &[0xff, 0x14, 0xc5, 0, 0, 0, 0], // call *0(,%rax,8)
            &[0xff, 0x14, 0x25, 0, 1, 2, 3], // call *0x3020100
            &[0xff, 0x15, 1, 2, 3, 4],       // call *0x4030201(%rip)
            &[0xff, 0x50, 0x18],             // call *0x18(%rax)
            &[0xff, 0x54, 0x24, 0x08],       // call *8(%rsp)
            &[0xff, 0x92, 0, 1, 0, 0],       // call *0x100(%rdx)
            &[0xff, 0x94, 0xc5, 0, 1, 2, 3], // call *0x3020100(%rbp,%rax,8)
            &[0x48, 0xcb],                   // lretq
        ];
        for code in indirect {
            assert_eq!(ends_with(code, true), Before::Indirect, "{code:x?}");
        }
        let others: [&[u8]; 7] = [
            &[0xe9, 0, 0, 0, 0],       // jmp
            &[0xff, 0xe0],             // jmp *%rax
            &[0xff, 0x25, 1, 2, 3, 4], // jmp *
            &[0xff, 0x75, 0x18],       // push
            &[0xff, 0x15, 1, 2, 3],    // cut
            &[0xff, 0x54, 0x24],       // cut
            &[0xc3],
        ];
        for code in others {
            assert_eq!(ends_with(code, true), Before::Other, "{code:x?}");
        }
        assert_eq!(ends_with(&[0x48, 0xcb], false), Before::Other);
    }
}
