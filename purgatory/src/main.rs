//! Purgatory: it runs between the dead kernel and the capture kernel (paper, section 3.2).
//!
//! Known on entry: protected mode, flat segments, paging and interrupts off, and nothing else; the
//! IDT has no entries. Owed on exit: every region of the slot has the digest that the loader took,
//! low memory is in the backup region, ESI holds boot_params.
//!
//! It reads the regions that [`PurgatoryParams`] names and writes the backup region and its own
//! stack and bss. If anything does not match, it touches no other memory, reports the difference
//! and ends.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("purgatory is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
