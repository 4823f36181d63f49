//! Devices: all of them quiet, and the search for targets among them.

use crate::mmio_bus::MmioBus;
use crate::oldmem::Window;
use crate::pci_bus::PciBus;
use crate::time::Tsc;
use alloc::boxed::Box;
use boot_stub::console::println;
use capture_kernel::Failure;
use capture_kernel::bus::{Bus, find_disk};
use capture_kernel::dma::SlotMemory;
use capture_kernel::memory::Ranges;
use capture_kernel::target::Target;
use capture_kernel::target::disk::Manner;
use core::fmt::Arguments;
use dumpfile::DiskId;
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

/// What is needed to find and to run any target.
pub(crate) struct Finder<'c> {
    pub(crate) buses: Buses,
    pub(crate) slot: SlotMemory,
    pub(crate) clock: &'c Tsc,
    /// Milliseconds that any one request may take.
    pub(crate) patience: u64,
    /// How dumps are written to disks.
    pub(crate) manner: Manner<'c>,
}

/// How dumps are to be written to disks.
pub(crate) fn manner(options: &Options<'_>) -> Manner<'static> {
    Manner {
        checksums: options.checksum,
        replace_complete: options.replace_oldest,
        memory: &Window,
        say: |line| println!("kdump: {line}"),
        ..Manner::default()
    }
}

impl<'c> Finder<'c> {
    /// The target behind an entry of `kdump.target`.
    pub(crate) fn open(&mut self, target: &TargetSpec) -> Result<Box<dyn Target + 'c>, Failure> {
        match target {
            TargetSpec::VirtioBlk { id } => {
                let say = &mut |line: Arguments<'_>| println!("kdump: {line}");
                let buses: [&mut dyn Bus<Transport = _>; 2] =
                    [&mut self.buses.pci, &mut self.buses.mmio];
                let (slot, clock, patience) = (self.slot, self.clock, self.patience);
                let disk = find_disk(buses, DiskId(*id), slot, clock, patience, say)?;
                Ok(Box::new(disk.with(self.manner)))
            }
            TargetSpec::None => Err(Failure::NoTarget),
        }
    }
}
