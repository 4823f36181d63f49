//! Pages of zeros with a single byte in them, each at another place of a line: a search for zeros
//! in memory must not miss one.

use core::hint::black_box;
use core::sync::atomic::{AtomicU8, Ordering};

/// Words of a line.
const WORDS: usize = 16;
/// Bytes of a line.
const LINE: usize = 64;
const PAGE: usize = 4096;
/// Distance between two such pages: so many zeros follow each that they are not sent.
const STRIDE: usize = 8 * PAGE;

/// Their address.
#[repr(align(4096))]
struct Memory([AtomicU8; WORDS * STRIDE]);

static MEMORY: Memory = Memory([const { AtomicU8::new(0) }; WORDS * STRIDE]);

/// Sets the bytes: for each word of a line one, in a line of its own.
pub(crate) fn scatter() {
    for word in 0..WORDS {
        let line = 4 * word + 1;
        let at = word * STRIDE + 4 * PAGE + line * LINE + 4 * word + word % 4;
        MEMORY.0[at].store(0x80 >> (word % 8), Ordering::Relaxed);
    }
    // No code in the guest reads the bytes: without this the compiler would drop the stores.
    black_box(&MEMORY);
}
