//! The registers of an HBA, and its way from any state to a fresh one.

use super::registers::{
    LINK, LINK_UP, NO_DISK, NO_SLUMBER, PORT_LENGTH, PORTS, RESET_LINK, Reg, cmd, place,
};
use crate::driver::Error;
use crate::driver::dma::Stopped;
use crate::driver::registers::Registers;
use crate::{Clock, Deadline};
use alloc::boxed::Box;
use log::warn;
use vmcore::PhysRange;

/// A register of a device that is not there any more.
const GONE: u32 = u32::MAX;

/// The HBA is not there any more. [`Error`] is large, and most functions have no other one.
pub(super) struct Removed;

impl From<Removed> for Error {
    fn from(_: Removed) -> Self {
        Self::Removed
    }
}

/// Milliseconds for the HBA's parts: until AHCI is on, for the firmware (10.6.3), for a port's
/// engines (10.1.2), for the reset (10.4.3).
const ENABLE_TIMEOUT: u64 = 50;
const FIRMWARE_TIMEOUT: u64 = 2000;
const ENGINE_TIMEOUT: u64 = 500;
const RESET_TIMEOUT: u64 = 1000;
/// A COMRESET lasts a millisecond at least (10.4.2): two looks at the clock may be next to each
/// other.
const COMRESET: u64 = 2;
/// Milliseconds after a COMRESET in which a disk shows up at the other end of the link.
const PRESENCE_TIMEOUT: u64 = 250;

/// Registers of the HBA (section 3.1).
mod host {
    pub(super) const CAP: usize = 0x00;
    pub(super) const GHC: usize = 0x04;
    pub(super) const PI: usize = 0x0c;
    pub(super) const VS: usize = 0x10;
    pub(super) const CAP2: usize = 0x24;
    pub(super) const BOHC: usize = 0x28;
}

/// Bits of CAP.
const CAP_64_BITS: u32 = 1 << 31;
const CAP_NCQ: u32 = 1 << 30;
/// Bits of GHC.
const HOST_RESET: u32 = 1;
const AHCI_ENABLE: u32 = 1 << 31;
/// The first version (VS) with CAP2, and its bit for BOHC.
const WITH_CAP2: u32 = 0x0001_0200;
const HANDOFF: u32 = 1;
/// Bits of BOHC: owned by the firmware, owned by us, the firmware is busy.
const FIRMWARE_OWNS: u32 = 1;
const WE_OWN: u32 = 1 << 1;
const FIRMWARE_BUSY: u32 = 1 << 4;

/// Registers that belong to someone else.
struct Borrowed<'r>(&'r mut (dyn Registers + 'r));

impl Registers for Borrowed<'_> {
    fn read(&self, offset: usize) -> u32 {
        self.0.read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.write(offset, value);
    }

    fn length(&self) -> usize {
        self.0.length()
    }
}

/// Stops all DMA of the HBA behind `registers`, whatever the dead kernel has left it doing: within
/// `timeout` milliseconds.
///
/// # Errors
/// [`Error::Timeout`], [`Error::Removed`], [`Error::Unsupported`].
pub fn quiet(
    registers: &mut dyn Registers,
    clock: &dyn Clock,
    timeout: u64,
) -> Result<Stopped, Error> {
    let mut hba = Hba::find(Box::new(Borrowed(registers)), clock, timeout)?;
    hba.take_from_firmware()?;
    hba.reset()
}

/// An HBA.
pub(super) struct Hba<'c> {
    registers: Box<dyn Registers + 'c>,
    pub(super) clock: &'c dyn Clock,
    cap: u32,
    /// A bit for each of its ports.
    pub(super) ports: u32,
    /// Those with a disk, as far as it is known: they come first.
    occupied: u32,
    /// No wait for the HBA goes on after this.
    limit: Deadline,
    /// By then the link of each port with a disk has shown a sign.
    pub(super) present_by: Deadline,
}

impl<'c> Hba<'c> {
    /// The HBA behind `registers`. Each wait ends within `timeout` milliseconds from now on, until
    /// [`Self::set_limit`].
    ///
    /// # Errors
    /// [`Error::Removed`], [`Error::Timeout`], [`Error::Unsupported`].
    pub(super) fn find(
        registers: Box<dyn Registers + 'c>,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let limit = Deadline::after(clock, timeout);
        let (cap, ports, occupied) = (0, 0, 0);
        let mut hba = Self { registers, clock, cap, ports, occupied, limit, present_by: limit };
        hba.enable()?;
        hba.cap = hba.read(host::CAP)?;
        let mapped = hba.registers.length().saturating_sub(PORTS) / PORT_LENGTH;
        // Bits of ports that have no place among the registers.
        let beyond = u32::MAX.checked_shl(mapped as u32).unwrap_or(0);
        hba.ports = hba.implemented()? & !beyond;
        match hba.ports {
            0 => Err(Error::Unsupported("an HBA without ports")),
            _ => Ok(hba),
        }
    }

    /// A bit for each port that is there.
    fn implemented(&self) -> Result<u32, Removed> {
        Ok(match self.registers.read(host::PI) {
            // Firmware has not written it, or there are 32.
            0 => u32::MAX >> (31 - (self.cap & 31)),
            GONE => self.read(host::CAP).and(Ok(GONE))?,
            implemented => implemented,
        })
    }

    /// Waits for the HBA end within `timeout` milliseconds from now on.
    pub(super) fn set_limit(&mut self, timeout: u64) {
        self.limit = Deadline::after(self.clock, timeout);
    }

    /// Number of command slots of a port.
    pub(super) const fn slots(&self) -> usize {
        (self.cap >> 8 & 31) as usize + 1
    }

    /// True if it has native command queuing.
    pub(super) const fn has_queuing(&self) -> bool {
        self.cap & CAP_NCQ != 0
    }

    /// Bits of an address that it can use.
    pub(super) const fn address_bits(&self) -> u8 {
        if self.cap & CAP_64_BITS != 0 { 64 } else { 32 }
    }

    fn read(&self, offset: usize) -> Result<u32, Removed> {
        match self.registers.read(offset) {
            GONE => Err(Removed),
            value => Ok(value),
        }
    }

    /// Reads a register of a port.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn port(&self, port: u8, register: Reg) -> Result<u32, Removed> {
        match register {
            // All of its bits may be set.
            Reg::Signature | Reg::SataError => Ok(self.registers.read(place(port, register))),
            _ => self.read(place(port, register)),
        }
    }

    /// Writes a register of a port.
    pub(super) fn set_port(&mut self, port: u8, register: Reg, value: u32) {
        self.registers.write(place(port, register), value);
    }

    /// Sets and clears bits of a port's command register.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn command(&mut self, port: u8, set: u32, clear: u32) -> Result<(), Removed> {
        let value = self.port(port, Reg::Command)?;
        self.set_port(port, Reg::Command, value & !clear | set);
        Ok(())
    }

    /// Writes an address to two registers.
    pub(super) fn set_address(&mut self, port: u8, registers: [Reg; 2], to: PhysRange) {
        let at = to.start().get();
        self.set_port(port, registers[0], at as u32);
        self.set_port(port, registers[1], (at >> 32) as u32);
    }

    /// Waits until the bits `mask` of the register at `offset` are `value`; false if that takes
    /// longer than `milliseconds`.
    fn wait(
        &self,
        milliseconds: u64,
        offset: usize,
        (mask, value): (u32, u32),
    ) -> Result<bool, Removed> {
        let deadline = Deadline::after(self.clock, milliseconds).or_earlier(self.limit);
        self.wait_until(deadline, offset, (mask, value))
    }

    fn wait_until(
        &self,
        deadline: Deadline,
        offset: usize,
        (mask, value): (u32, u32),
    ) -> Result<bool, Removed> {
        loop {
            if self.read(offset)? & mask == value {
                return Ok(true);
            }
            if deadline.is_over(self.clock) {
                return Ok(false);
            }
            core::hint::spin_loop();
        }
    }

    /// Waits until these bits of a port's register are `value`; false if that takes longer than
    /// `milliseconds`.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn wait_port(
        &self,
        milliseconds: u64,
        (port, register): (u8, Reg),
        bits: (u32, u32),
    ) -> Result<bool, Removed> {
        self.wait(milliseconds, place(port, register), bits)
    }

    /// Waits until the link of a port is up; false if it is not when each disk must have shown a
    /// sign.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn wait_for_link(&self, port: u8) -> Result<bool, Removed> {
        self.wait_until(self.present_by, place(port, Reg::Status), (LINK, LINK_UP))
    }

    fn enable(&mut self) -> Result<(), Error> {
        let control = self.read(host::GHC)?;
        self.registers.write(host::GHC, control | AHCI_ENABLE);
        match self.wait(ENABLE_TIMEOUT, host::GHC, (AHCI_ENABLE, AHCI_ENABLE))? {
            true => Ok(()),
            false => Err(Error::Timeout("switch AHCI on")),
        }
    }

    /// Takes the HBA from the firmware, if it has it (10.6.3). Firmware that does not let go is
    /// named and not waited for.
    fn take_from_firmware(&mut self) -> Result<(), Error> {
        if self.read(host::VS)? < WITH_CAP2 || self.read(host::CAP2)? & HANDOFF == 0 {
            return Ok(());
        }
        let owners = self.read(host::BOHC)?;
        if owners & FIRMWARE_OWNS == 0 {
            return Ok(());
        }
        self.registers.write(host::BOHC, owners | WE_OWN);
        let firmware = FIRMWARE_OWNS | FIRMWARE_BUSY;
        if !self.wait(FIRMWARE_TIMEOUT, host::BOHC, (firmware, 0))? {
            warn!("AHCI: the firmware does not let go of the HBA; going on");
        }
        Ok(())
    }

    /// Stops the engines of all ports and resets the HBA: from then on it does no DMA.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Removed`].
    pub(super) fn reset(&mut self) -> Result<Stopped, Error> {
        let implemented = self.implemented()?;
        self.stop_engines(cmd::START, cmd::RUNNING)?;
        self.stop_engines(cmd::RECEIVE, cmd::RECEIVING)?;
        self.registers.write(host::GHC, AHCI_ENABLE | HOST_RESET);
        if !self.wait(RESET_TIMEOUT, host::GHC, (HOST_RESET, 0))? {
            return Err(Error::Timeout("reset"));
        }
        self.enable()?;
        if self.implemented()? != implemented {
            // Some forget it in a reset.
            self.registers.write(host::PI, implemented);
        }
        Ok(Stopped::confirmed())
    }

    /// Stops an engine of all ports. Ports that hang are named; the reset is for them.
    fn stop_engines(&mut self, start: u32, running: u32) -> Result<(), Removed> {
        for port in ports(self.ports) {
            self.set_port(port, Reg::InterruptEnable, 0);
            self.command(port, 0, start)?;
        }
        let deadline = Deadline::after(self.clock, ENGINE_TIMEOUT).or_earlier(self.limit);
        for port in ports(self.ports) {
            if !self.wait_until(deadline, place(port, Reg::Command), (running, 0))? {
                warn!("AHCI port {port} hangs; going on with a reset");
            }
        }
        Ok(())
    }

    /// Lets all ports receive into `area` and resets their links; after that each disk tells its
    /// signature.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn bring_links_up(&mut self, area: PhysRange) -> Result<(), Removed> {
        for port in ports(self.ports) {
            self.set_address(port, [Reg::Received, Reg::ReceivedHigh], area);
            let on = cmd::SPIN_UP | cmd::POWER_ON | cmd::ACTIVE | cmd::RECEIVE;
            self.command(port, on, 0)?;
        }
        self.reset_links(self.ports)?;
        while self.occupied == 0 && !self.present_by.is_over(self.clock) {
            for port in ports(self.ports) {
                let link = self.port(port, Reg::Status)? & LINK;
                self.occupied |= u32::from(link != NO_DISK) << port;
            }
        }
        Ok(())
    }

    /// The number of port `index`.
    pub(super) fn number(&self, index: usize) -> Option<u8> {
        let others = self.ports & !self.occupied;
        ports(self.occupied).chain(ports(others)).nth(index)
    }

    /// Resets the links of the ports whose bits are set.
    ///
    /// # Errors
    /// [`Removed`].
    pub(super) fn reset_links(&mut self, which: u32) -> Result<(), Removed> {
        for control in [NO_SLUMBER | RESET_LINK, NO_SLUMBER] {
            ports(which).for_each(|port| self.set_port(port, Reg::Control, control));
            if control != NO_SLUMBER {
                // No bit is ever set in nothing: this waits all the time.
                self.wait(COMRESET, host::GHC, (0, 1))?;
            }
        }
        self.present_by = Deadline::after(self.clock, PRESENCE_TIMEOUT);
        Ok(())
    }
}

/// The ports whose bits are set.
fn ports(bits: u32) -> impl Iterator<Item = u8> {
    (0..32).filter(move |port| bits >> port & 1 == 1)
}
