//! The variable of each CPU that points to its task, for kernels whose `/proc/kallsyms` has no
//! variables (i386 kernels without `CONFIG_KALLSYMS_ALL`).
//!
//! This program is the task that runs while it reads. On whichever CPU it is, a place at the same
//! distance from the CPU's crash notes, which are a variable of the CPU, too, points to its
//! `task_struct`, and those of other CPUs do not. `current_task` comes before `runqueues.curr`, the
//! other such place.

use std::collections::BTreeSet;
use std::ops::Range;

use linux::VirtualMemory;
use vmcore::ReadPhys;

/// Most bytes of a CPU's variables that are read.
const MOST_BYTES: u64 = 1 << 20;
/// Most places that are believed.
const MOST_PLACES: usize = 4;
/// Length of a page, in bytes.
const PAGE: u64 = 4096;
/// Bytes of the image that are read at a time.
const WINDOW: usize = 64 << 10;
/// Symbols of variables of x86_64 CPUs before 6.15 are offsets, below this.
const SMALL: u64 = 2 << 20;

/// A CPU, and the virtual address of its crash notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuVariables {
    pub(crate) cpu: u32,
    pub(crate) notes: u64,
}

/// The search in memory.
pub(crate) struct Search<'a, M> {
    pub(crate) memory: VirtualMemory<'a, M>,
    /// Length of a pointer in bytes.
    pub(crate) word: usize,
    /// The image, from `_stext` on.
    pub(crate) image: Range<u64>,
    /// Address of the `task_struct` of this thread.
    pub(crate) task: u64,
}

impl<M: ReadPhys> Search<'_, M> {
    /// The symbols `__per_cpu_offset` and `current_task`. `run_on` moves this thread to a CPU;
    /// false where it cannot. `cpus` are all CPUs from number 0 on.
    pub(crate) fn symbols(
        &self,
        cpus: &[CpuVariables],
        run_on: impl Fn(u32) -> bool,
    ) -> Option<(u64, u64)> {
        let distances = cpus.windows(2).map(|pair| pair[0].notes.abs_diff(pair[1].notes));
        let length = distances.min()?.min(MOST_BYTES);
        let mut places: Option<BTreeSet<u64>> = None;
        for cpu in cpus.iter().filter(|cpu| run_on(cpu.cpu)) {
            let mut found = self.pointers(cpu.notes, length)?;
            let others = cpus.iter().filter(|other| other.cpu != cpu.cpu);
            for other in others {
                let is_here = |place: &u64| self.points_here(other.notes - place);
                found.retain(|place| !is_here(place));
            }
            places = Some(match places {
                None => found,
                Some(places) => &places & &found,
            });
        }
        let places = places.filter(|places| places.len() <= MOST_PLACES)?;
        let place = *places.last()?;
        let (table, first) = self.table(cpus, |distance| {
            let symbol = self.symbol(cpus[0].notes - place, distance);
            symbol < SMALL || self.image.contains(&symbol)
        })?;
        Some((table, self.symbol(cpus[0].notes - place, first)))
    }

    /// The symbol of a variable at `at` of a CPU whose variables have this distance.
    fn symbol(&self, at: u64, distance: u64) -> u64 {
        let symbol = at.wrapping_sub(distance);
        if self.word == 4 { symbol & u64::from(u32::MAX) } else { symbol }
    }

    fn points_here(&self, at: u64) -> bool {
        self.memory.value(at, self.word) == Ok(self.task)
    }

    /// Distances, before `end`, of words that point to this task.
    fn pointers(&self, end: u64, length: u64) -> Option<BTreeSet<u64>> {
        let start = end.checked_sub(length)?.next_multiple_of(PAGE);
        let mut bytes = [0; PAGE as usize];
        let mut found = BTreeSet::new();
        for page in (start..end).step_by(PAGE as usize) {
            self.memory.read(page, &mut bytes).ok()?;
            let words = bytes.chunks_exact(self.word).map(number);
            let places = (page..end).step_by(self.word).zip(words);
            found.extend(places.filter(|(_, word)| *word == self.task).map(|(at, _)| end - at));
        }
        Some(found)
    }

    /// Address and first number of the table with the distances of all CPUs. It is the only place
    /// of the image whose numbers differ as the CPUs' notes do.
    fn table(&self, cpus: &[CpuVariables], fits: impl Fn(u64) -> bool) -> Option<(u64, u64)> {
        let distances: Vec<u64> =
            cpus.iter().map(|cpu| self.symbol(cpu.notes, cpus[0].notes)).collect();
        let mut found = None;
        let mut bytes = vec![0; WINDOW + cpus.len() * self.word];
        for start in self.image.clone().step_by(WINDOW) {
            let left = usize::try_from(self.image.end - start).unwrap_or(usize::MAX);
            let bytes = &mut bytes[..left.min(WINDOW + (cpus.len() - 1) * self.word)];
            if self.memory.read(start, bytes).is_err() {
                continue;
            }
            let words: Vec<u64> = bytes.chunks_exact(self.word).map(number).collect();
            for (place, table) in words.windows(cpus.len()).enumerate() {
                let differs =
                    |(word, distance): (&u64, &u64)| self.symbol(*word, table[0]) == *distance;
                if table.iter().zip(&distances).skip(1).all(differs) && fits(table[0]) {
                    found.is_none().then_some(())?;
                    found = Some((start + (place * self.word) as u64, table[0]));
                }
            }
        }
        found
    }
}

/// The little-endian number of a word.
fn number(word: &[u8]) -> u64 {
    match (word.first_chunk(), word.first_chunk()) {
        (Some(word), _) => u64::from_le_bytes(*word),
        (None, Some(word)) => u32::from_le_bytes(*word).into(),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux::{KernelMemory, SegmentMap};
    use std::cell::Cell;
    use vmcore::fake::FakeMemory;
    use vmcore::{PhysAddr, Segment, SegmentKind};

    const START: u64 = 0xc000_0000;
    const TEXT: u64 = START;
    const TASK: u64 = START + 0x5_1240;
    const TABLE: u64 = START + 0x2_0100;
    const SYMBOL: u64 = START + 0x3_0048;
    /// Variables of two CPUs: start of each, and offsets in it.
    const UNITS: [u64; 2] = [START + 0x6_0000, START + 0x7_0000];
    const CURRENT: u64 = 0x1048;
    const RQ_CURR: u64 = 0x201c;
    const NOTES: u64 = 0x8320;

    /// Memory of two CPUs. The task is on the one to which it was moved last.
    struct Machine {
        mem: FakeMemory,
        on: Cell<u32>,
    }

    impl ReadPhys for Machine {
        fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
            self.mem.read_phys(at, into)?;
            let other = UNITS[1 - self.on.get() as usize] - START;
            for place in [CURRENT, RQ_CURR] {
                let start = (other + place).checked_sub(at.get()).map(|start| start as usize);
                let word = start.and_then(|start| into.get_mut(start..start + 4));
                word.into_iter().for_each(|word| word.fill(0));
            }
            Ok(())
        }
    }

    fn search(change: impl Fn(&mut Vec<u8>)) -> Option<(u64, u64)> {
        let mut bytes = vec![0; 0x8_0000];
        let mut put = |at: u64, word: u64| {
            let start = (at - START) as usize;
            bytes[start..start + 4].copy_from_slice(&(word as u32).to_le_bytes());
        };
        for (index, unit) in UNITS.iter().enumerate() {
            put(TABLE + 4 * index as u64, (unit + CURRENT).wrapping_sub(SYMBOL));
            put(unit + CURRENT, TASK);
            put(unit + RQ_CURR, TASK);
            // A pointer that stays, whatever runs.
            put(unit + 0x30, TASK);
        }
        put(UNITS[0] + 0x40, TASK);
        // Distances of the units alone: no symbol in the image fits.
        put(START + 0x1_0000, 0x8000_0000);
        put(START + 0x1_0004, 0x8001_0000);
        change(&mut bytes);
        let length = bytes.len() as u64;
        let machine = Machine { mem: FakeMemory::with(0, bytes), on: Cell::new(0) };
        let all = Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(0),
            vaddr: START,
            paddr: PhysAddr::new(0),
            filesz: length,
            memsz: length,
            flags: 7,
        };
        let map = SegmentMap::new([Ok(all)]).expect("room");
        let memory = VirtualMemory::new(KernelMemory::new(&machine, &map), b"");
        let cpus = [0, 1].map(|cpu| CpuVariables { cpu, notes: UNITS[cpu as usize] + NOTES });
        let search = Search { memory, word: 4, image: TEXT..TEXT + length, task: TASK };
        search.symbols(&cpus, |cpu| {
            machine.on.set(cpu);
            true
        })
    }

    #[test]
    fn table_and_variable_are_found() {
        assert_eq!(search(|_| ()), Some((TABLE, SYMBOL)));
    }

    #[test]
    fn doubt_is_none() {
        // A second table with the same distances, whose symbol would be in the image, too.
        let table = |bytes: &mut Vec<u8>| bytes.copy_within(0x2_0100..0x2_0108, 0x2_0200);
        assert_eq!(search(table), None);
        // Neither variable on the second CPU.
        let variables = |bytes: &mut Vec<u8>| {
            (bytes[0x7_1048], bytes[0x7_201c]) = (0, 0);
        };
        assert_eq!(search(variables), None);
    }
}
