//! The fields of a `task_struct`, by their values in all tasks.

use alloc::vec::Vec;
use core::ops::Range;

use super::find::Found;
use super::kernel::Kernel;
use crate::Error;
use crate::stack_size::stack_size;
use crate::tasks::ring::Ring;
use crate::tasks::{STACK_END, Stack, TaskLayout};
use vmcore::{ReadPhys, zeros};

/// Bytes of a task that are looked at, before its ring and from there on.
const BEFORE: u64 = 4096;
const AFTER: u64 = 8192;
/// Length of the places that are told apart, in bytes.
const SLOT: usize = 4;
const SLOTS: usize = (BEFORE + AFTER) as usize / SLOT;
/// The place of the ring.
const RING: usize = BEFORE as usize / SLOT;
/// The highest pid is below (Linux, `PID_MAX_LIMIT`).
const PID_LIMIT: u64 = 1 << 22;
/// Fewest words above a saved stack pointer: those of `inactive_task_frame`.
const FRAME_WORDS: u64 = 6;
/// Most threads of a process that are looked at.
const MOST_THREADS: usize = 1 << 16;
/// States of tasks: asleep, and a worker without work. Each kernel has both.
const INTERRUPTIBLE: u64 = 1;
const IDLE: u64 = 0x402;

/// Facts about a place: those that every task so far agrees with, and those that some task showed.
mod fact {
    pub(super) const PID: u16 = 1;
    pub(super) const LEADER: u16 = 1 << 1;
    pub(super) const STACK: u16 = 1 << 2;
    pub(super) const STATE: u16 = 1 << 3;
    pub(super) const SP: u16 = 1 << 4;
    pub(super) const GROUP: u16 = 1 << 5;
    pub(super) const NODE: u16 = 1 << 6;
    pub(super) const ALWAYS: u16 = (1 << 7) - 1;
    pub(super) const SLEEPS: u16 = 1 << 7;
    pub(super) const IDLES: u16 = 1 << 8;
    pub(super) const VARIES: u16 = 1 << 9;
    pub(super) const THREADS: u16 = 1 << 10;
}

/// All tasks, place by place.
pub(super) struct Fields<'a, M> {
    kernel: Kernel<'a, M>,
    found: Found,
    /// The facts about each place.
    facts: Vec<u16>,
    /// The idle task, the first process, and the task in question.
    idle: Block,
    first: Block,
    task: Block,
}

/// Part of a task.
struct Block {
    /// Address of its `list_head`.
    at: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn new() -> Result<Self, Error> {
        Ok(Self { at: 0, bytes: zeros((BEFORE + AFTER) as usize)? })
    }

    /// Reads the task with the `list_head` at `at`. Pages that are not there read as zero.
    fn read<M: ReadPhys>(&mut self, kernel: Kernel<'_, M>, at: u64) {
        self.at = at;
        let start = at.wrapping_sub(BEFORE);
        let mut done = 0;
        while done < self.bytes.len() {
            let from = start.wrapping_add(done as u64);
            let count = ((4096 - from % 4096) as usize).min(self.bytes.len() - done);
            let part = &mut self.bytes[done..done + count];
            if kernel.memory.read(from, part).is_err() {
                part.fill(0);
            }
            done += count;
        }
    }

    /// The number of `length` bytes at a place; zero at the end.
    fn number(&self, slot: usize, length: usize) -> u64 {
        let bytes = self.bytes.get(SLOT * slot..SLOT * slot + length).unwrap_or_default();
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Distance from a place's pointer to the task's `list_head`.
    fn back(&self, slot: usize, word: usize) -> u64 {
        self.at.wrapping_sub(self.number(slot, word))
    }
}

impl<'a, M: ReadPhys> Fields<'a, M> {
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub(super) fn new(kernel: Kernel<'a, M>, found: Found) -> Result<Self, Error> {
        let mut facts = Vec::new();
        facts.try_reserve_exact(SLOTS).map_err(|_| Error::NO_MEMORY)?;
        facts.resize(SLOTS, fact::ALWAYS);
        let (mut idle, mut first) = (Block::new()?, Block::new()?);
        idle.read(kernel, found.head);
        if let Some(at) = Ring::new(kernel.memory, found.head, kernel.word()).next() {
            first.read(kernel, at);
        }
        Ok(Self { kernel, found, facts, idle, first, task: Block::new()? })
    }

    /// Address of `init_task`, which must be `expected` if that is known, and the layout.
    ///
    /// # Errors
    /// [`Error::NoTasks`] with the first field that has no place or two.
    pub(super) fn layout(
        mut self,
        expected: Option<u64>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(u64, TaskLayout), Error> {
        let comm = RING + self.found.comm as usize / SLOT;
        self.each(go_on, |fields| fields.first_facts(comm))?;
        let pid = self.only(fact::PID).ok_or(Error::NoTasks { why: "no field is the pid" })?;
        let stack =
            self.only(fact::STACK).ok_or(Error::NoTasks { why: "no field is the stack" })?;
        let why = "no field is the leader of the task's group";
        let tasks = self.leader().ok_or(Error::NoTasks { why })?;
        self.each(go_on, |fields| fields.more_facts(pid, stack, comm))?;
        let sp = self.only(fact::SP | fact::VARIES);
        let sp = sp.ok_or(Error::NoTasks { why: "no field is the stack pointer" })?;
        let init_task = self.found.head.wrapping_sub(tasks);
        if expected.is_some_and(|expected| expected != init_task) {
            return Err(Error::NoTasks { why: "init_task is at another place than its fields" });
        }
        let offset = |slot: usize| {
            let offset = (SLOT * slot) as u64 + tasks;
            offset.checked_sub(BEFORE).ok_or(Error::NoTasks { why: "a field is before the task" })
        };
        let if_known = |slot: Option<usize>| slot.map(offset).transpose();
        let layout = TaskLayout {
            state: if_known(self.state(tasks, stack))?,
            old_state: None,
            stack: offset(stack)?,
            tasks,
            exit_state: None,
            pid: offset(pid)?,
            tgid: offset(pid + 1)?,
            thread_group: if_known(self.only(fact::GROUP | fact::THREADS))?,
            thread_node: if_known(self.only(fact::NODE | fact::THREADS))?,
            comm: offset(comm)?,
            sp: offset(sp)?,
        };
        Ok((init_task, layout))
    }

    /// Calls `look` with each task in [`Self::task`], the idle one first.
    fn each(
        &mut self,
        go_on: &mut dyn FnMut() -> bool,
        look: impl Fn(&mut Self),
    ) -> Result<(), Error> {
        let (kernel, head) = (self.kernel, self.found.head);
        let mut ring = Ring::new(kernel.memory, head, kernel.word());
        let others = ring.by_ref().take(self.found.tasks);
        for at in core::iter::once(head).chain(others) {
            if !go_on() {
                return Err(Error::NoTasks { why: "the search took too long" });
            }
            self.task.read(kernel, at);
            look(self);
        }
        match ring.next() {
            None if ring.is_whole() => Ok(()),
            _ => Err(Error::NoTasks { why: "the ring of processes changes" }),
        }
    }

    /// The only place with these facts.
    fn only(&self, facts: u16) -> Option<usize> {
        self.only_in(0..SLOTS, facts)
    }

    /// The state: before the stack. The task before this one in memory has one, too.
    fn state(&self, tasks: u64, stack: usize) -> Option<usize> {
        let start = usize::try_from(BEFORE.checked_sub(tasks)?).ok()? / SLOT;
        self.only_in(start..stack, fact::STATE | fact::SLEEPS | fact::IDLES)
    }

    fn only_in(&self, slots: Range<usize>, facts: u16) -> Option<usize> {
        let mut places = slots.filter(|slot| self.facts[*slot] & facts == facts);
        let place = places.next()?;
        places.next().is_none().then_some(place)
    }

    /// Distance of the ring from the start of the task. All pointers to the leader must agree.
    fn leader(&self) -> Option<u64> {
        let word = self.kernel.word();
        let places = (0..SLOTS).filter(|slot| self.facts[*slot] & fact::LEADER != 0);
        let mut distances = places.map(|slot| self.idle.back(slot, word));
        let distance = distances.next()?;
        distances.all(|other| other == distance).then_some(distance)
    }

    /// Takes away the facts that the task contradicts: pid, leader, stack, state.
    fn first_facts(&mut self, comm: usize) {
        let word = self.kernel.word();
        for slot in 0..SLOTS {
            let mut facts = self.facts[slot];
            let is_word = (SLOT * slot).is_multiple_of(word);
            let is_inner = is_word && (RING..comm).contains(&slot);
            let mut keep = |fact: u16, holds: &dyn Fn() -> bool| {
                if facts & fact != 0 && !holds() {
                    facts &= !fact;
                }
            };
            keep(fact::PID, &|| (RING..comm).contains(&slot) && self.is_pid(slot));
            keep(fact::LEADER, &|| is_inner && self.is_leader(slot));
            keep(fact::STACK, &|| is_word && slot < RING && self.is_stack(slot));
            keep(fact::STATE, &|| slot < RING && self.task.number(slot, 4) < 1 << 16);
            match self.task.number(slot, 4) {
                INTERRUPTIBLE => facts |= fact::SLEEPS,
                IDLE => facts |= fact::IDLES,
                _ => {}
            }
            self.facts[slot] = facts;
        }
    }

    /// Zero for the idle task, one for the next. The number of the process follows.
    fn is_pid(&self, slot: usize) -> bool {
        let pid = self.task.number(slot, 4);
        let is_fit = match self.task.at {
            at if at == self.idle.at => pid == 0,
            at if at == self.first.at => pid == 1,
            _ => (2..PID_LIMIT).contains(&pid),
        };
        is_fit && self.task.number(slot + 1, 4) == pid
    }

    /// A pointer to one place in each task, before its ring.
    fn is_leader(&self, slot: usize) -> bool {
        let back = self.task.back(slot, self.kernel.word());
        (1..=BEFORE).contains(&back) && back == self.idle.back(slot, self.kernel.word())
    }

    /// A pointer to a stack. Dead tasks may have none.
    fn is_stack(&self, slot: usize) -> bool {
        let start = self.task.number(slot, self.kernel.word());
        let is_living = [self.idle.at, self.first.at].contains(&self.task.at);
        (start == 0 && !is_living) || self.is_stack_at(start)
    }

    fn is_stack_at(&self, start: u64) -> bool {
        let size = stack_size(self.kernel.machine);
        let is_aligned = start != 0 && start.is_multiple_of(size);
        is_aligned && self.kernel.memory.value(start, self.kernel.word()) == Ok(STACK_END)
    }

    /// Takes away the facts that the task contradicts: stack pointer, threads.
    fn more_facts(&mut self, pid: usize, stack: usize, comm: usize) {
        let word = self.kernel.word();
        let start = self.task.number(stack, word);
        let stack_of_task = Stack::new(start, stack_size(self.kernel.machine));
        for slot in (0..SLOTS).filter(|slot| (SLOT * slot).is_multiple_of(word)) {
            let facts = self.facts[slot];
            if let Some(of_task) = stack_of_task.filter(|_| facts & fact::SP != 0) {
                let sp = self.task.number(slot, word);
                let top = of_task.end - FRAME_WORDS * word as u64;
                let fits = slot > comm && of_task.start < sp && sp <= top;
                if !fits || !sp.is_multiple_of(word as u64) {
                    self.facts[slot] &= !fact::SP;
                }
                // Others are the same in all stacks (`sp0`).
                let of_first =
                    self.first.number(slot, word).wrapping_sub(self.first.number(stack, word));
                if self.task.at != self.idle.at && sp.wrapping_sub(start) != of_first {
                    self.facts[slot] |= fact::VARIES;
                }
            }
            if facts & (fact::GROUP | fact::NODE) != 0 {
                let threads = (RING + 2..comm).contains(&slot);
                self.threads(slot, threads.then_some([pid, stack]));
            }
        }
    }

    /// Looks if a ring at this place leads to the other threads of the process.
    fn threads(&mut self, slot: usize, fields: Option<[usize; 2]>) {
        let threads = fields.and_then(|fields| self.count_threads(slot, fields));
        self.facts[slot] &= match threads {
            Some((_, 0)) => !fact::NODE,
            Some((_, 1)) => !fact::GROUP,
            _ => !(fact::NODE | fact::GROUP),
        };
        if threads.is_some_and(|(tasks, _)| tasks > 1) {
            self.facts[slot] |= fact::THREADS;
        }
    }

    /// The number of tasks of this process in the ring at a place, and of other structs in it.
    /// [`None`] if it is no ring.
    fn count_threads(&self, slot: usize, [pid, stack]: [usize; 2]) -> Option<(usize, usize)> {
        let distance = |other: usize| ((SLOT * other) as u64).wrapping_sub((SLOT * slot) as u64);
        let head = self.task.at.wrapping_add(distance(RING).wrapping_neg());
        let process = self.task.number(pid, 4);
        let word = self.kernel.word();
        let mut ring = Ring::new(self.kernel.memory, head, word);
        let (mut tasks, mut others) = (1, 0);
        for node in ring.by_ref().take(MOST_THREADS) {
            let value = |field: usize, length| {
                self.kernel.memory.value(node.wrapping_add(distance(field)), length).ok()
            };
            let is_thread = value(pid + 1, 4) == Some(process)
                && value(stack, word).is_some_and(|start| self.is_stack_at(start));
            if is_thread {
                tasks += 1
            } else {
                others += 1
            }
            if others > 1 {
                return None;
            }
        }
        ring.is_whole().then_some((tasks, others))
    }
}
