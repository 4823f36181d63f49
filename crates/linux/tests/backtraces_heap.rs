//! Heap of the backtraces of a large machine, as the capture kernel reads them.

#![expect(unsafe_code, reason = "an allocator that counts, and has no more than it is given")]

extern crate alloc;

// A part of the unit tests.
#[expect(dead_code, reason = "more than is needed here")]
#[path = "../src/backtrace/kallsyms/fake.rs"]
mod fake;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use fake::{Image, KINDS, PADDR};
use linux::{KernelMemory, LaterViews, SegmentMap, VirtualMemory};
use vmcore::fake::{FakeMemory, note};
use vmcore::{Class, CoreHeader, ElfCoreHdr, Holes, PhysAddr, Segment, SegmentKind};
use vmcore::{EM_386, EM_X86_64};

struct Counting;

// The heap of each thread: now, the most so far, and the limit.
thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: the system allocator does all the work; this one counts, and fails at the limit.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.get().wrapping_add(layout.size());
        if now > LIMIT.get() {
            return ptr::null_mut();
        }
        NOW.set(now);
        PEAK.set(PEAK.get().max(now));
        // SAFETY: the caller guarantees it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(layout.size()));
        // SAFETY: the caller guarantees it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The heap that backtraces may take.
const MOST: usize = 48 << 10;
/// The heap that the CPU that crashed needs.
const LITTLE: usize = 26 << 10;
/// Addresses of the core header block, and of the note areas after one another.
const BLOCK: u64 = 0x4000_0000;
const NOTES: u64 = 0x5000_0000;
/// Distances from the start of the image: functions, variables, tasks and stacks.
const FUNCTIONS: usize = 0x10_0000;
const PANIC_CPU: usize = 0x20_1000;
const COUNT: usize = 0x20_1004;
const ONLINE: usize = 0x20_1008;
const PER_CPU: usize = 0x20_2000;
const CURRENT: usize = 0x20_3000;
const TASKS: usize = 0x20_8000;
const STACKS: usize = 0x22_0000;
/// Functions, and bytes of each.
const FUNCTION_COUNT: usize = 1000;
const LENGTH: usize = 0x40;
/// Offsets of fields of a task.
const LINES: &str = "OFFSET(task_struct.pid)=0\nOFFSET(task_struct.tgid)=4\n\
    OFFSET(task_struct.comm)=8\nOFFSET(task_struct.stack)=24\nOFFSET(task_struct.thread.sp)=32\n\
    OFFSET(task_struct.tasks)=40\nOFFSET(task_struct.__state)=56\n\
    OFFSET(task_struct.thread_node)=64\n";

/// A dead machine with this number of CPUs, of which each has `frames` frames. No two have a
/// function in common, as long as there are enough.
struct Dead {
    image: Image,
    cpus: usize,
    crashed: usize,
}

impl Dead {
    fn new(kind: usize, cpus: usize, crashed: usize, frames: usize) -> Self {
        let kind = KINDS[kind];
        let start = |index: usize| kind.image + (FUNCTIONS + LENGTH * index) as u64;
        let names: Vec<_> = (0..FUNCTION_COUNT).map(|n| format!("Tsubsystem_does_{n}")).collect();
        let mut symbols = vec![(kind.image, "T_stext")];
        symbols.extend(names.iter().enumerate().map(|(index, name)| (start(index), &**name)));
        symbols.push((start(FUNCTION_COUNT), "B_end"));
        let mut image = Image::new(kind, &symbols);
        assert!(image.bytes.len() <= FUNCTIONS, "room");
        image.bytes.resize(STACKS + 0x4000 * cpus, 0);
        for index in 0..FUNCTION_COUNT {
            // A call.
            image.bytes[FUNCTIONS + LENGTH * index] = 0xe8;
        }
        let mut dead = Self { image, cpus, crashed };
        dead.number(PANIC_CPU, crashed as u64, 4);
        dead.number(COUNT, cpus as u64, 4);
        for cpu in 0..cpus {
            dead.cpu(cpu, frames);
        }
        let variables = [
            ("_etext", FUNCTIONS + LENGTH * FUNCTION_COUNT),
            ("__per_cpu_offset", PER_CPU),
            ("panic_cpu", PANIC_CPU),
            ("__cpu_online_mask", ONLINE),
            ("nr_cpu_ids", COUNT),
            ("current_task", CURRENT),
            ("init_task", TASKS),
        ];
        for (name, place) in variables {
            dead.image.vmcoreinfo += &format!("SYMBOL({name})={:x}\n", dead.address(place));
        }
        dead.image.vmcoreinfo += LINES;
        dead
    }

    fn address(&self, place: usize) -> u64 {
        self.image.kind.image + place as u64
    }

    fn number(&mut self, place: usize, number: u64, length: usize) {
        self.image.bytes[place..place + length].copy_from_slice(&number.to_le_bytes()[..length]);
    }

    fn cpu(&mut self, cpu: usize, frames: usize) {
        let word = self.image.kind.word;
        let (distance, task, stack) = (8 * cpu, TASKS + 0x100 * cpu, STACKS + 0x4000 * cpu);
        self.image.bytes[ONLINE + cpu / 8] |= 1 << (cpu % 8);
        self.number(PER_CPU + word * cpu, distance as u64, word);
        self.number(CURRENT + distance, self.address(task), word);
        self.number(task, cpu as u64 + 1, 4);
        self.number(task + 4, cpu as u64 + 1, 4);
        self.image.bytes[task + 8..task + 12].copy_from_slice(b"task");
        self.number(task + 24, self.address(stack), word);
        self.number(task + 32, self.address(stack + 0x1000), word);
        for ring in [40, 64] {
            self.number(task + ring, self.address(task + ring), word);
            self.number(task + ring + word, self.address(task + ring), word);
        }
        self.number(stack, 0x57ac_6e9d, 4);
        for frame in 1..frames {
            let function = (cpu * frames + frame) % FUNCTION_COUNT;
            let place = self.address(FUNCTIONS + LENGTH * function + 5);
            self.number(stack + 0x1000 + word * frame, place, word);
        }
    }

    /// The registers of a CPU, at the offsets of Linux' `elf_prstatus`.
    fn prstatus(&self, cpu: usize, frames: usize) -> Vec<u8> {
        let word = self.image.kind.word;
        let (size, pid_at, ip_at, sp_at) =
            if word == 4 { (144, 24, 120, 132) } else { (336, 32, 240, 264) };
        let mut desc = vec![0; size];
        desc[pid_at..pid_at + 4].copy_from_slice(&(cpu as u32 + 1).to_le_bytes());
        let ip = self.address(FUNCTIONS + LENGTH * (cpu * frames % FUNCTION_COUNT));
        let sp = self.address(STACKS + 0x4000 * cpu + 0x1000);
        desc[ip_at..ip_at + word].copy_from_slice(&ip.to_le_bytes()[..word]);
        desc[sp_at..sp_at + word].copy_from_slice(&sp.to_le_bytes()[..word]);
        desc
    }

    /// The result of `read` with the views of this machine.
    fn with<T>(&self, frames: usize, read: impl FnOnce(&LaterViews, &FakeMemory) -> T) -> T {
        let (machine, class) = match self.image.kind.word {
            4 => (EM_386, Class::Elf32),
            _ => (EM_X86_64, Class::Elf64),
        };
        let statuses = (0..self.cpus).map(|cpu| note(b"CORE\0", 1, &self.prstatus(cpu, frames)));
        let info = note(b"VMCOREINFO\0", 0, self.image.vmcoreinfo.as_bytes());
        let memory = FakeMemory::with(PADDR, self.image.bytes.clone());
        let load = |kind, at: u64, vaddr, length: usize| {
            let (source, filesz) = (PhysAddr::new(at), length as u64);
            Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 }
        };
        let image = &self.image;
        let mut segments =
            vec![load(SegmentKind::Load, PADDR, image.kind.image, image.bytes.len())];
        let mut areas = Vec::new();
        for area in statuses.chain([info]) {
            segments.push(load(SegmentKind::Note, NOTES + areas.len() as u64, 0, area.len()));
            areas.extend(area);
        }
        let block = vmcore::build(machine, class, &segments).expect("few enough");
        let place = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: Some(block.len() as u64) };
        let memory = memory.and(BLOCK, block).and(NOTES, areas);
        let header = CoreHeader::read(&memory, place).expect("a header");
        let vmcore = vmcore::vmcore(&header, &memory, 1 << 40, &Holes::new(), &mut |_| ());
        let (_, later) = linux::first_views(&header, &vmcore.expect("a vmcore"), &memory);
        read(&later, &memory)
    }

    /// The texts for the console and for the small view, and the heap that they took. There are no
    /// more than `heap` bytes of it.
    fn read(&self, frames: usize, heap: usize) -> Option<(String, String, usize)> {
        self.with(frames, |later, memory| {
            let before = NOW.get();
            PEAK.set(before);
            LIMIT.set(before.saturating_add(heap));
            // The same as the capture kernel does.
            let read = later.backtraces(memory, &mut || true).ok();
            let texts = read.map(|read| {
                let short = read.short();
                LIMIT.set(usize::MAX);
                let (short, taken) = (String::from_utf8(short).expect("text"), PEAK.get());
                let now = NOW.get();
                LIMIT.set(now.saturating_add((before + heap.min(MOST)).saturating_sub(now)));
                PEAK.set(taken);
                (short, read.whole(read.most_whole()))
            });
            LIMIT.set(usize::MAX);
            let peak = PEAK.get() - before;
            texts.map(|(short, whole)| (short, String::from_utf8(whole).expect("text"), peak))
        })
    }

    /// The first lines: those of the CPU that crashed.
    fn first(&self, frames: usize) -> String {
        let (cpu, pid) = (self.crashed, self.crashed + 1);
        let mut text = format!("cpu {cpu} pid {pid} [task], crashed:\n");
        for frame in 0..frames {
            let function = (cpu * frames + frame) % FUNCTION_COUNT;
            let place = if frame == 0 { " " } else { " ? " };
            let offset = if frame == 0 { 0 } else { 5 };
            text += &format!("{place}subsystem_does_{function}+{offset:#x}/0x40\n");
        }
        text
    }
}

const X86_64: usize = 0;
const I386: usize = 3;

#[test]
fn a_large_machine_takes_no_more_heap_than_there_is() {
    for kind in [X86_64, I386] {
        for (cpus, frames) in [(255, 31), (255, 12), (255, 3), (32, 12), (32, 31), (2, 31)] {
            let dead = Dead::new(kind, cpus, cpus - 1, frames);
            let (_, whole, peak) = dead.read(frames, usize::MAX).expect("room");
            assert!(peak <= MOST, "{peak} bytes: {cpus} CPUs, {frames} frames");
            assert!(whole.starts_with(&dead.first(frames)), "{whole}");
            let shown = whole.lines().filter(|line| line.starts_with("cpu ")).count();
            let counted = whole.lines().last().and_then(|line| line.strip_suffix(" more cpus"));
            let counted = counted.map_or(Ok(0), str::parse).expect("a number");
            // Text that has no room is cut at its end.
            assert!(shown + counted == cpus || counted == 0 && whole.len() > MOST / 4);
            assert!(cpus > 32 || frames > 12 || shown == cpus, "{shown} of {cpus} CPUs");
        }
    }
}

#[test]
fn the_cpu_that_crashed_needs_little_heap() {
    for kind in [X86_64, I386] {
        let dead = Dead::new(kind, 255, 200, 12);
        for heap in (0..48).map(|n| n << 10) {
            let text = dead.read(12, heap).map_or(String::new(), |(_, whole, _)| whole);
            assert!(heap < LITTLE || text.starts_with(&dead.first(12)), "{heap} bytes: {text}");
        }
    }
}
