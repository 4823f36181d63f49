//! NVMe (NVM Express Base 2.0 and 1.4, over PCI): one I/O queue, several commands in flight, data
//! by DMA from its place, every wait with a deadline. No interrupts.

mod command;
mod control;
mod identify;
mod queue;
mod requests;
pub mod status;
#[cfg(test)]
mod tests;

pub use control::disable;

use self::command::{Command, Subject};
use self::control::{Control, PAGE};
use self::identify::{ANSWER, Namespace};
use self::queue::{Completion, MOST_ENTRIES, Queue};
use self::requests::{Body, MOST_BYTES, Requests};
use self::status::Status;
use crate::driver::controller::{Controller, DiskName};
use crate::driver::dma::{DmaBuffer, Limits, MAX_PIECES, Pieces, SlotMemory};
use crate::driver::registers::Registers;
use crate::driver::{BlockDevice, Error};
use crate::{Clock, Deadline};
use alloc::vec::Vec;
use log::info;

/// Entries of each admin queue: one command at a time.
const ADMIN_ENTRIES: u16 = 2;
/// The most bytes of one read: two pages.
const READ: usize = 8192;
/// Time between looks at the controller's status while nothing comes back, in milliseconds.
const LOOK: u64 = 100;

/// A command is late.
const UNFINISHED: Error = Error::Timeout("complete a request");

/// The kinds of commands on the I/O queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Flush,
}

/// A running controller.
pub struct Nvme<'c, R> {
    control: Control<'c, R>,
    admin: Queue,
    io: Queue,
    requests: Requests,
    /// The buffer that the controller fills; not here while it does.
    inbox: Option<DmaBuffer>,
    /// The most bytes of one command.
    most_bytes: u64,
    has_cache: bool,
    /// Numbers of the active namespaces.
    namespaces: Vec<u32>,
    selected: Option<Namespace>,
    /// The lowest offset of a write that has failed; zero when a flush has.
    failed_at: u64,
}

impl<'c, R: Registers> Nvme<'c, R> {
    /// Disables the controller, whatever state it is in, and starts it. It may then take
    /// `timeout` milliseconds for any one command.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and the like for a part that the controller lacks;
    /// [`Error::Timeout`], [`Error::Removed`], [`Error::Fatal`], [`Error::Nvme`],
    /// [`Error::NoMemory`].
    pub fn start(
        registers: R,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let mut control = Control::new(registers, clock, timeout)?;
        control.disable()?;
        let entries = control.entries.min(MOST_ENTRIES.into()) as u16;
        let admin = Queue::new(slot, 0, ADMIN_ENTRIES)?;
        let io = Queue::new(slot, 1, entries)?;
        let requests = Requests::new(slot, usize::from(entries) - 1)?;
        let inbox = Some(DmaBuffer::new(slot, READ)?);
        control.enable(ADMIN_ENTRIES, admin.places())?;
        let mut device = Self {
            control,
            admin,
            io,
            requests,
            inbox,
            most_bytes: MOST_BYTES,
            has_cache: true,
            namespaces: Vec::new(),
            selected: None,
            failed_at: u64::MAX,
        };
        if let Err(failure) = device.set_up() {
            // Its memory is leaked if this fails.
            let _ = device.halt();
            return Err(failure);
        }
        Ok(device)
    }

    /// Reads the properties, and creates the I/O queue.
    fn set_up(&mut self) -> Result<(), Error> {
        let answer = self.identify(Subject::Controller, 0)?;
        let known = identify::Controller::read(answer, PAGE)?;
        self.most_bytes = known.bytes.map_or(MOST_BYTES, |bytes| bytes.min(MOST_BYTES));
        self.has_cache = known.has_cache;
        self.requests.limit(known.commands.unwrap_or(u16::MAX));
        self.admin(Command::one_queue())?;
        let (entries, [submissions, completions]) = (self.io.entries(), self.io.places());
        self.admin(Command::create_completion_queue(1, entries, completions))?;
        self.admin(Command::create_submission_queue(1, entries, submissions))?;
        self.namespaces = self.active(known.namespaces)?;
        let count = self.namespaces.len();
        info!("NVMe: {count} namespaces, queue of {entries}, {} bytes a command", self.most_bytes);
        match count {
            0 => Err(Error::Unsupported("it has no active namespace")),
            _ => Ok(()),
        }
    }

    /// Numbers of the active namespaces; `last` is the highest number that there can be.
    fn active(&mut self, last: u32) -> Result<Vec<u32>, Error> {
        match self.identify(Subject::Active, 0) {
            Ok(answer) => identify::active(answer),
            // Controllers before NVMe 1.1 have no list.
            Err(Error::Nvme(_)) => identify::all(last),
            Err(failure) => Err(failure),
        }
    }

    /// Carries out a command on the admin queue.
    fn admin(&mut self, command: Command) -> Result<(), Error> {
        let asked = self.requests.next_id(0);
        self.admin.submit(&mut self.control, command.numbered(asked));
        let Completion { id, status } = self.admin_answer()?;
        match Status::of(status) {
            _ if id != asked => Err(Error::BadAnswer(id.into())),
            Some(status) => Err(Error::Nvme(status)),
            None => Ok(()),
        }
    }

    fn admin_answer(&mut self) -> Result<Completion, Error> {
        let deadline = Deadline::after(self.control.clock, self.control.timeout);
        loop {
            if let Some(completion) = self.admin.take(&mut self.control)? {
                return Ok(completion);
            }
            self.control.check()?;
            if deadline.is_over(self.control.clock) {
                return Err(UNFINISHED);
            }
        }
    }

    /// Has the controller fill the first page of the inbox.
    fn identify(&mut self, subject: Subject, namespace: u32) -> Result<&DmaBuffer, Error> {
        let mut inbox = self.inbox.take().ok_or(UNFINISHED)?;
        (0..ANSWER).step_by(4).for_each(|at| inbox.write(at, 0_u32));
        let page = inbox.share(0..ANSWER).start().get();
        let done = self.admin(Command::identify(subject, namespace, page));
        if let Err(failure) = done
            && !failure.is_answer()
        {
            // The inbox is leaked: the controller may still fill it.
            return Err(failure);
        }
        let inbox = &*self.inbox.insert(inbox);
        done.map(|()| inbox)
    }

    /// Gives the controller a command and returns without waiting for it, unless too many are in
    /// flight.
    fn request(&mut self, at: u64, body: Body, kind: Kind) -> Result<(), Error> {
        let length = body.length();
        let namespace = self.blocks(at, length)?;
        let slot = self.free_slot()?;
        let deadline = Deadline::after(self.control.clock, self.control.timeout);
        let writes_at = match kind {
            Kind::Read => u64::MAX,
            Kind::Write => at,
            // After a failed flush the contents of the disk are unknown.
            Kind::Flush => 0,
        };
        let (id, data) = self.requests.start(slot, body, deadline, writes_at)?;
        let command = match kind {
            Kind::Read => Command::read(&namespace, at, length, data),
            Kind::Write => Command::write(&namespace, at, length, data),
            Kind::Flush => Command::flush(&namespace),
        };
        self.io.submit(&mut self.control, command.numbered(id));
        Ok(())
    }

    /// The selected namespace, if its blocks begin at `at` and after `length` bytes.
    fn blocks(&self, at: u64, length: u64) -> Result<Namespace, Error> {
        let namespace = self.selected.ok_or(Error::NoConfiguration)?;
        match (at | length) & ((1 << namespace.shift) - 1) {
            0 => Ok(namespace),
            _ => Err(Error::Misaligned(at)),
        }
    }

    fn free_slot(&mut self) -> Result<usize, Error> {
        self.collect()?;
        loop {
            if let Some(slot) = self.requests.free() {
                return Ok(slot);
            }
            self.wait_for_one()?;
        }
    }

    /// Takes back finished commands; true if there were any.
    fn collect(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while let Some(Completion { id, status }) = self.io.take(&mut self.control)? {
            let done = self.requests.finish(id)?;
            self.inbox = self.inbox.take().or(done.buffer);
            if let Some(status) = Status::of(status) {
                self.failed_at = self.failed_at.min(done.writes_at);
                return Err(Error::Nvme(status));
            }
            any = true;
        }
        Ok(any)
    }

    /// Reads at most [`READ`] bytes, with nothing else in flight.
    fn read_part(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.blocks(at, into.len() as u64)?;
        self.drain()?;
        let inbox = self.inbox.take().ok_or(UNFINISHED)?;
        self.request(at, Body::In(inbox, into.len()), Kind::Read)?;
        self.drain()?;
        self.inbox.as_ref().ok_or(UNFINISHED)?.copy_to(0, into);
        Ok(())
    }

    /// Disables the controller: all memory is ours again.
    fn halt(&mut self) -> Result<(), Error> {
        let stopped = self.control.disable()?;
        self.admin.release(&stopped);
        self.io.release(&stopped);
        self.requests.release(&stopped);
        if let Some(inbox) = &mut self.inbox {
            inbox.release(&stopped);
        }
        Ok(())
    }
}

impl<R: Registers> BlockDevice for Nvme<'_, R> {
    fn capacity(&self) -> u64 {
        self.selected.map_or(0, |namespace| namespace.capacity)
    }

    fn is_read_only(&self) -> bool {
        self.selected.is_some_and(|namespace| namespace.is_read_only)
    }

    fn block_size(&self) -> u32 {
        self.selected.map_or(0, |namespace| 1 << namespace.shift)
    }

    fn limits(&self) -> Limits {
        let bytes = self.most_bytes;
        // PRP entries: whole pages.
        Limits { bytes, pieces: MAX_PIECES, piece: bytes, align: PAGE as u32, address_bits: 64 }
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut parts = (at..).step_by(READ).zip(into.chunks_mut(READ));
        parts.try_for_each(|(at, part)| self.read_part(at, part))
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        self.request(at, Body::Out(pieces), Kind::Write)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        if self.requests.is_idle() {
            return Ok(false);
        }
        let mut looked = self.control.clock.milliseconds();
        while !self.collect()? {
            let now = self.control.clock.milliseconds();
            if now >= looked.saturating_add(LOOK) {
                self.control.check()?;
                looked = now;
            }
            if self.requests.is_late(self.control.clock) {
                return Err(UNFINISHED);
            }
            core::hint::spin_loop();
        }
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.wait_for_one()? {}
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        loop {
            match self.drain() {
                // That command is back, so that this ends.
                Err(Error::Nvme(_)) => {}
                other => return other,
            }
        }
    }

    fn written_below(&self) -> u64 {
        self.failed_at.min(self.requests.writes_at())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.drain()?;
        if self.has_cache {
            self.request(0, Body::Out(Pieces::new()), Kind::Flush)?;
            self.drain()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        if !self.requests.is_idle() {
            // QEMU holds the machine in a reset until the disk has answered every request.
            return Err(UNFINISHED);
        }
        self.halt()
    }
}

impl<R: Registers> Controller for Nvme<'_, R> {
    fn disks(&self) -> usize {
        self.namespaces.len()
    }

    fn select(&mut self, index: usize) -> Result<(), Error> {
        self.drain()?;
        (self.selected, self.failed_at) = (None, u64::MAX);
        let id = *self.namespaces.get(index).ok_or(Error::NoConfiguration)?;
        let namespace = Namespace::read(self.identify(Subject::Namespace, id)?, id)?;
        self.selected = Some(namespace);
        Ok(())
    }

    fn disk_name(&self, index: usize) -> DiskName {
        DiskName::Namespace(self.namespaces.get(index).copied().unwrap_or(0))
    }
}
