//! A controller's registers: what it can, on, off, doorbells (NVM Express Base 2.0, section 3.1.3).

use super::identify::ENTRIES;
use crate::driver::Error;
use crate::driver::dma::Stopped;
use crate::driver::registers::Registers;
use crate::{Clock, Deadline};
use log::warn;

/// Offsets of the registers.
mod register {
    pub(super) const CAPABILITIES: usize = 0x00;
    pub(super) const INTERRUPTS_OFF: usize = 0x0c;
    pub(super) const CONFIGURATION: usize = 0x14;
    pub(super) const STATUS: usize = 0x1c;
    pub(super) const ADMIN_SIZES: usize = 0x24;
    pub(super) const ADMIN_SUBMISSIONS: usize = 0x28;
    pub(super) const ADMIN_COMPLETIONS: usize = 0x30;
    pub(super) const DOORBELLS: usize = 0x1000;
}

/// Bits of the configuration (CC).
mod configuration {
    pub(super) const ENABLED: u32 = 1;
    /// Shutdown notification.
    pub(super) const SHUTDOWN: u32 = 0b11 << 14;
}

/// Bits of the status (CSTS).
mod status {
    pub(super) const READY: u32 = 1;
    pub(super) const FATAL: u32 = 1 << 1;
    pub(super) const SHUTDOWN: u32 = 0b11 << 2;
    pub(super) const SHUTTING_DOWN: u32 = 0b01 << 2;
}

/// Value of every register of a device that is not there.
const ABSENT: u32 = u32::MAX;
/// Our page size, and the only one that we use (CC.MPS = 0).
pub(super) const PAGE: u64 = 4096;

/// Capabilities (CAP).
#[derive(Clone, Copy)]
struct Capabilities(u64);

impl Capabilities {
    const fn bits(self, from: u32, count: u32) -> u32 {
        (self.0 >> from) as u32 & ((1 << count) - 1)
    }

    /// The most entries of a queue (MQES counts from 0).
    const fn entries(self) -> u32 {
        self.bits(0, 16) + 1
    }

    /// The longest time that it takes to become ready, in milliseconds (TO).
    const fn longest_start(self) -> u64 {
        self.bits(24, 8) as u64 * 500
    }

    /// Bytes from one doorbell to the next (DSTRD).
    const fn stride(self) -> usize {
        4 << self.bits(32, 4)
    }

    /// True if it has the NVM command set (CSS).
    const fn has_disks(self) -> bool {
        self.bits(37, 1) != 0
    }

    /// The least size of a page (MPSMIN) is `PAGE << this`.
    const fn least_page(self) -> u32 {
        self.bits(48, 4)
    }
}

/// Registers of a controller, and the time that it has.
pub(super) struct Control<'c, R> {
    registers: R,
    pub(super) clock: &'c dyn Clock,
    /// Milliseconds that the controller may take to start, to stop, and for any one command.
    pub(super) timeout: u64,
    /// The most entries of a queue.
    pub(super) entries: u32,
    stride: usize,
}

impl<'c, R: Registers> Control<'c, R> {
    /// A controller that has queues of at least two entries, pages of 4096 bytes, and disks.
    ///
    /// # Errors
    /// [`Error::Removed`], [`Error::Unsupported`].
    pub(super) fn new(registers: R, clock: &'c dyn Clock, timeout: u64) -> Result<Self, Error> {
        let [low, high] = [0, 4].map(|half| registers.read(register::CAPABILITIES + half));
        if low == ABSENT && high == ABSENT {
            return Err(Error::Removed);
        }
        let able = Capabilities(u64::from(high) << 32 | u64::from(low));
        let stride = able.stride();
        // Doorbells of two queues, two each.
        if register::DOORBELLS + 4 * stride > registers.length() {
            return Err(Error::Unsupported("its registers have no doorbells"));
        }
        if able.least_page() != 0 {
            return Err(Error::Unsupported("it knows no pages of 4096 bytes"));
        }
        if !able.has_disks() {
            return Err(Error::Unsupported("it has no NVM command set"));
        }
        if able.entries() < 2 {
            return Err(Error::QueueTooShort(1));
        }
        if able.longest_start() > timeout {
            let longest = able.longest_start();
            warn!("NVMe: may take {longest} ms to be ready, kdump.timeout allows {timeout}");
        }
        Ok(Self { registers, clock, timeout, entries: able.entries(), stride })
    }

    /// Makes it ready, with admin queues of so many entries at these addresses.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Fatal`], [`Error::Removed`].
    pub(super) fn enable(&mut self, entries: u16, queues: [u64; 2]) -> Result<(), Error> {
        let last = u32::from(entries) - 1;
        self.registers.write(register::INTERRUPTS_OFF, u32::MAX);
        self.registers.write(register::ADMIN_SIZES, last << 16 | last);
        let places = [register::ADMIN_SUBMISSIONS, register::ADMIN_COMPLETIONS];
        for (register, at) in places.into_iter().zip(queues) {
            self.registers.write(register, at as u32);
            self.registers.write(register + 4, (at >> 32) as u32);
        }
        let [submission, completion] = ENTRIES.map(u32::from);
        let sizes = completion << 20 | submission << 16;
        self.registers.write(register::CONFIGURATION, sizes | configuration::ENABLED);
        let is_done = |now| now & (status::READY | status::FATAL) != 0;
        let now = wait(&self.registers, self.clock, self.timeout, is_done)?;
        match now {
            Some(now) if now & status::FATAL != 0 => Err(Error::Fatal),
            Some(_) => Ok(()),
            None => Err(Error::Timeout("become ready")),
        }
    }

    /// Disables it. From then on it does no DMA.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Removed`].
    pub(super) fn disable(&mut self) -> Result<Stopped, Error> {
        disable(&mut self.registers, self.clock, self.timeout)
    }

    /// Fails if it cannot answer any more.
    ///
    /// # Errors
    /// [`Error::Removed`], [`Error::Fatal`].
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.registers.read(register::STATUS) {
            ABSENT => Err(Error::Removed),
            now if now & status::FATAL != 0 => Err(Error::Fatal),
            _ => Ok(()),
        }
    }

    /// Writes the doorbell of submission (0) or completion (1) queue `id`, which is 0 or 1.
    pub(super) fn ring(&mut self, id: u16, kind: usize, entry: u16) {
        let at = register::DOORBELLS + (2 * usize::from(id) + kind) * self.stride;
        self.registers.write(at, entry.into());
    }
}

/// Disables a controller, whatever state it is in: it does no DMA any more when this returns. Each
/// of three steps may take `timeout` milliseconds.
///
/// # Errors
/// [`Error::Timeout`], [`Error::Removed`].
pub fn disable(
    registers: &mut dyn Registers,
    clock: &dyn Clock,
    timeout: u64,
) -> Result<Stopped, Error> {
    let now = registers.read(register::CONFIGURATION);
    if now == ABSENT {
        return Err(Error::Removed);
    }
    if now & configuration::ENABLED != 0 {
        settle(registers, clock, timeout)?;
    }
    // Also where it reports that it is off: this write makes it so.
    let off = now & !(configuration::ENABLED | configuration::SHUTDOWN);
    registers.write(register::CONFIGURATION, off);
    match wait(registers, clock, timeout, |now| now & status::READY == 0)? {
        Some(_) => Ok(Stopped::confirmed()),
        None => Err(Error::Timeout("stop")),
    }
}

/// True for some values of the status.
type Is = fn(u32) -> bool;

/// Waits until an enabled controller is neither starting nor shutting down: a reset in between has
/// undefined results. Nothing else is left where that takes too long.
fn settle(registers: &dyn Registers, clock: &dyn Clock, timeout: u64) -> Result<(), Error> {
    let steps: [(Is, _); 2] = [
        (|now| now & (status::READY | status::FATAL) != 0, "starting"),
        (|now| now & status::SHUTDOWN != status::SHUTTING_DOWN, "shutting down"),
    ];
    for (is_done, what) in steps {
        if wait(registers, clock, timeout, is_done)?.is_none() {
            warn!("NVMe: still {what} after {timeout} ms; it is reset all the same");
        }
    }
    Ok(())
}

/// Waits until the status is as `is_done` wants it, and returns it; [`None`] if that takes too long.
fn wait(
    registers: &dyn Registers,
    clock: &dyn Clock,
    timeout: u64,
    is_done: Is,
) -> Result<Option<u32>, Error> {
    let mut now = 0;
    let in_time = Deadline::after(clock, timeout).wait(clock, || {
        now = registers.read(register::STATUS);
        now == ABSENT || is_done(now)
    });
    if now == ABSENT {
        return Err(Error::Removed);
    }
    Ok(in_time.then_some(now))
}
