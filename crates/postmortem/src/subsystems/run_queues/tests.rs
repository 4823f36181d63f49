//! Tests over a run queue that never was.

use super::*;
use crate::fake::Fake;

/// Offsets in a `task_struct`.
const FAIR: u64 = 24;
const REAL: u64 = 64;
const DEADLINE: u64 = 88;

type Struct = (&'static str, u32, &'static [(&'static str, &'static str, u32)]);

const STRUCTS: &[Struct] = &[
    ("list_head", 16, &[("next", "void *", 0), ("prev", "void *", 8)]),
    (
        "rb_node",
        24,
        &[
            ("__rb_parent_color", "unsigned long", 0),
            ("rb_right", "void *", 8),
            ("rb_left", "void *", 16),
        ],
    ),
    ("rb_root", 8, &[("rb_node", "void *", 0)]),
    ("rb_root_cached", 16, &[("rb_root", "struct rb_root", 0), ("rb_leftmost", "void *", 8)]),
    (
        "sched_entity",
        40,
        &[
            ("run_node", "struct rb_node", 0),
            ("my_q", "struct cfs_rq *", 24),
            ("sched_delayed", "u8", 32),
        ],
    ),
    ("sched_rt_entity", 24, &[("run_list", "struct list_head", 0), ("my_q", "struct rt_rq *", 16)]),
    (
        "sched_dl_entity",
        32,
        &[("rb_node", "struct rb_node", 0), ("dl_server", "unsigned int:1", 24)],
    ),
    ("sched_info", 8, &[("last_arrival", "u64", 0)]),
    (
        "task_struct",
        128,
        &[
            ("comm", "char [16]", 0),
            ("pid", "int", 16),
            ("prio", "int", 20),
            ("se", "struct sched_entity", FAIR as u32),
            ("rt", "struct sched_rt_entity", REAL as u32),
            ("dl", "struct sched_dl_entity", DEADLINE as u32),
            ("sched_info", "struct sched_info", 120),
        ],
    ),
    (
        "cfs_rq",
        24,
        &[("tasks_timeline", "struct rb_root_cached", 0), ("curr", "struct sched_entity *", 16)],
    ),
    ("rt_prio_array", 80, &[("bitmap", "u64 [2]", 0), ("queue", "struct list_head [4]", 16)]),
    ("rt_rq", 88, &[("active", "struct rt_prio_array", 0), ("rt_nr_running", "u32", 80)]),
    ("dl_rq", 16, &[("root", "struct rb_root_cached", 0)]),
    (
        "rq",
        152,
        &[
            ("curr", "struct task_struct *", 0),
            ("nr_running", "u32", 8),
            ("clock", "u64", 16),
            ("cfs", "struct cfs_rq", 24),
            ("dl", "struct dl_rq", 48),
            ("rt", "struct rt_rq", 64),
        ],
    ),
];

fn task(fake: &mut Fake, pid: u32, priority: i32) -> u64 {
    let at = fake.place(&[0; 128]);
    fake.put(at, format!("t{pid}").as_bytes());
    fake.put(at + 16, &[pid.to_le_bytes(), priority.to_le_bytes()].concat());
    fake.put_words(at + 120, &[1000 * u64::from(pid)]);
    at
}

/// A tree of three: the root, and its children to the left and right.
fn tree(fake: &mut Fake, [left, root, right]: [u64; 3]) -> u64 {
    fake.put_words(root, &[1, right, left]);
    [left, right].iter().for_each(|at| fake.put_words(*at, &[root, 0, 0]));
    root
}

/// 1 runs in a group, in which 2 waits; 3, 5 and another group with 4 wait beside it, and 6 sleeps.
/// 7 and 8 are real-time tasks, 9 is a deadline task.
fn kernel() -> (Fake, u64) {
    let mut fake = Fake::amd64();
    STRUCTS.iter().for_each(|(name, size, members)| fake.structure(name, *size, members));
    let at: Vec<u64> = (0..10).map(|pid| task(&mut fake, pid, 120)).collect();
    let [own, other] = [0; 2].map(|_| fake.place(&[0; 24]));
    let groups = [own, other].map(|queue| {
        let entity = fake.place(&[0; 40]);
        fake.put_words(entity + 24, &[queue]);
        entity
    });
    for (queue, pid) in [(own, 2), (other, 4)] {
        fake.put_words(at[pid] + FAIR, &[1, 0, 0]);
        fake.put_words(queue, &[at[pid] + FAIR]);
    }
    fake.put_words(own + 16, &[at[1] + FAIR]);
    let rq = fake.place(&[0; 152]);
    let root = tree(&mut fake, [at[3] + FAIR, groups[1], at[5] + FAIR]);
    fake.put_words(at[5] + FAIR, &[groups[1], at[6] + FAIR, 0]);
    fake.put_words(at[6] + FAIR, &[at[5] + FAIR, 0, 0]);
    fake.put(at[6] + FAIR + 32, &[1]);
    fake.put_words(rq, &[at[1], 8, 12_000, root, 0, groups[0]]);
    fake.put_words(at[9] + DEADLINE, &[1, 0, 0]);
    fake.put_words(rq + 48, &[at[9] + DEADLINE]);
    // The lists of real-time tasks: the last one has two.
    for list in 0..4 {
        let head = rq + 64 + 16 + 16 * list;
        fake.put_words(head, &[head, head]);
    }
    let head = rq + 64 + 16 + 48;
    let [seven, eight] = [at[7] + REAL, at[8] + REAL];
    for (node, next) in [(head, seven), (seven, eight), (eight, head)] {
        fake.put_words(node, &[next]);
    }
    fake.put(rq + 64 + 80, &[2]);
    (fake, rq)
}

fn pids(runners: &[Runner]) -> Vec<u32> {
    runners.iter().map(|runner| runner.pid).collect()
}

#[test]
fn tasks_wait_in_groups_and_classes() {
    let (fake, rq) = kernel();
    let dump = fake.dump();
    let kernel = Kernel::open(&dump).expect("a kernel");
    let found = queue(kernel.object("struct rq", rq).expect("a type"), 0).expect("a queue");
    let current = found.current.as_ref().expect("a task");
    assert_eq!((current.pid, &*current.comm, current.since_ns), (1, "t1", Some(11_000)));
    assert_eq!((found.running, found.clock_ns), (8, Some(12_000)));
    assert_eq!((pids(&found.deadline), pids(&found.real_time)), (vec![9], vec![7, 8]));
    assert_eq!(pids(&found.fair), [2, 3, 4, 5]);
}

#[test]
fn a_queue_in_a_circle_ends() {
    let (mut fake, rq) = kernel();
    // The group of task 1 has the whole queue as its own.
    let dump = fake.dump();
    let group = Kernel::open(&dump).and_then(|kernel| kernel.word(rq + 40)).expect("a word");
    fake.put_words(group + 24, &[rq + 24]);
    let dump = fake.dump();
    let kernel = Kernel::open(&dump).expect("a kernel");
    let found = queue(kernel.object("struct rq", rq).expect("a type"), 0).expect("a queue");
    assert_eq!(pids(&found.fair), [3, 4, 5]);
}

#[test]
fn cpus_that_hang_are_named() {
    let runner = |pid, priority, since| {
        let comm = "sh".to_owned();
        Runner { pid, comm, priority, since_ns: Some(since * SECOND), ..Runner::default() }
    };
    let clock_ns = Some(100 * SECOND);
    let other = Queue { cpu: 1, clock_ns, ..Queue::default() };
    let quiet =
        Queue { current: Some(runner(7, 120, 60)), running: 1, clock_ns, ..Queue::default() };
    let off = Queue { interrupts_off: Some(true), clock_ns: Some(95 * SECOND), ..quiet.clone() };
    for (queue, text) in [
        (quiet.clone(), ""),
        (Queue { unwatched_ns: Some(20 * SECOND), ..quiet.clone() }, ""),
        (
            Queue { unwatched_ns: Some(21 * SECOND), ..quiet.clone() },
            "CPU 0 hangs: no thread could run for 21.0 s (task sh, 7)",
        ),
        (off.clone(), "CPU 0 had interrupts off for 5.0 s (task sh, 7)"),
        (Queue { clock_ns, ..off.clone() }, ""),
        (Queue { current: Some(runner(0, 120, 9)), ..off.clone() }, ""),
        (
            Queue { current: Some(runner(7, 9, 6)), ..quiet.clone() },
            "real-time task sh (7) runs on CPU 0 for 6.0 s",
        ),
        (Queue { current: Some(runner(7, 9, 5)), ..quiet.clone() }, ""),
        (Queue { running: 11, ..quiet.clone() }, "11 tasks share CPU 0"),
    ] {
        let found = RunQueues {
            queues: vec![queue, other.clone()],
            lockup_after: Some(20),
            ..RunQueues::default()
        };
        let texts: Vec<_> = warnings(&found).into_iter().map(|warning| warning.text).collect();
        assert_eq!(texts.join("; "), text);
    }
}
