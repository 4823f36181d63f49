//! The test guest: a first kernel that boots by multiboot, starts all CPUs, dies and jumps into the
//! slot.
//!
//! Command line: see [`CommandLine`](machine::command_line::CommandLine). The slot's contents come
//! from a slot image that the guest unpacks and seals, or the host has placed them there.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the guest is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
