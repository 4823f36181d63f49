//! Tests over the words of Linux 5.10 to 7.2 (`kernel/panic.c`, `arch/x86/mm/fault.c`,
//! `arch/x86/kernel/traps.c`, `kernel/watchdog.c`, `kernel/hung_task.c`).

use super::fingerprint::{blamed, blamed_of_sleeper};
use super::*;

fn report(text: &str) -> (Kind, Report) {
    let lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
    let report = Report::of(&lines);
    (Kind::of(report.panic.as_deref(), report.oops.as_deref()), report)
}

/// Words of a log, `@` for those of `panic()`, and the kind.
const KINDS: &[(&str, &str)] = &[
    ("BUG: kernel NULL pointer dereference, address: 0\nOops: 0002 [#1] SMP", "null-dereference"),
    ("BUG: unable to handle page fault for address: ff\n#PF: x\nOops: 0000 [#1]", "page-fault"),
    ("BUG: unable to handle kernel paging request at ff\nOops: 0000 [#3]", "page-fault"),
    ("kernel BUG at mm/slub.c:321!\ninvalid opcode: 0000 [#1] SMP PTI", "bug"),
    ("kernel BUG at a.c:1!\nOops: invalid opcode: 0000 [#1] SMP", "bug"),
    ("invalid opcode: 0000 [#1] SMP", "invalid-opcode"),
    ("general protection fault, probably for address 0xd: 0000 [#1]", "general-protection"),
    ("divide error: 0000 [#1] PREEMPT", "exception"),
    (
        "BUG: TASK stack guard page was hit at ff (stack is ff..ff)\nstack guard page: 0000 [#1]",
        "stack-overflow",
    ),
    ("@sysrq triggered crash", "sysrq"),
    ("@hung_task: blocked tasks", "hung-task"),
    (
        "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:5]\n@softlockup: hung tasks",
        "soft-lockup",
    ),
    ("@Hard LOCKUP", "hard-lockup"),
    ("@RCU Stall", "rcu-stall"),
    ("@System is deadlocked on memory", "out-of-memory"),
    ("@Out of memory: system-wide panic_on_oom is enabled", "out-of-memory"),
    ("@Attempted to kill init! exitcode=0x00000009", "init-killed"),
    ("@NMI: Not continuing", "nmi"),
    ("@Fatal machine check", "machine-check"),
    ("@kernel: panic_on_warn set ...", "warning"),
    ("@VFS: Unable to mount root fs on unknown-block(0,0)", "panic"),
    (
        "BUG: kernel NULL pointer dereference, address: 8\nOops: 0000 [#1]\n@Fatal exception",
        "null-dereference",
    ),
    (
        "BUG: kernel NULL pointer dereference, address: 8\nOops: 0000 [#1]\n[ 9] hello\n@sysrq \
          triggered crash",
        "sysrq",
    ),
    ("nothing", "unknown"),
];

#[test]
fn kinds_are_told_by_the_log() {
    for (text, kind) in KINDS {
        let text = text.replace('@', "Kernel panic - not syncing: ");
        assert_eq!(report(&text).0.name(), *kind, "{text}");
    }
}

const OOPS: &str = "\
usb 1-1: new device
BUG: unable to handle page fault for address: ffffa0b0c0d0e0f0
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 100000067 P4D 100000067 PUD 0
Oops: 0002 [#1] PREEMPT SMP NOPTI
CPU: 1 PID: 77 Comm: sh Tainted: G           O       6.1.0 #1
RIP: 0010:first.isra.0+0x5/0x20 [crash]
Code: 00 01
Call Trace:
 <TASK>
 ? __die+0x1f/0x70
 second+0x40/0x50 [crash]
 ? left_over+0x1/0x2
 write_it.cold+0x12/0x40 [crash]
 vfs_write+0xc7/0x3f0
 do_syscall_64+0x5d/0xb0
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
RIP: 0033:0x47b7a0
Code: 40
";

#[test]
fn the_log_has_the_words_and_the_functions() {
    let (kind, report) = report(OOPS);
    assert_eq!(report.oops.as_deref(), OOPS.lines().nth(1));
    assert_eq!(report.place.as_deref(), Some("RIP: 0010:first.isra.0+0x5/0x20 [crash]"));
    let survived = format!("{OOPS}Kernel panic - not syncing: sysrq triggered crash");
    assert_eq!(self::report(&survived).1.oops, None, "an oops of before");
    let functions: Vec<_> = report.functions.iter().map(String::as_str).collect();
    let all = ["first.isra.0", "second", "write_it.cold", "vfs_write", "do_syscall_64"];
    assert_eq!(functions[..5], all);
    // Without a stack in the dump, the log's functions are to blame.
    let mut panic = Panic { kind, ..Panic::default() };
    blame(&mut panic, &report, None, None);
    let fingerprint = panic.fingerprint.expect("a fingerprint");
    assert_eq!(fingerprint.functions, ["first", "second", "write_it", "vfs_write"]);
    assert_eq!(panic.function.as_deref(), Some("first.isra.0"));
}

#[test]
fn the_task_that_hung_is_named() {
    let line = "INFO: task kworker/0:1:234 blocked for more than 120 seconds.";
    let (kind, report) =
        report(&format!("{line}\nKernel panic - not syncing: hung_task: blocked tasks"));
    assert_eq!((kind, report.hung_pid), (Kind::HungTask, Some(234)));
}

/// Two stacks of the same crash, with other chances: the machinery before it, the suffixes of
/// another build, the interrupted task, the innermost function of a loop. `S` is [`SOFT`].
const CRASHES: &[(Kind, [&str; 2], &str)] = &[
    (
        Kind::PageFault,
        [
            "first second ksys_write do_syscall_64 entry_SYSCALL_64_after_hwframe",
            "__crash_kexec panic oops_end page_fault_oops exc_page_fault asm_exc_page_fault \
             first.isra.0 second.constprop.0 ksys_write do_syscall_64",
        ],
        "first second ksys_write",
    ),
    (
        Kind::Bug,
        [
            "timer_fn call_timer_fn __do_softirq irq_exit_rcu sysvec_x asm_sysvec_x sh_read",
            "timer_fn.llvm.123 call_timer_fn handle_softirqs do_idle cpu_startup_entry",
        ],
        "timer_fn call_timer_fn",
    ),
    (
        Kind::SoftLockup,
        [
            "S delay_tsc __const_udelay spin write_it ksys_write do_syscall_64",
            "S _raw_spin_lock spin write_it ksys_write do_syscall_64",
        ],
        "spin write_it ksys_write",
    ),
    (
        Kind::Nmi,
        ["panic nmi_panic unknown_nmi_error exc_nmi asm_exc_nmi read_it", "panic exc_nmi"],
        "",
    ),
    (
        Kind::StackOverflow,
        ["again again again again start kthread ret_from_fork", "again again start kthread"],
        "again start",
    ),
];
const SOFT: &str = "__crash_kexec panic watchdog_timer_fn.cold __hrtimer_run_queues \
                    hrtimer_interrupt __sysvec_apic_timer_interrupt sysvec_apic_timer_interrupt \
                    asm_sysvec_apic_timer_interrupt";

#[test]
fn a_crash_has_one_fingerprint() {
    let print = |kind, stack: &str| {
        let names: Vec<_> = stack.split_whitespace().collect();
        let blamed = blamed(kind, &names);
        let print = Fingerprint::new(kind, names[blamed].iter().copied()).expect("functions");
        (print.functions.join(" "), print.hash)
    };
    for (kind, stacks, functions) in CRASHES {
        let [one, other] = stacks.map(|stack| print(*kind, &stack.replace('S', SOFT)));
        assert_eq!(one.0, *functions, "{kind:?}");
        assert_eq!(one, other, "{kind:?}");
    }
    let names = ["__schedule", "schedule", "schedule_timeout", "wait_it", "write_it", "kthread"];
    assert_eq!(names[blamed_of_sleeper(&names)], ["wait_it", "write_it"]);
}

/// `printf 'bug\nf\ng' | sha256sum`
#[test]
fn a_fingerprint_is_a_hash() {
    let hash = |kind, names: &[&str]| Some(Fingerprint::new(kind, names.iter().copied())?.hash);
    assert_eq!(hash(Kind::Bug, &["f.cold", "g"]).as_deref(), Some("a438ff4636af68ae"));
    assert_ne!(hash(Kind::Bug, &["f", "g"]), hash(Kind::PageFault, &["f", "g"]));
    // A dump without log and stacks has nothing to compare.
    assert_eq!(hash(Kind::Unknown, &[]), None);
    assert!(hash(Kind::Unknown, &["f"]).is_some() && hash(Kind::Nmi, &[]).is_some());
}
