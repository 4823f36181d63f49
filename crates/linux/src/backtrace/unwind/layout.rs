//! Layouts of an ORC entry: the unwind information of one place in an x86_64 kernel's code.
//!
//! An entry has 6 bytes: the offset of the previous stack pointer (i16), that of the previous bp
//! (i16), and 16 bits: a base register for each of the two offsets, 4 bits each, followed by
//! fields that vary (Linux: `arch/x86/include/asm/orc_types.h`).

use vmcore::vmcoreinfo_get;

/// Length of an entry in bytes.
pub(super) const ENTRY: usize = 6;
/// Length of the hash at `__start_orc_header` in bytes.
pub(super) const HEADER: usize = 20;

/// The base of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// None.
    Undefined,
    /// The previous stack pointer, in DWARF the canonical frame address.
    PreviousSp,
    Sp,
    Bp,
    /// The word at the stack pointer.
    AtSp,
    /// The word at bp plus the offset.
    AtBp,
    /// A register that `pt_regs` has at this offset.
    Saved(u64),
}

const AX: Base = Base::Saved(80);
const DX: Base = Base::Saved(96);
const DI: Base = Base::Saved(112);
const R10: Base = Base::Saved(56);
const R13: Base = Base::Saved(16);

/// The contents of the stack at a place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not known.
    Undefined,
    /// The function has no caller.
    End,
    /// The return address is below the previous stack pointer.
    Call,
    /// A whole `struct pt_regs`.
    Registers,
    /// The end of one: what the processor pushes.
    Partial,
}

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sp: Base,
    pub(super) sp_offset: i16,
    pub(super) bp: Base,
    pub(super) bp_offset: i16,
    pub(super) kind: Kind,
    /// True if the saved registers are those of an interrupted function, and not of a caller.
    pub(super) is_signal: bool,
}

/// A layout: its first version of Linux, and the hash by which a kernel names it.
#[derive(Debug)]
pub(super) struct Layout {
    since: (u32, u32),
    header: Option<[u8; HEADER]>,
    bases: [Base; 11],
    /// Number of the base that most entries have.
    pub(super) sp: u8,
    kind_bits: u32,
    /// Bit of `is_signal`; without it, all but calls are.
    signal: Option<u32>,
    /// Bit of [`Kind::End`]; without it, the end is a kind.
    end: Option<u32>,
}

use Base::{AtBp, AtSp, Bp, PreviousSp, Sp, Undefined};

const BASES: [Base; 11] = [Undefined, PreviousSp, DX, DI, Bp, Sp, R10, R13, AtBp, AtSp, Undefined];
const BASES_7_1: [Base; 11] = [Undefined, AX, DX, Sp, Bp, DI, R10, R13, PreviousSp, AtSp, AtBp];

const fn hash(high: u128, low: u32) -> Option<[u8; HEADER]> {
    let (mut bytes, mut at) = ([0; HEADER], 0);
    while at < HEADER {
        bytes[at] =
            if at < 16 { (high >> (120 - 8 * at)) as u8 } else { (low >> (152 - 8 * at)) as u8 };
        at += 1;
    }
    Some(bytes)
}

/// Every layout, oldest first.
pub(super) static LAYOUTS: [Layout; 4] = [
    Layout {
        since: (4, 14),
        header: None,
        bases: BASES,
        sp: 5,
        kind_bits: 2,
        signal: None,
        end: Some(10),
    },
    Layout {
        since: (6, 3),
        header: hash(0xdb84_aed4_103b_31dd_51e0_17f8_f797_83ca, 0x985c_2c51),
        bases: BASES,
        sp: 5,
        kind_bits: 2,
        signal: Some(10),
        end: Some(11),
    },
    Layout {
        since: (6, 4),
        header: hash(0xfe5d_32bf_581b_d63b_2ca9_a5c6_5ba5_a625, 0xeab3_fe24),
        bases: BASES,
        sp: 5,
        kind_bits: 3,
        signal: Some(11),
        end: None,
    },
    Layout {
        since: (7, 1),
        header: hash(0x137c_36ad_7627_c4dd_5593_2176_bb0e_cdbd, 0x5041_fc82),
        bases: BASES_7_1,
        sp: 3,
        kind_bits: 3,
        signal: Some(11),
        end: None,
    },
];

/// The newest version of Linux whose layout is known without a header.
const NEWEST: u32 = 7;

impl Layout {
    /// The layout with this header.
    pub(super) fn of_header(header: [u8; HEADER]) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.header == Some(header))
    }

    /// The layout of the release that VMCOREINFO names.
    pub(super) fn of_release(vmcoreinfo: &[u8]) -> Option<&'static Self> {
        let release = vmcoreinfo_get(vmcoreinfo, "OSRELEASE")?;
        let mut numbers = release.split(|char: char| !char.is_ascii_digit());
        let mut next = || numbers.next()?.parse::<u32>().ok();
        let (version, _) = ((next()?, next()?), next());
        // Red Hat took over the newer layout.
        let is_newer = version == (5, 14) && release.contains(".el9") && next()? >= 517;
        let version = if is_newer { (6, 4) } else { version };
        LAYOUTS.iter().rfind(|layout| layout.since <= version && version.0 <= NEWEST)
    }

    /// The entry with these bytes; [`None`] if it cannot be one of this layout.
    pub(super) fn decode(&self, bytes: [u8; ENTRY]) -> Option<Entry> {
        let [sp0, sp1, bp0, bp1, bases, rest] = bytes;
        let base = |number: u8| self.bases.get(usize::from(number)).copied();
        let bits = u32::from(rest) << 8;
        let is_set = |bit: Option<u32>| bit.is_some_and(|bit| bits >> bit & 1 != 0);
        let (sp, bp) = (base(bases & 15)?, base(bases >> 4)?);
        let number = bits >> 8 & ((1 << self.kind_bits) - 1);
        let kind = match (number, self.end) {
            (0..3, Some(_)) if sp == Undefined && is_set(self.end) => Kind::End,
            (0..3, Some(_)) if sp == Undefined => Kind::Undefined,
            (0, Some(_)) | (2, None) => Kind::Call,
            (1, Some(_)) | (3, None) => Kind::Registers,
            (2, Some(_)) | (4, None) => Kind::Partial,
            (0, None) => Kind::Undefined,
            (1, None) => Kind::End,
            _ => return None,
        };
        let is_signal = match self.signal {
            Some(_) => is_set(self.signal),
            None => kind != Kind::Call,
        };
        let (sp_offset, bp_offset) =
            (i16::from_le_bytes([sp0, sp1]), i16::from_le_bytes([bp0, bp1]));
        Some(Entry { sp, sp_offset, bp, bp_offset, kind, is_signal })
    }
}
