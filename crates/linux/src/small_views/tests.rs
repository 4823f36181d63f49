use super::*;
use crate::dmesg::fake::{BOTH, Machine, PADDR, PAGE, id, old, state};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;
use vmcore::fake::{FakeMemory, logged, note};
use vmcore::{
    Class, EM_386, EM_X86_64, ElfCoreHdr, Holes, PhysAddr, Segment, SegmentKind, build, vmcore,
};

/// Address of the core header block.
const BLOCK: u64 = 0x2ff_c000;
/// Address of the note areas: one in each page.
const NOTES: u64 = 0x300_0000;
/// Address of the stacks: two of 16 KiB.
const STACKS: u64 = 0x600_0000;
const LIMIT: u64 = 1 << 36;

/// A dead machine.
struct Dead {
    machine: Machine,
    page: Vec<u8>,
    /// Pid and stack pointer (virtual) of each CPU; none of one that saved nothing.
    cpus: Vec<Option<(u32, u64)>>,
    vmcoreinfo: Option<&'static str>,
}

impl Dead {
    fn new(machine: Machine, cpus: &[Option<(u32, u64)>]) -> Self {
        let vmcoreinfo = Some(machine.vmcoreinfo);
        Self { machine, page: old(machine).bytes, cpus: cpus.to_vec(), vmcoreinfo }
    }

    /// The virtual address of the byte at `at` of the stacks.
    fn stack(machine: Machine, at: u64) -> u64 {
        machine.vaddr + (STACKS - PADDR) + at
    }

    fn note_areas(&self) -> Vec<Vec<u8>> {
        let saved = |cpu: &Option<(u32, u64)>| {
            cpu.map_or(vec![0; 12], |(pid, stack)| note(b"CORE\0", 1, &self.prstatus(pid, stack)))
        };
        let mut areas: Vec<_> = self.cpus.iter().map(saved).collect();
        areas.extend(self.vmcoreinfo.map(|text| note(b"VMCOREINFO\0", 0, text.as_bytes())));
        areas
    }

    /// Offsets of Linux' `elf_prstatus`: `pr_pid`, and the stack pointer in `pr_reg`.
    fn prstatus(&self, pid: u32, stack: u64) -> Vec<u8> {
        let is_i386 = self.machine.word == 4;
        let (size, pid_at, stack_at) = if is_i386 { (144, 24, 132) } else { (336, 32, 264) };
        let mut desc = vec![0; size];
        desc[pid_at..pid_at + 4].copy_from_slice(&pid.to_le_bytes());
        desc[stack_at..stack_at + self.machine.word]
            .copy_from_slice(&stack.to_le_bytes()[..self.machine.word]);
        desc
    }

    /// The small views without backtraces, and the complaints.
    fn views(&self) -> (Vec<SmallView>, Vec<String>) {
        self.views_with(|_, _| Vec::new())
    }

    /// The small views with this text of the backtraces.
    fn views_with(
        &self,
        backtraces: impl Fn(&LaterViews, &FakeMemory) -> Vec<u8>,
    ) -> (Vec<SmallView>, Vec<String>) {
        let load = |source: u64, vaddr, filesz| {
            let (kind, source) = (SegmentKind::Load, PhysAddr::new(source));
            Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 }
        };
        let mut mem = FakeMemory::with(PADDR, self.page.clone()).and(STACKS, stacks());
        let mut segments = vec![
            load(PADDR, self.machine.vaddr, PAGE as u64),
            load(STACKS, Self::stack(self.machine, 0), 0x8000),
        ];
        for (index, area) in self.note_areas().into_iter().enumerate() {
            let at = NOTES + 0x2000 * index as u64;
            let kind = SegmentKind::Note;
            segments.push(Segment { kind, ..load(at, 0, area.len() as u64) });
            mem = mem.and(at, area);
        }
        let is_i386 = self.machine.word == 4;
        let (e_machine, class) =
            if is_i386 { (EM_386, Class::Elf32) } else { (EM_X86_64, Class::Elf64) };
        let block = build(e_machine, class, &segments).expect("a block of a test");
        let place = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: Some(block.len() as u64) };
        let mem = mem.and(BLOCK, block);
        let header = CoreHeader::read(&mem, place).expect("a header of a test");
        let vmcore =
            vmcore(&header, &mem, LIMIT, &Holes::new(), &mut |_| {}).expect("a vmcore of a test");
        logged(|| {
            let (mut views, later) = first_views(&header, &vmcore, &mem);
            views.extend(later.read(&mem, backtraces(&later, &mem)));
            views
        })
    }

    fn names(&self) -> Vec<&'static str> {
        self.views().0.iter().map(|view| view.name).collect()
    }

    fn view(&self, name: &str) -> SmallView {
        self.views().0.into_iter().find(|view| view.name == name).expect("a view")
    }
}

fn stacks() -> Vec<u8> {
    (0..0x8000_u32).map(|at| (at ^ at >> 8) as u8).collect()
}

const LOG: &str = "[    5.000001] sysrq:\n[    5.000002] Kernel panic - not syncing: x \n\
    [    6.000000] \n[    7.000000] a\n[    7.000000] b\\x1b[m\n";

#[test]
fn all_views_of_one_cpu() {
    for machine in BOTH {
        let dead = Dead::new(machine, &[Some((9, Dead::stack(machine, 0x128)))]);
        let (views, complaints) = dead.views();
        assert_eq!(complaints, [""; 0]);
        let names: Vec<_> = views.iter().map(|view| view.name).collect();
        assert_eq!(names, ["dmesg-tail", "notes", "vmcoreinfo", "stack", "dmesg"]);
        assert_eq!(views[0].view, LOG.as_bytes());
        assert_eq!(views[1].view, dead.note_areas().concat());
        assert_eq!(views[2].view, machine.vmcoreinfo.as_bytes());
        let end = if machine.word == 4 { 0x2000 } else { 0x4000 };
        assert_eq!(views[3].start, Dead::stack(machine, 0x120), "a multiple of 16");
        assert_eq!(views[3].view, stacks()[0x120..end]);
        assert_eq!(views[4].view, LOG.as_bytes());
        assert!(views.iter().all(|view| view.name == "stack" || view.start == 0));
    }
}

/// The kernel has no symbols here, and the stack no return address.
#[test]
fn backtraces_come_before_the_stack() {
    for machine in BOTH {
        let at = |offset| Dead::stack(machine, offset);
        let dead = Dead::new(machine, &[Some((0, at(0x10))), Some((1, at(0x20)))]);
        for (goes_on, expected) in [
            (
                true,
                "cpu 1 pid 1, crashed:\n 0x0\n (no way to the next frame)\n\
                    cpu 0 pid 0:\n 0x0\n (no way to the next frame)\n",
            ),
            (false, "2 more cpus\n"),
        ] {
            let (views, complaints) = dead.views_with(|later, mem| {
                let read = later.backtraces(mem, &mut || goes_on);
                read.expect("memory").whole(MOST_WHOLE)
            });
            let names: Vec<_> = views[3..].iter().map(|view| view.name).collect();
            assert_eq!(names, ["backtrace", "stack", "dmesg"]);
            assert_eq!(String::from_utf8_lossy(&views[3].view), expected);
            assert!(complaints.iter().any(|line| line.contains("kallsyms")), "{complaints:?}");
        }
    }
}

/// The task that wrote the last line has the pid 1.
#[test]
fn the_cpu_that_wrote_the_last_line_crashed() {
    for machine in BOTH {
        let at = |offset| Dead::stack(machine, offset);
        let dead = Dead::new(machine, &[Some((0, at(0x10))), Some((1, at(0x20))), Some((2, 0))]);
        let stack = dead.view("stack");
        assert_eq!((stack.start, dead.names().len()), (at(0x20), 5));
    }
}

#[test]
fn a_cpu_in_an_interrupt_is_known_by_its_number() {
    for machine in BOTH {
        let at = |offset| Dead::stack(machine, offset);
        let cpus = [Some((1, at(0x10))), Some((1, at(0x20)))];
        let mut page = old(machine);
        page.info(1, 9, 7_000_000_000, 6, 0x8000_0001);
        let dead = Dead { page: page.bytes, ..Dead::new(machine, &cpus) };
        assert_eq!(dead.view("stack").start, at(0x20));
        // CPU 0 has saved nothing.
        let shifted = Dead { cpus: vec![None, cpus[0], cpus[1]], ..dead };
        assert_eq!(shifted.view("stack").start, at(0x10));
    }
}

#[test]
fn all_stacks_where_it_is_not_known_who_crashed() {
    for machine in BOTH {
        let cpu = |offset| Some((1, Dead::stack(machine, offset)));
        let dead = Dead::new(machine, &[cpu(0x10), cpu(0x4020), cpu(0), cpu(0), cpu(0)]);
        let (views, complaints) = dead.views();
        let names: Vec<_> = views[3..7].iter().map(|view| view.name).collect();
        assert_eq!(names, ["stack-0", "stack-1", "stack-2", "stack-3"]);
        assert_eq!(views[4].view[..], stacks()[0x4020..][..views[4].view.len()]);
        assert_eq!((views[7].name, complaints), ("dmesg", vec![]));
    }
}

/// As with stacks that are made by vmalloc.
#[test]
fn a_stack_that_is_not_mapped_is_named() {
    for machine in BOTH {
        for bad in [0, u64::MAX, machine.vaddr - 8] {
            let (views, complaints) = Dead::new(machine, &[Some((1, bad))]).views();
            assert_eq!(views.len(), 4);
            assert_eq!(complaints.len(), 1);
            assert!(complaints[0].starts_with("stack: no PT_LOAD has"), "{complaints:?}");
        }
    }
}

#[test]
fn a_stack_ends_where_memory_does() {
    for machine in BOTH {
        let dead = Dead::new(machine, &[Some((1, machine.vaddr + 0xff0))]);
        assert_eq!(dead.view("stack").view.len(), 16);
    }
}

#[test]
fn without_vmcoreinfo_there_is_no_log() {
    for machine in BOTH {
        let cpus = [Some((1, Dead::stack(machine, 0)))];
        let dead = Dead { vmcoreinfo: None, ..Dead::new(machine, &cpus) };
        let (views, complaints) = dead.views();
        let names: Vec<_> = views.iter().map(|view| view.name).collect();
        assert_eq!(names, ["notes", "stack"]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("dmesg: VMCOREINFO has no "), "{complaints:?}");
    }
}

#[test]
fn a_dead_kernel_that_left_nothing() {
    for machine in BOTH {
        let dead = Dead { vmcoreinfo: None, ..Dead::new(machine, &[]) };
        assert_eq!(dead.views().0, []);
    }
}

#[test]
fn tails_begin_with_a_line() {
    let line = |n: usize| format!("[{n:12}] {}\n", "x".repeat(48));
    let text: String = (0..1000).map(line).collect();
    assert_eq!(text.len(), 1000 * 64);
    assert!(tail(text.as_bytes()) == &text.as_bytes()[1000 * 64 - TAIL..], "128 lines");
    let cut = &text[..text.len() - 1];
    assert!(tail(cut.as_bytes()) == &cut.as_bytes()[cut.len() - TAIL + 1..], "127 lines");
    assert_eq!(tail(b"abc"), b"abc");
    for text in ["x".repeat(TAIL + 9), format!("{}\n", "x".repeat(TAIL + 9))] {
        assert!(tail(text.as_bytes()) == &text.as_bytes()[text.len() - TAIL..], "one line");
    }
}

#[test]
fn a_log_is_cut_at_its_limit() {
    for machine in BOTH {
        let (page, segments) = old(machine).memory();
        let memory = KernelMemory::new(&page, &segments);
        let text = |limit| {
            let log = Log::read(memory, machine.vmcoreinfo.as_bytes(), limit).expect("a log");
            String::from_utf8(log.text).expect("ASCII")
        };
        for limit in 0..LOG.len() + 2 {
            let text = text(limit);
            assert!(text.len() <= limit && LOG.ends_with(&text));
            assert!(text.is_empty() || text.starts_with("[ "));
        }
        assert_eq!(text(LOG.len()), LOG);
    }
}

/// Also where the oldest record that has a part in it is long.
#[test]
fn the_end_of_a_log_has_as_much_as_is_asked_for() {
    for machine in BOTH {
        let (page, segments) = old(machine).memory();
        let memory = KernelMemory::new(&page, &segments);
        for bytes in 0..LOG.len() + 2 {
            let log = Log::read_end(memory, machine.vmcoreinfo.as_bytes(), bytes).expect("a log");
            let text = String::from_utf8(log.text).expect("ASCII");
            assert!(LOG.ends_with(&text) && text.len() >= bytes.min(LOG.len()), "{bytes}: {text}");
        }
        let few = Log::read_end(memory, machine.vmcoreinfo.as_bytes(), 30).expect("a log");
        assert!(few.text.len() <= 60, "no more is read than it takes");
    }
}

proptest! {
    /// For any bytes there: no panic, and every view within its bound.
    #[test]
    fn any_memory(
        is_64_bit: bool,
        changes in prop::collection::vec((0..0x480_usize, prop_oneof![0..4_u8, any::<u8>()]), 0..24),
        cpus in prop::collection::vec(prop::option::of((0..3_u32, prop_oneof![Just(0), any::<u64>()])), 0..6),
        is_unfinished: bool,
    ) {
        let machine = BOTH[usize::from(is_64_bit)];
        let mut page = old(machine);
        if is_unfinished {
            page.desc(1, state(machine, 0, 1), [40, 64]);
            page.block(40, id(machine, 1), b"");
        }
        for (at, byte) in changes {
            page.put(at, &[byte]);
        }
        let (views, _) = Dead { page: page.bytes, ..Dead::new(machine, &cpus) }.views();
        for view in views {
            let most = match view.name {
                "dmesg-tail" => TAIL,
                "dmesg" => MAX_LOG,
                "notes" => vmcore::MAX_NOTES,
                "vmcoreinfo" => 4096,
                _ => 16 << 10,
            };
            prop_assert!((1..=most).contains(&view.view.len()), "{}", view.name);
        }
    }
}
