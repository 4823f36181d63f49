//! The AHCI driver against an HBA whose answers the input bends: registers, the answer to IDENTIFY
//! DEVICE, and the number of bytes that a command has moved. An empty input bends nothing.

#![expect(unsafe_code, reason = "a device follows physical addresses, here pointers")]

use std::cell::RefCell;

use capture_kernel::driver::ahci::{Ahci, quiet};
use capture_kernel::driver::controller::Controller;
use capture_kernel::driver::dma::{DmaPiece, SlotMemory};
use capture_kernel::driver::registers::Registers;
use capture_kernel::driver::translation::Translation;
use capture_kernel::driver::{BlockDevice, Error};
use vmcore::{PhysAddr, PhysRange};

use crate::bends::{Bends, Looks};

const TIMEOUT: u64 = 20;
/// Bytes of a disk.
const LENGTH: usize = 64 << 10;
const PAGE: usize = 4096;
const PORTS: usize = 2;

/// The HBA, with a disk at each port.
struct Device<'i> {
    bends: Bends<'i>,
    control: u32,
    ports: [Port; PORTS],
}

#[derive(Clone, Default)]
struct Port {
    registers: [u32; 32],
    /// The disk; empty where the driver was lied to about it.
    bytes: Vec<u8>,
}

impl Device<'_> {
    fn read(&mut self, offset: usize) -> u32 {
        let honest = match offset {
            // Addresses of 64 bits, queuing, 32 slots.
            0x00 => 3 << 30 | 31 << 8 | (PORTS as u32 - 1),
            0x04 => self.control,
            0x0c => (1 << PORTS) - 1,
            0x100.. => {
                let (port, register) = ((offset - 0x100) / 0x80, offset % 0x80 / 4);
                self.ports.get(port).map_or(0, |port| port.registers[register])
            }
            _ => 0,
        };
        self.bends.word(honest)
    }

    fn write(&mut self, offset: usize, value: u32) {
        let (port, register) = (offset.saturating_sub(0x100) / 0x80, offset % 0x80 / 4);
        match (offset, register) {
            (0x04, _) => {
                if value & 1 != 0 {
                    self.ports.iter_mut().for_each(|port| port.registers = [0; 32]);
                }
                self.control = value & !1;
            }
            (..0x100, _) => {}
            _ if port >= PORTS => {}
            // The engines are on and off at once; a disk is there after a reset of the link.
            (_, 6) => {
                let running = value << 15 & 1 << 15 | value << 10 & 1 << 14;
                self.ports[port].registers[6] = value & 0xffff_3fff | running;
            }
            (_, 11) => {
                let registers = &mut self.ports[port].registers;
                (registers[8], registers[9], registers[10]) = (0x50, 0x101, 0x113);
            }
            (_, 4 | 12) => self.ports[port].registers[register] &= !value,
            (_, 14) => self.issue(port, value),
            _ => self.ports[port].registers[register] = value,
        }
    }

    fn issue(&mut self, port: usize, slots: u32) {
        for slot in (0..32).filter(|slot| slots >> slot & 1 == 1) {
            if self.bends.take::<1>()[0] == 0xff {
                self.ports[port].registers[14] |= 1 << slot;
                continue;
            }
            let registers = &self.ports[port].registers;
            let list = u64::from(registers[1]) << 32 | u64::from(registers[0]);
            let header = (list + 32 * slot) as *mut [u32; 8];
            // SAFETY: the driver gave the address of its list.
            let words = unsafe { header.read_volatile() };
            let table = u64::from(words[3]) << 32 | u64::from(words[2]);
            // SAFETY: it gave the address of the table.
            let fis = unsafe { (table as *const [u8; 20]).read_volatile() };
            let parts = (0..u64::from(words[0] >> 16)).map(|index| {
                // SAFETY: it gave the number of parts in the table.
                let part =
                    unsafe { ((table + 128 + 16 * index) as *const [u32; 4]).read_volatile() };
                let length = (part[3] & 0x3f_ffff) as usize + 1;
                (u64::from(part[1]) << 32 | u64::from(part[0]), length)
            });
            let parts: Vec<_> = parts.collect();
            let moved = self.carry_out(port, &fis, &parts);
            // SAFETY: as above; the HBA writes the second word.
            unsafe { (header as *mut u32).add(1).write_volatile(self.bends.word(moved)) };
            self.ports[port].registers[13] &= !(1 << slot);
        }
    }

    /// Carries a command out; returns the number of bytes that it has moved.
    fn carry_out(&mut self, port: usize, fis: &[u8; 20], parts: &[(u64, usize)]) -> u32 {
        let lba = [fis[4], fis[5], fis[6], fis[8], fis[9], fis[10], 0, 0];
        let mut at = (u64::from_le_bytes(lba) as usize).saturating_mul(512);
        let mut answer = identity();
        let Device { bends, ports, .. } = self;
        let disk = &mut ports[port].bytes;
        if fis[2] == 0xec {
            bends.change(&mut answer);
            *disk = if answer == identity() { vec![0; LENGTH] } else { Vec::new() };
            at = 0;
        }
        let mut moved = 0;
        for (address, length) in parts {
            // SAFETY: the command has so many bytes at this address.
            let memory = unsafe { core::slice::from_raw_parts_mut(*address as *mut u8, *length) };
            let place = match fis[2] {
                0xec => answer.get_mut(at..at.saturating_add(*length)),
                _ => disk.get_mut(at..at.saturating_add(*length)),
            };
            match (fis[2], place) {
                (0x35 | 0x61, Some(place)) => place.copy_from_slice(memory),
                (0x25 | 0xec, Some(place)) => memory.copy_from_slice(place),
                _ => {}
            }
            (at, moved) = (at.saturating_add(*length), moved + *length as u32);
        }
        moved
    }
}

/// An honest answer to IDENTIFY DEVICE.
fn identity() -> [u8; 512] {
    let mut words = [0_u16; 256];
    (words[83], words[76], words[75]) = (0b0111_0100 << 8, 1 << 8, 31);
    words[100] = (LENGTH / 512) as u16;
    let mut bytes = [0; 512];
    let places = bytes.as_chunks_mut::<2>().0;
    places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_le_bytes());
    bytes
}

/// The registers of a device.
struct Bar<'d, 'i>(&'d RefCell<Device<'i>>);

impl Registers for Bar<'_, '_> {
    fn read(&self, offset: usize) -> u32 {
        self.0.borrow_mut().read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut().write(offset, value);
    }

    fn length(&self) -> usize {
        0x1100
    }
}

/// Makes the HBA quiet and starts it, selects each disk, writes, reads and flushes. Every step
/// ends, whatever the HBA answers; an honest one has the bytes.
pub fn ahci(bytes: &[u8]) {
    let ports = std::array::from_fn(|_| Port::default());
    let device = RefCell::new(Device { bends: Bends::new(bytes), control: 1 << 31, ports });
    let clock = Looks::default();
    let (start, translation) = (PhysAddr::new(0), Translation::Off);
    let slot = SlotMemory { address: 0, start, length: usize::MAX, translation };
    let memory = vec![7_u8; 6 * PAGE];
    let used = quiet(&mut Bar(&device), &clock, TIMEOUT)
        .and_then(|_| Ahci::start(Box::new(Bar(&device)), slot, &clock, TIMEOUT))
        .and_then(|mut disk| {
            let used = use_disks(&mut disk, &memory);
            if disk.settle().is_ok() {
                let _ = disk.stop();
            }
            used
        });
    assert!(clock.looks() < 1_000_000, "waits have an end");
    assert!(!bytes.is_empty() || used.is_ok(), "an honest HBA works");
}

fn use_disks(disk: &mut Ahci<'_>, memory: &[u8]) -> Result<(), Error> {
    let first = (memory.as_ptr() as u64).next_multiple_of(PAGE as u64);
    let old = |pages: u64| {
        let range = PhysRange::new(PhysAddr::new(first), pages * PAGE as u64);
        DmaPiece::Old(range.expect("inside memory"))
    };
    let limits = disk.limits();
    assert!(limits.bytes.is_multiple_of(PAGE as u64) && limits.pieces > 0);
    let mut failed = Ok(());
    for index in 0..disk.disks().min(3) {
        if let Err(failure) = disk.select(index) {
            failed = Err(failure);
            continue;
        }
        assert!(matches!(disk.block_size(), 512..=4096));
        assert!(!disk.disk_name(index).to_string().is_empty());
        for (number, pages) in (0..24).zip([1, 2, 5].into_iter().cycle()) {
            let pieces = [old(pages), DmaPiece::Zeros(PAGE as u32)].into_iter().collect();
            disk.write(number % 5 * 2 * PAGE as u64, pieces)?;
        }
        disk.flush()?;
        let mut back = vec![0; 3 * PAGE];
        disk.read(0, &mut back)?;
        let is_right = back.starts_with(&[7; PAGE]);
        failed = failed.and(if is_right { Ok(()) } else { Err(Error::Removed) });
    }
    failed
}
