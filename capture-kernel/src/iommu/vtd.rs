//! Intel VT-d. (Specification 4.1, chapter 11)

use crate::Clock;
use crate::driver::registers::Registers;
use crate::iommu::step::{SHORT_TIMEOUT, TIMEOUT, Trouble, Was, wait};

/// Bytes of registers, at a multiple of that. Those after them are not used.
pub(super) const LENGTH: u64 = 4096;

/// Offsets in bytes. Capabilities, head and tail have 64 bits, and the low halves have all of ours.
mod register {
    pub(super) const VERSION: usize = 0x00;
    pub(super) const CAPABILITIES: usize = 0x08;
    pub(super) const COMMAND: usize = 0x18;
    pub(super) const STATUS: usize = 0x1c;
    pub(super) const PROTECTED_MEMORY: usize = 0x64;
    pub(super) const QUEUE_HEAD: usize = 0x80;
    pub(super) const QUEUE_TAIL: usize = 0x88;
}

/// Major and minor version, four bits each; the other bits are zero.
const VERSIONS: core::ops::Range<u32> = 0x10..0x100;
/// Capabilities: a low or a high region of memory can be protected.
const CAN_PROTECT: u32 = 1 << 5 | 1 << 6;
/// Command and status: translation is on, the queue of invalidations is on.
const TRANSLATION: u32 = 1 << 31;
const QUEUE: u32 = 1 << 26;
/// Status bits that are states, and not commands that are done once. Each write of the command
/// register repeats them.
const STATES: u32 = 0x96ff_ffff;
/// Protected memory: on, and its status.
const PROTECT: u32 = 1 << 31;
const IS_PROTECTED: u32 = 1;

/// Turns translation off.
///
/// Interrupts stay remapped: a device's message would be another interrupt without. Nothing in
/// memory was changed, so that no write buffer needs a flush.
pub(super) fn turn_off(registers: &mut impl Registers, clock: &dyn Clock) -> Result<Was, Trouble> {
    let version = registers.read(register::VERSION);
    if !VERSIONS.contains(&version) {
        return Err(Trouble::Absent(version));
    }
    let was = if registers.read(register::STATUS) & TRANSLATION == 0 { Was::Off } else { Was::On };
    if was == Was::On {
        clear(registers, TRANSLATION);
        let is_off = || registers.read(register::STATUS) & TRANSLATION == 0;
        wait(clock, TIMEOUT, "turn translation off", is_off)?;
    }
    release_memory(registers, clock)?;
    // It writes to memory when a request is done, but only for requests of the dead kernel.
    if stop_queue(registers, clock).is_err() {
        log::warn!("an IOMMU's queue of invalidations does not stop; going on");
    }
    Ok(was)
}

/// Clears one bit of the command register.
fn clear(registers: &mut impl Registers, bit: u32) {
    let states = registers.read(register::STATUS) & STATES;
    registers.write(register::COMMAND, states & !bit);
}

/// Lets devices reach protected memory, as firmware leaves it before a measured launch.
fn release_memory(registers: &mut impl Registers, clock: &dyn Clock) -> Result<(), Trouble> {
    if registers.read(register::CAPABILITIES) & CAN_PROTECT == 0 {
        return Ok(());
    }
    let state = registers.read(register::PROTECTED_MEMORY);
    if state & (PROTECT | IS_PROTECTED) == 0 {
        return Ok(());
    }
    registers.write(register::PROTECTED_MEMORY, state & !PROTECT);
    let is_free = || registers.read(register::PROTECTED_MEMORY) & IS_PROTECTED == 0;
    wait(clock, TIMEOUT, "release protected memory", is_free)
}

/// Waits for the dead kernel's invalidations, and stops their queue.
fn stop_queue(registers: &mut impl Registers, clock: &dyn Clock) -> Result<(), Trouble> {
    const STEP: &str = "stop its queue";
    if registers.read(register::STATUS) & QUEUE == 0 {
        return Ok(());
    }
    let tail = |registers: &dyn Registers| registers.read(register::QUEUE_TAIL);
    let is_empty = || registers.read(register::QUEUE_HEAD) == tail(registers);
    wait(clock, SHORT_TIMEOUT, STEP, is_empty)?;
    clear(registers, QUEUE);
    wait(clock, SHORT_TIMEOUT, STEP, || registers.read(register::STATUS) & QUEUE == 0)
}
