//! Tests of the search: offsets that the test chose must be found, or nothing.

use alloc::string::ToString;

use super::fake::{Machine, Offsets};
use super::*;
use proptest::prelude::*;
use vmcore::EM_X86_64;

const THREADS: [u32; 14] = [1, 1, 1, 4, 1, 1, 2, 1, 1, 1, 1, 3, 1, 1];

/// The lines that were found, and the address of the idle task.
fn found(machine: &Machine) -> Result<(alloc::string::String, u64), Error> {
    machine.search("").map(|tasks| (tasks.layout().to_string(), tasks.init_task()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn offsets_are_found(
        kind in prop::sample::select(&[EM_386, EM_X86_64][..]),
        has_node in any::<bool>(),
        gaps in (0..3_u64, 0..9_u64, 1..250_u64, 0..30_u64, 0..20_u64, 0..30_u64, 0..40_u64, 0..200_u64),
    ) {
        let (state, stack, tasks, pid, leader, threads, comm, sp) = gaps;
        let offsets = Offsets::with_gaps([state, stack, tasks, pid, leader, threads, comm, sp]);
        let machine = Machine::new(kind, offsets, has_node, &THREADS);
        prop_assert_eq!(found(&machine), Ok((machine.lines(), machine.tasks[0])));
    }

    /// A wrong offset is worse than none.
    #[test]
    fn damage_does_not_lead_astray(
        kind in prop::sample::select(&[EM_386, EM_X86_64][..]),
        words in prop::collection::vec((0..24_usize, 0..450_u64, any::<u64>()), 1..12),
        swaps in prop::collection::vec((0..24_usize, 0..24_usize, 0..450_u64), 0..4),
    ) {
        let mut machine = Machine::new(kind, Offsets::usual(), kind == EM_X86_64, &THREADS);
        let count = machine.tasks.len();
        for (task, place, word) in words {
            machine.word(machine.tasks[task % count] + 8 * place, word);
        }
        for (task, other, place) in swaps {
            let word = machine.tasks[other % count];
            machine.word(machine.tasks[task % count] + 8 * place, word);
        }
        if let Ok((lines, init_task)) = found(&machine) {
            prop_assert_eq!(init_task, machine.tasks[0]);
            let expected = machine.lines();
            for line in lines.lines() {
                prop_assert!(expected.lines().any(|other| other == line), "{}", line);
            }
        }
    }
}

#[test]
fn a_place_that_is_ambiguous_is_not_believed() {
    let mut machine = Machine::new(EM_386, Offsets::usual(), false, &THREADS);
    let Offsets { sp, .. } = machine.offsets;
    for index in 0..machine.tasks.len() {
        let at = machine.tasks[index] + sp;
        let mut word = [0; 4];
        let start = (at - super::fake::direct(EM_386)) as usize;
        word.copy_from_slice(&machine.memory.0[start..start + 4]);
        machine.put(at + 16, &word);
    }
    let error = found(&machine).expect_err("two stack pointers");
    assert!(error.to_string().contains("stack pointer"), "{error}");
}

/// Another pointer to one place in each task, before its ring.
#[test]
fn two_starts_of_a_task_are_none() {
    let mut machine = Machine::new(EM_X86_64, Offsets::usual(), true, &THREADS);
    for at in machine.tasks.clone() {
        machine.word(at + machine.offsets.leader + 8, at + 16);
    }
    let error = found(&machine).expect_err("two starts").to_string();
    assert!(error.contains("leader"), "{error}");
}

#[test]
fn a_symbol_is_compared() {
    for kind in [EM_386, EM_X86_64] {
        let machine = Machine::new(kind, Offsets::usual(), true, &THREADS);
        let search = |at| machine.search(&alloc::format!("SYMBOL(init_task)={at:x}\n"));
        let right = machine.tasks[0];
        assert_eq!(search(right).map(|tasks| tasks.layout().to_string()), Ok(machine.lines()));
        let error = search(right - 8).map(|_| ()).expect_err("elsewhere").to_string();
        assert!(error.contains("init_task is at another place"), "{error}");
    }
}

#[test]
fn a_short_ring_is_none() {
    let machine = Machine::new(EM_X86_64, Offsets::usual(), true, &[1; 4]);
    let error = found(&machine).expect_err("too few").to_string();
    assert!(error.contains("no ring of processes"), "{error}");
}

/// `state` became `__state` in Linux 5.14.
#[test]
fn an_older_kernel_has_another_name() {
    let machine = Machine::new(EM_386, Offsets::usual(), false, &THREADS);
    for (release, name) in
        [("5.10.0-32", ".state"), ("4.19", ".state"), ("5.14.0", "__state"), ("7.2", "__state")]
    {
        let tasks = machine.search(&alloc::format!("OSRELEASE={release}\n")).expect("tasks");
        assert!(tasks.layout().to_string().contains(name), "{release}");
    }
}
