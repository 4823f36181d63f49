//! The commands of a port's disk that are not done yet, with all memory that the HBA may use for
//! them.

use super::command::{Ata, Command, Commands};
use super::hba::Hba;
use super::port::{Port, Progress};
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, DmaPiece, Pieces, Stopped};
use crate::{Deadline, list};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use log::warn;

/// Tries of a write or read. An error of a queued command ends all of them, so that the second try
/// finds the one that it belongs to.
const TRIES: u8 = 2;

/// The data that a command moves. The request owns it until the HBA has finished it.
pub(super) enum Body {
    /// The device reads these.
    Out(Pieces),
    /// The device fills the first so many bytes of this, and no code reads it meanwhile.
    In(DmaBuffer, usize),
}

impl Body {
    /// Writes its places in memory into a slot; returns their number.
    fn put(&mut self, commands: &mut Commands, slot: usize, zeros: &DmaBuffer) -> usize {
        match self {
            Self::Out(pieces) => {
                let parts = pieces.iter().map(|piece| place(piece, zeros)).enumerate();
                parts.for_each(|(index, part)| commands.put_part(slot, index, part));
                pieces.len()
            }
            Self::In(buffer, length) => {
                commands.put_part(slot, 0, buffer.share(0..*length));
                1
            }
        }
    }
}

fn place(piece: &DmaPiece, zeros: &DmaBuffer) -> vmcore::PhysRange {
    match piece {
        DmaPiece::Old(range) => *range,
        DmaPiece::Frozen(frozen, part) => frozen.share(part.clone()),
        DmaPiece::Zeros(count) => zeros.share(0..*count as usize),
    }
}

/// A command that is not done.
struct Request {
    command: Command,
    /// The offset on the disk from which data is lost if it fails.
    lost_from: u64,
    /// The order in which the requests came.
    number: u64,
    /// Its place in the HBA, once it is sent.
    sent: Option<Sent>,
    tries: u8,
    /// Leaked where the request is dropped unfinished: the device may still use it.
    body: ManuallyDrop<Body>,
}

/// A command that the HBA has.
#[derive(Clone, Copy)]
struct Sent {
    /// The time by which it must be done.
    deadline: Deadline,
    /// True if the disk queues it.
    is_queued: bool,
}

/// A command that is done.
pub(super) struct Done {
    /// The buffer that the device has filled, if there was one, and the number of bytes in it.
    pub(super) filled: Option<(DmaBuffer, u32)>,
}

/// The requests of one port.
pub(super) struct Requests {
    port: Port,
    commands: Commands,
    slots: Vec<Option<Request>>,
    /// Writes are queued by the disk. Else the HBA has one command at a time.
    pub(super) is_queued: bool,
    next: u64,
    /// The lowest offset of a write that has failed; zero when a flush has.
    failed_at: u64,
    /// The reason why the port is of no use any more.
    given_up: Option<Error>,
}

impl Requests {
    /// Requests in the `slots` first slots of a port whose engine runs, not queued.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(super) fn new(port: Port, commands: Commands, slots: usize) -> Result<Self, Error> {
        let mut list = list::with_room(slots)?;
        list.resize_with(slots, || None);
        Ok(Self {
            port,
            commands,
            slots: list,
            is_queued: false,
            next: 0,
            failed_at: u64::MAX,
            given_up: None,
        })
    }

    /// Limits the number of slots, one at least.
    pub(super) fn limit(&mut self, slots: usize) {
        self.slots.truncate(slots.max(1));
    }

    /// True if there is a free slot.
    pub(super) fn has_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// True if nothing is in flight or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The commands that the HBA has.
    fn sent(&self) -> impl Iterator<Item = Sent> {
        self.slots.iter().flatten().filter_map(|request| request.sent)
    }

    /// True if the HBA has none.
    pub(super) fn is_quiet(&self) -> bool {
        self.sent().next().is_none()
    }

    /// Every write below this offset that was ever taken has succeeded, and no flush has failed.
    pub(super) fn written_below(&self) -> u64 {
        let requests = self.slots.iter().flatten();
        requests.map(|request| request.lost_from).fold(self.failed_at, u64::min)
    }

    /// Takes a command. Where it is not a write of data, nothing else is in flight. Any one try
    /// may take `timeout` milliseconds.
    ///
    /// # Panics
    /// There is no room.
    pub(super) fn add(
        &mut self,
        (command, lost_from): (Command, u64),
        body: Body,
        (hba, zeros, timeout): (&mut Hba<'_>, &DmaBuffer, u64),
    ) {
        let (number, body) = (self.next, ManuallyDrop::new(body));
        self.next += 1;
        let free = self.slots.iter_mut().find(|slot| slot.is_none()).expect("room for it");
        *free = Some(Request { command, lost_from, number, sent: None, tries: 0, body });
        self.issue((hba, zeros, timeout));
    }

    /// Gives waiting commands to the HBA: all, or the next one.
    fn issue(&mut self, (hba, zeros, timeout): (&mut Hba<'_>, &DmaBuffer, u64)) {
        while let Some((slot, request)) = next(&mut self.slots, self.is_queued) {
            let is_write = matches!(*request.body, Body::Out(_));
            let is_queued = self.is_queued && request.command.ata == Ata::WriteDmaExt;
            let ata = if is_queued { Ata::WriteQueued } else { request.command.ata };
            let command = Command { ata, ..request.command };
            let parts = request.body.put(&mut self.commands, slot, zeros);
            self.commands.put(slot, command, parts, is_write);
            let deadline = Deadline::after(hba.clock, timeout);
            request.sent = Some(Sent { deadline, is_queued });
            request.tries += 1;
            self.port.issue(hba, slot, is_queued);
        }
    }

    /// A command that is done, if there is one.
    ///
    /// # Errors
    /// One has failed, or the port is given up.
    pub(super) fn take_back(
        &mut self,
        (hba, zeros, timeout): (&mut Hba<'_>, &DmaBuffer, u64),
    ) -> Result<Option<Done>, Error> {
        if let Some(error) = self.given_up {
            return Err(error);
        }
        let Some(Sent { is_queued, .. }) = self.sent().next() else { return Ok(None) };
        let progress = self.port.progress(hba, is_queued).map_err(Error::from);
        let progress = progress.inspect_err(|error| self.given_up = Some(*error))?;
        let unfinished = match progress {
            Progress::Unfinished(slots) => slots,
            // Queued commands that were finished before have succeeded.
            Progress::Failed { unfinished, .. } if is_queued => unfinished,
            Progress::Failed { .. } => u32::MAX,
        };
        if let Some(done) = self.finish(unfinished) {
            self.issue((hba, zeros, timeout));
            return Ok(Some(done));
        }
        let Progress::Failed { status, error, .. } = progress else { return Ok(None) };
        let Port(number) = self.port;
        let reason = words(status, error);
        warn!("AHCI port {number}: {reason} (status {status:#x}, error {error:#x}); link reset");
        self.is_queued &= !is_queued;
        let failed = self.drop_failed(hba, status);
        let failed = failed.and_then(|failed| {
            self.port.wait_until_ready(hba, timeout)?;
            self.port.start(hba, self.commands.place())?;
            Ok(failed)
        });
        let failed = failed.inspect_err(|error| self.given_up = Some(*error))?;
        self.issue((hba, zeros, timeout));
        failed.map_or(Ok(None), Err)
    }

    /// Takes back a command that the HBA had and has finished.
    fn finish(&mut self, unfinished: u32) -> Option<Done> {
        let is_back = |(slot, request): (usize, &mut Option<Request>)| {
            let request =
                request.take_if(|request| request.sent.is_some() && unfinished >> slot & 1 == 0)?;
            Some((slot, ManuallyDrop::into_inner(request.body)))
        };
        let (slot, body) = self.slots.iter_mut().enumerate().find_map(is_back)?;
        let filled = match body {
            Body::In(buffer, _) => Some((buffer, self.commands.moved(slot))),
            Body::Out(_) => None,
        };
        Some(Done { filled })
    }

    /// After an error: stops the port, whose link is then being reset. Its commands wait for
    /// another try; returns the error for one that had its last.
    fn drop_failed(&mut self, hba: &mut Hba<'_>, status: u8) -> Result<Option<Error>, Error> {
        self.port.stop(hba)?;
        hba.reset_links(1 << self.port.0)?;
        self.commands.clear();
        let mut failed = None;
        for slot in &mut self.slots {
            let Some(request) = slot else { continue };
            let tries = match request.command.ata {
                Ata::ReadDmaExt | Ata::WriteDmaExt => TRIES,
                _ => 1,
            };
            if request.sent.take().is_some() && request.tries >= tries {
                self.failed_at = self.failed_at.min(request.lost_from);
                drop(slot.take().map(|request| ManuallyDrop::into_inner(request.body)));
                failed = Some(Error::Io(status));
            }
        }
        Ok(failed)
    }

    /// True if the HBA should have finished one by now.
    pub(super) fn is_late(&self, hba: &Hba<'_>) -> bool {
        self.sent().any(|sent| sent.deadline.is_over(hba.clock))
    }

    /// Stops the port: its command list is free again.
    ///
    /// # Errors
    /// The HBA has a command, or the port does not stop: all is leaked.
    pub(super) fn end(mut self, hba: &mut Hba<'_>) -> Result<Commands, Error> {
        if !self.is_quiet() {
            return Err(Error::Timeout("complete a request"));
        }
        self.port.stop(hba)?;
        self.forget();
        Ok(self.commands)
    }

    /// Frees the memory of commands that the HBA does not have.
    fn forget(&mut self) {
        let waiting = self.slots.iter_mut().filter_map(Option::take);
        waiting.for_each(|request| drop(ManuallyDrop::into_inner(request.body)));
    }

    /// The HBA is stopped, and had no command.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.forget();
        self.commands.release(stopped);
    }
}

/// The first of the commands that the HBA may have and has not.
fn next(slots: &mut [Option<Request>], is_queued: bool) -> Option<(usize, &mut Request)> {
    let has_one = slots.iter().flatten().any(|request| request.sent.is_some());
    let all = (0..).zip(slots).filter_map(|(slot, request)| Some((slot, request.as_mut()?)));
    let waiting = all.filter(|(_, request)| request.sent.is_none());
    waiting.min_by_key(|(_, request)| request.number).filter(|_| is_queued || !has_one)
}

/// The meaning of an ATA status and error.
fn words(status: u8, error: u8) -> &'static str {
    const MEANINGS: [(u8, &str); 5] = [
        (1 << 7, "the link damaged the data"),
        (1 << 6, "a sector cannot be read or written"),
        (1 << 4, "the disk has no such sector"),
        (1 << 2, "the disk refused a command"),
        (1 << 0, "the disk ran out of time or media"),
    ];
    if status & 1 == 0 {
        return match status & 1 << 5 {
            0 => "the link or the HBA failed",
            _ => "the disk reports a fault",
        };
    }
    let meaning = MEANINGS.iter().find(|(bit, _)| error & bit != 0);
    meaning.map_or("the disk reports an error", |(_, text)| text)
}
