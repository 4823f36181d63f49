//! ELF notes: the saved registers of each CPU of the dead kernel, and the kernel's description of
//! itself.
//!
//! A note is a header of three 32-bit words (length of the name, length of the descriptor, type),
//! the name and the descriptor, each padded to a multiple of four bytes (ELF specification 1.2, and
//! Linux for both classes). A header whose name is empty ends an area (Linux, `final_note`).

use alloc::vec::Vec;

use goblin::elf::header::{EM_386, EM_X86_64};
use goblin::elf::note::NT_PRSTATUS;

use crate::Error;
use crate::text::zeros;

/// Name of the notes that Linux and its tools share with ordinary core files.
pub const NAME_CORE: &[u8] = b"CORE";
/// Name of the note with VMCOREINFO, the kernel's description of itself. Its type is 0.
pub const NAME_VMCOREINFO: &[u8] = b"VMCOREINFO";
/// Name of the note with lines that our loader has to add to VMCOREINFO. Its type is 0.
pub const NAME_ADDENDUM: &[u8] = b"KDUMP-RS";

const HEADER_SIZE: usize = 12;

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Owner of the note, without the NUL.
    pub name: &'a [u8],
    /// Type of the note (`n_type`), defined by the owner.
    pub kind: u32,
    /// The descriptor's bytes.
    pub desc: &'a [u8],
}

/// The notes of an area: see [`notes`].
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    area: &'a [u8],
    offset: usize,
    ended: bool,
}

/// Walks over the notes of an area, up to its null note or its end. An error is the last item.
pub const fn notes(area: &[u8]) -> Notes<'_> {
    Notes { area, offset: 0, ended: false }
}

impl Note<'_> {
    /// True if it holds the registers of a CPU.
    pub fn is_prstatus(&self) -> bool {
        self.name == NAME_CORE && self.kind == NT_PRSTATUS
    }

    /// True if it holds VMCOREINFO.
    pub fn is_vmcoreinfo(&self) -> bool {
        self.name == NAME_VMCOREINFO
    }

    /// True if it holds lines for VMCOREINFO.
    pub fn is_addendum(&self) -> bool {
        self.name == NAME_ADDENDUM
    }
}

impl<'a> Notes<'a> {
    /// Number of bytes of the area that the whole notes so far take, with their padding.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The note at the front of `rest` and its length with padding; `None` if it does not end
    /// within `rest`. The padding of the last note may be missing.
    fn first(rest: &'a [u8], [name_size, desc_size, kind]: [u32; 3]) -> Option<(Note<'a>, usize)> {
        let name_end = HEADER_SIZE.checked_add(usize::try_from(name_size).ok()?)?;
        let desc_start = name_end.checked_next_multiple_of(4)?;
        let desc_end = desc_start.checked_add(usize::try_from(desc_size).ok()?)?;
        let name = rest.get(HEADER_SIZE..name_end)?;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let note = Note { name, kind, desc: rest.get(desc_start..desc_end)? };
        Some((note, desc_end.checked_next_multiple_of(4)?.min(rest.len())))
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Result<Note<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.area.get(self.offset..).filter(|rest| !self.ended && !rest.is_empty())?;
        let header = words(rest);
        if header.is_some_and(|[name_size, ..]| name_size == 0) {
            self.ended = true;
            return None;
        }
        let Some((note, length)) = header.and_then(|header| Self::first(rest, header)) else {
            self.ended = true;
            return Some(Err(Error::NoteTruncated { offset: self.offset }));
        };
        self.offset += length;
        Some(Ok(note))
    }
}

/// The three words at the front of a note.
fn words(bytes: &[u8]) -> Option<[u32; 3]> {
    let (words, _) = bytes.get(..HEADER_SIZE)?.as_chunks::<4>();
    let &[name_size, desc_size, kind] = words else { return None };
    Some([name_size, desc_size, kind].map(u32::from_le_bytes))
}

/// The registers of i386's `user_regs_struct`, in its order.
const I386: [&str; 17] = [
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip",
    "cs", "eflags", "esp", "ss",
];
/// The registers of x86_64's `user_regs_struct`, in its order.
const X86_64: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
];

/// Layout of a machine's `elf_prstatus`: all offsets and lengths in bytes.
struct Layout {
    size: usize,
    pid: usize,
    registers: usize,
    width: usize,
    names: &'static [&'static str],
    instruction_pointer: usize,
    stack_pointer: usize,
}

const I386_LAYOUT: Layout = Layout {
    size: 144,
    pid: 24,
    registers: 72,
    width: 4,
    names: &I386,
    instruction_pointer: 12,
    stack_pointer: 15,
};
const X86_64_LAYOUT: Layout = Layout {
    size: 336,
    pid: 32,
    registers: 112,
    width: 8,
    names: &X86_64,
    instruction_pointer: 16,
    stack_pointer: 19,
};

/// The state of one CPU when the first kernel died (Linux, `struct elf_prstatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prstatus {
    /// The process that ran there.
    pub pid: u32,
    /// EIP or RIP.
    pub instruction_pointer: u64,
    /// ESP or RSP.
    pub stack_pointer: u64,
    names: &'static [&'static str],
    values: [u64; X86_64.len()],
}

impl Prstatus {
    /// Reads the descriptor of an `NT_PRSTATUS` note of a core file for `machine` (`e_machine`).
    ///
    /// # Errors
    /// [`Error::NotPrstatus`] when the machine is not an x86 or the descriptor is too short.
    pub fn parse(machine: u16, desc: &[u8]) -> Result<Self, Error> {
        let error = Error::NotPrstatus { machine, length: desc.len() };
        let layout = match machine {
            EM_386 => &I386_LAYOUT,
            EM_X86_64 => &X86_64_LAYOUT,
            _ => return Err(error),
        };
        let desc = desc.get(..layout.size).ok_or(error)?;
        let mut values = [0; X86_64.len()];
        let words = desc[layout.registers..].chunks_exact(layout.width);
        for (value, word) in values.iter_mut().zip(words).take(layout.names.len()) {
            *value = little_endian(word);
        }
        Ok(Self {
            pid: little_endian(&desc[layout.pid..layout.pid + 4]) as u32,
            instruction_pointer: values[layout.instruction_pointer],
            stack_pointer: values[layout.stack_pointer],
            names: layout.names,
            values,
        })
    }

    /// All registers with the names that the machine's manual gives them, in the note's order.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.names.iter().copied().zip(self.values)
    }

    /// The register of this name, in lower case, if the machine has it.
    pub fn register(&self, name: &str) -> Option<u64> {
        self.registers().find_map(|(other, value)| (other == name).then_some(value))
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The bytes of a note of type 0, padded to a multiple of four.
///
/// # Errors
/// [`Error::NoMemory`] when the heap has no room.
pub fn note_of_text(name: &[u8], text: &[u8]) -> Result<Vec<u8>, Error> {
    let name_size = name.len() + 1;
    let desc_start = (HEADER_SIZE + name_size).next_multiple_of(4);
    let mut bytes = zeros((desc_start + text.len()).next_multiple_of(4))?;
    bytes[..4].copy_from_slice(&(name_size as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&(text.len() as u32).to_le_bytes());
    bytes[HEADER_SIZE..][..name.len()].copy_from_slice(name);
    bytes[desc_start..][..text.len()].copy_from_slice(text);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::note;
    use proptest::prelude::*;

    /// A PRSTATUS note of i386 as gdb and readelf know it, its words numbered so that each register
    /// has a value of its own.
    fn numbered(words: usize) -> Vec<u8> {
        (0..words as u32).flat_map(|n| (0x1000 + n).to_le_bytes()).collect()
    }

    #[test]
    fn notes_by_hand() {
        let area = [
            5, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, b'C', b'O', b'R', b'E', 0, 0, 0, 0, 7, 8, 9,
            0, // one
            4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, b'Q', b'E', b'M', b'U', // two, without a NUL
            0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, // null
            1, 2, 3, // never looked at
        ];
        let mut walk = notes(&area);
        let first = Note { name: b"CORE", kind: 1, desc: &[7, 8, 9] };
        assert_eq!(walk.next(), Some(Ok(first)));
        assert!(first.is_prstatus() && !first.is_vmcoreinfo());
        assert_eq!(walk.next(), Some(Ok(Note { name: b"QEMU", kind: 9, desc: &[] })));
        assert_eq!((walk.next(), walk.next()), (None, None));
        assert_eq!(walk.offset(), 40);
    }

    #[test]
    fn a_cut_note_is_an_error_once_and_what_came_before_it_counts() {
        let whole = note(b"CORE\0", 1, &[3; 10]);
        for cut in 1..whole.len() {
            let area = [&whole[..], &whole[..cut]].concat();
            let mut walk = notes(&area);
            assert!(walk.next().is_some_and(|note| note.is_ok()));
            let last = walk.next();
            if cut < whole.len() - 2 {
                assert_eq!(last, Some(Err(Error::NoteTruncated { offset: whole.len() })));
                assert_eq!((walk.next(), walk.offset()), (None, whole.len()));
            } else {
                assert!(last.is_some_and(|note| note.is_ok()), "only padding is missing");
            }
        }
    }

    #[test]
    fn lengths_that_wrap_are_errors() {
        for (name, desc) in [(u32::MAX, 0), (5, u32::MAX), (u32::MAX, u32::MAX)] {
            let mut area = note(b"CORE\0", 1, &[0; 144]);
            area[..4].copy_from_slice(&name.to_le_bytes());
            area[4..8].copy_from_slice(&desc.to_le_bytes());
            assert_eq!(notes(&area).next(), Some(Err(Error::NoteTruncated { offset: 0 })));
        }
    }

    /// Word numbers: the field's offset in the structure in Linux divided by four.
    #[test]
    fn prstatus_of_i386() {
        let status = Prstatus::parse(EM_386, &numbered(36)).expect("144 bytes");
        assert_eq!(status.pid, 0x1000 + 6);
        assert_eq!(status.instruction_pointer, 0x1000 + 18 + 12);
        assert_eq!(status.stack_pointer, 0x1000 + 18 + 15);
        assert_eq!(status.register("ebx"), Some(0x1012));
        assert_eq!(status.register("eip"), Some(status.instruction_pointer));
        assert_eq!(status.register("esp"), Some(status.stack_pointer));
        assert_eq!(status.register("ss"), Some(0x1000 + 18 + 16));
        assert_eq!(status.register("rip"), None);
        assert_eq!(status.registers().count(), 17);
    }

    #[test]
    fn prstatus_of_x86_64() {
        let status = Prstatus::parse(EM_X86_64, &numbered(84)).expect("336 bytes");
        let word = |at: u64| (0x1000 + at + 1) << 32 | (0x1000 + at);
        assert_eq!(status.pid, 0x1000 + 8);
        assert_eq!(status.register("r15"), Some(word(28)));
        assert_eq!(status.instruction_pointer, word(28 + 32));
        assert_eq!(status.stack_pointer, word(28 + 38));
        assert_eq!(status.register("rsp"), Some(status.stack_pointer));
        assert_eq!(status.register("gs"), Some(word(28 + 52)));
        assert_eq!(status.registers().count(), 27);
    }

    #[test]
    fn prstatus_of_another_machine_or_length() {
        for (machine, length) in [(EM_386, 143), (EM_X86_64, 335), (40, 500)] {
            let error = Error::NotPrstatus { machine, length };
            assert_eq!(Prstatus::parse(machine, &alloc::vec![0; length]), Err(error));
        }
    }

    /// Against the notes that the other tests make.
    #[test]
    fn notes_of_text() {
        for text in [&b""[..], b"A=1\n", b"A=12\n"] {
            let made = note_of_text(NAME_VMCOREINFO, text).expect("room");
            assert_eq!(made, note(b"VMCOREINFO\0", 0, text));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(area in prop::collection::vec(prop_oneof![Just(0u8), 0u8..20, any::<u8>()], 0..400)) {
            let mut walk = notes(&area);
            let mut end = 0;
            while let Some(item) = walk.next() {
                prop_assert!(item.is_err() || walk.offset() >= end + 12);
                end = walk.offset();
                if let Ok(note) = item {
                    let _ = Prstatus::parse(EM_386, note.desc);
                    let _ = crate::vmcoreinfo_get(note.desc, "A");
                }
            }
            prop_assert!(end <= area.len());
        }

        #[test]
        fn whole_notes_come_back(list in prop::collection::vec(("[A-Z]{1,9}", any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6)) {
            let area: Vec<u8> = list
                .iter()
                .flat_map(|(name, kind, desc)| note(name.as_bytes(), *kind, desc))
                .chain([0; 12])
                .collect();
            let walked: Vec<_> = notes(&area).map(|note| note.expect("a whole note")).collect();
            prop_assert_eq!(walked.len(), list.len());
            for (note, (name, kind, desc)) in walked.iter().zip(&list) {
                prop_assert_eq!((note.name, note.kind, note.desc), (name.as_bytes(), *kind, &desc[..]));
            }
        }
    }
}
