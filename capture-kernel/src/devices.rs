//! Devices: all of them quiet, and the search for the target among them.

use crate::mmio_bus::MmioBus;
use crate::pci_bus::PciBus;
use crate::time::Tsc;
use boot_stub::console::println;
use capture_kernel::Failure;
use capture_kernel::bus::{Bus, find_disk};
use capture_kernel::dma::SlotMemory;
use capture_kernel::memory::Ranges;
use capture_kernel::target::disk::DumpDisk;
use capture_kernel::virtio::blk::VirtioBlk;
use core::fmt::Arguments;
use dumpfile::DiskId;
use virtio_drivers::transport::SomeTransport;
use vmcore::{Error, Options, TargetSpec};

/// The buses of the machine, on which nothing does DMA.
pub(crate) struct Buses {
    pci: PciBus,
    mmio: MmioBus,
}

impl Buses {
    /// Takes the bus away from every PCI function, and resets every virtio device. What is in `ram` is
    /// no device, whatever the command line says; where that is not known, neither is a device.
    pub(crate) fn quiet(options: &Options<'_>, ram: Result<Ranges, Error>, clock: &Tsc) -> Self {
        let pci = PciBus::quiet(clock);
        let mmio = match ram {
            Ok(ram) => MmioBus::quiet(&options.virtio_mmio, &ram, clock),
            Err(error) => {
                println!("kdump: where memory is, is not known ({error}): no virtio_mmio.device=");
                MmioBus::default()
            }
        };
        Self { pci, mmio }
    }
}

type Blk<'c> = VirtioBlk<'c, SomeTransport<'static>>;

/// The first target on the list that works; those that do not are named.
pub(crate) fn open_target<'c>(
    buses: &mut Buses,
    options: &Options<'_>,
    slot: SlotMemory,
    clock: &'c Tsc,
) -> Result<DumpDisk<Blk<'c>>, Failure> {
    let patience = u64::from(options.timeout) * 1000;
    let mut last = Failure::NoTarget;
    for (number, target) in (1..).zip(&options.targets) {
        let opened = match target {
            TargetSpec::VirtioBlk { id } => {
                let say = &mut |line: Arguments<'_>| println!("kdump: {line}");
                let buses: [&mut dyn Bus<Transport = _>; 2] = [&mut buses.pci, &mut buses.mmio];
                find_disk(buses, DiskId(*id), slot, clock, patience, say)
            }
            TargetSpec::None => Err(Failure::NoTarget),
        };
        match opened {
            Ok(disk) => return Ok(disk),
            Err(failure) if number < options.targets.len() => {
                println!("kdump: target {number}: {failure}; trying the next");
            }
            Err(failure) => last = failure,
        }
    }
    Err(last)
}
