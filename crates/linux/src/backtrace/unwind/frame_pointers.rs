//! Steps by frame pointers: i386 (Linux: `arch/x86/kernel/unwind_frame.c`).
//!
//! A function pushes the caller's bp below its return address, and bp points there. Where the
//! kernel was interrupted, bp is the address of a `struct pt_regs` without its bit 31.

use super::code::Code;
use super::place::{Mode, Place, Step, mode};
use crate::stack_size::stack_size;
use crate::{TraceEnd, Trust};
use vmcore::{EM_386, ReadPhys};

/// Length of a word in bytes.
const WORD: u64 = 4;
/// The bit that kernel addresses have, and pointers to saved registers have not.
const KERNEL: u64 = 1 << 31;
/// Offsets in `struct pt_regs`, and its length: bp, ip, cs, flags, sp.
const BP: i64 = 20;
const IP: i64 = 48;
const CS: i64 = 52;
const FLAGS: i64 = 56;
const SP: i64 = 60;
const REGISTERS: u64 = 68;
/// Bytes above the `struct pt_regs` at the top of a task's stack: without and with virtual-8086
/// mode.
const PADDINGS: [u64; 2] = [8, 16];
/// Most bytes by which a function aligns the stack that entry code calls.
const REALIGNED: u64 = 12;
/// Most bytes between the end of the registers and the stack that was interrupted, where Linux
/// moved the registers (5.4 and later).
const MOVED: u64 = 64;

/// False for a kernel whose functions do not set up bp, as the code of the one at `function` shows.
pub(super) fn are_there<M: ReadPhys>(code: &Code<'_, M>, function: Option<u64>) -> bool {
    // mov %esp,%ebp: other instructions may be before it.
    const START: [u8; 2] = [0x89, 0xe5];
    let mut bytes = [0; 48];
    let is_read = function.is_some_and(|at| code.memory.read(at, &mut bytes).is_ok());
    let are_there = !is_read || bytes.windows(START.len()).any(|bytes| bytes == START);
    if !are_there {
        log::warn!("backtraces: the dead kernel has no frame pointers: frames are guesses");
    }
    are_there
}

/// The caller of the function at `place`, or the one that it interrupted. [`None`] if it cannot be
/// found.
pub(super) fn step<M: ReadPhys>(code: &Code<'_, M>, place: &Place) -> Option<Step> {
    if let Some(end) = place.end {
        return Some(Step::End(end));
    }
    if !place.is_return
        && let Some(caller) = without_frame(code, place)
    {
        return Some(Step::To(caller));
    }
    if place.bp & KERNEL == 0 {
        return interrupted(code, place.bp | KERNEL);
    }
    let frame = place.bp;
    let (bp, ip) = (code.read(frame)?, code.read_at(frame, WORD as i64)?);
    let next = Place { is_return: true, ..Place::at(ip, frame + 2 * WORD, bp) };
    if let Some(end) = end(code, frame, [bp, ip]) {
        // Entry code pushes the address itself in some versions.
        return code.is_text(ip).then_some(Step::To(Place { end: Some(end), ..next }));
    }
    Some(Step::To(Place { trust: code.returns(ip)?, ..next }))
}

/// The end of the trace after the frame at `frame`, which holds `bp` and returns to `ip`, if that
/// is the last one: it is right below the `struct pt_regs` at the top of a task's stack.
fn end<M: ReadPhys>(code: &Code<'_, M>, frame: u64, [bp, ip]: [u64; 2]) -> Option<TraceEnd> {
    let top = (frame | (stack_size(EM_386) - 1)) + 1;
    PADDINGS.iter().find_map(|padding| {
        let registers = top - padding - REGISTERS;
        let gap = registers.checked_sub(frame + 2 * WORD)?;
        // A function that aligned the stack has pushed its return address again.
        if gap != 0 && (gap != REALIGNED || code.read(registers - WORD) != Some(ip)) {
            return None;
        }
        match (code.read_at(registers, CS)?, code.read_at(registers, FLAGS)?) {
            // A thread of the kernel has no registers, and no frame further up.
            (0, _) => (!(frame..top).contains(&bp)).then_some(TraceEnd::Complete),
            (cs, flags) => (mode(cs, flags)? == Mode::User).then_some(TraceEnd::User),
        }
    })
}

/// The code that was interrupted, with its registers at `at`.
fn interrupted<M: ReadPhys>(code: &Code<'_, M>, at: u64) -> Option<Step> {
    let (cs, flags) = (code.read_at(at, CS)?, code.read_at(at, FLAGS)?);
    let (ip, bp) = (code.read_at(at, IP)?, code.read_at(at, BP)?);
    match mode(cs, flags) {
        Some(Mode::User) => Some(Step::End(TraceEnd::User)),
        Some(Mode::Kernel) => {
            let sp = interrupted_sp(code, at)?;
            let trust = if ip == 0 || code.is_text(ip) { Trust::Sure } else { Trust::Guess };
            Some(Step::To(Place { trust, ..Place::at(ip, sp, bp) }))
        }
        // A kernel thread that has not run yet has no registers.
        None if [cs, flags, ip] == [0; 3] && is_top(at) => Some(Step::End(TraceEnd::Complete)),
        None => None,
    }
}

/// True for a `struct pt_regs` at the top of a task's stack.
fn is_top(at: u64) -> bool {
    let top = (at | (stack_size(EM_386) - 1)) + 1;
    PADDINGS.iter().any(|padding| at + REGISTERS + padding == top)
}

/// The stack pointer of the kernel's code whose registers are at `at`. The processor does not push
/// it: the stack goes on there, or where Linux says.
fn interrupted_sp<M: ReadPhys>(code: &Code<'_, M>, at: u64) -> Option<u64> {
    let saved = code.read_at(at, SP)?;
    let end = at.checked_add(REGISTERS)?;
    let is_moved = saved.checked_sub(end).is_some_and(|distance| distance <= MOVED);
    Some(if is_moved { saved } else { at.checked_add_signed(SP)? })
}

/// The caller of a function that has no frame of its own, or not yet, or no more: its return
/// address is on top of the stack. It is sure where the next instructions prove it.
fn without_frame<M: ReadPhys>(code: &Code<'_, M>, place: &Place) -> Option<Place> {
    let mut bytes = [0; 4];
    let at = place.ip.wrapping_sub(1);
    let has_code = code.is_text(place.ip) && code.memory.read(at, &mut bytes).is_ok();
    let (slot, trust) = match bytes {
        _ if place.ip == 0 => (place.sp, Trust::Sure),
        _ if !has_code => (place.sp, Trust::Guess),
        // push %ebp; mov %esp,%ebp: after the first.
        [0x55, 0x89, 0xe5, _] => (place.sp.checked_add(WORD)?, Trust::Sure),
        // Before both; a return.
        [_, 0x55, 0x89, 0xe5] | [_, 0xc3, ..] => (place.sp, Trust::Sure),
        _ => (place.sp, Trust::Guess),
    };
    // With a frame, this is that of the function itself.
    let has_frame = place.bp.checked_add(WORD) == Some(slot);
    let ip = code.read(slot).filter(|_| !has_frame)?;
    let trust = if code.returns(ip)? == Trust::Sure { trust } else { Trust::Guess };
    let next = Place::at(ip, slot.checked_add(WORD)?, place.bp);
    Some(Place { is_return: true, trust, ..next })
}
