//! The time base: the time stamp counter, calibrated once on channel 2 of the PIT.

#![expect(unsafe_code, reason = "rdtsc and port I/O")]

use x86::io;

/// PIT input clock in Hz.
const PIT_HZ: u64 = 1_193_182;
/// PIT clocks of one calibration (1 ms).
const CALIBRATION: u16 = 1193;
/// Number of calibrations. A host that lets a virtual CPU wait makes some of them too long.
const CALIBRATIONS: u32 = 5;
/// Most reads of the PIT's output before calibration is given up: at about 1 µs a read, a hundred
/// times the expected number.
const MOST_POLLS: u32 = 100_000;
/// Ticks per millisecond to count with where the PIT does not answer: the fastest CPU we expect, so
/// that a wait is rather too long than too short.
pub const FALLBACK: u64 = 5_000_000;

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
/// Bit 0 gates channel 2, bit 1 is the speaker, bit 5 shows the channel's output.
const PORT_B: u16 = 0x61;
/// Value of a port at which no device answers.
const NOTHING_THERE: u8 = 0xff;

/// The time stamp counter, in ticks.
pub fn now() -> u64 {
    // SAFETY: every CPU with PAE has a TSC, and reading it has no effect.
    unsafe { x86::time::rdtsc() }
}

/// Waits until `is_done` says so, for at most `ticks`; false when it did not in that time.
pub fn wait(ticks: u64, mut is_done: impl FnMut() -> bool) -> bool {
    let start = now();
    loop {
        // Time is read first: a CPU that was stopped in between asks once more before it gives up.
        let waited = now().wrapping_sub(start);
        if is_done() {
            return true;
        }
        if waited >= ticks {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Ticks of the time stamp counter in a millisecond, measured against the PIT (about 5 ms): the
/// shortest of several measurements. [`None`] when the PIT does not answer, or there is no port to
/// see its output at (QEMU's microvm).
pub fn calibrate() -> Option<u64> {
    shortest_of(CALIBRATIONS)
}

/// The same by a single measurement (about 1 ms), which may be too large.
pub fn measure_once() -> Option<u64> {
    shortest_of(1)
}

fn shortest_of(count: u32) -> Option<u64> {
    // SAFETY: reading the port has no effect.
    let port_b = unsafe { io::inb(PORT_B) };
    if port_b == NOTHING_THERE {
        return None;
    }
    let shortest = (0..count).try_fold(u64::MAX, |ticks, _| Some(ticks.min(measure(port_b)?)));
    shortest.map(|ticks| (ticks.saturating_mul(PIT_HZ) / u64::from(CALIBRATION) / 1000).max(1))
}

/// Ticks while channel 2 counts down once; `port_b` is the value that was read there.
fn measure(port_b: u8) -> Option<u64> {
    // SAFETY: channel 2 drives nothing but the speaker, which stays off.
    unsafe {
        let port_b = port_b & 0b1111_1100;
        io::outb(PORT_B, port_b | 1);
        io::outb(COMMAND, 0b1011_0000); // channel 2, low then high byte, mode 0
        io::outb(CHANNEL_2, CALIBRATION as u8);
        io::outb(CHANNEL_2, (CALIBRATION >> 8) as u8);
        let start = now();
        let finished = (0..MOST_POLLS).any(|_| io::inb(PORT_B) & (1 << 5) != 0);
        let ticks = now().wrapping_sub(start);
        io::outb(PORT_B, port_b);
        finished.then_some(ticks)
    }
}
