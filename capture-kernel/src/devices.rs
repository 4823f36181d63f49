//! Devices: PCI configuration space through ports, registers through the device area, and the
//! search for the target.

#![expect(unsafe_code, reason = "port I/O, and the traits of virtio-drivers that map registers")]

use crate::time::Tsc;
use alloc::vec::Vec;
use boot_stub::console::println;
use boot_stub::paging::Devices;
use boot_stub::pci_config;
use capture_kernel::dma::SlotMemory;
use capture_kernel::target::disk::DumpDisk;
use capture_kernel::virtio::blk::VirtioBlk;
use capture_kernel::virtio::device;
use capture_kernel::{Failure, pci};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use dumpfile::DiskId;
use spin::{Mutex, Once};
use virtio_drivers::transport::pci::bus::{
    ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};
use virtio_drivers::{BufferDirection, Hal};
use vmcore::{Options, TargetSpec};

static REGISTERS: Once<Mutex<Devices>> = Once::new();

/// Hands the device area over; from then on registers can be mapped.
pub(crate) fn start(devices: Devices) {
    REGISTERS.call_once(|| Mutex::new(devices));
}

/// Configuration space by I/O ports.
struct Ports;

fn function(at: DeviceFunction) -> pci_config::Function {
    pci_config::Function { bus: at.bus, device: at.device, function: at.function }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, at: DeviceFunction, offset: u8) -> u32 {
        function(at).read(offset)
    }

    fn write_word(&mut self, at: DeviceFunction, offset: u8, data: u32) {
        // SAFETY: our callers change command registers and size BARs; neither lets a device write
        // to memory that it could not write to before.
        unsafe { function(at).write(offset, data) }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// How virtio-drivers' transport reaches registers. It allocates nothing: queues and buffers are
/// ours.
struct Registers;

// SAFETY: `mmio_phys_to_virt` returns a mapping of its own each time; nothing is ever allocated.
unsafe impl Hal for Registers {
    fn dma_alloc(_: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        (0, NonNull::dangling())
    }

    unsafe fn dma_dealloc(_: u64, _: NonNull<u8>, _: usize) -> i32 {
        -1
    }

    unsafe fn mmio_phys_to_virt(start: u64, length: usize) -> NonNull<u8> {
        let mapped = REGISTERS.get().and_then(|devices| devices.lock().map(start, length));
        mapped.unwrap_or_else(|| {
            println!("kdump: cannot map {length:#x} bytes of device registers at {start:#x}");
            boot_stub::fail()
        })
    }

    unsafe fn share(_: NonNull<[u8]>, _: BufferDirection) -> u64 {
        0
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Every function of the machine, none of them master of the bus.
pub(crate) struct Bus {
    root: PciRoot<Ports>,
    functions: Vec<(DeviceFunction, DeviceFunctionInfo)>,
}

impl Bus {
    /// Finds all functions and takes the bus away from them.
    pub(crate) fn quiet(clock: &Tsc) -> Self {
        let mut root = PciRoot::new(Ports);
        let functions = pci::functions(&root, &Ports);
        for busy in pci::quiet(&mut root, &Ports, &functions, clock) {
            println!("kdump: PCI {busy}: transactions still pending; going on");
        }
        println!("kdump: {} PCI functions, none is bus master", functions.len());
        let mut bus = Self { root, functions };
        bus.reset_virtio(clock);
        bus
    }

    /// Resets every virtio device, not only those that will be asked for a header: an emulated one
    /// may finish what it has begun although it has lost the bus (QEMU's do).
    fn reset_virtio(&mut self, clock: &Tsc) {
        for (at, _) in self.functions.iter().filter(|(_, info)| pci::is_virtio(info)) {
            let common = pci::virtio_configuration(&mut self.root, &Ports, *at);
            pci::decode_memory(&mut self.root, *at);
            let registers =
                common.and_then(|common| REGISTERS.get()?.lock().map(common, device::STATUS + 1));
            let Some(registers) = registers else {
                println!("kdump: PCI {at}: a virtio device that cannot be reset; going on");
                continue;
            };
            let status = registers.as_ptr().wrapping_add(device::STATUS);
            // SAFETY: the device's own register, in a mapping of our own that holds it.
            unsafe { status.write_volatile(0) };
            // SAFETY: as above.
            if !device::wait_for_reset(clock, || unsafe { status.read_volatile() } == 0) {
                println!("kdump: PCI {at}: a virtio device that does not reset; going on");
            }
        }
    }

    /// Starts the virtio block device at `at`. It gets the bus only when it is reset: until then it
    /// may still have the dead kernel's requests.
    fn start_blk<'c>(
        &mut self,
        at: DeviceFunction,
        slot: SlotMemory,
        clock: &'c Tsc,
        patience: u64,
    ) -> Result<Blk<'c>, Failure> {
        pci::decode_memory(&mut self.root, at);
        let transport = PciTransport::new::<Registers, _>(&mut self.root, at).map_err(|error| {
            println!("kdump: PCI {at}: {error}");
            match error {
                VirtioPciError::MissingCommonConfig => Failure::LegacyOnly,
                _ => Failure::NoConfiguration,
            }
        })?;
        // Dropping a transport waits for a reset without an end.
        let mut transport = ManuallyDrop::new(transport);
        device::reset(&mut *transport, clock)?;
        pci::set_bus_master(&mut self.root, at, true);
        VirtioBlk::start(ManuallyDrop::into_inner(transport), slot, clock, patience)
    }
}

type Blk<'c> = VirtioBlk<'c, PciTransport>;

/// The first target on the list that works; those that do not are named.
pub(crate) fn open_target<'c>(
    bus: &mut Bus,
    options: &Options<'_>,
    slot: SlotMemory,
    clock: &'c Tsc,
) -> Result<DumpDisk<Blk<'c>>, Failure> {
    let patience = u64::from(options.timeout) * 1000;
    let mut last = Failure::NoTarget;
    for (number, target) in (1..).zip(&options.targets) {
        let opened = match target {
            TargetSpec::VirtioBlk { id } => find_disk(bus, DiskId(*id), slot, clock, patience),
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

/// The virtio disk whose header carries `id`. The others are stopped again and lose the bus.
fn find_disk<'c>(
    bus: &mut Bus,
    id: DiskId,
    slot: SlotMemory,
    clock: &'c Tsc,
    patience: u64,
) -> Result<DumpDisk<Blk<'c>>, Failure> {
    let disks = bus.functions.iter().filter(|(_, info)| pci::is_virtio_blk(info));
    let disks: Vec<DeviceFunction> = disks.map(|(at, _)| *at).collect();
    for at in disks {
        let device = bus.start_blk(at, slot, clock, patience);
        match device.and_then(|device| DumpDisk::open(device, id, slot)) {
            Ok(disk) => {
                println!("kdump: target virtio-blk at PCI {at}, id {id}");
                return Ok(disk);
            }
            Err(failure) => println!("kdump: virtio-blk at PCI {at}: {failure}"),
        }
        pci::set_bus_master(&mut bus.root, at, false);
    }
    Err(Failure::NoSuchDisk(id))
}
