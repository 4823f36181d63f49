//! The parameter block, which the loader fills in before purgatory is placed.

#![expect(unsafe_code, reason = "a symbol that the loader finds in the ELF image")]

use core::cell::UnsafeCell;
use handoff::PurgatoryParams;

#[repr(transparent)]
struct Block(UnsafeCell<PurgatoryParams>);
// SAFETY: it has no writer after the loader has filled it in.
unsafe impl Sync for Block {}

/// In `.data`, so that it is part of the file; in an `UnsafeCell`, so that the compiler does not
/// take the zeros that it sees for the final values.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.params")]
static PURGATORY_PARAMS: Block = Block(UnsafeCell::new(EMPTY));

const EMPTY: PurgatoryParams = zerocopy::transmute!([0_u8; size_of::<PurgatoryParams>()]);

/// The block as the loader left it, or damaged since.
pub(crate) fn get() -> &'static PurgatoryParams {
    // SAFETY: the block is initialised memory, every bit pattern is valid, and it has no writer.
    unsafe { &*PURGATORY_PARAMS.0.get() }
}
