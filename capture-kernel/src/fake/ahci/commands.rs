//! The work of a fake HBA: it fetches commands from memory and carries them out.

#![expect(unsafe_code, reason = "a device follows physical addresses, here pointers")]

use super::sata::Command;
use super::{Fake, Port, RUNNING, START, TASK_FILE_ERROR, reg};
use core::ops::Range;
use std::vec::Vec;

impl Fake {
    /// Bytes of memory.
    fn memory(&mut self, at: u64, length: usize) -> &mut [u8] {
        let old = self.old.iter_mut().find_map(|(start, bytes)| {
            let first = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get_mut(first..first + length)
        });
        // SAFETY: the driver gave the address of a buffer that lives until the request is back.
        old.unwrap_or_else(|| unsafe {
            core::slice::from_raw_parts_mut(at.wrapping_add(self.offset) as *mut u8, length)
        })
    }

    fn word(&mut self, at: u64) -> u32 {
        u32::from_le_bytes(self.memory(at, 4).try_into().expect("4 bytes"))
    }

    fn address(&mut self, at: u64, least: u64) -> u64 {
        let address = u64::from(self.word(at + 4)) << 32 | u64::from(self.word(at));
        assert!(address.is_multiple_of(least), "{address:#x} is a multiple of {least}");
        assert!(self.cap >> 31 == 1 || address >> 32 == 0, "{address:#x} has 32 bits");
        address
    }

    /// The command that the memory of a slot has; [`None`] for an empty one.
    fn fetch(&mut self, port: usize, slot: usize) -> Option<Command> {
        let [low, high] = [0, 1].map(|half| self.ports[port].registers[reg::CLB + half]);
        let header = (u64::from(high) << 32 | u64::from(low)) + 32 * slot as u64;
        let flags = self.word(header);
        let table = self.address(header + 8, 128);
        let fis: [u8; 20] = self.memory(table, 20).try_into().expect("20 bytes");
        if fis[0] == 0 {
            return None;
        }
        assert_eq!((fis[0], fis[1], flags & 31), (0x27, 0x80, 5), "a register FIS");
        let code = fis[2];
        let lba = [fis[4], fis[5], fis[6], fis[8], fis[9], fis[10], 0, 0];
        let count = match code {
            0x61 => {
                assert_eq!((usize::from(fis[12] >> 3), fis[13]), (slot, 0), "the tag");
                u16::from_le_bytes([fis[3], fis[11]])
            }
            _ => u16::from_le_bytes([fis[12], fis[13]]),
        };
        let mut parts = Vec::new();
        for index in 0..u64::from(flags >> 16) {
            let part = table + 128 + 16 * index;
            let length = (self.word(part + 12) & 0x3f_ffff) as usize + 1;
            assert!(length.is_multiple_of(2), "{length} is even");
            let address = self.address(part, 2);
            self.parts.push(address);
            parts.push((address, length));
        }
        let is_write = flags & 1 << 6 != 0;
        let mut data = Vec::new();
        for (at, length) in &parts {
            if is_write {
                data.extend_from_slice(self.memory(*at, *length));
            }
        }
        self.memory(header + 4, 4).fill(0);
        let sector = u64::from_le_bytes(lba);
        Some(Command { slot, code, sector, count: count.into(), parts, is_write, data })
    }

    pub(super) fn issue(&mut self, port: usize, slots: u32) {
        let registers = &self.ports[port].registers;
        assert_eq!(registers[reg::CMD] & (START | RUNNING), START | RUNNING, "the engine runs");
        assert_eq!(registers[reg::SSTS] & 15, 3, "the link is up");
        for slot in (0..32).filter(|slot| slots >> slot & 1 == 1) {
            let Some(command) = self.fetch(port, slot) else {
                self.ports[port].registers[reg::CI] &= !(1 << slot);
                continue;
            };
            let disk = self.disk(port);
            disk.commands += 1;
            let stalls = disk.stalls_after.is_some_and(|after| disk.commands > after);
            let waits = disk.lags && command.is_write;
            let others = self.ports[port].waiting.iter();
            let mixed = others.clone().any(|other| other.is_queued() != command.is_queued());
            assert!(!mixed, "queued and other commands at once");
            assert!(command.is_queued() || others.len() == 0, "one command at a time");
            if command.is_queued() {
                assert_ne!(self.ports[port].registers[reg::SACT] >> slot & 1, 0, "it is active");
                self.ports[port].registers[reg::CI] &= !(1 << slot);
            } else if self.like_qemu {
                // Others show the status before the command until they have sent it.
                self.ports[port].registers[reg::TFD] = 0x80;
            }
            match stalls || waits || self.ports[port].is_halted {
                true => self.ports[port].waiting.push(command),
                false => self.carry_out(port, command),
            }
        }
    }

    /// Number of commands that wait.
    pub(crate) fn waiting(&self, port: usize) -> usize {
        self.ports[port].waiting.len()
    }

    /// Answers one of the commands that wait.
    pub(crate) fn answer(&mut self, port: usize, index: usize) {
        let command = self.ports[port].waiting.remove(index);
        self.assert_unchanged(&command);
        self.carry_out(port, command);
    }

    fn assert_unchanged(&mut self, command: &Command) {
        if command.is_write {
            let mut now = Vec::new();
            command.parts.iter().for_each(|(at, length)| {
                now.extend_from_slice(self.memory(*at, *length));
            });
            assert!(now == command.data, "memory has changed while the device had it");
        }
    }

    /// Fails unless the memory of all commands that wait is as it was.
    pub(crate) fn assert_memory_unchanged(&mut self) {
        for port in 0..self.ports.len() {
            let waiting = core::mem::take(&mut self.ports[port].waiting);
            waiting.iter().for_each(|command| self.assert_unchanged(command));
            self.ports[port].waiting = waiting;
        }
    }

    fn carry_out(&mut self, port: usize, command: Command) {
        let (slot, is_queued) = (command.slot, command.is_queued());
        let done = self.transfer(port, &command);
        let like_qemu = self.like_qemu;
        let Port { registers, is_halted, waiting, .. } = &mut self.ports[port];
        match done {
            Ok(()) => {
                registers[reg::TFD] = 0x50;
                registers[reg::CI] &= !(1 << slot);
                registers[reg::SACT] &= !(1 << slot);
            }
            Err(error) => {
                registers[reg::TFD] = u32::from(error) << 8 | 0x51;
                match (like_qemu, is_queued) {
                    (false, _) => {
                        registers[reg::IS] |= TASK_FILE_ERROR;
                        *is_halted = true;
                        // The disk has given up all of them.
                        waiting.clear();
                    }
                    (true, true) => registers[reg::SERR] |= 1 << slot,
                    (true, false) => {
                        registers[reg::IS] |= TASK_FILE_ERROR;
                        registers[reg::CI] &= !(1 << slot);
                    }
                }
            }
        }
    }

    /// Does the work of a command; otherwise returns the ATA error.
    fn transfer(&mut self, port: usize, command: &Command) -> Result<(), u8> {
        let disk = self.disk(port);
        if disk.fails > 0 {
            disk.fails -= 1;
            return Err(0x84);
        }
        let sector = disk.sector;
        let (at, length) = (command.sector as usize * sector, command.count as usize * sector);
        let sum: usize = command.parts.iter().map(|(_, length)| *length).sum();
        let touches = |range: &Range<usize>| at < range.end && range.start < at + length;
        match command.code {
            0xec => {
                let answer = disk.identity();
                assert_eq!(sum, 512);
                self.fill(port, command, &answer);
            }
            0x25 => {
                assert_eq!(sum, length);
                if touches(&disk.bad) {
                    return Err(0x40);
                }
                let bytes = disk.bytes.get(at..at + length).ok_or(0x10)?.to_vec();
                self.fill(port, command, &bytes);
            }
            0x35 | 0x61 => {
                assert!(command.is_write);
                assert_eq!(sum, length);
                if disk.is_protected {
                    return Err(0x04);
                }
                if touches(&disk.bad) {
                    return Err(0x40);
                }
                let place = disk.bytes.get_mut(at..at + length).ok_or(0x10)?;
                place.copy_from_slice(&command.data);
                disk.writes += 1;
                disk.queued += usize::from(command.code == 0x61);
            }
            0xea | 0xe7 if disk.bad_flush => return Err(0x04),
            0xea | 0xe7 => disk.flushes += 1,
            _ => return Err(0x04),
        }
        Ok(())
    }

    /// Writes `bytes` to the memory of a command.
    fn fill(&mut self, port: usize, command: &Command, mut bytes: &[u8]) {
        assert!(!command.is_write);
        bytes = &bytes[..bytes.len().saturating_sub(self.disk(port).short_by)];
        let moved = bytes.len() as u32;
        for (at, length) in &command.parts {
            let part = bytes.split_off(..(*length).min(bytes.len())).unwrap_or_default();
            self.memory(*at, part.len()).copy_from_slice(part);
        }
        let [low, high] = [0, 1].map(|half| self.ports[port].registers[reg::CLB + half]);
        let header = (u64::from(high) << 32 | u64::from(low)) + 32 * command.slot as u64;
        self.memory(header + 4, 4).copy_from_slice(&moved.to_le_bytes());
    }
}
