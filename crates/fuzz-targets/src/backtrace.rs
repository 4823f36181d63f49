//! The frames of a stack.

use std::cell::Cell;

use linux::{KernelMemory, Modules, Start, Symbol, Symbols, Trust, Unwinder, VirtualMemory};
use vmcore::{EM_386, EM_X86_64, Error, PhysAddr, ReadPhys};

use crate::memory::{Memory, dead_kernel};

/// Most frames.
const MOST: usize = 40;
/// Most reads of memory: two for each word of the largest stack, to which come steps of an
/// unwinder, which search a table, and modules.
const MOST_READS: u64 = 20_000;

struct Counted<'a> {
    memory: Memory<'a>,
    reads: Cell<u64>,
}

impl ReadPhys for Counted<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read_phys(at, into)
    }
}

/// Takes the bytes up to the first NUL as the text of VMCOREINFO, and those after it as memory,
/// which begins with the registers ip, sp, bp and cs, of eight bytes each.
///
/// # Panics
/// Panics if there are more frames than asked for, if a sure frame was returned to outside of all
/// text, or if a trace reads without end.
pub fn backtrace(bytes: &[u8]) {
    let (text, rest, loads) = dead_kernel(bytes);
    let counted = Counted { memory: Memory(rest), reads: Cell::new(0) };
    let memory = VirtualMemory::new(KernelMemory::new(&counted, &loads), text);
    let Ok(symbols) = Symbols::of(text) else { return };
    let modules = Modules::read(memory, text, &symbols).unwrap_or_default();
    let ranges = [[Symbol::Text, Symbol::TextEnd], [Symbol::InitText, Symbol::InitTextEnd]];
    let is_text = |at: u64| {
        let is_kernels = |[start, end]: [Symbol; 2]| match (symbols.get(start), symbols.get(end)) {
            (Some(start), Some(end)) => (start..end).contains(&at),
            _ => false,
        };
        ranges.into_iter().any(is_kernels) || modules.find(at).is_some()
    };
    let words = rest.as_chunks::<8>().0;
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    let [ip, sp, bp, cs] = [0, 1, 2, 3].map(word);
    for machine in [EM_386, EM_X86_64] {
        let unwinder = Unwinder::new(memory, machine, text, &symbols, &modules);
        for start in [Start::Registers { ip, sp, bp, cs }, Start::Sleeping { sp }] {
            counted.reads.set(0);
            let trace = unwinder.trace(start, MOST, &mut || true);
            assert!(trace.frames.len() <= MOST);
            for frame in trace.frames {
                let is_sure_return = frame.is_return && frame.trust == Trust::Sure;
                assert!(!is_sure_return || is_text(frame.at), "{frame:x?}");
            }
            assert!(counted.reads.get() <= MOST_READS, "{} reads", counted.reads.get());
        }
    }
}
