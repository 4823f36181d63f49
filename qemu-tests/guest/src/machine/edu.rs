//! DMA on its way when the guest dies, by QEMU's `edu` device: 100 ms after it was started it
//! copies from its own buffer to memory. (QEMU, docs/specs/edu.rst)

#![expect(unsafe_code, reason = "device registers, and DMA into memory")]

use boot_stub::pci_config::Function;
use core::ptr::with_exposed_provenance_mut;

const ID: u32 = 0x11e8_1234;
/// Configuration space, offsets in bytes.
const COMMAND: u8 = 0x04;
const BAR0: u8 = 0x10;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// Its registers, offsets in bytes.
const DMA_SOURCE: usize = 0x80;
const DMA_DESTINATION: usize = 0x88;
const DMA_COUNT: usize = 0x90;
const DMA_COMMAND: usize = 0x98;
/// Its buffer, as it sees it itself; all zeros.
const BUFFER: u32 = 0x4_0000;
const START: u32 = 1 << 0;
const TO_MEMORY: u32 = 1 << 1;
/// Number of bytes that are copied. QEMU ends itself if it is all 4096 of the buffer.
const COUNT: u32 = 2048;

/// Has one device after the other begin a transfer of zeros, one to each of the physical
/// addresses `to`.
///
/// # Safety
/// The memory there must not be in use.
pub(crate) unsafe fn start(to: impl Iterator<Item = u32>) -> Result<(), &'static str> {
    let devices = (0..32).map(|device| Function { bus: 0, device, function: 0 });
    let mut devices = devices.filter(|device| device.read(0) == ID);
    for address in to {
        let device = devices.next().ok_or("edu=ADDR: there is no edu device left for it")?;
        // SAFETY: the device writes where the caller said.
        unsafe { send(device, address) }
    }
    Ok(())
}

/// # Safety
/// `device` must be an edu device. See [`start`].
unsafe fn send(device: Function, address: u32) {
    // SAFETY: firmware has put its registers where BAR0 says, below 4 GiB; the page tables have
    // every such address.
    unsafe {
        device.write(COMMAND, device.read(COMMAND) & 0xffff | MEMORY_SPACE | BUS_MASTER);
        let registers = (device.read(BAR0) & !0xf) as usize;
        let write = |offset, value| {
            with_exposed_provenance_mut::<u32>(registers + offset).write_volatile(value);
        };
        write(DMA_SOURCE, BUFFER);
        write(DMA_DESTINATION, address);
        write(DMA_COUNT, COUNT);
        write(DMA_COMMAND, START | TO_MEMORY);
    }
}
