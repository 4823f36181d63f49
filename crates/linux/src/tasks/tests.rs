//! Tests of the lists, with the offsets known.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::fake::{Bytes, Expected, Machine, Offsets};
use super::task::letter;
use super::*;
use proptest::prelude::*;
use vmcore::EM_X86_64;

const THREADS: [u32; 12] = [1, 1, 1, 4, 1, 1, 2, 1, 1, 1, 1, 3];

fn machine(machine: u16) -> Machine {
    Machine::new(machine, Offsets::usual(), machine == EM_X86_64, &THREADS)
}

fn listed(tasks: &Tasks<'_, Bytes>, most: usize) -> (Vec<Expected>, TaskList) {
    let mut all = Vec::new();
    let list = tasks.each(most, &mut |task| {
        let stack = task.stack.map_or(0, |stack| stack.start);
        let state = task.state.unwrap_or('?');
        all.push((task.pid, task.process, task.comm.to_string(), state, stack, task.sp));
        true
    });
    (all, list)
}

#[test]
fn all_tasks_are_listed_in_order() {
    for kind in [EM_386, EM_X86_64] {
        let machine = machine(kind);
        let tasks = machine.find(&machine.lines()).expect("tasks");
        let (all, list) = listed(&tasks, 100);
        assert_eq!(all, machine.expected);
        assert_eq!(list, TaskList { tasks: 18, is_whole: true });
        let (all, list) = listed(&tasks, 5);
        assert_eq!(all, machine.expected[..5]);
        assert_eq!(list, TaskList { tasks: 5, is_whole: false });
        assert_eq!(tasks.layout().to_string(), machine.lines());
    }
}

/// All tasks are found, in any order, and the list tells that it is not whole.
#[track_caller]
fn assert_all_of_a_broken_ring(machine: &Machine) {
    let tasks = machine.find(&machine.lines()).expect("tasks");
    let (mut all, list) = listed(&tasks, 100);
    assert!(!list.is_whole);
    all.sort_unstable();
    let mut expected = machine.expected.clone();
    expected.sort_unstable();
    assert_eq!(all, expected);
}

/// The second process's links lead nowhere.
#[test]
fn a_broken_ring_is_followed_from_both_ends() {
    let mut machine = machine(EM_X86_64);
    machine.word(machine.tasks[2] + machine.offsets.tasks, 0x1234_5678);
    assert_all_of_a_broken_ring(&machine);
}

/// The third process leads back to the second, which does not point back to it.
#[test]
fn no_ring_runs_in_circles() {
    let mut machine = machine(EM_386);
    let [second, third] = [2, 3].map(|index| machine.tasks[index] + machine.offsets.tasks);
    machine.word(third, second);
    assert_all_of_a_broken_ring(&machine);
}

#[test]
fn the_task_of_each_cpu() {
    for kind in [EM_386, EM_X86_64] {
        let mut machine = machine(kind);
        machine.run(0, 3);
        machine.run(1, 0);
        let tasks = machine.find(&machine.lines()).expect("tasks");
        assert_eq!(tasks.current(0).map(|task| task.at), Ok(machine.tasks[3]));
        assert_eq!(tasks.current(1).map(|task| task.comm.to_string()), Ok("swapper/0".into()));
        assert!(tasks.current(2).is_err() && tasks.current(u32::MAX).is_err());
        // A stack without its mark is none.
        let stack = tasks.current(1).expect("a task").stack.expect("a stack");
        machine.word(stack.start, 0);
        let tasks = machine.find(&machine.lines()).expect("tasks");
        assert!(matches!(tasks.current(1), Err(Error::NoTasks { .. })));
    }
}

/// Linux 6.1, `fs/proc/array.c`: R, S, D, T, t, X, Z, P, I by the highest bit.
#[test]
fn letters_are_those_of_the_kernel() {
    for (state, exit, expected) in [
        (0, 0, 'R'),
        (1, 0, 'S'),
        (2, 0, 'D'),
        (0x102, 0, 'D'),
        (4, 0, 'T'),
        (8, 0, 't'),
        (0x80, 0x10, 'X'),
        (0x80, 0x20, 'Z'),
        (0x40, 0, 'P'),
        (0x402, 0, 'I'),
        (0x1000, 0, 'D'),
        (u32::MAX, u32::MAX, 'P'),
    ] {
        assert_eq!(letter(state, Some(exit)), expected, "{state:#x}");
    }
    assert_eq!(letter(0x80, None), 'Z');
}

#[test]
fn names_are_printable() {
    let comm = Comm(*b"a\x1b[31m\xff\n\0secret\0");
    assert_eq!(comm.to_string(), "a?[31m??");
    assert_eq!(Comm([b'x'; 16]).bytes().len(), 16);
}

#[test]
fn offsets_that_are_missing_or_impossible_are_named() {
    let machine = machine(EM_386);
    let lines = machine.lines();
    let error = machine.find(&lines.replace("comm", "other")).map(|_| ()).expect_err("no comm");
    assert!(error.to_string().contains("OFFSET(task_struct.…)"), "{error}");
    let pid = alloc::format!("pid)={}", machine.offsets.pid);
    for bad in ["pid)=-1", "pid)=70000", "pid)=0x10"] {
        assert!(machine.find(&lines.replace(&pid, bad)).is_err(), "{bad}");
    }
    let without = lines.replace("__state", "x").replace("thread_group", "y");
    let tasks = machine.find(&without).expect("tasks");
    assert_eq!(listed(&tasks, 100).1, TaskList { tasks: 12, is_whole: true });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever memory holds, the lists end, and no task is there twice unless it is linked twice.
    #[test]
    fn damage_is_survived(
        is_64 in any::<bool>(),
        damage in prop::collection::vec((0..1_usize << 20, any::<u8>()), 1..40),
        words in prop::collection::vec((0..19_usize, 0..200_u64, 0..19_usize, 0..200_u64), 0..6),
    ) {
        let mut machine = machine(if is_64 { EM_X86_64 } else { EM_386 });
        for (at, byte) in damage {
            machine.memory.0[at] = byte;
        }
        for (task, offset, other, place) in words {
            let word = machine.tasks[other] + 8 * place;
            machine.word(machine.tasks[task] + 8 * offset, word);
        }
        let tasks = machine.find(&machine.lines()).expect("tasks");
        let (all, list) = listed(&tasks, 1000);
        prop_assert!(all.len() == list.tasks && list.tasks <= 1000);
        let _ = (tasks.current(0), tasks.current(1));
    }
}
