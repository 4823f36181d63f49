//! The CPUs of a dead Linux, by the registers that they saved.

use alloc::vec::Vec;

use crate::{Caller, Error};
use vmcore::{EM_386, Note, NoteOutcome, Prstatus, Vmcore, notes};

/// Bits of the code segment register; the others are left over from a push (i386).
const SELECTOR: u64 = 0xffff;

/// The CPUs that saved their registers when the kernel died.
#[derive(Clone, Debug, Default)]
pub struct Cpus {
    /// `e_machine`.
    pub machine: u16,
    list: Vec<SavedCpu>,
}

/// A CPU and the registers that it saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCpu {
    /// Its number, where that is known. The notes do not have it; their areas are in the order of
    /// the CPUs.
    pub number: Option<u32>,
    /// The task that ran there.
    pub pid: u32,
    /// Address of the next instruction.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Register bp.
    pub bp: u64,
    /// Code segment: its lowest two bits are the privilege level.
    pub cs: u64,
}

impl SavedCpu {
    fn new(machine: u16, number: Option<u32>, note: &Note<'_>) -> Option<Self> {
        let status = Prstatus::parse(machine, note.desc).ok().filter(|_| note.is_prstatus())?;
        let bp = status.register(if machine == EM_386 { "ebp" } else { "rbp" })?;
        let cs = status.register("cs")? & SELECTOR;
        let (pid, ip, sp) = (status.pid, status.instruction_pointer, status.stack_pointer);
        Some(Self { number, pid, ip, sp, bp, cs })
    }
}

impl Cpus {
    /// Those that have a note in `vmcore`.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub fn of(vmcore: &Vmcore) -> Result<Self, Error> {
        let mut cpus = Self { machine: vmcore.machine, list: Vec::new() };
        let mut notes = notes(vmcore.notes()).flatten();
        // Each area is that of a CPU as long as none has more than one note.
        let mut is_each = true;
        for (number, area) in (0..).zip(&vmcore.note_areas) {
            let count = match area.outcome {
                NoteOutcome::Kept { notes } | NoteOutcome::Broken { notes, .. } => notes,
                _ => 0,
            };
            is_each &= count <= 1;
            for note in notes.by_ref().take(count) {
                cpus.add(is_each.then_some(number), &note)?;
            }
        }
        Ok(cpus)
    }

    /// Those of a file's `notes`, in their order. A number is that of the note: a CPU that saved
    /// nothing shifts the later ones.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub fn of_notes<'n>(
        machine: u16,
        notes: impl Iterator<Item = Note<'n>>,
    ) -> Result<Self, Error> {
        let mut cpus = Self { machine, list: Vec::new() };
        for (number, note) in (0..).zip(notes.filter(Note::is_prstatus)) {
            cpus.add(Some(number), &note)?;
        }
        Ok(cpus)
    }

    fn add(&mut self, number: Option<u32>, note: &Note<'_>) -> Result<(), Error> {
        if let Some(cpu) = SavedCpu::new(self.machine, number, note) {
            self.list.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
            self.list.push(cpu);
        }
        Ok(())
    }

    /// Number of them.
    pub(crate) const fn len(&self) -> usize {
        self.list.len()
    }

    /// The one with this index.
    pub(crate) fn get(&self, index: usize) -> Option<SavedCpu> {
        self.list.get(index).copied()
    }

    /// All of them, in the order of their notes.
    pub fn iter(&self) -> impl Iterator<Item = SavedCpu> + '_ {
        self.list.iter().copied()
    }

    /// The CPU that crashed: the only one, or the one that wrote the newest line of the log, which
    /// is that of the panic.
    pub fn crashed(&self, newest: Option<Caller>) -> Option<SavedCpu> {
        only(self.iter()).or_else(|| {
            let newest = newest?;
            let of_task = |task| only(self.iter().filter(|cpu| cpu.pid == task));
            let of_number = |number| self.iter().find(|cpu| cpu.number == Some(number));
            newest.task().and_then(of_task).or_else(|| of_number(newest.cpu()?))
        })
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::EM_X86_64;
    use vmcore::fake::note;

    /// Offsets of Linux' `elf_prstatus`.
    fn prstatus(machine: u16, pid: u32) -> Vec<u8> {
        let (size, pid_at, registers) =
            if machine == EM_386 { (144, 24, 72) } else { (336, 32, 112) };
        let mut desc = alloc::vec![0; size];
        desc[pid_at..pid_at + 4].copy_from_slice(&pid.to_le_bytes());
        let width = if machine == EM_386 { 4 } else { 8 };
        for (index, word) in desc[registers..].chunks_exact_mut(width).enumerate() {
            word[..4].copy_from_slice(&(0xa_0000 + index as u32).to_le_bytes());
        }
        desc
    }

    #[test]
    fn registers_have_their_places() {
        // The places of ip, sp, bp and cs in `user_regs_struct`.
        for (machine, [ip, sp, bp, cs]) in [(EM_386, [12, 15, 5, 13]), (EM_X86_64, [16, 19, 4, 17])]
        {
            let area = [
                note(b"CORE\0", 1, &prstatus(machine, 7)),
                note(b"VMCOREINFO\0", 0, b"A=1"),
                note(b"CORE\0", 1, &prstatus(machine, 0)),
            ]
            .concat();
            let cpus = Cpus::of_notes(machine, notes(&area).flatten()).expect("memory");
            let at = |index: u64| 0xa_0000 + index;
            let (ip, sp, bp, cs) = (at(ip), at(sp), at(bp), cs);
            let cpu = SavedCpu { number: Some(0), pid: 7, ip, sp, bp, cs };
            let other = SavedCpu { number: Some(1), pid: 0, ..cpu };
            assert_eq!(cpus.iter().collect::<Vec<_>>(), [cpu, other]);
            assert_eq!(cpus.crashed(Some(Caller(7))), Some(cpu));
            assert_eq!(cpus.crashed(Some(Caller(1 << 31 | 1))), Some(other));
            assert_eq!((cpus.crashed(Some(Caller(9))), cpus.crashed(None)), (None, None));
        }
    }
}
