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
mod watchdog;

#[cfg(target_os = "none")]
mod kernel {
    use crate::action::on_failure;
    use crate::time::Tsc;
    use crate::{action, boot, devices, heap, oldmem, truth, watchdog};
    use boot_stub::console::{self, println};
    use boot_stub::{exceptions, paging};
    use capture_kernel::dma::SlotMemory;
    use capture_kernel::target::Target;
    use capture_kernel::{Failure, pump};
    use dumpfile::Contents;
    use handoff::Stage;
    use vmcore::{CoreHeader, Options, PhysRange, View, ViewSpec};

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

        let clock = Tsc::calibrated();
        watchdog::start(options.timeout, &clock);
        let ram = boot.ram(&options, header.as_ref());
        let mut buses = devices::Buses::quiet(&options, ram, &clock);
        let target = devices::open_target(&mut buses, &options, slot, &clock);
        console::stage(Stage::Quiesced);
        truth::kdump_truth_quiesced();

        let view = match options.view {
            ViewSpec::Vmcore => header.and_then(|header| read_vmcore(&header)),
            ViewSpec::OldMem(range) => read_oldmem(&options, &boot, header.as_ref(), range),
        };
        console::stage(Stage::Views);
        let contents = contents(options.view);
        match target.and_then(|mut target| capture(view, contents, slot, &mut target)) {
            Ok(length) => println!("kdump: dump complete, {length} bytes"),
            Err(failure) => action::give_up(failure),
        }
        action::finish()
    }

    /// The vmcore, or [`None`] and the reason on the console: then its length is zero.
    fn read_vmcore(header: &CoreHeader) -> Option<View> {
        let complain = &mut |area: &vmcore::NoteArea| println!("kdump: {area}");
        match vmcore::vmcore(header, &oldmem::Window, paging::physical_limit(), complain) {
            Ok(vmcore) => {
                println!("kdump: vmcore of {} bytes, {} CPUs", vmcore.view.len(), vmcore.cpus);
                Some(vmcore.view)
            }
            Err(error) => {
                println!("kdump: elfcorehdr refused: {error}; vmcore has length zero");
                None
            }
        }
    }

    /// Physical memory as it is, as far as it is known to be RAM.
    fn read_oldmem(
        options: &Options<'_>,
        boot: &boot::Parameters,
        header: Option<&CoreHeader>,
        range: Option<PhysRange>,
    ) -> Option<View> {
        let view = boot.ram(options, header).and_then(|ram| vmcore::oldmem(&ram, range));
        match &view {
            Ok(view) => println!("kdump: oldmem of {} bytes", view.len()),
            Err(error) => println!("kdump: oldmem: {error}"),
        }
        view.ok()
    }

    /// What the target is to say of the dump.
    fn contents(view: ViewSpec) -> Contents {
        match view {
            ViewSpec::Vmcore => Contents::Vmcore,
            ViewSpec::OldMem(range) => {
                Contents::OldMem { start: range.map_or(0, |range| range.start().get()) }
            }
        }
    }

    /// Sends the view to the target; returns its length in bytes.
    fn capture(
        view: Option<View>,
        contents: Contents,
        slot: SlotMemory,
        target: &mut impl Target,
    ) -> Result<u64, Failure> {
        let sent = view.ok_or(Failure::NothingToSend).and_then(|view| {
            target.begin(contents, view.len())?;
            pump::send(&view, slot, target, || console::stage(Stage::FirstByte))?;
            console::stage(Stage::LastByte);
            target.finish()?;
            Ok(view.len())
        });
        match sent {
            Ok(_) => console::stage(Stage::Done),
            Err(_) => target.give_up(console::last_stage().unwrap_or(Stage::Failed)),
        }
        sent
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the capture kernel is an i386 image, not a program: use `cargo xtask build`");
    std::process::exit(2);
}
