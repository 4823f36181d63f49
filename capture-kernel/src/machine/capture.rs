//! The way through a capture, from stage to stage.

use crate::machine::action::on_failure;
use crate::machine::time::Tsc;
use crate::machine::{action, boot, devices, heap, iommu, logger, oldmem, truth, views, watchdog};
use boot_stub::console::{self, Hold};
use boot_stub::exceptions;
use capture_kernel::driver::dma::SlotMemory;
use capture_kernel::held::Held;
use capture_kernel::selection::Selection;
use cmdline::Options;
use handoff::Stage;

boot_stub::entry!(main, on_failure);

/// Lines that wait until the first bytes of the dump are out, or until a failure or a wait: to
/// print them takes longer than the way there.
static LINES: Held = Held::new();

fn main(boot_params: u32, physical_minus_virtual: u32) -> ! {
    // First, because an NMI that finds no descriptor table resets the machine.
    exceptions::init();
    console::init(console::COM1);
    logger::start();
    console::hold(Hold { add: |text| LINES.add(text), release: |print| LINES.release(print) });
    let machine = boot::take_machine(physical_minus_virtual);
    console::stage(Stage::CaptureEntry);

    let boot = boot::Parameters::read(boot_params, machine.image);
    let options = Options::parse(&boot.command_line, &mut |problem| log::warn!("{problem}"));
    action::set(&options);
    let header = boot::core_header(&options);
    let slot = heap::start(&options, &boot, machine.slot_memory, header.as_ref());
    console::stage(Stage::Memory);

    let clock = Tsc::find(options.tsc_khz);
    watchdog::start(options.timeout, &clock);
    let ram = boot.ram(&options, header.as_ref());
    let mut buses = devices::Buses::quiet(&options, ram.as_ref(), &clock);
    console::stage(Stage::Quiesced);
    truth::kdump_truth_quiesced();

    let slot = SlotMemory { translation: iommu::turn_off(&options, ram, &clock), ..slot };
    let holes = buses.unplugged(&options, &boot.ours(&options, slot), slot, &clock);
    let holes = oldmem::leave_out(holes);
    boot.map_large(&options, header.as_ref(), holes);
    let dump = views::read(&options, &boot, header.as_ref(), holes, &clock);
    console::stage(Stage::Views);
    let mut finder = devices::Finder::new(&options, buses, slot, &clock);
    let reached = &mut |stage| {
        console::stage(stage);
        console::release();
    };
    let delivered = finder.deliver(&options.targets, &dump, reached);
    if delivered.is_err() {
        // A target that failed early has not asked for them: the console shows the backtraces all
        // the same.
        dump.later.views();
    }
    if dump.selection.as_ref().is_some_and(Selection::is_used) {
        heap::report();
    }
    console::release();
    match delivered {
        Ok(()) => {
            console::stage(Stage::Done);
            log::info!("dump complete, {} bytes", dump.length());
        }
        Err(failure) => action::give_up(failure),
    }
    action::finish()
}
