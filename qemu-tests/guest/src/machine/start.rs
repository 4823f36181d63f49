//! The life of the guest, from its first instruction to the crash.

#![expect(unsafe_code, reason = "all of memory is taken")]

use crate::machine::command_line::CommandLine;
use crate::machine::multiboot::Multiboot;
use crate::machine::{cpu, crash, edu, heap, lone_bytes, memory, nmi, slot, smp};
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
    // SAFETY: the boot loader's data there is not used any more.
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
