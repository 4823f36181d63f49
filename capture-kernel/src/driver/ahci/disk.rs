//! An HBA as a controller of disks.

use super::command::{ALIGN, Ata, Command, Commands, MOST_OF_PART, MOST_SLOTS};
use super::hba::Hba;
use super::identity::{self, Identity};
use super::port::Port;
use super::requests::{Body, Requests};
use crate::Clock;
use crate::driver::controller::{Controller, DiskName};
use crate::driver::dma::{DmaBuffer, DmaPiece, Limits, MAX_PIECES, Pieces, SlotMemory, ZEROS};
use crate::driver::registers::Registers;
use crate::driver::{BlockDevice, Error};
use alloc::boxed::Box;
use vmcore::PhysRange;

/// Bytes of the area for received FISes (AHCI 1.3.1, 4.2.1). The ports share one: nobody reads it.
const RECEIVED: usize = 256;
/// The most bytes of one write.
const REQUEST: u64 = 1 << 20;
/// The most bytes of one read.
const READ: usize = 8192;

/// A request is late.
const UNFINISHED: Error = Error::Timeout("complete a request");

/// A running HBA.
pub struct Ahci<'c> {
    hba: Hba<'c>,
    slot: SlotMemory,
    /// Milliseconds that any one try of a request may take.
    timeout: u64,
    received: DmaBuffer,
    zeros: DmaBuffer,
    /// The buffer that a disk fills when it is read, and the number of bytes there; not here while
    /// it is filled.
    inbox: Option<(DmaBuffer, u32)>,
    /// The command list, while no port has it.
    spare: Option<Commands>,
    active: Option<Active>,
    /// A port was left with requests in flight.
    is_stuck: bool,
}

/// The selected port.
struct Active {
    identity: Identity,
    requests: Requests,
}

impl<'c> Ahci<'c> {
    /// Starts the HBA behind `registers`, which is [`quiet`](super::quiet). Any one request may
    /// then take `timeout` milliseconds.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Removed`], [`Error::Unsupported`], [`Error::NoMemory`],
    /// [`Error::OutOfReach`].
    pub fn start(
        registers: Box<dyn Registers + 'c>,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let mut hba = Hba::find(registers, clock, timeout)?;
        let received = DmaBuffer::new(slot, RECEIVED)?;
        let zeros = DmaBuffer::new(slot, ZEROS as usize)?;
        let area = received.share(0..RECEIVED);
        reached(&hba, area)?;
        hba.bring_links_up(area)?;
        let (inbox, spare, active, is_stuck) = (None, None, None, false);
        Ok(Self { hba, slot, timeout, received, zeros, inbox, spare, active, is_stuck })
    }

    /// Makes the disk at `port` the selected one.
    fn open(&mut self, port: Port) -> Result<(), Error> {
        self.hba.set_limit(u64::MAX);
        port.wait_until_ready(&mut self.hba, self.timeout)?;
        port.is_disk(&self.hba)?;
        let slots = self.hba.slots().min(MOST_SLOTS);
        let mut commands = match self.spare.take() {
            Some(commands) => commands,
            None => Commands::new(self.slot, slots)?,
        };
        commands.clear();
        reached(&self.hba, commands.place())?;
        let started = port.start(&mut self.hba, commands.place());
        let identity = Identity::UNKNOWN;
        let requests = Requests::new(port, commands, slots)?;
        self.active = Some(Active { identity, requests });
        started?;
        let identity = self.identify()?;
        let active = self.active.as_mut().ok_or(Error::NoDisk)?;
        active.identity = identity;
        if self.hba.has_queuing() && identity.queue > 1 {
            active.requests.limit(identity.queue);
            active.requests.is_queued = true;
        }
        Ok(())
    }

    fn identify(&mut self) -> Result<Identity, Error> {
        let mut bytes = [0; identity::LENGTH];
        let command = Command { ata: Ata::Identify, sector: 0, count: 0 };
        self.fill(command, &mut bytes)?;
        Identity::decode(&bytes)
    }

    /// Leaves the selected port. Memory that it may still use is leaked.
    fn leave(&mut self) {
        let Some(Active { requests, .. }) = self.active.take() else { return };
        self.is_stuck |= !requests.is_quiet();
        self.spare = requests.end(&mut self.hba).ok();
    }

    fn identity(&self) -> Identity {
        self.active.as_ref().map_or(Identity::UNKNOWN, |active| active.identity)
    }

    fn active(&self) -> Result<&Active, Error> {
        self.active.as_ref().ok_or(Error::NoDisk)
    }

    /// Takes one request and returns without waiting for it, unless there is no room for it.
    fn request(&mut self, request: (Command, u64), body: Body) -> Result<(), Error> {
        self.collect()?;
        while !self.active()?.requests.has_room() {
            self.wait_for_one()?;
        }
        let Self { hba, active: Some(active), zeros, timeout, .. } = self else {
            return Err(Error::NoDisk);
        };
        active.requests.add(request, body, (hba, zeros, *timeout));
        Ok(())
    }

    /// Takes back finished requests; true if there were any.
    fn collect(&mut self) -> Result<bool, Error> {
        let Self { hba, active: Some(active), zeros, timeout, inbox, .. } = self else {
            return Err(Error::NoDisk);
        };
        let mut any = false;
        while let Some(done) = active.requests.take_back((hba, zeros, *timeout))? {
            any = true;
            *inbox = inbox.take().or(done.filled);
        }
        Ok(any)
    }

    /// Reads the answer to a command, with nothing else in flight.
    fn fill(&mut self, command: Command, into: &mut [u8]) -> Result<(), Error> {
        self.drain()?;
        let inbox = match self.inbox.take() {
            Some((inbox, _)) => inbox,
            None => DmaBuffer::new(self.slot, READ)?,
        };
        self.request((command, u64::MAX), Body::In(inbox, into.len()))?;
        self.drain()?;
        match &self.inbox {
            Some((inbox, moved)) if *moved as usize == into.len() => inbox.copy_to(0, into),
            Some((_, moved)) => {
                return Err(Error::Short { wanted: into.len() as u32, got: *moved });
            }
            None => return Err(UNFINISHED),
        }
        Ok(())
    }

    /// A command for bytes of the disk, all of them inside.
    fn transfer(&self, ata: Ata, at: u64, length: u64) -> Result<Command, Error> {
        let Identity { sector, sectors, .. } = self.active()?.identity;
        let sector = u64::from(sector);
        let is_whole = at.is_multiple_of(sector) && length.is_multiple_of(sector);
        let (first, count) = (at / sector, length / sector);
        let is_inside = first.checked_add(count).is_some_and(|end| end <= sectors);
        match u16::try_from(count) {
            Ok(count) if is_whole && is_inside && count > 0 => {
                Ok(Command { ata, sector: first, count })
            }
            _ => Err(Error::Outside),
        }
    }
}

/// Succeeds for memory that the HBA can use.
fn reached(hba: &Hba<'_>, memory: PhysRange) -> Result<(), Error> {
    match limits(hba).reaches(memory) {
        true => Ok(()),
        false => Err(Error::OutOfReach(memory.start())),
    }
}

fn limits(hba: &Hba<'_>) -> Limits {
    Limits {
        bytes: REQUEST,
        pieces: MAX_PIECES,
        piece: MOST_OF_PART,
        align: ALIGN,
        address_bits: hba.address_bits(),
    }
}

impl Controller for Ahci<'_> {
    fn disks(&self) -> usize {
        self.hba.ports.count_ones() as usize
    }

    fn select(&mut self, index: usize) -> Result<(), Error> {
        self.leave();
        let port = self.hba.number(index).ok_or(Error::NoDisk)?;
        self.open(Port(port)).inspect_err(|_| self.leave())
    }

    fn disk_name(&self, index: usize) -> DiskName {
        DiskName::Port(self.hba.number(index).unwrap_or_default())
    }
}

impl BlockDevice for Ahci<'_> {
    fn capacity(&self) -> u64 {
        let Identity { sectors, sector, .. } = self.identity();
        sectors.saturating_mul(sector.into())
    }

    fn block_size(&self) -> u32 {
        self.identity().sector
    }

    /// A disk that is write-protected refuses the first write.
    fn is_read_only(&self) -> bool {
        false
    }

    fn limits(&self) -> Limits {
        limits(&self.hba)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let parts = (at..).step_by(READ).zip(into.chunks_mut(READ));
        for (at, part) in parts {
            let command = self.transfer(Ata::ReadDmaExt, at, part.len() as u64)?;
            self.fill(command, part)?;
        }
        Ok(())
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        let align = u64::from(ALIGN);
        let fits = |piece: &DmaPiece| {
            let length = piece.length();
            (1..=MOST_OF_PART).contains(&length) && length.is_multiple_of(align)
        };
        if pieces.len() > MAX_PIECES || !pieces.iter().all(fits) {
            return Err(Error::Fragmented);
        }
        let length = pieces.iter().map(DmaPiece::length).sum();
        let command = self.transfer(Ata::WriteDmaExt, at, length)?;
        self.request((command, at), Body::Out(pieces))
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        while !self.active()?.requests.is_idle() {
            if self.collect()? {
                return Ok(true);
            }
            if self.active()?.requests.is_late(&self.hba) {
                return Err(UNFINISHED);
            }
            core::hint::spin_loop();
        }
        Ok(false)
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.wait_for_one()? {}
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        loop {
            match self.drain() {
                // That request is back, so that this ends.
                Err(Error::Io(_)) => {}
                other => return other,
            }
        }
    }

    fn written_below(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.requests.written_below())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.drain()?;
        if let Some(ata) = self.identity().flush {
            let command = Command { ata, sector: 0, count: 0 };
            // After a failed flush the contents of the disk are unknown, and the next flush may
            // report success.
            self.request((command, 0), Body::Out(Pieces::new()))?;
            self.drain()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        let is_quiet = self.active.as_ref().is_none_or(|active| active.requests.is_quiet());
        if self.is_stuck || !is_quiet {
            // QEMU holds the machine in a reset until the disk has answered every request.
            return Err(UNFINISHED);
        }
        self.hba.set_limit(u64::MAX);
        let stopped = self.hba.reset()?;
        self.received.release(&stopped);
        self.zeros.release(&stopped);
        if let Some((inbox, _)) = &mut self.inbox {
            inbox.release(&stopped);
        }
        if let Some(commands) = &mut self.spare {
            commands.release(&stopped);
        }
        if let Some(active) = &mut self.active {
            active.requests.release(&stopped);
        }
        Ok(())
    }
}
