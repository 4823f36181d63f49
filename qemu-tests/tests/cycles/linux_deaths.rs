//! Debian's kernels die in other ways than by sysrq: the stacks of all CPUs in the dump show what
//! each was doing.

use std::time::Duration;

use qemu_tests::{Config, CpuStack, Crash, Fault, FirstKernel};

use crate::common::*;
use crate::crash_kinds::assert_fingerprints;

/// Deadlines are far off: a busy host must not make one pass.
const LONG: Crash = Crash::Expected(Duration::from_secs(300));
/// pktgen, a module, sends packets to nobody on CPU 1 without end.
const LOOP: &str = r#"
"$root/bin/busybox" ifconfig lo up || fail "no network"
echo "add_device lo" >/proc/net/pktgen/kpktgend_1 || fail "no pktgen on CPU 1"
echo "count 0" >/proc/net/pktgen/lo || fail "pktgen without end"
echo "dst 127.0.0.1" >/proc/net/pktgen/lo || fail "pktgen to here"
echo start >/proc/net/pktgen/pgctrl &
"$root/bin/busybox" taskset -p 1 1
"#;
/// A watchdog in software panics in the interrupt of a timer.
const WATCHDOG: &str = r#"
last=wait_for_the_dog
wait_for_the_dog() {
    exec 5>/dev/watchdog
"#;
/// A program runs on CPU 1 without end. Then somebody presses the button.
const BUTTON: &str = r#"
"$root/bin/busybox" taskset 2 sh -c 'while :; do :; done' &
echo 1 >/proc/sys/kernel/unknown_nmi_panic
last=press
press() { say button; sleep 300; }
"#;

#[test]
fn two_boots_of_a_kind_of_crash_have_one_fingerprint() {
    assert_fingerprints(&["null dereference", "panic in an interrupt", "NMI"], 2);
}

/// Runs a cycle with these commands before the crash. Returns the stacks, by the number of the CPU.
#[track_caller]
fn stacks(kernel: FirstKernel, commands: &str, change: impl FnOnce(&mut Config)) -> [CpuStack; 2] {
    let report = cycle(kernel, |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.crash = LONG;
        config.before_crash = commands.into();
        change(config);
    });
    assert_all_checked(&report, LINUX_CHECKS);
    let mut stacks = report.stacks;
    stacks.sort_by_key(|stack| stack.cpu);
    let stacks: [CpuStack; 2] = stacks.try_into().expect("two CPUs");
    assert_eq!([0, 1].map(|cpu| stacks[cpu].cpu), [Some(0), Some(1)]);
    stacks
}

/// These functions are on the stack, in this order; other ones may be between them.
#[track_caller]
fn assert_leads(stack: &CpuStack, functions: &[&str]) {
    let mut frames = stack.frames.iter();
    for function in functions {
        let is_there = |frame: &String| {
            let (name, rest) = frame.split_once('+').unwrap_or((frame, ""));
            // The compiler puts parts of a function elsewhere: NAME.cold.
            let name = name.split('.').next().unwrap_or(name);
            let module = rest.split_once(' ').map_or("", |(_, module)| module);
            format!("{name} {module}").trim() == *function
        };
        assert!(frames.any(is_there), "{function} is not in its place: {stack:#?}");
    }
}

/// A panic in an interrupt on CPU 0, while CPU 1 runs a module. The shell does `until` the death.
#[track_caller]
fn dies_in_an_interrupt(kernel: FirstKernel, until: &str) -> [CpuStack; 2] {
    let stacks = stacks(kernel, &format!("{LOOP}{WATCHDOG}{until}\n}}\n"), |config| {
        config.modules = vec![
            "net/core/pktgen.ko",
            "drivers/watchdog/watchdog.ko",
            "drivers/watchdog/softdog.ko soft_panic=1 soft_margin=1",
        ];
    });
    let interrupt =
        ["panic", "softdog_fire [softdog]", "__hrtimer_run_queues", "hrtimer_interrupt"];
    assert!(stacks[0].crashed, "{stacks:#?}");
    assert_leads(&stacks[0], &interrupt);
    assert_leads(&stacks[1], &["pktgen_thread_worker [pktgen]", "kthread"]);
    assert_eq!(stacks[1].comm, "kpktgend_1");
    stacks
}

/// The interrupt has a stack of its own; it came while the CPU was idle.
#[test]
fn amd64_panics_in_an_interrupt_while_another_cpu_runs_a_module() {
    let [stack, _] = dies_in_an_interrupt(debian_amd64(), "    sleep 300");
    assert_leads(&stack, &["hrtimer_interrupt", "asm_sysvec_apic_timer_interrupt", "do_idle"]);
    assert_eq!(stack.comm, "swapper/0");
}

/// It came while the CPU ran a program.
#[test]
fn i386_panics_in_an_interrupt_of_a_program() {
    let [stack, _] = dies_in_an_interrupt(debian(), "    while :; do :; done");
    let last = stack.frames.last().expect("frames");
    assert!(last.starts_with("asm_") || last.starts_with("handle_exception"), "{stack:#?}");
    assert_eq!((stack.pid, stack.comm.as_str()), (1, "init"));
}

/// The NMI's handler has a stack of its own, too.
#[test]
fn amd64_panics_at_the_press_of_a_button_while_a_program_runs() {
    let [stack, other] = stacks(debian_amd64(), BUTTON, |config| {
        config.fault = Some(Fault::NmiButton);
    });
    assert!(stack.crashed, "{stack:#?}");
    assert_leads(&stack, &["panic", "nmi_panic", "unknown_nmi_error", "exc_nmi"]);
    assert_eq!((other.frames.len(), other.comm.as_str()), (0, "sh"), "{other:#?}");
}
