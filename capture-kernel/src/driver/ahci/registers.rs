//! Places and bits of the registers of a port (AHCI 1.3.1, sections 3 and 3.3).

/// Offset of port 0's registers, and bytes of a port's registers (section 3).
pub(super) const PORTS: usize = 0x100;
pub(super) const PORT_LENGTH: usize = 0x80;

/// A register of a port (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Reg {
    CommandList = 0x00,
    CommandListHigh = 0x04,
    Received = 0x08,
    ReceivedHigh = 0x0c,
    InterruptStatus = 0x10,
    InterruptEnable = 0x14,
    Command = 0x18,
    TaskFile = 0x20,
    Signature = 0x24,
    Status = 0x28,
    Control = 0x2c,
    SataError = 0x30,
    Active = 0x34,
    Issue = 0x38,
}

/// Bits of [`Reg::Command`].
pub(super) mod cmd {
    pub(in super::super) const START: u32 = 1;
    pub(in super::super) const SPIN_UP: u32 = 1 << 1;
    pub(in super::super) const POWER_ON: u32 = 1 << 2;
    pub(in super::super) const RECEIVE: u32 = 1 << 4;
    pub(in super::super) const RECEIVING: u32 = 1 << 14;
    pub(in super::super) const RUNNING: u32 = 1 << 15;
    pub(in super::super) const ACTIVE: u32 = 1 << 28;
}

/// Bits of [`Reg::Control`]: no power saving of the link, and the COMRESET.
pub(super) const NO_SLUMBER: u32 = 0b11 << 8;
pub(super) const RESET_LINK: u32 = 1;

/// The state of the link in [`Reg::Status`].
pub(super) const LINK: u32 = 0xf;
/// No disk is there.
pub(super) const NO_DISK: u32 = 0;
/// A disk is there and its link is up.
pub(super) const LINK_UP: u32 = 3;

/// The offset of a port's register.
pub(super) fn place(port: u8, register: Reg) -> usize {
    PORTS + usize::from(port) * PORT_LENGTH + register as usize
}
