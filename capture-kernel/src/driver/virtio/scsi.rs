//! The virtio SCSI controller (virtio 1.2, section 5.6): its targets and their disks, one of which
//! is the block device. Several commands in flight, data by DMA from any place, every wait with a
//! deadline.
//!
//! Only a request queue is used. Events and task management have queues of their own, which a
//! driver may leave alone.

mod exchange;
mod flight;

use self::exchange::Address;
use self::flight::Flight;
use super::device::{self, Features};
use super::requests::Body;
use crate::driver::controller::{Controller, DiskName, MOST_DISKS};
use crate::driver::dma::{Limits, Pieces, SlotMemory};
use crate::driver::scsi::{self, Ask, Command, Failure, Unit};
use crate::driver::{BlockDevice, Error};
use crate::{Clock, Deadline, list};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use virtio_drivers::transport::Transport;

/// The most bytes of one write.
const REQUEST: u64 = 1 << 20;
/// The unit of `max_sectors`, in bytes.
const SECTOR: u64 = 512;
/// Writes begin and end at multiples of so many bytes.
const PAGE: u64 = 4096;
/// The longest number of a unit that a command can carry.
const MOST_LUN: u16 = 0x3fff;

/// Offsets in the device's configuration (5.6.4).
mod config {
    pub(super) const SEG_MAX: usize = 4;
    pub(super) const MAX_SECTORS: usize = 8;
    pub(super) const CMD_PER_LUN: usize = 12;
    pub(super) const SENSE_SIZE: usize = 20;
    pub(super) const CDB_SIZE: usize = 24;
    pub(super) const MAX_TARGET: usize = 30;
    pub(super) const MAX_LUN: usize = 32;
}

/// A running controller.
pub struct VirtioScsi<'c, T: Transport> {
    flight: Flight<'c, T>,
    /// The disks that were found.
    disks: Vec<Address>,
    /// The selected one.
    unit: Option<Unit>,
    limits: Limits,
    /// The most bytes of one write that the controller takes.
    most_bytes: u64,
}

impl<'c, T: Transport> VirtioScsi<'c, T> {
    /// Resets and starts the controller behind `transport`, and looks for its disks. Any one
    /// request may then take `timeout` milliseconds, and the search as long in all.
    ///
    /// # Errors
    /// A feature that the device lacks or refuses, [`Error::Timeout`], [`Error::NoMemory`].
    pub fn start(
        transport: T,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        // Never dropped: virtio-drivers' PCI transport would wait for a reset without an end.
        let mut transport = ManuallyDrop::new(transport);
        device::negotiate(&mut *transport, clock, Features::empty(), slot.translation)?;
        let read = |offset| transport.read_config_space(offset).or(Err(Error::NoConfiguration));
        let sizes = (read(config::CDB_SIZE)?, read(config::SENSE_SIZE)?);
        if sizes != (exchange::CDB_SIZE, exchange::SENSE_SIZE) {
            return Err(Error::Unsupported("its commands or its sense data have another length"));
        }
        let [seg_max, max_sectors, commands] =
            [read(config::SEG_MAX)?, read(config::MAX_SECTORS)?, read(config::CMD_PER_LUN)?];
        let last_target = transport.read_config_space::<u16>(config::MAX_TARGET);
        let last_target = last_target.or(Err(Error::NoConfiguration))?;
        let last_lun = read(config::MAX_LUN)?;
        let flight = Flight::set_up(transport, slot, clock, timeout, commands)?;
        let most_bytes = (u64::from(max_sectors) * SECTOR / PAGE * PAGE).clamp(PAGE, REQUEST);
        let pieces = flight.most_pieces().min(seg_max.max(1) as usize);
        let piece = u64::from(u32::MAX);
        let limits = Limits { bytes: most_bytes, pieces, piece, align: 1, address_bits: 64 };
        let mut controller = Self { flight, disks: Vec::new(), unit: None, limits, most_bytes };
        controller.search(last_target, last_lun.try_into().unwrap_or(MOST_LUN).min(MOST_LUN))?;
        Ok(controller)
    }

    /// Looks for the units of each target. One that does not answer costs the rest of the time.
    fn search(&mut self, last_target: u16, last_lun: u16) -> Result<(), Error> {
        let mut list = list::filled(flight::READ, 0)?;
        let deadline = Deadline::after(self.flight.clock, self.flight.timeout);
        for target in 0..=u8::try_from(last_target).unwrap_or(u8::MAX) {
            if deadline.is_over(self.flight.clock) {
                log::warn!("virtio-scsi: no time left to look for target {target} and later ones");
                break;
            }
            let disks = &mut self.disks;
            disks.try_reserve(MOST_DISKS - disks.len()).or(Err(Error::NoMemory))?;
            let mut way = Way { flight: &mut self.flight, target, deadline: Some(deadline) };
            let found = scsi::find_units(&mut way, last_lun, &mut list, &mut |lun| {
                if disks.len() < MOST_DISKS {
                    disks.push(Address { target, lun });
                }
            });
            match found {
                // Nothing is there.
                Ok(()) | Err(Error::Scsi(Failure::Undelivered(_))) => {}
                Err(failure) => log::warn!("virtio-scsi: target {target}: {failure}"),
            }
        }
        Ok(())
    }

    /// Number of the block at a byte offset.
    fn block(&self, at: u64) -> u64 {
        at / u64::from(self.block_size())
    }

    /// Reads at most [`flight::READ`] bytes, with nothing else in flight.
    fn read_part(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.drain()?;
        let command = Command::Read(self.block(at), self.block(into.len() as u64) as u32);
        self.flight.ask(command, into, None).map(drop)
    }
}

/// The way to the units of a target.
struct Way<'f, 'c, T: Transport> {
    flight: &'f mut Flight<'c, T>,
    target: u8,
    /// The end of the wait, if it is not that of any request.
    deadline: Option<Deadline>,
}

impl<T: Transport> Ask for Way<'_, '_, T> {
    fn ask(&mut self, lun: u16, command: Command, into: &mut [u8]) -> Result<usize, Error> {
        self.flight.to = Address { target: self.target, lun };
        let asked = self.flight.ask(command, into, self.deadline);
        if let Err(Error::Timeout(_)) = asked {
            self.flight.give_up();
        }
        asked
    }
}

impl<T: Transport> Controller for VirtioScsi<'_, T> {
    fn disks(&self) -> usize {
        self.disks.len()
    }

    fn select(&mut self, index: usize) -> Result<(), Error> {
        let address = *self.disks.get(index).ok_or(Error::Outside)?;
        self.flight.give_up();
        self.unit = None;
        let mut way = Way { flight: &mut self.flight, target: address.target, deadline: None };
        let unit = scsi::identify(&mut way, address.lun)?;
        let block_size = u64::from(unit.capacity.block_size);
        let most = unit.most_blocks.map_or(u64::MAX, |blocks| u64::from(blocks) * block_size);
        self.limits.bytes = (most / PAGE * PAGE).clamp(PAGE, self.most_bytes);
        self.flight.select(address);
        self.unit = Some(unit);
        Ok(())
    }

    fn disk_name(&self, index: usize) -> DiskName {
        let Address { target, lun } = self.disks.get(index).copied().unwrap_or_default();
        DiskName::Lun { target, lun }
    }
}

impl<T: Transport> BlockDevice for VirtioScsi<'_, T> {
    fn capacity(&self) -> u64 {
        let size = |unit: &Unit| unit.capacity.blocks * u64::from(unit.capacity.block_size);
        self.unit.as_ref().map_or(0, size)
    }

    fn is_read_only(&self) -> bool {
        self.unit.is_none_or(|unit| unit.mode.is_read_only)
    }

    fn block_size(&self) -> u32 {
        self.unit.map_or(SECTOR as u32, |unit| unit.capacity.block_size)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut parts = (at..).step_by(flight::READ).zip(into.chunks_mut(flight::READ));
        parts.try_for_each(|(at, part)| self.read_part(at, part))
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        let length = pieces.iter().map(|piece| piece.length()).sum();
        let command = Command::Write(self.block(at), self.block(length) as u32);
        self.flight.send(command, at, Body::Out(pieces), None).map(drop)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        self.flight.wait_for_one()
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.wait_for_one()? {}
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        loop {
            match self.drain() {
                // That request is back, so that this ends.
                Err(failure) if failure.is_answer() => {}
                other => return other,
            }
        }
    }

    fn written_below(&self) -> u64 {
        self.flight.written_below()
    }

    /// A disk that does not know the command, and has not said that it has a cache, has none.
    fn flush(&mut self) -> Result<(), Error> {
        self.drain()?;
        let has_cache = self.unit.and_then(|unit| unit.mode.has_cache);
        if has_cache == Some(false) {
            return Ok(());
        }
        match self.flight.ask(Command::Flush, &mut [], None) {
            Err(Error::Scsi(failure)) if has_cache.is_none() && failure.is_unknown_command() => {
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(failure) => {
                // The contents of the disk are unknown, and the next flush may report success.
                self.flight.has_failed_at(0);
                Err(failure)
            }
        }
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.flight.stop()
    }
}

#[cfg(test)]
mod tests;
