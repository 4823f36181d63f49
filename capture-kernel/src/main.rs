//! The capture kernel: it runs in the slot after the death of the first kernel.
//!
//! Known on entry: the 32-bit Linux boot protocol, nothing else (`boot-stub/asm/linux.S`). Owed on
//! exit: the dump is on the target and marked complete, or the console says at which stage it went
//! wrong and why; nothing outside the slot was written; then the final or the failure action.

#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the capture kernel is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
