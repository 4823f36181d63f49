//! A 16550 by polling: registers and nothing else. The caller decides about waits.

use x86::io;

/// COM1 of every PC.
pub const COM1: u16 = 0x3f8;
/// The fastest speed with a PC's clock, in bits per second.
pub const FASTEST: u32 = 115_200;
/// Number of bytes that a working FIFO takes.
const FIFO: usize = 16;

mod register {
    pub(super) const DATA: u16 = 0;
    pub(super) const INTERRUPT_ENABLE: u16 = 1;
    /// The meaning of a write.
    pub(super) const FIFO_CONTROL: u16 = 2;
    /// The meaning of a read.
    pub(super) const INTERRUPT_IDENTIFICATION: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const MODEM_CONTROL: u16 = 4;
    pub(super) const LINE_STATUS: u16 = 5;
    pub(super) const SCRATCH: u16 = 7;
}

/// Line status: a byte has come.
const DATA_READY: u8 = 1;
/// Line status: the transmitter holding register, or the whole FIFO, is empty.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Line status: so is the shift register. Nothing is on its way.
const TRANSMITTER_IDLE: u8 = 1 << 6;
/// Interrupt identification: there are FIFOs, they are on, and they work (16550A).
const FIFO_WORKS: u8 = 0b1100_0000;

/// A 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its first I/O port; there are seven more.
    pub port: u16,
}

impl Uart {
    /// True if one answers. The scratch register of a 16550 keeps its value; an empty port does
    /// not.
    pub fn is_present(self) -> bool {
        [0x5a, 0xa5].into_iter().all(|value| {
            self.write(register::SCRATCH, value);
            self.read(register::SCRATCH) == value
        })
    }

    /// Sets it up: interrupts off, 8N1, FIFOs on and empty, DTR and RTS. `baud` is in bits per
    /// second and divides [`FASTEST`].
    pub fn configure(self, baud: u32) {
        let [low, high] = (FASTEST.checked_div(baud).unwrap_or(1) as u16).to_le_bytes();
        let setup = [
            (register::INTERRUPT_ENABLE, 0x00),
            (register::LINE_CONTROL, 0x80), // divisor latch
            (register::DATA, low),
            (register::INTERRUPT_ENABLE, high),
            (register::LINE_CONTROL, 0x03),  // 8N1
            (register::FIFO_CONTROL, 0x07),  // on and empty
            (register::MODEM_CONTROL, 0x03), // DTR, RTS
        ];
        for (offset, value) in setup {
            self.write(offset, value);
        }
    }

    /// Number of bytes that it takes whenever [`Self::can_send`] is true.
    pub fn depth(self) -> usize {
        let works = self.read(register::INTERRUPT_IDENTIFICATION) & FIFO_WORKS == FIFO_WORKS;
        if works { FIFO } else { 1 }
    }

    /// True if all bytes are gone or going.
    pub fn can_send(self) -> bool {
        self.status() & TRANSMITTER_EMPTY != 0
    }

    /// True if all bytes are gone.
    pub fn is_idle(self) -> bool {
        self.status() & TRANSMITTER_IDLE != 0
    }

    /// Gives it a byte. Without room the byte is lost.
    pub fn put(self, byte: u8) {
        self.write(register::DATA, byte);
    }

    /// Takes a byte that has come.
    pub fn take(self) -> Option<u8> {
        (self.status() & DATA_READY != 0).then(|| self.read(register::DATA))
    }

    fn status(self) -> u8 {
        self.read(register::LINE_STATUS)
    }

    #[expect(unsafe_code, reason = "port I/O")]
    fn write(self, register: u16, value: u8) {
        // SAFETY: only registers of a 16550 are written, and none of them touches memory.
        unsafe { io::outb(self.port.wrapping_add(register), value) }
    }

    #[expect(unsafe_code, reason = "port I/O")]
    fn read(self, register: u16) -> u8 {
        // SAFETY: reading a 16550 register touches no memory.
        unsafe { io::inb(self.port.wrapping_add(register)) }
    }
}
