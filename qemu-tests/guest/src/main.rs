//! The test guest: a first kernel that boots by multiboot, dies at once and jumps into the slot.
//!
//! Command line: `kdump.entry=0xADDR`, the physical address of purgatory's entry. What the slot
//! holds was placed there by the host.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod multiboot;

#[cfg(target_os = "none")]
mod guest {
    use crate::{crash, multiboot};
    use boot_stub::console::{self, println};
    use boot_stub::{exceptions, power};

    boot_stub::entry!(main, failed);

    fn main(magic: u32, information: u32) -> ! {
        exceptions::init();
        console::init(console::COM1);
        println!("{}", crash::GUEST_BANNER);
        let Some(entry) = multiboot::command_line(magic, information).and_then(crash::entry_of)
        else {
            println!("guest: no kdump.entry=0xADDR on the command line: nowhere to jump to");
            failed()
        };
        crash::guest_panic(entry)
    }

    fn failed() -> ! {
        println!("guest: failed");
        power::reset()
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the guest is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
