//! AMD-Vi. (AMD I/O virtualization technology, 48882, section 3.4)

use crate::Clock;
use crate::driver::registers::Registers;
use crate::iommu::step::{SHORT_TIMEOUT, TIMEOUT, Trouble, Was, wait};

/// Bytes of registers, at a multiple of that. Those after them are counters.
pub(super) const LENGTH: u64 = 0x4000;

/// Offsets in bytes. Both have 64 bits, and the low halves have all of ours.
const CONTROL: usize = 0x18;
const STATUS: usize = 0x2020;

/// Control: the unit is on. Without it, addresses are physical and interrupts are not remapped.
const ON: u32 = 1;
/// Control: the commands' buffer is on.
const COMMANDS: u32 = 1 << 12;
/// Control: the logs of events, page requests and guests' interrupts are on, which the unit writes
/// to memory, and the interrupts of these and of commands.
const LOGS: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 28 | 1 << 29;
/// Status: the commands' buffer is running; a log is.
const COMMANDS_RUN: u32 = 1 << 4;
const LOGS_RUN: u32 = 1 << 3 | 1 << 7 | 1 << 8;
/// Status: bits that are always zero.
const NO_STATUS: u32 = 0xfff8_0000;

/// Turns the unit off: first its commands and logs, so that it writes nothing to memory any more.
pub(super) fn turn_off(registers: &mut impl Registers, clock: &dyn Clock) -> Result<Was, Trouble> {
    let status = registers.read(STATUS);
    if status & NO_STATUS != 0 {
        return Err(Trouble::Absent(status));
    }
    if registers.read(CONTROL) & ON == 0 {
        return Ok(Was::Off);
    }
    for (bits, run) in [(COMMANDS, COMMANDS_RUN), (LOGS, LOGS_RUN)] {
        clear(registers, bits);
        let has_stopped = || registers.read(STATUS) & run == 0;
        if wait(clock, SHORT_TIMEOUT, "stop", has_stopped).is_err() {
            log::warn!("an IOMMU's commands or logs do not stop; going on");
        }
    }
    clear(registers, ON);
    wait(clock, TIMEOUT, "turn translation off", || registers.read(CONTROL) & ON == 0)?;
    Ok(Was::On)
}

fn clear(registers: &mut impl Registers, bits: u32) {
    let control = registers.read(CONTROL);
    registers.write(CONTROL, control & !bits);
}
