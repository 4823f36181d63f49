//! Tests over timers that never were.

use collector::Hex;

use super::*;
use crate::fake::Fake;

type Struct = (&'static str, u32, &'static [(&'static str, &'static str, u32)]);

/// With 64-bit pointers. A `task_struct` has its name and number only.
const STRUCTS: &[Struct] = &[
    ("hlist_node", 16, &[("next", "void *", 0), ("pprev", "void *", 8)]),
    ("hlist_head", 8, &[("first", "void *", 0)]),
    (
        "timer_list",
        32,
        &[
            ("entry", "struct hlist_node", 0),
            ("expires", "unsigned long", 16),
            ("function", "void *", 24),
        ],
    ),
    ("work_struct", 8, &[("func", "void *", 0)]),
    ("delayed_work", 40, &[("work", "struct work_struct", 0), ("timer", "struct timer_list", 8)]),
    ("task_struct", 24, &[("comm", "char [16]", 0), ("pid", "int", 16)]),
    (
        "process_timer",
        40,
        &[("timer", "struct timer_list", 0), ("task", "struct task_struct *", 32)],
    ),
    (
        "timer_base",
        32,
        &[
            ("clk", "unsigned long", 0),
            ("next_expiry", "unsigned long", 8),
            ("vectors", "struct hlist_head [2]", 16),
        ],
    ),
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
    ("timerqueue_head", 16, &[("rb_root", "struct rb_root_cached", 0)]),
    ("timerqueue_node", 32, &[("node", "struct rb_node", 0), ("expires", "u64", 24)]),
    (
        "hrtimer",
        48,
        &[
            ("node", "struct timerqueue_node", 0),
            ("_softexpires", "u64", 32),
            ("function", "void *", 40),
        ],
    ),
    (
        "hrtimer_sleeper",
        56,
        &[("timer", "struct hrtimer", 0), ("task", "struct task_struct *", 48)],
    ),
    (
        "hrtimer_clock_base",
        32,
        &[("clockid", "u32", 0), ("active", "struct timerqueue_head", 8), ("offset", "u64", 24)],
    ),
    ("hrtimer_cpu_base", 64, &[("clock_base", "struct hrtimer_clock_base [2]", 0)]),
];

/// Functions by their addresses.
const FUNCTIONS: [(&str, u64); 4] = [
    ("process_timeout", 0x100),
    ("hrtimer_wakeup", 0x200),
    ("delayed_work_timer_fn", 0x300),
    ("later", 0x400),
];

/// A kernel and its tasks' address. Symbols of functions come from a table beside the dump.
fn kernel(fake: &mut Fake) -> u64 {
    STRUCTS.iter().for_each(|(name, size, members)| fake.structure(name, *size, members));
    fake.variable("timer_bases", "struct timer_base [1]");
    fake.variable("hrtimer_bases", "struct hrtimer_cpu_base");
    let mask = fake.place_words(&[1]);
    fake.symbol("__cpu_online_mask", mask);
    let jiffies = fake.place_words(&[1000]);
    fake.symbol("jiffies_64", jiffies);
    let task = fake.place(&[0; 24]);
    fake.put(task, b"sleep");
    fake.put(task + 16, &[7]);
    task
}

fn read(fake: &Fake) -> Timers {
    let mut symbols = crate::SymbolTable::default();
    FUNCTIONS.iter().for_each(|(name, at)| symbols.add(*at, 16, b't', name.as_bytes()));
    symbols.arrange();
    let dump = fake.dump();
    let kernel = Kernel::with_sources(&dump, Vec::new(), symbols).expect("a kernel");
    super::read(&kernel).expect("timers")
}

#[test]
fn timers_are_as_the_kernel_has_them() {
    let mut fake = Fake::amd64();
    let task = kernel(&mut fake);
    let late = fake.place_words(&[0, 0, 990, 0x100, task]);
    let work = fake.place_words(&[0x400, late, 0, 1010, 0x300]);
    let wheel = fake.place_words(&[995, 1010, 0, work + 8]);
    fake.symbol("timer_bases", wheel);
    let sleeper = fake.place_words(&[1, 0, 0, 5_000, 4_000, 0x200, task]);
    let queues = fake.place_words(&[1, 0, 0, 0, 0, sleeper, 0, 600]);
    fake.symbol("hrtimer_bases", queues);
    let found = read(&fake);
    let [wheel] = &found.cpus[0].wheels[..] else { panic!("{found:?}") };
    let shown = |timer: &WheelTimer| {
        let pid = timer.sleeper.as_ref().map(|sleeper| sleeper.pid);
        (timer.in_ticks, timer.name.clone(), timer.work.clone(), pid)
    };
    let shown: Vec<_> = wheel.timers.iter().map(shown).collect();
    let work = Some("later".to_owned());
    let names = ["process_timeout".to_owned(), "delayed_work_timer_fn".to_owned()];
    let [first, second] = names;
    assert_eq!(shown, [(-10, first, None, Some(7)), (10, second, work, None)]);
    let [monotonic, real] = &found.cpus[0].clocks[..] else { panic!("{found:?}") };
    assert_eq!(
        (monotonic.clock, monotonic.timers.len(), monotonic.is_soft),
        ("monotonic", 0, false)
    );
    assert_eq!((real.clock, real.offset_ns, real.is_soft), ("real", 600, true));
    let timer = &real.timers[0];
    assert_eq!((timer.soft_expires_ns, timer.expires_ns), (4_000, 5_000));
    assert_eq!(timer.sleeper.as_ref().map(|sleeper| &*sleeper.comm), Some("sleep"));
    assert!(found.missing[0].starts_with("clocks: "), "{:?}", found.missing);
}

#[test]
fn a_cpu_whose_timers_are_late_is_named() {
    let timer = |in_ns| QueuedTimer {
        address: Hex(0),
        soft_expires_ns: 0,
        expires_ns: 0,
        in_ns: Some(in_ns),
        function: Hex(0),
        name: String::new(),
        sleeper: None,
    };
    for (in_ns, is_soft, count) in [(-LATE - 1, false, 1), (-LATE, false, 0), (-2 * LATE, true, 0)]
    {
        let clock =
            ClockBase { is_soft, timers: vec![timer(5), timer(in_ns)], ..ClockBase::default() };
        let cpu = CpuTimers { cpu: 3, clocks: vec![clock], ..CpuTimers::default() };
        let found = warnings(&Timers { cpus: vec![cpu], ..Timers::default() });
        assert_eq!(found.len(), count);
        let text = "a timer of CPU 3 is late by 10.0 s: it took no interrupts";
        assert!(found.iter().all(|warning| warning.text == text));
    }
}
