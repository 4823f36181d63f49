//! Tasks that never were, laid out by a table of offsets.

use alloc::vec;
use alloc::vec::Vec;
use alloc::{format, string::String};

use super::Tasks;
use crate::{Error, KernelMemory, SegmentMap, Symbols, VirtualMemory};
use vmcore::{EM_386, PhysAddr, ReadPhys, Segment, SegmentKind};

const LENGTH: usize = 1 << 20;
/// Physical addresses: the idle task, the table of CPUs' variables, stacks, other tasks.
const IDLE: u64 = 0x1_0340;
const PER_CPU: u64 = 0x1000;
const STACKS: u64 = 0x2_0000;
const TASKS: u64 = 0xa_0000;

/// Memory of one piece, from address zero on.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl ReadPhys for Bytes {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let start = usize::try_from(at.get()).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(vmcore::Error::Unreadable { at })?);
        Ok(())
    }
}

/// Offsets of fields, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    pub(super) state: u64,
    pub(super) stack: u64,
    pub(super) tasks: u64,
    pub(super) pid: u64,
    pub(super) leader: u64,
    pub(super) threads: u64,
    pub(super) comm: u64,
    pub(super) sp: u64,
    pub(super) size: u64,
}

impl Offsets {
    /// Fields with these gaps between them, in words of eight bytes.
    pub(super) fn with_gaps(gaps: [u64; 8]) -> Self {
        let mut at = 16;
        let mut next = |gap: u64, length: u64| {
            at += 8 * gap + length;
            at - length
        };
        let [state, stack, tasks, pid, leader, threads, comm, sp] = gaps;
        Self {
            state: next(state, 8),
            stack: next(stack, 8),
            tasks: next(tasks, 16),
            pid: next(pid, 8),
            leader: next(leader, 8),
            threads: next(threads, 16),
            comm: next(comm, 16),
            // i386 has `sp0` before it.
            sp: next(sp + 1, 8),
            size: (at + 400).next_multiple_of(64),
        }
    }

    /// Those of a kernel of Debian, more or less.
    pub(super) fn usual() -> Self {
        Self::with_gaps([1, 0, 250, 25, 3, 30, 20, 150])
    }
}

/// A task that should be found: pid, process, name, state, stack, stack pointer.
pub(super) type Expected = (u32, u32, String, char, u64, u64);

/// A machine with tasks.
pub(super) struct Machine {
    pub(super) machine: u16,
    pub(super) offsets: Offsets,
    pub(super) memory: Bytes,
    segments: SegmentMap,
    /// Addresses of the tasks, the idle one first.
    pub(super) tasks: Vec<u64>,
    pub(super) expected: Vec<Expected>,
    /// True if the ring of threads has a head of its own.
    has_node: bool,
}

impl Machine {
    /// Processes with these numbers of threads.
    pub(super) fn new(machine: u16, offsets: Offsets, has_node: bool, threads: &[u32]) -> Self {
        let mut noise = 1_u32;
        let mut word = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_le_bytes()
        };
        let memory = Bytes((0..LENGTH / 4).flat_map(|_| word()).collect());
        let all = Segment {
            kind: SegmentKind::Load,
            source: PhysAddr::new(0),
            vaddr: direct(machine),
            paddr: PhysAddr::new(0),
            filesz: LENGTH as u64,
            memsz: LENGTH as u64,
            flags: 7,
        };
        let segments = SegmentMap::new([Ok(all)]).expect("room");
        let (tasks, expected) = (Vec::new(), Vec::new());
        let mut new = Self { machine, offsets, memory, segments, tasks, expected, has_node };
        new.fill(threads);
        new
    }

    fn fill(&mut self, threads: &[u32]) {
        let idle = self.task(0, 0, "swapper/0", 0);
        let mut processes = vec![idle];
        let mut pid = 0;
        for (index, threads) in threads.iter().enumerate() {
            pid += 1 + index as u32 % 3 / 2;
            let state = [0x1, 0x402, 0x2, 0x0, 0x1][index % 5];
            let process = pid;
            let mut ring = vec![self.task(pid, pid, &format!("process-{index}"), state)];
            processes.push(ring[0]);
            for thread in 1..*threads {
                pid += 1;
                ring.push(self.task(pid, process, &format!("thread-{thread}"), 1));
            }
            self.ring(&ring, self.offsets.threads, self.has_node);
        }
        self.ring(&[idle], self.offsets.threads, self.has_node);
        self.ring(&processes, self.offsets.tasks, false);
    }

    /// Adds a task.
    fn task(&mut self, pid: u32, process: u32, name: &str, state: u32) -> u64 {
        let number = self.tasks.len() as u64;
        let at = match number {
            0 => direct(self.machine) + IDLE,
            _ => direct(self.machine) + TASKS + (number - 1) * self.offsets.size,
        };
        let size = if self.machine == EM_386 { 0x2000 } else { 0x4000 };
        let stack = direct(self.machine) + STACKS + number * size;
        let sp = stack + size - 0x80 - 0x18 * (number % 7);
        let leader = if pid == process { at } else { self.tasks[self.tasks.len() - 1] };
        self.word(stack, 0x57ac_6e9d);
        let o = self.offsets;
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        self.put(at + o.state, &state.to_le_bytes());
        self.put(at + o.pid, &[pid.to_le_bytes(), process.to_le_bytes()].concat());
        self.put(at + o.comm, &comm);
        self.word(at + o.stack, stack);
        self.word(at + o.leader, leader);
        self.word(at + o.sp - 8, stack + size - 0x30);
        self.word(at + o.sp, sp);
        self.tasks.push(at);
        let letter = match state {
            0 => 'R',
            1 => 'S',
            2 => 'D',
            _ => 'I',
        };
        if number > 0 {
            self.expected.push((pid, process, name.into(), letter, stack, sp));
        }
        at
    }

    /// Joins tasks.
    fn ring(&mut self, tasks: &[u64], offset: u64, has_head: bool) {
        let mut nodes: Vec<u64> = tasks.iter().map(|at| at + offset).collect();
        if has_head {
            nodes.push(tasks[0] + self.offsets.size - 16);
        }
        for (index, node) in nodes.iter().enumerate() {
            let next = nodes[(index + 1) % nodes.len()];
            self.word(*node, next);
            self.word(next + self.width() as u64, *node);
        }
    }

    pub(super) fn width(&self) -> usize {
        if self.machine == EM_386 { 4 } else { 8 }
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - direct(self.machine)) as usize;
        self.memory.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a pointer.
    pub(super) fn word(&mut self, at: u64, word: u64) {
        let width = self.width();
        self.put(at, &word.to_le_bytes()[..width]);
    }

    /// Lets a CPU run the task with this index.
    pub(super) fn run(&mut self, cpu: u64, task: usize) {
        let (start, width) = (direct(self.machine) + PER_CPU, self.width() as u64);
        let distance = 0x2000 * (cpu + 1);
        self.word(start + width * cpu, distance);
        self.word(start + 0x100 + distance, self.tasks[task]);
    }

    /// Lines with the symbols of variables.
    pub(super) fn symbols(&self) -> String {
        let start = direct(self.machine) + PER_CPU;
        let current = start + 0x100;
        format!("SYMBOL(__per_cpu_offset)={start:x}\nSYMBOL(current_task)={current:x}\n")
    }

    fn virtual_memory(&self, vmcoreinfo: &str) -> VirtualMemory<'_, Bytes> {
        let memory = KernelMemory::new(&self.memory, &self.segments);
        VirtualMemory::new(memory, vmcoreinfo.as_bytes())
    }

    /// The tasks with the offsets in lines.
    pub(super) fn find(&self, lines: &str) -> Result<Tasks<'_, Bytes>, Error> {
        let text = format!("{}SYMBOL(init_task)={:x}\n{lines}", self.symbols(), self.tasks[0]);
        let symbols = Symbols::of(text.as_bytes())?;
        Tasks::find(self.virtual_memory(&text), text.as_bytes(), &symbols, self.machine)
    }

    /// The tasks by evidence, with these lines.
    pub(super) fn search(&self, lines: &str) -> Result<Tasks<'_, Bytes>, Error> {
        let near = self.tasks[0] + 0x5123;
        let text = format!("{lines}OSRELEASE=6.1.0\nSYMBOL(init_uts_ns)={near:x}\n");
        let (symbols, memory) = (Symbols::of(text.as_bytes())?, self.virtual_memory(&text));
        Tasks::by_evidence(memory, text.as_bytes(), &symbols, self.machine, &mut || true)
    }

    /// The lines that a loader would add.
    pub(super) fn lines(&self) -> String {
        let Offsets { state, stack, tasks, pid, threads, comm, sp, .. } = self.offsets;
        let name = if self.has_node { "thread_node" } else { "thread_group" };
        format!(
            "OFFSET(task_struct.__state)={state}\nOFFSET(task_struct.stack)={stack}\n\
             OFFSET(task_struct.tasks)={tasks}\nOFFSET(task_struct.pid)={pid}\n\
             OFFSET(task_struct.tgid)={}\nOFFSET(task_struct.{name})={threads}\n\
             OFFSET(task_struct.comm)={comm}\nOFFSET(task_struct.thread.sp)={sp}\n",
            pid + 4
        )
    }
}

/// Start of the direct map.
pub(super) fn direct(machine: u16) -> u64 {
    if machine == EM_386 { 0xc000_0000 } else { 0xffff_8880_0000_0000 }
}
