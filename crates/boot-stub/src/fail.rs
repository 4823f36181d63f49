//! The end of an image that cannot go on.

#![expect(unsafe_code, reason = "the symbol that images define for their failure action")]

use crate::console::{self, current_stage, println};
use core::panic::PanicInfo;

unsafe extern "C" {
    fn kernel_failed() -> !;
}

/// Does the image's failure action, as named in [`crate::entry!`].
pub fn fail() -> ! {
    // SAFETY: defined by `entry!` with this signature; it takes nothing and never returns.
    unsafe { kernel_failed() }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::release();
    println!("kdump: internal error at stage={}: {}", current_stage(), info);
    fail()
}
