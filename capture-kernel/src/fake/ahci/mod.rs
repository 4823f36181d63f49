//! A fake AHCI HBA with SATA disks: by the book, or like QEMU 7.2.

mod commands;
mod sata;

pub(crate) use sata::Sata;

use crate::driver::registers::Registers;
use core::cell::RefCell;
use sata::Command;
use std::boxed::Box;
use std::rc::Rc;
use std::vec::Vec;

const HOST_RESET: u32 = 1;
const AHCI_ENABLE: u32 = 1 << 31;
const START: u32 = 1;
const RECEIVE: u32 = 1 << 4;
/// Bits of the command register that only the HBA changes: FR and CR.
const RECEIVING: u32 = 1 << 14;
const RUNNING: u32 = 1 << 15;
const TASK_FILE_ERROR: u32 = 1 << 30;

/// Numbers of a port's registers.
mod reg {
    pub(super) const CLB: usize = 0;
    pub(super) const FB: usize = 2;
    pub(super) const IS: usize = 4;
    pub(super) const CMD: usize = 6;
    pub(super) const TFD: usize = 8;
    pub(super) const SIG: usize = 9;
    pub(super) const SSTS: usize = 10;
    pub(super) const SCTL: usize = 11;
    pub(super) const SERR: usize = 12;
    pub(super) const SACT: usize = 13;
    pub(super) const CI: usize = 14;
}

/// A port.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) disk: Option<Sata>,
    /// The signature of its device, if it is none of an ATA disk.
    pub(crate) signature: Option<u32>,
    /// The state of the link after a COMRESET, if it is none of a disk or no disk.
    pub(crate) link: Option<u32>,
    /// The engine does not stop before a reset of the HBA.
    pub(crate) hangs: bool,
    /// The disk stays busy after a reset.
    pub(crate) stays_busy: bool,
    /// The disk is gone.
    is_unplugged: bool,
    /// Gives no answer before ST was off, after an error.
    is_halted: bool,
    waiting: Vec<Command>,
    /// The time at which the last reset of the link began.
    began: u64,
    registers: [u32; 32],
}

/// The HBA.
pub(crate) struct Fake {
    pub(crate) cap: u32,
    pub(crate) implemented: u32,
    /// It forgets the ports that are there in a reset.
    pub(crate) forgets: bool,
    pub(crate) ports: Vec<Port>,
    pub(crate) never_resets: bool,
    pub(crate) is_removed: bool,
    /// BOHC, if there is one; the firmware lets go unless it is stubborn.
    pub(crate) firmware: Option<u32>,
    pub(crate) is_stubborn: bool,
    pub(crate) like_qemu: bool,
    /// Bytes of its registers.
    pub(crate) length: usize,
    /// Old memory: physical addresses and bytes.
    pub(crate) old: Vec<(u64, Vec<u8>)>,
    /// Added to any other physical address, it makes a pointer.
    pub(crate) offset: u64,
    pub(crate) resets: usize,
    /// The time, counted by the test, and the shortest reset of a link.
    pub(crate) now: u64,
    pub(crate) shortest: u64,
    /// The addresses of parts of memory that commands named.
    pub(crate) parts: Vec<u64>,
    control: u32,
}

pub(crate) type Shared = Rc<RefCell<Fake>>;

impl Fake {
    /// An HBA with these disks at its first ports, as a dead kernel has left it: all engines run,
    /// commands are in flight, and interrupts are on.
    pub(crate) fn new(disks: Vec<Option<Sata>>) -> Shared {
        let busy = |disk| {
            let mut port = Port { disk, ..Port::default() };
            port.registers[reg::CMD] = START | RECEIVE | RECEIVING | RUNNING;
            port.registers[reg::CLB] = 0xdead_0000;
            port.registers[reg::FB] = 0xdead_0000;
            port.registers[reg::CI] = 0b1001;
            port.registers[reg::SACT] = 0b1000;
            port.registers[reg::IS] = 0xff;
            port.registers[reg::IS + 1] = 0xff;
            port
        };
        let ports: Vec<_> = disks.into_iter().map(busy).collect();
        Rc::new(RefCell::new(Self {
            cap: 1 << 31 | 1 << 30 | 31 << 8 | (ports.len() as u32 - 1),
            implemented: (1_u64 << ports.len()).wrapping_sub(1) as u32,
            forgets: false,
            ports,
            never_resets: false,
            is_removed: false,
            firmware: None,
            is_stubborn: false,
            like_qemu: false,
            length: 0x1100,
            old: Vec::new(),
            offset: 0,
            resets: 0,
            now: 0,
            shortest: u64::MAX,
            parts: Vec::new(),
            control: AHCI_ENABLE | 0b10,
        }))
    }

    /// AHCI is off, and the ports have never run.
    pub(crate) fn switch_off(&mut self) {
        self.control = 0;
        self.ports.iter_mut().for_each(|port| port.registers = [0; 32]);
    }

    /// The disk at a port.
    pub(crate) fn disk(&mut self, port: usize) -> &mut Sata {
        self.ports[port].disk.as_mut().expect("a disk")
    }

    /// Takes the disk out of a port.
    pub(crate) fn unplug(&mut self, port: usize) {
        let port = &mut self.ports[port];
        port.is_unplugged = true;
        port.waiting.clear();
        port.registers[reg::SSTS] = 0;
    }

    /// The link of a port fails for a moment, and its commands with it.
    pub(crate) fn disturb(&mut self, port: usize) {
        let port = &mut self.ports[port];
        port.waiting.clear();
        port.registers[reg::IS] |= 1 << 27;
    }

    fn reset(&mut self) {
        self.resets += 1;
        let Self { like_qemu, implemented, .. } = *self;
        self.control = if self.never_resets { AHCI_ENABLE | HOST_RESET } else { AHCI_ENABLE };
        if self.forgets {
            self.implemented = 0b1;
        }
        for (number, port) in self.ports.iter_mut().enumerate() {
            let running = port.registers[reg::CMD] & (RUNNING | RECEIVING);
            let is_known = implemented >> number & 1 == 1 && !port.hangs;
            assert!(running == 0 || !is_known, "the engines are off");
            let stale = port.registers[reg::CI];
            port.registers = [0; 32];
            port.hangs = false;
            port.registers[reg::CI] = if like_qemu { stale } else { 0 };
            Self::reset_link(port);
        }
    }

    /// The device at a port after a COMRESET.
    fn reset_link(port: &mut Port) {
        port.waiting.clear();
        port.is_halted = false;
        port.registers[reg::SACT] = 0;
        port.registers[reg::SERR] = 1 << 16 | 1 << 26;
        port.registers[reg::IS] |= 1 << 22 | 1 << 6;
        (port.registers[reg::TFD], port.registers[reg::SIG]) = (0x7f, u32::MAX);
        let is_there = port.disk.is_some() && !port.is_unplugged;
        port.registers[reg::SSTS] = port.link.unwrap_or(if is_there { 0x113 } else { 0 });
    }

    /// Its first FIS, once it may be received.
    fn greet(port: &mut Port) {
        if port.registers[reg::SSTS] & 15 != 3 || port.registers[reg::CMD] & RECEIVE == 0 {
            return;
        }
        if port.registers[reg::SIG] == u32::MAX && !port.stays_busy {
            // QEMU sets the fault bit as well.
            port.registers[reg::TFD] = 0x130;
            port.registers[reg::SIG] = port.signature.unwrap_or(0x101);
        }
    }

    fn set_command(&mut self, number: usize, value: u32) {
        let like_qemu = self.like_qemu;
        let port = &mut self.ports[number];
        let now = &mut port.registers;
        let is_known = now[reg::FB] != 0 && now[reg::FB] != 0xdead_0000;
        assert!(value & RECEIVE == 0 || is_known || now[reg::CMD] & RECEIVE != 0, "a place");
        let mut running = 0;
        if value & START != 0 {
            assert!(value & RECEIVE != 0, "FISes are received");
            assert!(now[reg::CMD] & START != 0 || now[reg::CLB].is_multiple_of(1024));
            running |= RUNNING;
        } else if port.hangs {
            running |= RUNNING;
        } else if !like_qemu && now[reg::CMD] & START != 0 {
            now[reg::CI] = 0;
            now[reg::SACT] = 0;
            port.is_halted = false;
        }
        if value & RECEIVE != 0 {
            assert!(value & START == 0 || now[reg::FB].is_multiple_of(256));
            running |= RECEIVING;
        }
        let was = now[reg::CMD];
        now[reg::CMD] = value & !(RUNNING | RECEIVING) | running;
        Self::greet(port);
        let stale = port.registers[reg::CI];
        if value & START != 0 && was & START == 0 && stale != 0 {
            self.issue(number, stale);
        }
    }

    fn set_port(&mut self, number: usize, register: usize, value: u32) {
        let port = &mut self.ports[number];
        match register {
            reg::CMD => self.set_command(number, value),
            reg::IS | reg::SERR => port.registers[register] &= !value,
            reg::SACT => port.registers[register] |= value,
            reg::CI => {
                port.registers[register] |= value;
                self.issue(number, value);
            }
            reg::SCTL => {
                let was = core::mem::replace(&mut port.registers[register], value);
                if value & 15 == 1 {
                    port.began = self.now;
                }
                if was & 15 == 1 && value & 15 == 0 {
                    self.shortest = self.shortest.min(self.now - port.began);
                    Self::reset_link(port);
                    Self::greet(port);
                }
            }
            0..4 => {
                assert_eq!(port.registers[reg::CMD] & RUNNING, 0, "the engine is off");
                port.registers[register] = value;
            }
            5 => port.registers[register] = value,
            _ => panic!("port register {register} is not written"),
        }
    }

    fn read(&self, offset: usize) -> u32 {
        if self.is_removed || offset >= self.length {
            return u32::MAX;
        }
        match (offset, self.firmware) {
            (0x00, _) => self.cap,
            (0x04, _) => self.control,
            (0x0c, _) => self.implemented,
            (0x10, _) => 0x0001_0300,
            (0x24, Some(_)) => 1,
            (0x28, Some(owners)) => owners,
            (0x100.., _) => {
                let (port, register) = ((offset - 0x100) / 0x80, offset % 0x80 / 4);
                self.ports.get(port).map_or(0, |port| port.registers[register])
            }
            _ => 0,
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        if self.is_removed {
            return;
        }
        assert!(offset == 4 || self.control & AHCI_ENABLE != 0, "AHCI is on first");
        match offset {
            0x04 if value & HOST_RESET != 0 => self.reset(),
            0x04 => self.control = value,
            0x0c => self.implemented = value,
            0x28 => {
                let stays = if self.is_stubborn { 1 } else { 0 };
                self.firmware = Some(value & 2 | stays);
            }
            0x100.. => self.set_port((offset - 0x100) / 0x80, offset % 0x80 / 4, value),
            _ => panic!("register {offset:#x} is not written"),
        }
    }
}

/// The registers of an HBA.
struct View(Shared);

impl Registers for View {
    fn read(&self, offset: usize) -> u32 {
        self.0.borrow().read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut().write(offset, value);
    }

    fn length(&self) -> usize {
        self.0.borrow().length
    }
}

/// Its registers.
pub(crate) fn registers(hba: &Shared) -> Box<dyn Registers> {
    Box::new(View(hba.clone()))
}
