//! Ways to end: halt, reset, ACPI power-off.

#![expect(unsafe_code, reason = "port I/O and the halt instruction")]

use x86::io;

/// Polls of the keyboard controller before its input buffer is taken as empty.
const MOST_POLLS: u32 = 10_000;

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: an NMI wakes the CPU, or an interrupt where these are on; the loop halts it
        // again.
        unsafe { x86::halt() }
    }
}

/// Resets the machine: the reset control register, the keyboard controller, then a triple fault.
pub fn reset() -> ! {
    // SAFETY: these ports reset the machine, as the caller wants.
    unsafe {
        io::outb(0xcf9, 0x02);
        io::outb(0xcf9, 0x06);
        settle();
        for _ in 0..MOST_POLLS {
            if io::inb(0x64) & 2 == 0 {
                break;
            }
        }
        io::outb(0x64, 0xfe);
        settle();
        crate::gates::forget();
        core::arch::asm!("ud2", options(noreturn))
    }
}

/// Powers the machine off through the ACPI PM1a control register at I/O `port`, with the sleep type
/// of the S5 state. Returns when the machine is still there after a while.
pub fn power_off(port: u16, sleep_type: u8) {
    const SLEEP_ENABLE: u16 = 1 << 13;
    // SAFETY: the port and the value come from the firmware's tables, as the loader found them.
    unsafe { io::outw(port, SLEEP_ENABLE | (u16::from(sleep_type & 7) << 10)) };
    settle();
}

/// Gives the chipset time to act: some tens of milliseconds of port reads.
fn settle() {
    for _ in 0..20 * MOST_POLLS {
        // SAFETY: reading port 0x61 has no effect.
        let _ = unsafe { io::inb(0x61) };
    }
}
