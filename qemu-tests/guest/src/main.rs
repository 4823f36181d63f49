//! The test guest: a first kernel that boots by multiboot, starts all CPUs, dies and jumps into the
//! slot.
//!
//! Command line: see [`CommandLine`](command_line::CommandLine). What the slot holds comes from a
//! slot image that the guest unpacks and seals, or was placed there by the host.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod command_line;
#[cfg(target_os = "none")]
mod core_header;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod io_apic;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod multiboot;
#[cfg(target_os = "none")]
mod note;
#[cfg(target_os = "none")]
mod slot;
#[cfg(target_os = "none")]
mod smp;

#[cfg(target_os = "none")]
mod guest {
    #![expect(unsafe_code, reason = "all of memory is taken")]

    use crate::command_line::CommandLine;
    use crate::multiboot::Multiboot;
    use crate::{crash, heap, memory, slot, smp};
    use boot_stub::console::{self, println};
    use boot_stub::{exceptions, power};

    boot_stub::entry!(main, failed);

    fn main(magic: u32, information: u32) -> ! {
        exceptions::init();
        heap::start();
        console::init(console::COM1);
        println!("{}", crash::GUEST_BANNER);
        match boot(magic, information) {
            Ok(entry) => crash::guest_panic(entry),
            Err(reason) => {
                println!("guest: {reason}");
                failed()
            }
        }
    }

    /// Takes the machine over; returns purgatory's entry.
    fn boot(magic: u32, information: u32) -> Result<u32, &'static str> {
        let multiboot = Multiboot::new(magic, information).ok_or("no multiboot loader")?;
        let line = multiboot.command_line().ok_or("no command line")?;
        let line = CommandLine::parse(line)?;
        let entry = match line.entry {
            Some(entry) => entry,
            None => slot::load(multiboot, &line)?,
        };
        // SAFETY: what the boot loader left there is not looked at any more.
        unsafe { memory::fill(multiboot, &line.slot) };
        smp::start(line.cpus, line.deaf)?;
        Ok(entry)
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
