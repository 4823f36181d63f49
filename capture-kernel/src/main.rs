//! The capture kernel: what runs in the slot when the first kernel is dead.
//!
//! Known on entry: the 32-bit Linux boot protocol, nothing else (`boot-stub/asm/linux.S`). Owed on
//! exit: the dump is on the target and marked complete, or the console says at which stage it went
//! wrong and why; nothing outside the slot was written; then the final or the failure action.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod action;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod com_port;
#[cfg(target_os = "none")]
mod devices;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod mmio_bus;
#[cfg(target_os = "none")]
mod oldmem;
#[cfg(target_os = "none")]
mod pci_bus;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod time;
#[cfg(target_os = "none")]
mod truth;
#[cfg(target_os = "none")]
mod views;
#[cfg(target_os = "none")]
mod watchdog;

#[cfg(target_os = "none")]
mod kernel {
    use crate::action::on_failure;
    use crate::time::Tsc;
    use crate::{action, boot, devices, heap, oldmem, truth, views, watchdog};
    use boot_stub::console::{self, println};
    use boot_stub::exceptions;
    use cmdline::Options;
    use handoff::Stage;

    boot_stub::entry!(main, on_failure);

    fn main(boot_params: u32, physical_minus_virtual: u32) -> ! {
        // First, because an NMI that finds no descriptor table resets the machine.
        exceptions::init();
        console::init(console::COM1);
        let machine = boot::take_machine(physical_minus_virtual);
        console::stage(Stage::CaptureEntry);

        let boot = boot::Parameters::read(boot_params, machine.image);
        let options =
            Options::parse(&boot.command_line, &mut |problem| println!("kdump: {problem}"));
        action::set(&options);
        let header = boot::core_header(&options);
        let slot = heap::start(&options, &boot, machine.slot_memory, header.as_ref());
        console::stage(Stage::Memory);

        let clock = Tsc::find(options.tsc_khz);
        watchdog::start(options.timeout, &clock);
        let ram = boot.ram(&options, header.as_ref());
        let mut buses = devices::Buses::quiet(&options, ram, &clock);
        console::stage(Stage::Quiesced);
        truth::kdump_truth_quiesced();

        let holes = buses.unplugged(&options, &boot.ours(&options, slot), slot, &clock);
        let holes = oldmem::leave_out(holes);
        boot.map_large(&options, header.as_ref(), holes);
        let dump = views::read(&options, &boot, header.as_ref(), holes);
        console::stage(Stage::Views);
        let mut finder = devices::Finder::new(&options, buses, slot, &clock);
        match finder.deliver(&options.targets, &dump, &mut console::stage) {
            Ok(()) => {
                console::stage(Stage::Done);
                println!("kdump: dump complete, {} bytes", dump.length());
            }
            Err(failure) => action::give_up(failure),
        }
        action::finish()
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the capture kernel is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
