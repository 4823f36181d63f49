//! Steps by unwind tables, over tables written from the description of each layout.

use alloc::vec;
use alloc::vec::Vec;

use super::fake::Fake;
use super::fake::amd64::{ENTRIES, HEADER, INIT, IRQ, IST, TASK, TEXT};
use super::layout::Layout;
use super::{Start, TraceEnd, Trust};
use crate::Frame;
use vmcore::fake::logged;

/// Numbers of base registers, up to 7.0 and from 7.1 on.
const OLD: [&str; 11] =
    ["", "PREV_SP", "DX", "DI", "BP", "SP", "R10", "R13", "BP_IND", "SP_IND", "-"];
const NEW: [&str; 11] =
    ["", "AX", "DX", "SP", "BP", "DI", "R10", "R13", "PREV_SP", "SP_IND", "BP_IND"];

/// A layout: its first release, header, registers, the numbers of types, and the bit of `signal`.
pub(super) struct Described {
    release: &'static str,
    header: &'static str,
    pub(super) registers: [&'static str; 11],
    types: [(&'static str, u16); 5],
    signal: u16,
}

/// Types up to 6.3, where the end is bit 10 or 11 of an entry without base.
const fn types(end: u16) -> [(&'static str, u16); 5] {
    [("undefined", 0), ("end", 1 << end), ("call", 0), ("regs", 1 << 8), ("partial", 2 << 8)]
}

const TYPES: [(&str, u16); 5] =
    [("undefined", 0), ("end", 1 << 8), ("call", 2 << 8), ("regs", 3 << 8), ("partial", 4 << 8)];

pub(super) static LAYOUTS: [Described; 4] = [
    Described {
        release: "5.10.0-32-amd64",
        header: "",
        registers: OLD,
        types: types(10),
        signal: 0,
    },
    Described {
        release: "6.3.0",
        header: "db84aed4103b31dd51e017f8f79783ca985c2c51",
        registers: OLD,
        types: types(11),
        signal: 1 << 10,
    },
    Described {
        release: "6.12.90+deb13-amd64",
        header: "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24",
        registers: OLD,
        types: TYPES,
        signal: 1 << 11,
    },
    Described {
        release: "7.2-amd64",
        header: "137c36ad7627c4dd55932176bb0ecdbd5041fc82",
        registers: NEW,
        types: TYPES,
        signal: 1 << 11,
    },
];

impl Described {
    /// An entry: base and offset of the stack pointer and of bp, and its type.
    pub(super) fn entry(&self, sp: (&str, i16), bp: (&str, i16), kind: &str) -> [u8; 6] {
        let number = |name| self.registers.iter().position(|other| *other == name);
        let number = |name| number(name).expect("a register") as u16;
        let of_kind = self.types.iter().find(|(other, _)| *other == kind).expect("a type").1;
        let signal = if ["regs", "partial"].contains(&kind) { self.signal } else { 0 };
        let bits = number(sp.0) | number(bp.0) << 4 | of_kind | signal;
        let [[a, b], [c, d], [e, f]] = [sp.1 as u16, bp.1 as u16, bits].map(u16::to_le_bytes);
        [a, b, c, d, e, f]
    }

    fn call(&self, sp: (&str, i16)) -> [u8; 6] {
        self.entry(sp, ("", 0), "call")
    }

    fn undefined(&self) -> [u8; 6] {
        self.entry(("", 0), ("", 0), "undefined")
    }

    /// Names the layout, by its header if it has one.
    fn name(&self, fake: &mut Fake) {
        let hash: Vec<u8> = (0..self.header.len() / 2)
            .map(|at| u8::from_str_radix(&self.header[2 * at..][..2], 16).expect("a hash"))
            .collect();
        if !hash.is_empty() {
            fake.write(HEADER, &hash);
            fake.symbol("__start_orc_header", HEADER);
        }
        fake.text += &alloc::format!("OSRELEASE={}\n", self.release);
    }
}

/// Flags of a processor, and its code segments.
const FLAGS: u64 = 0x202;
const KERNEL: u64 = 0x10;
const USER: u64 = 0x33;

pub(super) fn sure(at: u64, is_return: bool) -> Frame {
    Frame { at, is_return, trust: Trust::Sure }
}

/// An exception on its own stack interrupts an interrupt on its stack, which an exception of a task
/// is below. Each way to find a caller is there once; `saved` is the register of one of them.
/// Returns the machine, the start, and the frames.
pub(super) fn machine(layout: &Described, saved: &str) -> (Fake, Start, Vec<Frame>) {
    let mut fake = Fake::new(true);
    let at = |offset: u64| TEXT + offset;
    let with_bp = ("PREV_SP", -16);
    fake.orc(&[
        (at(0x100), layout.call(("SP", 8))),
        (at(0x110), layout.entry(("SP", 24), with_bp, "call")),
        (at(0x200), layout.entry(("BP", 16), with_bp, "call")),
        (at(0x300), layout.undefined()),
        (at(0x400), layout.entry(("SP", 0), ("", 0), "regs")),
        (at(0x500), layout.call((saved, 0))),
        (at(0x600), layout.entry(("BP_IND", -8), ("BP", 0), "call")),
        (at(0x700), layout.call(("SP_IND", 8))),
        (at(0x800), layout.entry(("SP", 16), ("", 0), "partial")),
        (at(0x900), layout.undefined()),
        (at(0x910), layout.call(("SP", 8))),
        (at(0xa00), layout.entry(("", 0), ("", 0), "end")),
        (at(0xb00), layout.call(("SP", 8))),
        (at(0xc00), layout.call(("SP", 8))),
    ]);
    layout.name(&mut fake);
    // The second function ends with a call that never returns.
    for (back, target) in [
        (0x300, 0x100),
        (0x420, 0x200),
        (0x620, 0x500),
        (0x720, 0x600),
        (0x820, 0x700),
        (0xa20, 0x900),
    ] {
        fake.call(at(back), at(target));
    }
    fake.words(IST + 0x3000, &[7, IST + 0x3100, at(0x300)]);
    fake.words(IST + 0x3100, &[1, at(0x420)]);
    // The registers in the order of `struct pt_regs`: r15 to r12, bp, bx, r11 to r8, ax, cx, dx,
    // si, di, orig_ax, ip, cs, flags, sp, ss.
    let mut registers = [0; 21];
    registers[4] = IRQ + 0x180;
    let names = [(2, "R13"), (7, "R10"), (10, "AX"), (12, "DX"), (14, "DI")];
    let index = names.iter().find(|(_, name)| *name == saved).expect("a register").0;
    registers[index] = IRQ + 0x140;
    registers[16..].copy_from_slice(&[at(0x510), KERNEL, FLAGS, IRQ + 0x100, 0x18]);
    fake.words(IST + 0x3110, &registers);
    fake.words(IRQ + 0x138, &[at(0x620)]);
    fake.words(IRQ + 0x178, &[IRQ + 0x1a0, 1]);
    fake.words(IRQ + 0x198, &[at(0x720), TASK + 0x1000]);
    fake.words(TASK + 0x1000, &[at(0x820), 7, 7]);
    fake.words(TASK + 0x1018, &[at(0x910), KERNEL, FLAGS, TASK + 0x1100, 0x18]);
    fake.words(TASK + 0x1100, &[at(0xa20)]);
    let start = Start::Registers { ip: at(0x120), sp: IST + 0x3000, bp: 1, cs: KERNEL };
    let frames = [
        (0x120, false),
        (0x300, true),
        (0x420, true),
        (0x510, false),
        (0x620, true),
        (0x720, true),
        (0x820, true),
        (0x910, false),
        (0xa20, true),
    ];
    (fake, start, frames.map(|(offset, is_return)| sure(at(offset), is_return)).into())
}

#[test]
fn each_layout_leads_over_all_stacks() {
    for layout in &LAYOUTS {
        for saved in ["AX", "DX", "DI", "R10", "R13"] {
            if !layout.registers.contains(&saved) {
                continue;
            }
            let (mut fake, start, frames) = machine(layout, saved);
            let trace = fake.trace(start, 32);
            assert_eq!(trace.frames, frames, "{} {saved}", layout.release);
            assert_eq!(trace.end, TraceEnd::Complete);
            let most = fake.trace(start, 4);
            assert_eq!((most.frames.len(), most.end), (4, TraceEnd::Most));
            // The exception came from user mode.
            fake.words(TASK + 0x1020, &[USER]);
            let trace = fake.trace(start, 32);
            assert_eq!((&trace.frames[..], trace.end), (&frames[..7], TraceEnd::User));
        }
    }
}

/// Saved registers may be those of a caller, as an entry tells since 6.3: then the call decides the
/// function.
#[test]
fn registers_of_a_caller() {
    let cases = LAYOUTS.iter().enumerate().flat_map(|layout| [(layout, false), (layout, true)]);
    for ((number, layout), is_signal) in cases {
        let (mut fake, start, mut frames) = machine(layout, "R10");
        let mut entry = layout.entry(("SP", 16), ("", 0), "partial");
        if !is_signal {
            entry[5] &= !layout.signal.to_le_bytes()[1];
        }
        fake.write(ENTRIES + 8 * 6, &entry);
        // The entry after the next one has another stack pointer.
        fake.call(TEXT + 0x910, TEXT + 0x800);
        fake.write(ENTRIES + 9 * 6, &layout.call(("SP", 8)));
        fake.write(ENTRIES + 10 * 6, &layout.undefined());
        let trace = fake.trace(start, 32);
        let is_caller = number > 0 && !is_signal;
        frames[7].is_return = is_caller;
        assert_eq!(trace.frames[..8], frames[..8], "{} {is_signal}", layout.release);
        assert_eq!(trace.end == TraceEnd::Complete, is_caller, "{} {is_signal}", layout.release);
    }
}

/// Another layout does not fit: its commonest base is another register.
#[test]
fn tables_show_their_layout() {
    for layout in &LAYOUTS {
        let (fake, _, _) = machine(layout, "R10");
        for other in &LAYOUTS {
            let mut fake = fake.clone();
            fake.text = fake.text.replace("__start_orc_header", "x").replace("OSRELEASE", "x");
            other.name(&mut fake);
            let (_, reports) = logged(|| fake.trace(Start::Sleeping { sp: TASK }, 0));
            assert_eq!(reports.is_empty(), layout.registers == other.registers, "{reports:?}");
        }
    }
}

#[test]
fn a_cpu_in_user_mode_has_no_frames() {
    let (fake, _, _) = machine(&LAYOUTS[0], "R10");
    let trace = fake.trace(Start::Registers { ip: 0x40_0000, sp: 8, bp: 0, cs: USER }, 32);
    assert_eq!((trace.frames.len(), trace.end), (0, TraceEnd::User));
}

/// `__crash_kexec` has no entries: its caller is that of the call, not any address on the stack.
#[test]
fn the_caller_of_crash_kexec_is_found() {
    for layout in &LAYOUTS {
        let (mut fake, _, _) = machine(layout, "R10");
        let start = TEXT + 0x300;
        fake.symbol("__crash_kexec", start);
        fake.call(TEXT + 0xc20, start);
        fake.call(TEXT + 0xb20, TEXT + 0xc00);
        fake.call(TEXT + 0xa20, TEXT + 0xb00);
        // Below the return address is another one, of a call that is over.
        let sp = TASK + 0x2000;
        fake.words(sp + 24, &[TEXT + 0x620, start + 0x40]);
        fake.words(sp + 184, &[TEXT + 0xc20, TEXT + 0xb20, TEXT + 0xa20]);
        let registers = Start::Registers { ip: start + 0x9a, sp, bp: 5, cs: KERNEL };
        let trace = fake.trace(registers, 32);
        let frames = [(0x39a, false), (0xc20, true), (0xb20, true), (0xa20, true)];
        assert_eq!(trace.frames, frames.map(|(at, is_return)| sure(TEXT + at, is_return)));
        assert_eq!(trace.end, TraceEnd::Complete);
    }
}

#[test]
fn a_null_function_was_called() {
    let (mut fake, _, _) = machine(&LAYOUTS[2], "R10");
    fake.call(TEXT + 0xb20, TEXT);
    fake.call(TEXT + 0xa20, TEXT + 0xb00);
    fake.words(TASK + 0x100, &[TEXT + 0xb20, TEXT + 0xa20]);
    let start = |ip| Start::Registers { ip, sp: TASK + 0x100, bp: 0, cs: KERNEL };
    let trace = fake.trace(start(0), 32);
    let frames = [sure(0, false), sure(TEXT + 0xb20, true), sure(TEXT + 0xa20, true)];
    assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::Complete));
    // Another wrong address: perhaps code that nobody described.
    let trace = fake.trace(start(0xffff_8880_0000_1000), 32);
    let ends = trace.frames.iter().skip(1).map(|frame| (frame.at, frame.trust));
    let expected = [0xb20, 0xa20].map(|at| (TEXT + at, Trust::Guess));
    assert!(ends.eq(expected), "{trace:x?}");
}

/// Registers r15 to r12, bx, bp and the address of the switch; before 5.5 the flags are below them.
#[test]
fn a_task_sleeps() {
    for flags in [0, 1] {
        let (mut fake, _, _) = machine(&LAYOUTS[0], "R10");
        fake.call(TEXT + 0x220, TEXT + 0xd00);
        fake.write(TEXT + 0xd00, &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x53][4 * flags..]);
        fake.call(TEXT + 0xa20, TEXT + 0xb00);
        let sp = TASK + 0x3000;
        fake.words(sp, &[0x246, 1, 2, 3, 4, 5, TASK + 0x3100, TEXT + 0x220][1 - flags..]);
        fake.words(TASK + 0x3100, &[0, TEXT + 0xa20]);
        let trace = fake.trace(Start::Sleeping { sp }, 32);
        let frames = [sure(TEXT + 0x220, true), sure(TEXT + 0xa20, true)];
        assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::Complete), "{flags}");
        // Another function than the switch was called: the task was running.
        fake.write(TEXT + 0xd00, &[0x90; 6]);
        let trace = fake.trace(Start::Sleeping { sp }, 32);
        assert_eq!(trace.frames, frames.map(|frame| Frame { trust: Trust::Guess, ..frame }));
        assert_eq!(trace.end, TraceEnd::Lost);
    }
    // A task that never ran starts in a function, of which the entry at its own address holds.
    let (mut fake, _, _) = machine(&LAYOUTS[0], "R10");
    fake.words(TASK + 0x3000, &[0, 0, 0, 0, 0, 0, TEXT + 0xa00]);
    let trace = fake.trace(Start::Sleeping { sp: TASK + 0x3000 }, 32);
    assert_eq!(
        (&trace.frames[..], trace.end),
        (&[sure(TEXT + 0xa00, false)][..], TraceEnd::Complete)
    );
}

/// The frames of the start-up are there when its code is not.
#[test]
fn the_text_of_the_start_up_is_freed() {
    let layout = &LAYOUTS[2];
    let (mut fake, _, _) = machine(layout, "R10");
    fake.orc(&[
        (TEXT + 0xb00, layout.call(("SP", 8))),
        (INIT, layout.call(("SP", 16))),
        (INIT + 0x100, layout.entry(("", 0), ("", 0), "end")),
    ]);
    fake.bytes(INIT).fill(0xcc);
    fake.words(TASK, &[INIT + 0x40, 0, INIT + 0x140]);
    let trace = fake.trace(Start::Registers { ip: TEXT + 0xb10, sp: TASK, bp: 0, cs: KERNEL }, 32);
    let frames = [(TEXT + 0xb10, false), (INIT + 0x40, true), (INIT + 0x140, true)];
    assert_eq!(trace.frames, frames.map(|(at, is_return)| sure(at, is_return)));
    assert_eq!(trace.end, TraceEnd::Complete);
}

/// Without a known layout, the first frame is sure, and the rest is what the stack shows.
#[test]
fn an_unknown_layout_gives_guesses() {
    let (fake, start, frames) = machine(&LAYOUTS[2], "R10");
    let damages: [fn(&mut Fake); 4] = [
        // Another header; a release to come; another commonest base; half a table.
        |fake| fake.write(HEADER, &[0]),
        |fake| fake.text = fake.text.replace("__start_orc_header", "x").replace("=6.12", "=8.0"),
        |fake| fake.text = fake.text.replace("__start_orc_header", "x").replace("=6.12", "=7.1"),
        |fake| fake.symbol("__stop_orc_unwind", ENTRIES + 42),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut fake = fake.clone();
        damage(&mut fake);
        let trace = fake.trace(start, 32);
        assert_eq!(trace.end, TraceEnd::Lost, "{number}");
        let guess = |frame: &Frame| Frame { trust: Trust::Guess, ..*frame };
        let expected = [vec![frames[0]], frames[1..3].iter().map(guess).collect()].concat();
        assert_eq!(trace.frames, expected, "{number}");
    }
}

/// The page below a stack is not there: the stack above it has guesses.
#[test]
fn a_stack_overflowed() {
    let (mut fake, _, _) = machine(&LAYOUTS[2], "R10");
    fake.words(TASK + 0x40, &[TEXT + 0x220, TEXT + 0x620, 5, TEXT + 0x720]);
    let registers = Start::Registers { ip: TEXT + 0xb10, sp: TASK - 0x40, bp: 0, cs: KERNEL };
    let trace = fake.trace(registers, 3);
    let guess = |at| Frame { trust: Trust::Guess, ..sure(TEXT + at, true) };
    assert_eq!(trace.frames, [sure(TEXT + 0xb10, false), guess(0x620), guess(0x720)]);
}

#[test]
fn releases_have_layouts() {
    let of = |release: &str| {
        let text = alloc::format!("OSRELEASE={release}\n");
        let layout = Layout::of_release(text.as_bytes())?;
        super::layout::LAYOUTS.iter().position(|other| core::ptr::eq(other, layout))
    };
    let table = [
        ("4.13.0", None),
        ("4.14.336", Some(0)),
        ("4.18.0-553.el8_10.x86_64", Some(0)),
        ("5.14.0-503.40.1.el9_5.x86_64", Some(0)),
        ("5.14.0-517.el9.x86_64", Some(2)),
        ("5.14.0-570.12.1.el9_6.x86_64", Some(2)),
        ("5.14.0-1054-oem", Some(0)),
        ("6.2.16", Some(0)),
        ("6.3-rc1", Some(1)),
        ("6.4.0-150600.21-default", Some(2)),
        ("7.0", Some(2)),
        ("7.1.3", Some(3)),
        ("8.0.0", None),
        ("", None),
        ("6", None),
    ];
    for (release, layout) in table {
        assert_eq!(of(release), layout, "{release}");
    }
}
