//! Steps by frame pointers (i386).

use alloc::vec;
use alloc::vec::Vec;

use super::fake::Fake;
use super::fake::i386::{INIT, IRQ, TASK, TEXT, TOP};
use super::orc_tests::sure;
use super::{Start, TraceEnd, Trust};
use crate::Frame;

/// Flags of a processor, and its code segments. Their upper halves are not defined.
const FLAGS: u64 = 0x202;
const KERNEL: u64 = 0xabcd_0060;
const USER: u64 = 0x73;

/// Functions of 256 bytes, each with a frame; each has a call that returns to its middle, of the
/// function before.
fn machine() -> Fake {
    let mut fake = Fake::new(false);
    for number in 0..32 {
        let start = TEXT + (number << 8);
        fake.write(start, &[0x55, 0x89, 0xe5]);
        if number > 0 {
            fake.call(start + 0x80, start - 0x100);
        }
    }
    fake
}

/// Address to which the function with this number returns.
const fn back(number: u64) -> u64 {
    TEXT + (number << 8) + 0x80
}

fn at(ip: u64, sp: u64, bp: u64) -> Start {
    Start::Registers { ip, sp, bp, cs: KERNEL }
}

/// A `struct pt_regs`: bx, cx, dx, si, di, bp, ax, ds, es, fs, gs, orig_ax, ip, cs, flags, sp, ss.
fn registers(fake: &mut Fake, place: u64, bp: u64, ip: u64, [cs, flags, sp]: [u64; 3]) {
    let words = [1, 2, 3, 4, 5, bp, 7, 0x7b, 0x7b, 0xd8, 0xe0, 12, ip, cs, flags, sp, 0x68];
    fake.words(place, &words);
}

/// Address of saved registers, as bp has it.
const fn encoded(place: u64) -> u64 {
    place & 0x7fff_ffff
}

/// A system call: the registers of user mode are at the top of the stack, 8 or 16 bytes below it,
/// and bp is the program's, which may have any value. The frame of the call before the last is
/// where the last would be with the other distance.
#[test]
fn a_system_call_ends_at_the_registers_of_user_mode() {
    for (padding, bp) in [(8, 0), (8, 0x7fff_1234), (16, 0xffff_ffff), (16, TASK)] {
        let mut fake = machine();
        let top = TOP - padding - 68;
        registers(&mut fake, top, bp, 0xb7fe_6559, [USER, FLAGS, 0xbfff_0000]);
        fake.words(top - 8, &[bp, back(3)]);
        fake.words(top - 16, &[top - 8, back(2)]);
        fake.words(top - 64, &[top - 16, back(1)]);
        let trace = fake.trace(at(TEXT + 0x40, top - 96, top - 64), 32);
        let frames = [
            sure(TEXT + 0x40, false),
            sure(back(1), true),
            sure(back(2), true),
            sure(back(3), true),
        ];
        assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::User), "{padding} {bp}");
    }
}

/// A thread of the kernel has zeros there; the function that starts a CPU aligns its stack, and
/// pushes its return address again.
#[test]
fn a_thread_of_the_kernel_ends_at_no_registers() {
    let top = TOP - 8 - 68;
    let mut fake = machine();
    fake.words(top - 8, &[0, back(2)]);
    fake.words(top - 16, &[top - 8, back(1)]);
    let frames = [sure(TEXT + 0x40, false), sure(back(1), true), sure(back(2), true)];
    let trace = fake.trace(at(TEXT + 0x40, top - 32, top - 16), 32);
    assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::Complete));
    // The start-up, with its code freed.
    fake.bytes(INIT).fill(0xcc);
    fake.words(top - 20, &[0xaa, INIT + 0x40, 0, 0, INIT + 0x40]);
    fake.words(top - 64, &[top - 20, back(1)]);
    let trace = fake.trace(at(TEXT + 0x40, top - 96, top - 64), 32);
    let frames = [frames[0], frames[1], sure(INIT + 0x40, true)];
    assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::Complete));
}

/// An NMI interrupts an interrupt on a stack of its own, which interrupted a task that had been
/// interrupted by an exception. 5.3 and older do not store the stack pointer.
pub(super) fn interrupts(is_new: bool) -> (Fake, Start, Vec<Frame>) {
    let mut fake = machine();
    let (nmi, irq, fault, user) = (IRQ + 0x100, TASK + 0x1000, TASK + 0x1400, TOP - 16 - 68);
    let sp = |place: u64| if is_new { place + 68 + 12 } else { 0x1234 };
    registers(&mut fake, nmi, IRQ + 0x200, TEXT + 0x140, [KERNEL, FLAGS, sp(nmi)]);
    fake.words(IRQ + 0x80, &[encoded(nmi), back(1)]);
    fake.words(IRQ + 0x200, &[TASK + 0xf00, back(2)]);
    fake.words(TASK + 0xf00, &[encoded(irq), back(3)]);
    registers(&mut fake, irq, TASK + 0x1100, TEXT + 0x440, [KERNEL, FLAGS, sp(irq)]);
    fake.words(TASK + 0x1100, &[encoded(fault), back(5)]);
    registers(&mut fake, fault, TASK + 0x1500, TEXT + 0x640, [KERNEL, FLAGS, sp(fault)]);
    fake.words(TASK + 0x1500, &[encoded(user), back(7)]);
    registers(&mut fake, user, 0xffff_0000, 0x40_0000, [USER, FLAGS, 0xbfff_0000]);
    let frames = vec![
        sure(TEXT + 0x40, false),
        sure(back(1), true),
        sure(TEXT + 0x140, false),
        sure(back(2), true),
        sure(back(3), true),
        sure(TEXT + 0x440, false),
        sure(back(5), true),
        sure(TEXT + 0x640, false),
        sure(back(7), true),
    ];
    (fake, at(TEXT + 0x40, IRQ + 0x40, IRQ + 0x80), frames)
}

#[test]
fn interrupts_lead_over_their_stacks() {
    for is_new in [false, true] {
        let (mut fake, start, mut frames) = interrupts(is_new);
        let trace = fake.trace(start, 32);
        assert_eq!((&trace.frames, trace.end), (&frames, TraceEnd::User));
        // The function was about to return: its caller is at the stack pointer.
        fake.write(TEXT + 0x440, &[0xc3]);
        fake.words(TASK + 0x1000 + if is_new { 68 + 12 } else { 60 }, &[back(9)]);
        frames.insert(6, sure(back(9), true));
        assert_eq!(fake.trace(start, 32).frames, frames);
    }
}

/// A function without a frame, or not yet with one: its caller is on top of the stack. The code
/// proves it, or it is a guess.
#[test]
fn the_caller_of_a_function_without_frame() {
    let top = TOP - 8 - 68;
    let trace = |ip: u64, code: &[u8], words: &[u64]| {
        let mut fake = machine();
        fake.words(top - 8, &[0, back(9)]);
        if ip > 0 {
            fake.write(ip, code);
        }
        fake.words(TASK + 0x1000, words);
        let trace = fake.trace(at(ip, TASK + 0x1000, top - 8), 32);
        assert_eq!(trace.frames.last(), Some(&sure(back(9), true)), "{ip:#x}");
        assert_eq!(trace.end, TraceEnd::Complete);
        trace.frames.into_iter().skip(1).rev().skip(1).last()
    };
    let guess = |at| Some(Frame { trust: Trust::Guess, ..sure(at, true) });
    let sure = |at| Some(sure(at, true));
    // Before the push, after it, before the return, and in the middle.
    assert_eq!(trace(TEXT + 0x100, &[], &[back(2)]), sure(back(2)));
    assert_eq!(trace(TEXT + 0x101, &[], &[top - 8, back(2)]), sure(back(2)));
    assert_eq!(trace(TEXT + 0x140, &[0xc3], &[back(2)]), sure(back(2)));
    assert_eq!(trace(TEXT + 0x140, &[], &[back(2)]), guess(back(2)));
    // No return address there.
    assert_eq!(trace(TEXT + 0x140, &[0xc3], &[TEXT + 0x111]), None);
    // A NULL function was called.
    assert_eq!(trace(0, &[], &[back(2)]), sure(back(2)));
}

/// Flags, si, di, bx, bp and the address of the switch; before 5.2 without the flags.
#[test]
fn a_task_sleeps() {
    let top = TOP - 8 - 68;
    for flags in [0, 1] {
        let mut fake = machine();
        fake.call(back(1), TEXT + 0x3000);
        fake.write(TEXT + 0x3000, &[0x55, 0x53, 0x57, 0x56, 0x9c]);
        fake.words(top - 8, &[0, back(2)]);
        let sp = TASK + 0x1800;
        fake.words(sp, &[0x246, 1, 2, 3, top - 8, back(1)][1 - flags..]);
        let trace = fake.trace(Start::Sleeping { sp }, 32);
        let frames = [sure(back(1), true), sure(back(2), true)];
        assert_eq!((&trace.frames[..], trace.end), (&frames[..], TraceEnd::Complete), "{flags}");
    }
    // A task that never ran: a thread of the kernel, and a new program.
    for (cs, end) in [(0, TraceEnd::Complete), (USER, TraceEnd::User)] {
        let mut fake = machine();
        if cs == USER {
            registers(&mut fake, top, 0, 0x40_0000, [cs, FLAGS, 0xbfff_0000]);
        }
        fake.words(top - 24, &[0x200, 1, 2, 3, encoded(top), TEXT + 0x300]);
        let trace = fake.trace(Start::Sleeping { sp: top - 24 }, 32);
        assert_eq!((&trace.frames[..], trace.end), (&[sure(TEXT + 0x300, false)][..], end));
    }
}

/// A kernel without frame pointers, as a function that it surely has shows.
#[test]
fn a_kernel_without_frame_pointers() {
    let top = TOP - 8 - 68;
    for (code, trust) in [
        (&[0x55, 0x89, 0xe5, 0x57][..], Trust::Sure),
        // nop; push %ebp; mov $1,%edx; mov %esp,%ebp: Debian's 6.1.
        (&[0x3e, 0x8d, 0x74, 0x26, 0, 0x55, 0xba, 1, 0, 0, 0, 0x89, 0xe5], Trust::Sure),
        (&[0x55, 0x57, 0x56, 0x53], Trust::Guess),
    ] {
        let mut fake = machine();
        fake.symbol("__crash_kexec", TEXT + 0x3000);
        fake.write(TEXT + 0x3000, code);
        fake.words(top - 8, &[0, back(1)]);
        let trace = fake.trace(at(TEXT + 0x40, top - 32, top - 8), 32);
        let caller = Frame { trust, ..sure(back(1), true) };
        assert_eq!(trace.frames, [sure(TEXT + 0x40, false), caller]);
    }
}

/// The trace is lost at a frame whose bp, return address, or registers are wrong. The addresses
/// above are guesses.
#[test]
fn damage_loses_the_trace() {
    let (a, b) = (TASK + 0x1000, TASK + 0x1100);
    let damages: [fn(&mut Fake, u64); 6] = [
        |fake, a| fake.words(a, &[0xc0de_0000]),
        |fake, a| fake.words(a, &[a - 0x10]),
        |fake, a| fake.words(a, &[a + 0x102]),
        |fake, a| fake.words(a + 4, &[0xc0de_0000]),
        |fake, a| fake.words(a + 4, &[TEXT + 0x111]),
        |fake, a| fake.words(a, &[encoded(a + 0x200)]),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut fake = machine();
        fake.words(a, &[b, back(1)]);
        fake.words(b, &[0, back(2)]);
        fake.words(b + 0x40, &[back(3)]);
        damage(&mut fake, a);
        let trace = fake.trace(at(TEXT + 0x40, a - 0x40, a), 32);
        assert_eq!(trace.end, TraceEnd::Lost, "{number}");
        let is_sure = |frame: &&Frame| frame.trust == Trust::Sure;
        let count = if matches!(number, 3 | 4) { 1 } else { 2 };
        assert_eq!(trace.frames.iter().filter(is_sure).count(), count, "{number}");
        let guesses = trace.frames[count..].iter().map(|frame| frame.at);
        assert!(guesses.eq([back(2), back(3)]), "{number}: {:x?}", trace.frames);
    }
}
