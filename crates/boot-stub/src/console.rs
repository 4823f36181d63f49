//! The console: one 16550 that is written to by polling, and the stage lines.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use handoff::Stage;
use handoff::stage::{LINE_PREFIX, POST_PORT};
use spin::Once;
use x86::io;

use crate::uart::{self, Uart};

pub use crate::uart::COM1;

/// I/O port of the 16550, or zero for silence.
static PORT: AtomicU16 = AtomicU16::new(0);
/// POST code of the stage that was reached last.
static STAGE: AtomicU8 = AtomicU8::new(0);
/// True if the last bytes on the line were no text.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The owner of held text.
static HOLD: Once<Hold> = Once::new();

/// A place for text that is not to be printed yet.
pub struct Hold {
    /// Takes the beginning of a text; returns the number of bytes taken, zero after a release.
    pub add: fn(&[u8]) -> usize,
    /// Hands all bytes that it has taken to the one who prints.
    pub release: fn(&mut dyn FnMut(u8)),
}

/// Number of polls for an empty transmitter before the console is given up for good. A port read
/// takes about 1 µs, so this is some two seconds, once: a byte is gone in 87 µs at 115200 baud, but
/// a virtual port may stand still for long while its host is busy.
const MOST_POLLS: u32 = 2_000_000;

/// Takes the 16550 at I/O `port` for all output, with interrupts off, 115200 baud, 8N1.
/// Port zero means silence.
pub fn init(port: u16) {
    PORT.store(port, Ordering::Relaxed);
    if port != 0 {
        Uart { port }.configure(uart::FASTEST);
    }
}

/// I/O port of the console, or zero.
pub fn port() -> u16 {
    PORT.load(Ordering::Relaxed)
}

/// Tells that something that is no text went out over the console's line: the next text begins a
/// line.
pub fn interrupted() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on text goes to `hold`, but for the lines of [`stage`], until [`release`] is called or
/// `hold` takes no more. An image that has called this calls `release` before it waits for
/// anything, and in its failure action.
pub fn hold(hold: Hold) {
    HOLD.call_once(|| hold);
}

/// Prints the text that was held back, if there is any. From now on text is printed at once.
pub fn release() {
    if let Some(hold) = HOLD.get() {
        (hold.release)(&mut put_text);
    }
}

/// Announces `stage`: one line on the console, its code on the POST port. The line is never held
/// back.
pub fn stage(stage: Stage) {
    STAGE.store(stage.code(), Ordering::Relaxed);
    post(stage.code());
    let tsc = crate::tsc::now();
    // Our own `write_str` never fails.
    let _ = writeln!(AtOnce, "{LINE_PREFIX}{stage} tsc={tsc}");
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
        let held = HOLD.get().map_or(0, |hold| (hold.add)(text.as_bytes()));
        match text.as_bytes().get(held..) {
            None | Some([]) => Ok(()),
            Some(rest) => {
                release();
                rest.iter().copied().for_each(put_text);
                Ok(())
            }
        }
    }
}

/// The console, past what is held back.
struct AtOnce;

impl Write for AtOnce {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put_text);
        Ok(())
    }
}

/// Sends a byte of text.
fn put_text(byte: u8) {
    if INTERRUPTED.swap(false, Ordering::Relaxed) {
        put(b'\r');
        put(b'\n');
    }
    if byte == b'\n' {
        put(b'\r');
    }
    put(byte);
}

/// Sends one byte, or silences the console for good when the 16550 does not take it in time: a dead
/// console must not hang the capture.
fn put(byte: u8) {
    let port = PORT.load(Ordering::Relaxed);
    if port == 0 {
        return;
    }
    let uart = Uart { port };
    for _ in 0..MOST_POLLS {
        if uart.can_send() {
            uart.put(byte);
            return;
        }
    }
    PORT.store(0, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "port I/O")]
fn post(code: u8) {
    // SAFETY: the POST port only shows the value that is written to it.
    unsafe { io::outb(POST_PORT, code) }
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
