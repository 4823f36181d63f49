//! Commands as an HBA reads them from memory (AHCI 1.3.1, section 4.2; ATA8-ACS).

use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, MAX_PIECES, SlotMemory, Stopped};
use core::ops::Range;
use vmcore::PhysRange;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most command slots that are used: enough to keep a disk busy, few enough to wait for in a
/// short time.
pub(super) const MOST_SLOTS: usize = 16;
/// The most bytes of a part of memory (4.2.3.3).
pub(super) const MOST_OF_PART: u64 = 4 << 20;
/// Addresses and lengths of parts are even.
pub(super) const ALIGN: u32 = 2;

/// Command slots of a port, and bytes of a command header.
const HEADERS: usize = 32;
const HEADER: usize = 32;
/// Bytes of a command table up to its parts, and of a part.
const BEFORE_PARTS: usize = 128;
const PART: usize = 16;
/// Bytes of a command table, a multiple of 128.
const TABLE: usize = BEFORE_PARTS + MAX_PIECES * PART;
/// Offset of the first table: those of our slots, and one for all other slots.
const TABLES: usize = HEADERS * HEADER;

/// A FIS from the host to the device: its type, and the bit for a command.
const FIS_HOST_TO_DEVICE: u8 = 0x27;
const FIS_IS_COMMAND: u8 = 0x80;
/// Its length in words.
const FIS_WORDS: u32 = 5;
/// Bit of a header: the data goes to the disk.
const HEADER_WRITE: u32 = 1 << 6;
/// Bit of a FIS's device field: the address is an LBA.
const DEVICE_LBA: u8 = 1 << 6;

/// An ATA command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ata {
    ReadDmaExt = 0x25,
    WriteDmaExt = 0x35,
    WriteQueued = 0x61,
    FlushCache = 0xe7,
    FlushCacheExt = 0xea,
    Identify = 0xec,
}

/// A command for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) ata: Ata,
    /// The first sector.
    pub(super) sector: u64,
    /// Number of sectors.
    pub(super) count: u16,
}

/// The head of a command table. A register FIS has 20 bytes, and the rest stays zero.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Fis {
    kind: u8,
    flags: u8,
    command: u8,
    feature_low: u8,
    lba_low: [u8; 3],
    device: u8,
    lba_high: [u8; 3],
    feature_high: u8,
    count: [u8; 2],
    icc: u8,
    control: u8,
    reserved: [u8; 4],
}

impl Fis {
    fn new(command: Command, slot: usize) -> Self {
        let lba = command.sector.to_le_bytes();
        let count = command.count.to_le_bytes();
        // A queued command has its tag where the others have the count.
        let (feature, count) = match command.ata {
            Ata::WriteQueued => (count, [(slot as u8) << 3, 0]),
            _ => ([0; 2], count),
        };
        Self {
            kind: FIS_HOST_TO_DEVICE,
            flags: FIS_IS_COMMAND,
            command: command.ata as u8,
            feature_low: feature[0],
            lba_low: [lba[0], lba[1], lba[2]],
            device: DEVICE_LBA,
            lba_high: [lba[3], lba[4], lba[5]],
            feature_high: feature[1],
            count,
            icc: 0,
            control: 0,
            reserved: [0; 4],
        }
    }
}

/// A part of memory that a command moves.
#[derive(Clone, Copy, IntoBytes, Immutable, FromBytes)]
#[repr(C)]
struct Part {
    address: u64,
    reserved: u32,
    /// The length less one.
    last: u32,
}

/// The memory of a command in the command list.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    flags: u32,
    /// Bytes that were moved: the HBA writes it.
    moved: u32,
    table: u64,
    reserved: [u64; 2],
}

/// The command list of a port, with a table for each slot.
pub(super) struct Commands {
    memory: DmaBuffer,
    slots: usize,
}

impl Commands {
    /// A list for so many slots.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(slot: SlotMemory, slots: usize) -> Result<Self, Error> {
        let memory = DmaBuffer::new(slot, TABLES + (slots + 1) * TABLE)?;
        let mut commands = Self { memory, slots };
        commands.clear();
        Ok(commands)
    }

    /// Makes all commands empty. The port must not be running.
    pub(super) fn clear(&mut self) {
        (0..HEADERS).for_each(|slot| self.put_header(slot, 0));
        let tables = TABLES..self.memory.length();
        tables.step_by(8).for_each(|at| self.memory.write(at, 0_u64));
    }

    /// The place of a slot's table.
    fn table(&self, slot: usize) -> Range<usize> {
        let start = TABLES + slot.min(self.slots) * TABLE;
        start..start + TABLE
    }

    /// Its place for the HBA.
    pub(super) fn place(&self) -> PhysRange {
        self.memory.share(0..self.memory.length())
    }

    /// Writes part `index` of the memory that the next command in a slot moves. The HBA does not
    /// have the slot.
    pub(super) fn put_part(&mut self, slot: usize, index: usize, part: PhysRange) {
        let at = self.table(slot).start + BEFORE_PARTS + index * PART;
        let last = part.length() as u32 - 1;
        self.memory.write(at, Part { address: part.start().get(), reserved: 0, last });
    }

    /// Writes a command with so many parts into a slot that the HBA does not have.
    pub(super) fn put(&mut self, slot: usize, command: Command, parts: usize, is_write: bool) {
        let table = self.table(slot);
        self.memory.copy_from(table.start, Fis::new(command, slot).as_bytes());
        let write = if is_write { HEADER_WRITE } else { 0 };
        self.put_header(slot, FIS_WORDS | write | (parts as u32) << 16);
    }

    fn put_header(&mut self, slot: usize, flags: u32) {
        let table = self.memory.share(self.table(slot)).start().get();
        self.memory.write(slot * HEADER, Header { flags, moved: 0, table, reserved: [0; 2] });
    }

    /// Bytes that the command in this slot has moved, as the HBA says. Not for queued ones.
    pub(super) fn moved(&self, slot: usize) -> u32 {
        self.memory.read(slot * HEADER + 4)
    }

    /// The HBA is stopped.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.memory.release(stopped);
    }
}
