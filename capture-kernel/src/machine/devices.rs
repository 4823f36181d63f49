//! Devices: all of them quiet, and the search for targets among them.

use crate::machine::com_port::SerialPorts;
use crate::machine::mmio_bus::MmioBus;
use crate::machine::oldmem::Window;
use crate::machine::pci_bus::PciBus;
use crate::machine::time::Tsc;
use alloc::boxed::Box;
use capture_kernel::devices::{Asking, find_console, find_unplugged};
use capture_kernel::disk_search::find_disk;
use capture_kernel::driver::dma::SlotMemory;
use capture_kernel::driver::kinds::Parts;
use capture_kernel::driver::virtio::console::PortName;
use capture_kernel::dump::Dump;
use capture_kernel::targets::TargetError;
use capture_kernel::targets::disk::WriteOptions;
use capture_kernel::targets::link::LinkTarget;
use capture_kernel::targets::stay::{Stay, Visit};
use capture_kernel::targets::{self, Target};
use cmdline::{Compress, Options, SerialPort, TargetEntry, TargetSpec};
use dumpfile::DiskId;
use dumpfile::chunk::Codec;
use dumpfile::wire::SenderConfig;
use handoff::Stage;
use vmcore::{Error, Holes, PhysRange, RangeSet};

/// The buses of the machine, on which nothing does DMA.
pub(crate) struct Buses {
    pci: PciBus,
    mmio: MmioBus,
}

impl Buses {
    /// Takes the bus away from every PCI function, and resets every virtio device. An address in
    /// `ram` is no device, whatever the command line says. If `ram` is not known, no address is a
    /// device.
    pub(crate) fn quiet(
        options: &Options<'_>,
        ram: Result<&RangeSet, &Error>,
        clock: &Tsc,
    ) -> Self {
        let pci = PciBus::quiet(clock);
        let mmio = match ram {
            Ok(ram) => MmioBus::quiet(&options.virtio_mmio, ram, clock),
            Err(error) => {
                log::warn!("virtio_mmio.device= is not used, the memory map is not known: {error}");
                MmioBus::default()
            }
        };
        Self { pci, mmio }
    }

    /// Memory that is RAM by its address and must not be touched, because a virtio-mem device has
    /// it unplugged. `ours` is the memory that we run in.
    pub(crate) fn unplugged(
        &mut self,
        options: &Options<'_>,
        ours: &[PhysRange],
        slot: SlotMemory,
        clock: &Tsc,
    ) -> Holes {
        let mut holes = Holes::new();
        let most = (slot.length / HEAP_PER_HOLE).max(LEAST_HOLES);
        let timeout = u64::from(options.timeout) * 1000;
        let asking = Asking { ours, most, slot, timeout };
        let Self { pci, mmio } = self;
        find_unplugged([pci, mmio], &asking, &mut holes, clock);
        holes
    }
}

/// Bytes of heap for each recorded hole: it makes two extents in each of two views.
const HEAP_PER_HOLE: usize = 2048;
/// Least number of holes that are recorded.
const LEAST_HOLES: usize = 64;

/// Parts that are needed to find and to run any target.
pub(crate) struct Finder<'c> {
    buses: Buses,
    ports: SerialPorts<'c>,
    slot: SlotMemory,
    clock: &'c Tsc,
    /// Milliseconds that any one request may take.
    timeout: u64,
    write_options: WriteOptions<'c>,
    /// `kdump.compress`.
    compress: Compress,
}

/// The options for dumps on disks.
fn write_options(options: &Options<'_>) -> WriteOptions<'static> {
    WriteOptions {
        codec: if options.compress == Compress::Lz4 { Codec::Lz4 } else { Codec::Raw },
        checksums: options.checksum,
        replace_complete: options.replace_oldest,
        memory: &Window,
        ..WriteOptions::default()
    }
}

impl<'c> Finder<'c> {
    /// Finds targets on `buses`, and runs them as `options` say.
    pub(crate) fn new(
        options: &Options<'_>,
        buses: Buses,
        slot: SlotMemory,
        clock: &'c Tsc,
    ) -> Self {
        let timeout = u64::from(options.timeout) * 1000;
        let console_baud = SerialPort::FASTEST;
        let (write_options, compress) = (write_options(options), options.compress);
        // The bytes of a serial line are dear.
        let codec = if compress == Compress::None { Codec::Raw } else { Codec::Lz4 };
        let ports = SerialPorts { slot, clock, timeout, console_baud, codec };
        Self { buses, ports, slot, clock, timeout, write_options, compress }
    }

    /// Gives `dump` to the targets of a list; if it is empty, to the first collector that asks in
    /// time.
    pub(crate) fn deliver(
        &mut self,
        list: &[TargetEntry<'_>],
        dump: &Dump,
        reached: &mut dyn FnMut(Stage),
    ) -> Result<(), TargetError> {
        if list.is_empty() {
            log::info!("the command line has no usable kdump.target=");
            return self.stay(Visit::Awhile)?.deliver(dump, reached);
        }
        targets::serve(list, |target| self.open(target), dump, reached)
    }

    /// The target of an entry of `kdump.target`.
    fn open(&mut self, target: &TargetSpec<'_>) -> Result<Opened<'c>, TargetError> {
        match target {
            TargetSpec::Disk { id } => self.disk(DiskId(*id)),
            TargetSpec::VirtioConsole { name } => self.console(PortName::new(name)),
            TargetSpec::Serial(serial) => Ok(Box::new(self.ports.open(*serial)?)),
            TargetSpec::None => self.stay(Visit::ForGood),
        }
    }

    fn disk(&mut self, id: DiskId) -> Result<Opened<'c>, TargetError> {
        let Self { buses: Buses { pci, mmio }, slot, clock, timeout, .. } = self;
        let parts = Parts { slot: *slot, clock: *clock, timeout: *timeout };
        let disk = find_disk([pci, mmio], id, parts)?;
        Ok(Box::new(disk.with(self.write_options)))
    }

    fn console(&mut self, name: PortName) -> Result<Opened<'c>, TargetError> {
        let Self { buses: Buses { pci, mmio }, slot, clock, timeout, .. } = self;
        let line = find_console([pci, mmio], name, *slot, *clock, *timeout)?;
        let bulk = !self.write_options.checksums;
        let codec = if self.compress == Compress::Lz4 { Codec::Lz4 } else { Codec::Raw };
        let config = SenderConfig::console([0; 16]);
        let config = SenderConfig { timeout: *timeout, bulk, codec, ..config };
        Ok(Box::new(LinkTarget::new(line, Window, *slot, *clock, config)))
    }

    /// The console's line for a collector that asks, if no target is named or this one is.
    fn stay(&self, visit: Visit) -> Result<Opened<'c>, TargetError> {
        Ok(Box::new(Stay::new(self.ports.open_console()?, visit)))
    }
}

/// A target, ready for a dump.
type Opened<'c> = Box<dyn Target + 'c>;
