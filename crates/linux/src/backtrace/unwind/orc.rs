//! Steps by unwind tables: x86_64 (Linux: `arch/x86/kernel/unwind_orc.c`).

use super::code::{Before, Code};
use super::layout::{Base, Entry, HEADER, Kind, Layout};
use super::place::{Mode, Place, Step, mode};
use super::table::Table;
use crate::{Symbol, Symbols, TraceEnd, Trust};
use vmcore::ReadPhys;

/// Length of a word in bytes.
const WORD: u64 = 8;
/// Offsets in `struct pt_regs`: bp; from here on what the processor pushes; after it, the offset of
/// cs, of flags and of sp.
const BP: u64 = 32;
const IP: u64 = 128;
const CS: i64 = 8;
const FLAGS: i64 = 16;
const SP: i64 = 24;
/// The lowest address of the kernel.
const KERNEL: u64 = 1 << 63;
/// Most bytes of the frame of `__crash_kexec`, which has a `struct pt_regs` in it, and of its code.
const CRASH_FRAME: u64 = 1024;
const CRASH_CODE: u64 = 4096;

/// The frame of a function that sets up bp. BPF programs and trampolines do.
const WITH_BP: Entry = Entry {
    sp: Base::Bp,
    sp_offset: 16,
    bp: Base::PreviousSp,
    bp_offset: -16,
    kind: Kind::Call,
    is_signal: false,
};
/// The frame of a function whose first instruction is next.
const AT_START: Entry =
    Entry { sp: Base::Sp, sp_offset: 8, bp: Base::Undefined, bp_offset: 0, ..WITH_BP };

/// The unwind tables of a kernel.
#[derive(Debug)]
pub(super) struct Orc {
    layout: &'static Layout,
    kernel: Table,
    crash_kexec: Option<u64>,
}

impl Orc {
    /// Finds the tables. [`None`] if the kernel has none, or of a layout that is not known; this is
    /// reported.
    pub(super) fn find<M: ReadPhys>(
        code: &Code<'_, M>,
        vmcoreinfo: &[u8],
        symbols: &Symbols,
    ) -> Option<Self> {
        let get = |symbol| symbols.get(symbol);
        let found = || {
            let addresses = [get(Symbol::OrcIp)?, get(Symbol::OrcIpEnd)?];
            Table::between(addresses, [get(Symbol::Orc)?, get(Symbol::OrcEnd)?])
        };
        let Some(kernel) = found() else {
            log::warn!(
                "backtraces: the dead kernel's unwind tables are not known: frames are guesses"
            );
            return None;
        };
        let mut header = [0; HEADER];
        let header = get(Symbol::OrcHeader)
            .and_then(|at| code.memory.read(at, &mut header).ok())
            .map(|()| header);
        let layout = match header {
            Some(header) => Layout::of_header(header),
            None => Layout::of_release(vmcoreinfo),
        };
        let layout = layout.filter(|layout| kernel.has(code.memory, layout));
        if layout.is_none() {
            log::warn!(
                "backtraces: the layout of the dead kernel's unwind tables is not known, or they are \
                 damaged: frames are guesses"
            );
        }
        Some(Self { layout: layout?, kernel, crash_kexec: get(Symbol::CrashKexec) })
    }

    /// The caller of the function at `place`, or the one that it interrupted. [`None`] if it cannot
    /// be found.
    pub(super) fn step<M: ReadPhys>(&self, code: &Code<'_, M>, place: &Place) -> Option<Step> {
        // A call may be the last instruction of a function.
        let ip = place.ip.checked_sub(place.is_return.into())?;
        if ip == 0 {
            return go(code, place, &AT_START);
        }
        let table = if code.is_kernel(ip) {
            self.kernel
        } else if let Some(module) = code.modules.find(ip) {
            let orc = code.modules.orc(code.memory, module).ok()??;
            Table::new(orc.ip, orc.entries, orc.count)?
        } else {
            return outside(code, place);
        };
        let (at, bytes) = table.find(code.memory, ip)?;
        if let Some(start) = self.crash_kexec
            && at <= start
            && (start..start.saturating_add(CRASH_CODE)).contains(&ip)
        {
            return leave_crash_kexec(code, place, start);
        }
        let entry = self.layout.decode(bytes)?;
        go(code, place, &entry)
    }
}

/// The step out of code that is neither the kernel's nor a module's: a BPF program, a trampoline,
/// or a wrong address that was called.
fn outside<M: ReadPhys>(code: &Code<'_, M>, place: &Place) -> Option<Step> {
    let place = Place { trust: Trust::Guess, ..*place };
    let called = || go(code, &place, &AT_START).filter(|_| !place.is_return);
    called().or_else(|| go(code, &place, &WITH_BP))
}

/// The step out of `__crash_kexec`, which is at `start` and has no entries: its caller called it,
/// and bp is still that of the caller.
fn leave_crash_kexec<M: ReadPhys>(code: &Code<'_, M>, place: &Place, start: u64) -> Option<Step> {
    let slots = (place.sp..place.sp.checked_add(CRASH_FRAME)?).step_by(WORD as usize);
    for slot in slots {
        let ip = code.read(slot)?;
        if code.is_text(ip) && code.before(ip) == Before::Direct(start) {
            let next = Place { ip, sp: slot + WORD, is_return: true, registers: None, ..*place };
            return Some(Step::To(next));
        }
    }
    None
}

/// The step that an entry describes.
fn go<M: ReadPhys>(code: &Code<'_, M>, place: &Place, entry: &Entry) -> Option<Step> {
    let next = match entry.kind {
        Kind::Undefined => return None,
        Kind::End => return Some(Step::End(TraceEnd::Complete)),
        Kind::Call => Step::To(call(code, place, top(code, place, entry)?)?),
        Kind::Registers => {
            let registers = top(code, place, entry)?;
            let place = Place { registers: Some(registers), ..*place };
            interrupted(code, &place, registers.checked_add(IP)?)?
        }
        Kind::Partial => interrupted(code, place, top(code, place, entry)?)?,
    };
    let Step::To(next) = next else { return Some(next) };
    let bp = match entry.bp {
        Base::Undefined => match next.registers {
            Some(registers) => code.read(registers.checked_add(BP)?)?,
            None => place.bp,
        },
        Base::PreviousSp => code.read_at(top(code, place, entry)?, entry.bp_offset.into())?,
        Base::Bp => code.read_at(place.bp, entry.bp_offset.into())?,
        _ => return None,
    };
    // The code is right if an entry disagrees with it.
    let is_return = match entry.kind {
        Kind::Call => true,
        _ => !entry.is_signal && code.returns(next.ip) == Some(Trust::Sure),
    };
    Some(Step::To(Place { bp, is_return, ..next }))
}

/// The stack pointer of the caller, or the place of saved registers.
fn top<M: ReadPhys>(code: &Code<'_, M>, place: &Place, entry: &Entry) -> Option<u64> {
    let offset = i64::from(entry.sp_offset);
    match entry.sp {
        Base::Sp => place.sp.checked_add_signed(offset),
        Base::Bp => place.bp.checked_add_signed(offset),
        Base::AtSp => code.read(place.sp)?.checked_add_signed(offset),
        Base::AtBp => code.read_at(place.bp, offset),
        Base::Saved(register) => code.read(place.registers?.checked_add(register)?),
        Base::Undefined | Base::PreviousSp => None,
    }
}

/// The caller, whose stack pointer is `sp`.
fn call<M: ReadPhys>(code: &Code<'_, M>, place: &Place, sp: u64) -> Option<Place> {
    let ip = code.read(sp.checked_sub(WORD)?)?;
    let trust = match code.returns(ip) {
        Some(trust) => trust,
        None if ip >= KERNEL && code.before(ip).is_call() => Trust::Guess,
        None => return None,
    };
    let trust = if trust == Trust::Sure { place.trust } else { trust };
    Some(Place { ip, sp, trust, registers: None, ..*place })
}

/// The code that was interrupted: the processor pushed its registers at `at`.
fn interrupted<M: ReadPhys>(code: &Code<'_, M>, place: &Place, at: u64) -> Option<Step> {
    match mode(code.read_at(at, CS)?, code.read_at(at, FLAGS)?)? {
        Mode::User => Some(Step::End(TraceEnd::User)),
        Mode::Kernel => {
            let (ip, sp) = (code.read(at)?, code.read_at(at, SP)?);
            let trust = if ip == 0 || code.is_text(ip) { place.trust } else { Trust::Guess };
            Some(Step::To(Place { ip, sp, trust, ..*place }))
        }
    }
}
