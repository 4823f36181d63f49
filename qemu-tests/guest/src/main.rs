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
mod cpu;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod death;
#[cfg(target_os = "none")]
mod edu;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod interrupt;
#[cfg(target_os = "none")]
mod io_apic;
#[cfg(target_os = "none")]
mod lone_bytes;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod multiboot;
#[cfg(target_os = "none")]
mod nmi;
#[cfg(target_os = "none")]
mod note;
#[cfg(target_os = "none")]
mod role;
#[cfg(target_os = "none")]
mod slot;
#[cfg(target_os = "none")]
mod smp;

#[cfg(target_os = "none")]
mod guest {
    #![expect(unsafe_code, reason = "all of memory is taken")]

    use crate::command_line::CommandLine;
    use crate::multiboot::Multiboot;
    use crate::{cpu, crash, edu, heap, lone_bytes, memory, nmi, slot, smp};
    use boot_stub::console::{self, println};
    use boot_stub::power;

    boot_stub::entry!(main, failed);

    fn main(magic: u32, information: u32) -> ! {
        heap::start();
        console::init(console::COM1);
        println!("{}", crash::GUEST_BANNER);
        cpu::leave_boot_stack(live, magic, information)
    }

    extern "C" fn live(magic: u32, information: u32) -> ! {
        match boot(magic, information) {
            Ok(()) => smp::crash(),
            Err(reason) => {
                println!("guest: {reason}");
                failed()
            }
        }
    }

    /// Takes the machine over and makes it ready to crash.
    fn boot(magic: u32, information: u32) -> Result<(), &'static str> {
        lone_bytes::scatter();
        let mut window = cpu::start_first();
        let multiboot = Multiboot::new(magic, information).ok_or("no multiboot loader")?;
        let line = multiboot.command_line().ok_or("no command line")?;
        let line = CommandLine::parse(line)?;
        let entry = match line.entry {
            Some(entry) => entry,
            None => slot::load(multiboot, &line)?,
        };
        // SAFETY: what the boot loader left there is not looked at any more.
        unsafe { memory::fill(multiboot, &line.slot, &mut window) };
        crash::prepare(entry);
        line.death.choose();
        line.roles.assign(line.cpus)?;
        smp::start(line.cpus)?;
        if line.ignore_nmi {
            nmi::ignore_one()?;
        }
        // SAFETY: the pattern in that page is all that can be lost.
        unsafe { edu::start(line.edu.into_iter().flatten()) }
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
