//! The NVMe driver against a controller whose answers the input bends: registers, completions and
//! the data of Identify. An empty input bends nothing.

#![expect(unsafe_code, reason = "a device follows physical addresses, here pointers")]

use std::cell::RefCell;

use capture_kernel::driver::controller::Controller;
use capture_kernel::driver::dma::{DmaPiece, SlotMemory};
use capture_kernel::driver::nvme::Nvme;
use capture_kernel::driver::registers::Registers;
use capture_kernel::driver::translation::Translation;
use capture_kernel::driver::{BlockDevice, Error};
use vmcore::{PhysAddr, PhysRange};

use crate::bends::{Bends, Looks};

const TIMEOUT: u64 = 20;
/// Bytes of the namespace.
const LENGTH: usize = 64 << 10;
const PAGE: usize = 4096;

/// The controller.
struct Device<'i> {
    bends: Bends<'i>,
    configuration: u32,
    /// Sizes and addresses of the admin queues.
    admin: [u32; 5],
    /// The admin queues and the I/O queues.
    pairs: [Option<Pair>; 2],
    /// Bytes from doorbell to doorbell, as the driver was told.
    stride: usize,
    /// The namespace; empty where the driver was lied to about its blocks.
    bytes: Vec<u8>,
}

/// A submission queue and its completion queue: their addresses and entries, the places of the next
/// command and of the next completion, and the phase of that.
#[derive(Clone, Copy, Default)]
struct Pair {
    commands: (u64, u32),
    completions: (u64, u32),
    head: u32,
    next: u32,
    phase: u32,
}

/// A number of two words.
fn long(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Device<'_> {
    fn read(&mut self, offset: usize) -> u32 {
        let honest = match offset {
            // 64 entries, the NVM command set.
            0x00 => 63 | 1 << 16 | 1 << 24,
            0x04 => 1 << 5,
            0x14 => self.configuration,
            0x1c => self.configuration & 1,
            _ => 0,
        };
        let word = self.bends.word(honest);
        if offset == 0x04 {
            self.stride = 4 << (word & 15);
        }
        word
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x14 => {
                self.configuration = value;
                let [sizes, low, high, other_low, other_high] = self.admin;
                let pair = Pair {
                    commands: (long(low, high), (sizes & 0xfff) + 1),
                    completions: (long(other_low, other_high), (sizes >> 16 & 0xfff) + 1),
                    phase: 1,
                    ..Pair::default()
                };
                self.pairs = [(value & 1 != 0).then_some(pair), None];
            }
            0x24 => self.admin[0] = value,
            0x28..0x38 => self.admin[(offset - 0x24) / 4] = value,
            0x1000.. => {
                if let doorbell @ (0 | 2) = (offset - 0x1000) / self.stride {
                    self.ring(doorbell / 2, value);
                }
            }
            _ => {}
        }
    }

    fn ring(&mut self, queue: usize, tail: u32) {
        while let Some(pair) = &mut self.pairs[queue]
            && pair.head != tail
        {
            assert!(tail < pair.commands.1, "inside the queue");
            let at = pair.commands.0 + 64 * u64::from(pair.head);
            pair.head = (pair.head + 1) % pair.commands.1;
            // SAFETY: the driver gave the address of its queue.
            let words = unsafe { (at as *const [u32; 16]).read_volatile() };
            let status = self.carry_out(queue, &words);
            self.complete(queue, words[0] >> 16, status);
        }
    }

    fn complete(&mut self, queue: usize, id: u32, status: u32) {
        if self.bends.take::<1>()[0] == 0xff {
            return;
        }
        let Some(pair) = self.pairs[queue] else { return };
        let entry = [0, 0, pair.head | (queue as u32) << 16, id | pair.phase << 16 | status << 17];
        let entry = entry.map(|word| self.bends.word(word));
        let place = (pair.completions.0 + 16 * u64::from(pair.next)) as *mut [u32; 4];
        // SAFETY: the driver gave the address of its queue.
        unsafe { place.write_volatile(entry) };
        let next = (pair.next + 1) % pair.completions.1;
        let phase = pair.phase ^ u32::from(next == 0);
        self.pairs[queue] = Some(Pair { next, phase, ..pair });
    }

    /// Carries a command out; returns its status.
    fn carry_out(&mut self, queue: usize, words: &[u32; 16]) -> u32 {
        let (data, entries) = (long(words[6], words[7]), (words[10] >> 16) + 1);
        match (queue, words[0] & 0xff) {
            (0, 5) => {
                let pair = Pair { completions: (data, entries), phase: 1, ..Pair::default() };
                self.pairs[1] = Some(pair);
            }
            (0, 1) => {
                let created = self.pairs[1].unwrap_or_default();
                self.pairs[1] = Some(Pair { commands: (data, entries), ..created });
            }
            (0, 6) => {
                let mut answer = identify(words[10]);
                self.bends.change(&mut answer);
                if answer != identify(words[10]) {
                    self.bytes.clear();
                }
                // SAFETY: the driver asks for a page there.
                unsafe { (data as *mut [u8; PAGE]).write_volatile(answer) };
            }
            (1, 1 | 2) => return self.transfer(words),
            _ => {}
        }
        0
    }

    /// Reads or writes the namespace, as far as it goes.
    fn transfer(&mut self, words: &[u32; 16]) -> u32 {
        let count = (words[12] as usize & 0xffff) + 1;
        let start = (words[10] as usize).saturating_mul(512);
        let Some(place) = self.bytes.get_mut(start..start.saturating_add(count * 512)) else {
            return 0x80;
        };
        let second = long(words[8], words[9]);
        for (number, part) in place.chunks_mut(PAGE).enumerate() {
            let at = match number {
                0 => long(words[6], words[7]),
                1 if count * 512 <= 2 * PAGE => second,
                // SAFETY: the driver gave the address of a list with an entry for each page.
                _ => unsafe { ((second + 8 * (number as u64 - 1)) as *const u64).read_volatile() },
            };
            // SAFETY: the command has so many bytes at these addresses.
            let memory = unsafe { core::slice::from_raw_parts_mut(at as *mut u8, part.len()) };
            match words[0] & 0xff {
                1 => part.copy_from_slice(memory),
                _ => memory.copy_from_slice(part),
            }
        }
        0
    }
}

/// An honest answer to Identify.
fn identify(subject: u32) -> [u8; PAGE] {
    let mut answer = [0; PAGE];
    match subject {
        0 => {
            answer[0] = (LENGTH / 512) as u8;
            answer[128 + 2] = 9;
        }
        1 => {
            (answer[77], answer[512], answer[513], answer[525]) = (5, 0x66, 0x44, 1);
            answer[516] = 1;
        }
        _ => answer[0] = 1,
    }
    answer
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
        0x2000
    }
}

/// Starts the driver, selects each disk, writes, reads and flushes. Every step ends, whatever the
/// controller answers; an honest one has the bytes.
pub fn nvme(bytes: &[u8]) {
    let device = RefCell::new(Device {
        bends: Bends::new(bytes),
        configuration: 0,
        admin: [0; 5],
        pairs: [None; 2],
        stride: 4,
        bytes: vec![0; LENGTH],
    });
    let clock = Looks::default();
    let (start, translation) = (PhysAddr::new(0), Translation::Off);
    let slot = SlotMemory { address: 0, start, length: usize::MAX, translation };
    let memory = vec![7_u8; 6 * PAGE];
    let used = Nvme::start(Bar(&device), slot, &clock, TIMEOUT).and_then(|mut disk| {
        let used = use_disks(&mut disk, &memory);
        if disk.settle().is_ok() && disk.stop().is_ok() {
            assert_eq!(device.borrow().configuration & 1, 0, "stopped, but enabled");
        }
        used
    });
    assert!(clock.looks() < 1_000_000, "waits have an end");
    assert!(!bytes.is_empty() || used.is_ok(), "an honest controller works: {used:?}");
}

fn use_disks<R: Registers>(disk: &mut Nvme<'_, R>, memory: &[u8]) -> Result<(), Error> {
    let first = (memory.as_ptr() as u64).next_multiple_of(PAGE as u64);
    let old = |pages: u64| {
        let range = PhysRange::new(PhysAddr::new(first), pages * PAGE as u64);
        DmaPiece::Old(range.expect("inside memory"))
    };
    let mut failed = Ok(());
    for index in 0..disk.disks().min(3) {
        if let Err(failure) = disk.select(index) {
            failed = Err(failure);
            continue;
        }
        let limits = disk.limits();
        assert!(limits.bytes >= PAGE as u64 && limits.bytes.is_multiple_of(PAGE as u64));
        assert!(
            matches!(disk.block_size(), 512 | 4096)
                && !disk.disk_name(index).to_string().is_empty()
        );
        for (number, pages) in (0..24).zip([1, 2, 5].into_iter().cycle()) {
            let pieces = [old(pages), DmaPiece::Zeros(PAGE as u32)].into_iter().collect();
            disk.write(number % 8 * PAGE as u64, pieces)?;
        }
        disk.flush()?;
        let mut back = vec![0; 3 * PAGE];
        disk.read(0, &mut back)?;
        failed =
            failed.and(if back.starts_with(&[7; PAGE]) { Ok(()) } else { Err(Error::Removed) });
    }
    failed
}
