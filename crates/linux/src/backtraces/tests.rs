//! The CPUs: their order, their numbers, and the one that crashed.

use super::*;
use crate::backtrace::kallsyms::fake::{Image, KINDS};
use alloc::format;
use alloc::string::String;
use vmcore::fake::note;
use vmcore::{EM_386, EM_X86_64};

/// Variables of the dead kernel, and tasks, by their distance from its data.
const PER_CPU: usize = 0;
const PANIC_CPU: usize = 0x40;
const ONLINE: usize = 0x44;
const COUNT: usize = 0x48;
const CURRENT: usize = 0x80;
const TASKS: usize = 0x1000;
const STACKS: usize = 0x4000;
/// Offsets of fields of a task.
const LINES: &str = "OFFSET(task_struct.pid)=0\nOFFSET(task_struct.tgid)=4\n\
    OFFSET(task_struct.comm)=8\nOFFSET(task_struct.stack)=24\nOFFSET(task_struct.thread.sp)=32\n\
    OFFSET(task_struct.tasks)=40\nOFFSET(task_struct.__state)=56\n\
    OFFSET(task_struct.thread_node)=64\n";

/// A dead machine.
struct Dead {
    image: Image,
    /// Distance of the data from the start of the image.
    data: usize,
    /// Pid of each CPU that saved its registers, in the order of the notes.
    saved: Vec<u32>,
}

impl Dead {
    /// CPUs that run tasks with these pids. All of them are online, and have saved their registers.
    fn new(kind: usize, pids: &[u32]) -> Self {
        let at = KINDS[kind].image;
        let symbols = [(at, "T_stext"), (at + 0x100, "Tspin"), (at + 0x200, "B_end")];
        let mut image = Image::new(KINDS[kind], &symbols);
        // A call to the instructions after it, which push bp and bx as `__switch_to_asm` does.
        image.bytes[0x10b..0x112].copy_from_slice(&[0xe8, 0, 0, 0, 0, 0x55, 0x53]);
        image.vmcoreinfo += &format!("SYMBOL(_etext)={:x}\n", at + 0x200);
        let data = image.bytes.len();
        image.bytes.resize(data + STACKS + 0x4000 * pids.len(), 0);
        let mut dead = Self { image, data, saved: pids.to_vec() };
        dead.number(PANIC_CPU, u32::MAX.into(), 4);
        dead.number(ONLINE, (1 << pids.len()) - 1, 4);
        dead.number(COUNT, pids.len() as u64, 4);
        for (cpu, pid) in pids.iter().enumerate() {
            dead.cpu(cpu, *pid);
        }
        let names = [
            ("__per_cpu_offset", PER_CPU),
            ("panic_cpu", PANIC_CPU),
            ("__cpu_online_mask", ONLINE),
            ("nr_cpu_ids", COUNT),
            ("current_task", CURRENT),
            ("init_task", TASKS),
        ];
        for (name, place) in names {
            let line = format!("SYMBOL({name})={:x}\n", dead.address(place));
            dead.image.vmcoreinfo += &line;
        }
        dead.image.vmcoreinfo += LINES;
        dead
    }

    fn address(&self, place: usize) -> u64 {
        self.image.kind.image + (self.data + place) as u64
    }

    fn number(&mut self, place: usize, number: u64, length: usize) {
        let start = self.data + place;
        self.image.bytes[start..start + length].copy_from_slice(&number.to_le_bytes()[..length]);
    }

    fn cpu(&mut self, cpu: usize, pid: u32) {
        let (word, distance) = (self.image.kind.word, 0x20 * cpu);
        let (task, stack) = (TASKS + 0x100 * cpu, STACKS + 0x4000 * cpu);
        self.number(PER_CPU + word * cpu, distance as u64, word);
        self.number(CURRENT + distance, self.address(task), word);
        self.number(task, pid.into(), 4);
        self.number(task + 4, pid.into(), 4);
        let name = format!("task-{pid}");
        self.image.bytes[self.data + task + 8..][..name.len()].copy_from_slice(name.as_bytes());
        self.number(task + 24, self.address(stack), word);
        self.number(task + 32, self.address(stack + 0x1000), word);
        // No list of tasks: each is alone.
        for ring in [40, 64] {
            self.number(task + ring, self.address(task + ring), word);
            self.number(task + ring + word, self.address(task + ring), word);
        }
        self.number(stack, 0x57ac_6e9d, 4);
        // The function that a sleeping task returns to, after a call.
        let place = if word == 4 { 20 } else { 48 };
        self.number(stack + 0x1000 + place, self.image.kind.image + 0x110, word);
    }

    fn cpus(&self) -> Cpus {
        let machine = if self.image.kind.word == 4 { EM_386 } else { EM_X86_64 };
        let (size, pid_at, ip_at) = if machine == EM_386 { (144, 24, 120) } else { (336, 32, 240) };
        let mut area = Vec::new();
        for pid in &self.saved {
            let mut desc = alloc::vec![0; size];
            desc[pid_at..pid_at + 4].copy_from_slice(&pid.to_le_bytes());
            let ip = (self.image.kind.image + 0x100 + u64::from(*pid)).to_le_bytes();
            desc[ip_at..ip_at + self.image.kind.word].copy_from_slice(&ip[..self.image.kind.word]);
            area.extend(note(b"CORE\0", 1, &desc));
        }
        Cpus::of_notes(machine, vmcore::notes(&area).flatten()).expect("room")
    }

    fn read(
        &self,
        newest: Option<Caller>,
        most: Most,
        mut go_on: impl FnMut() -> bool,
    ) -> Backtraces {
        self.image.with(|memory| {
            let (cpus, info) = (self.cpus(), self.image.vmcoreinfo.as_bytes());
            let mut budget = Budget::new(&mut go_on);
            let kernel = DeadKernel::find(memory, cpus.machine, info, Effort::Lines, &mut budget);
            Backtraces::read(&kernel, &cpus, || newest, most, &mut budget).expect("room")
        })
    }

    /// Each CPU in a line: its number, pid, name, and its first frame.
    fn shown(&self, newest: Option<Caller>) -> Vec<String> {
        let all = self.read(newest, Most::CAPTURE, || true);
        let text = String::from_utf8(all.whole(MOST_WHOLE)).expect("text");
        let mut shown: Vec<String> = Vec::new();
        for line in text.lines() {
            match shown.last_mut() {
                _ if line.starts_with("cpu ") => shown.push(line.into()),
                Some(last) if last.ends_with(':') => *last += line,
                _ => {}
            }
        }
        shown
    }
}

const I386: usize = 3;

#[test]
fn the_cpu_that_panicked_is_first() {
    for kind in [0, I386] {
        let mut dead = Dead::new(kind, &[3, 0, 5]);
        let line = |cpu: u32, pid: u32, crashed: &str| {
            format!("cpu {cpu} pid {pid} [task-{pid}]{crashed}: spin+{pid:#x}/0x100")
        };
        let lines = |crashed: usize| {
            let mut lines = [line(0, 3, ""), line(1, 0, ""), line(2, 5, "")];
            let pid = [3, 0, 5][crashed];
            lines[crashed] = line(crashed as u32, pid, ", crashed");
            lines[..=crashed].rotate_right(1);
            lines
        };
        assert_eq!(dead.shown(Some(Caller(5))), lines(2), "the writer of the log");
        dead.number(PANIC_CPU, 1, 4);
        assert_eq!(dead.shown(Some(Caller(5))), lines(1), "panic_cpu");
        dead.number(PANIC_CPU, 77, 4);
        assert_eq!(dead.shown(Some(Caller(3))), lines(0), "a CPU that is not there");
    }
}

/// A CPU that saved no registers is shown from its task, and does not shift the later ones.
#[test]
fn a_cpu_that_did_not_answer_is_named() {
    for kind in [0, I386] {
        let mut dead = Dead::new(kind, &[3, 0, 5, 0]);
        dead.saved = [3, 5, 0].to_vec();
        dead.number(PANIC_CPU, 2, 4);
        let silent = "cpu 1 pid 0 [task-0], did not answer: ? spin+0x10/0x100";
        let shown = dead.shown(None);
        assert_eq!(shown[0], "cpu 2 pid 5 [task-5], crashed: spin+0x5/0x100");
        assert_eq!(shown[1], "cpu 0 pid 3 [task-3]: spin+0x3/0x100");
        assert_eq!(shown[2], silent);
        assert_eq!(shown[3], "cpu 3 pid 0 [task-0]: spin+0x0/0x100");
        dead.number(ONLINE, 0b1101, 4);
        assert_eq!(dead.shown(None).len(), 3, "CPU 1 is offline");
    }
}

#[test]
fn bounds_leave_cpus_out() {
    let dead = Dead::new(0, &[3, 0, 5]);
    let most = Most { cpus: 2, ..Most::CAPTURE };
    let all = dead.read(Some(Caller(5)), most, || true);
    assert_eq!((all.cpus.len(), all.left_out, all.cpus[0].pid), (2, 1, 5));
    let most = Most { frames: 4, all_frames: 1, ..Most::CAPTURE };
    let all = dead.read(Some(Caller(5)), most, || true);
    assert_eq!((all.cpus.len(), all.cpus[0].trace.frames.len(), all.left_out), (1, 1, 2));
    let all = dead.read(Some(Caller(5)), Most::CAPTURE, || false);
    assert_eq!((all.cpus.len(), all.left_out), (0, 3), "no time");
}
