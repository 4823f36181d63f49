//! The console: one 16550 that is written to by polling, and the stage lines.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use handoff::Stage;
use handoff::stage::{LINE_PREFIX, POST_PORT};
use x86::io;

/// COM1 of every PC.
pub const COM1: u16 = 0x3f8;

/// I/O port of the 16550, or zero for silence.
static PORT: AtomicU16 = AtomicU16::new(0);
/// POST code of the stage that was reached last.
static STAGE: AtomicU8 = AtomicU8::new(0);

/// How often the transmitter is asked whether it is empty before the console is given up. At 115200
/// baud a byte takes 87 µs, and a port read about 1 µs: this is about a second. A virtual machine's
/// console can stand still that long, while the program that reads it has to wait for a CPU.
const PATIENCE: u32 = 1_000_000;

mod register {
    pub(super) const DATA: u16 = 0;
    pub(super) const INTERRUPT_ENABLE: u16 = 1;
    pub(super) const FIFO_CONTROL: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const MODEM_CONTROL: u16 = 4;
    pub(super) const LINE_STATUS: u16 = 5;
}

/// Line status: the transmitter holding register is empty.
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Takes the 16550 at I/O `port` for all output, with interrupts off, 115200 baud, 8N1.
/// Port zero means silence.
pub fn init(port: u16) {
    PORT.store(port, Ordering::Relaxed);
    if port == 0 {
        return;
    }
    let setup = [
        (register::INTERRUPT_ENABLE, 0x00),
        (register::LINE_CONTROL, 0x80),     // divisor latch
        (register::DATA, 0x01),             // 115200 baud
        (register::INTERRUPT_ENABLE, 0x00), // divisor, high byte
        (register::LINE_CONTROL, 0x03),     // 8N1
        (register::FIFO_CONTROL, 0x07),     // on and empty
        (register::MODEM_CONTROL, 0x03),    // DTR, RTS
    ];
    for (offset, value) in setup {
        out(port + offset, value);
    }
}

/// Announces `stage`: one line on the console, its code on the POST port.
pub fn stage(stage: Stage) {
    STAGE.store(stage.code(), Ordering::Relaxed);
    out(POST_PORT, stage.code());
    println!("{LINE_PREFIX}{stage} tsc={}", crate::tsc::now());
}

/// Name of the stage that was announced last.
pub fn current_stage() -> &'static str {
    Stage::from_code(STAGE.load(Ordering::Relaxed).into()).map_or("none", Stage::name)
}

/// The stage that was announced last, if there was one.
pub fn last_stage() -> Option<Stage> {
    Stage::from_code(STAGE.load(Ordering::Relaxed).into())
}

/// Writes formatted text to the console. Use [`crate::print!`] and [`crate::println!`].
pub fn write(text: fmt::Arguments<'_>) {
    // Our own `write_str` never fails.
    let _ = Console.write_fmt(text);
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

/// Sends one byte, or silences the console for good when the 16550 does not take it in time: a dead
/// console must not hang the capture.
fn put(byte: u8) {
    let port = PORT.load(Ordering::Relaxed);
    if port == 0 {
        return;
    }
    for _ in 0..PATIENCE {
        if input(port + register::LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
            out(port + register::DATA, byte);
            return;
        }
    }
    PORT.store(0, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "port I/O")]
fn out(port: u16, value: u8) {
    // SAFETY: only the 16550's registers and the POST port are written; neither touches memory.
    unsafe { io::outb(port, value) }
}

#[expect(unsafe_code, reason = "port I/O")]
fn input(port: u16) -> u8 {
    // SAFETY: reading a 16550 register touches no memory.
    unsafe { io::inb(port) }
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::write(format_args!($($arg)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::write(format_args!("{}\n", format_args!($($arg)*))) };
}

pub use crate::{print, println};
