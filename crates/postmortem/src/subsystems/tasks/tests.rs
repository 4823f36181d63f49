//! Tests over processes that never were.

use proptest::prelude::*;

use super::*;
use crate::fake::Fake;

/// Offsets in a `task_struct`.
const TASKS: u64 = 16;
const PID: u64 = 36;
const THREADS: u64 = 48;
const COMM: u64 = 64;
const LINK: u64 = 88;
const FLAGS: u64 = 152;
const SIZE: usize = 160;
/// Slots of a node of the tree of PIDs.
const SLOTS: usize = 16;

/// Adds the types.
fn types(fake: &mut Fake) {
    fake.structure("list_head", 16, &[("next", "void *", 0), ("prev", "void *", 8)]);
    fake.structure("hlist_node", 16, &[("next", "void *", 0), ("pprev", "void *", 8)]);
    fake.structure("hlist_head", 8, &[("first", "void *", 0)]);
    fake.structure("thread_struct", 8, &[("sp", "unsigned long", 0)]);
    fake.structure(
        "task_struct",
        SIZE as u32,
        &[
            ("__state", "unsigned int", 0),
            ("stack", "void *", 8),
            ("tasks", "struct list_head", TASKS as u32),
            ("exit_state", "int", 32),
            ("pid", "int", PID as u32),
            ("tgid", "int", 40),
            ("thread_node", "struct list_head", THREADS as u32),
            ("comm", "char [16]", COMM as u32),
            ("thread", "struct thread_struct", 80),
            ("pid_links", "struct hlist_node [4]", LINK as u32),
            ("flags", "unsigned int", FLAGS as u32),
        ],
    );
    fake.structure(
        "pid",
        16,
        &[("level", "unsigned int", 0), ("tasks", "struct hlist_head [1]", 8)],
    );
    let node = [
        ("shift", "unsigned char", 0),
        ("offset", "unsigned char", 1),
        ("parent", "void *", 8),
        ("slots", "void *[16]", 16),
    ];
    fake.structure("xa_node", 16 + 8 * SLOTS as u32, &node);
    fake.structure("xarray", 16, &[("xa_flags", "unsigned int", 0), ("xa_head", "void *", 8)]);
    fake.structure("idr", 24, &[("idr_rt", "struct xarray", 0), ("idr_base", "unsigned int", 16)]);
    fake.structure("pid_namespace", 24, &[("idr", "struct idr", 0)]);
}

/// A task with a thread of its own for each number after the first.
fn task(fake: &mut Fake, pid: u32, tgid: u32) -> u64 {
    let at = fake.place(&[0; SIZE]);
    fake.put(at, &(if pid == 5 { 2_u32 } else { 1 }).to_le_bytes());
    fake.put(at + PID, &[pid.to_le_bytes(), tgid.to_le_bytes()].concat());
    fake.put(at + COMM, format!("task-{pid}").as_bytes());
    fake.put(at + FLAGS, &(if pid == 2 { 0x0020_0000_u32 } else { 0 }).to_le_bytes());
    at
}

fn ring(fake: &mut Fake, tasks: &[u64], member: u64) {
    for (index, at) in tasks.iter().enumerate() {
        let next = tasks[(index + 1) % tasks.len()] + member;
        let before = tasks[(index + tasks.len() - 1) % tasks.len()] + member;
        fake.put_words(at + member, &[next, before]);
    }
}

/// Processes 1 to 14; 3 has the threads 4, 6 has 7 and 8. The idle task is first.
fn kernel() -> (Fake, Vec<u64>) {
    let mut fake = Fake::amd64();
    types(&mut fake);
    let process = |pid| match pid {
        4 => 3,
        7 | 8 => 6,
        pid => pid,
    };
    let all: Vec<u64> = (0..15).map(|pid| task(&mut fake, pid, process(pid))).collect();
    let at = |pids: &[usize]| pids.iter().map(|pid| all[*pid]).collect::<Vec<_>>();
    ring(&mut fake, &at(&[0, 1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 14]), TASKS);
    for alone in [0, 1, 2, 5, 9, 10, 11, 12, 13, 14] {
        ring(&mut fake, &at(&[alone]), THREADS);
    }
    ring(&mut fake, &at(&[3, 4]), THREADS);
    ring(&mut fake, &at(&[6, 7, 8]), THREADS);
    let mut slots = vec![0, 0, 0];
    slots.extend(all[1..].iter().map(|at| {
        let pid = fake.place_words(&[0, at + LINK]);
        fake.put_words(at + LINK, &[0, pid + 8]);
        pid
    }));
    slots.resize(2 + SLOTS, 0);
    let node = fake.place_words(&slots);
    let namespace = fake.place_words(&[0, node + 2, 0]);
    fake.symbol("init_pid_ns", namespace);
    fake.symbol("init_task", all[0]);
    (fake, all)
}

fn found(fake: &Fake) -> Tasks {
    let dump = fake.dump();
    let kernel = Kernel::open(&dump).expect("a kernel");
    read(&kernel).expect("tasks")
}

fn pids(tasks: &Tasks) -> Vec<u32> {
    tasks.tasks.iter().map(|task| task.pid).collect()
}

#[test]
fn tasks_are_as_the_kernel_has_them() {
    let (fake, all) = kernel();
    let found = found(&fake);
    assert_eq!(pids(&found), (1..15).collect::<Vec<_>>());
    let names: Vec<_> = found.tasks.iter().map(Task::title).collect();
    assert_eq!([&*names[0], &*names[1], &*names[7]], ["task-1", "[task-2]", "task-8"]);
    let eight = &found.tasks[7];
    assert_eq!((eight.address, eight.tgid, eight.is_listed), (Hex(all[8]), 6, true));
    let blocked: Vec<_> = found.tasks.iter().filter(|task| task.is_blocked).collect();
    assert_eq!((blocked.len(), blocked[0].pid, blocked[0].state), (1, 5, Some('D')));
    assert_eq!(found.states(), BTreeMap::from([('D', 1), ('S', 13)]));
    assert!(found.missing.is_empty(), "{:?}", found.missing);
}

#[test]
fn a_damaged_tree_of_pids_costs_nothing() {
    let (mut fake, all) = kernel();
    fake.symbol("init_pid_ns", all[0] + 1);
    assert_eq!(pids(&found(&fake)).len(), 14);
}

/// A task that is in the ring and has no PID: it is about to end, or it is none at all.
#[test]
fn a_damaged_ring_is_not_believed() {
    let (mut fake, all) = kernel();
    let ghost = task(&mut fake, 77, 77);
    let listed = [all[0], all[1], ghost, all[2], all[3], all[5], all[6], all[9]];
    ring(&mut fake, &listed, TASKS);
    ring(&mut fake, &[ghost], THREADS);
    assert!(pids(&found(&fake)).contains(&77));
    fake.put_words(all[6] + TASKS, &[0]);
    let found = found(&fake);
    assert_eq!(pids(&found), (1..15).collect::<Vec<_>>());
    assert!(found.missing[0].contains("the ring of tasks is damaged"), "{:?}", found.missing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever becomes of the rings, all tasks are found by their PIDs, and no other.
    #[test]
    fn damaged_rings_hide_no_task(
        damage in prop::collection::vec((0..15_usize, 0..4_u64, any::<u64>(), 0..15_usize), 1..9),
    ) {
        let (mut fake, all) = kernel();
        for (task, word, value, other) in damage {
            let member = [TASKS, TASKS + 8, THREADS, THREADS + 8][word as usize];
            // Half of them lead to a task, but to a wrong place or one that is not next.
            let value = if value & 1 == 0 { value } else { all[other] + TASKS + (value >> 60) };
            fake.put_words(all[task] + member, &[value]);
        }
        prop_assert_eq!(pids(&found(&fake)), (1..15).collect::<Vec<_>>());
    }
}
