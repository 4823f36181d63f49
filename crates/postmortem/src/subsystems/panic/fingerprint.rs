//! A short number that crashes of one cause share.
//!
//! It is made of the kind and the names of the functions that led to the crash, from the first that
//! is no part of the panic to the entry of the kernel. Addresses, offsets, CPUs, numbers of tasks
//! and the suffixes of compilers are no part of it.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::kind::Kind;

/// Most functions that count.
const MOST: usize = 8;
/// Functions of a panic or an oops itself.
const MACHINERY: [&str; 40] = [
    "__crash_kexec",
    "crash_kexec",
    "panic",
    "vpanic",
    "nmi_panic",
    "nmi_panic_self_stop",
    "check_panic_on_warn",
    "machine_kexec",
    "native_machine_crash_shutdown",
    "crash_setup_regs",
    "kdump_nmi_shootdown_cpus",
    "oops_begin",
    "oops_end",
    "oops_enter",
    "no_context",
    "page_fault_oops",
    "pgtable_bad",
    "kernelmode_fixup_or_oops",
    "bad_area_nosemaphore",
    "__bad_area_nosemaphore",
    "__bad_area",
    "bad_area",
    "do_user_addr_fault",
    "do_kern_addr_fault",
    "handle_page_fault",
    "do_page_fault",
    "page_fault",
    "handle_stack_overflow",
    "handle_bug",
    "report_bug",
    "fixup_bug",
    "do_trap",
    "do_trap_no_signal",
    "do_error_trap",
    "do_general_protection",
    "do_invalid_op",
    "general_protection",
    "invalid_op",
    "error_entry",
    "handle_exception",
];
const MACHINERY_STARTS: [&str; 6] =
    ["exc_", "asm_exc_", "die", "__die", "common_exception", "__warn"];
/// Functions that enter the kernel, or begin work of their own.
const ENTRIES: [&str; 22] = [
    "do_syscall_64",
    "x64_sys_call",
    "ia32_sys_call",
    "do_int80_syscall_32",
    "do_int80_emulation",
    "do_fast_syscall_32",
    "__do_fast_syscall_32",
    "do_SYSENTER_32",
    "ret_from_fork",
    "ret_from_fork_asm",
    "kthread",
    "common_interrupt",
    "__common_interrupt",
    "ret_from_intr",
    "apic_timer_interrupt",
    "handle_softirqs",
    "__do_softirq",
    "do_softirq",
    "irq_exit_rcu",
    "do_idle",
    "handle_exception",
    "end_repeat_nmi",
];
const ENTRY_STARTS: [&str; 5] = ["entry_", "asm_", "sysvec_", "__sysvec_", "secondary_startup_"];
/// Functions that wait in a loop, or read a clock: the innermost of a CPU that hangs is chance.
const WAITS: [&str; 15] = [
    "delay_",
    "__delay",
    "__const_udelay",
    "__udelay",
    "__ndelay",
    "native_queued_spin_lock_slowpath",
    "queued_spin_lock_slowpath",
    "pv_queued_spin_lock",
    "_raw_spin_",
    "do_raw_spin_",
    "read_tsc",
    "ktime_",
    "rdtsc",
    "cpu_relax",
    "native_",
];
/// Functions through which a task gives up its CPU.
const SLEEPS: [&str; 4] = ["__schedule", "schedule", "io_schedule", "preempt_schedule"];

/// A fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fingerprint {
    /// 16 digits of SHA-256 over the kind and the functions.
    pub hash: String,
    /// The kind.
    pub kind: Kind,
    /// The functions, innermost first, without suffixes of the compiler.
    pub functions: Vec<String>,
}

impl Fingerprint {
    /// The fingerprint of a crash of this kind in these functions, innermost first. [`None`] if
    /// neither is known: such crashes share nothing.
    pub(super) fn new<'n>(kind: Kind, functions: impl Iterator<Item = &'n str>) -> Option<Self> {
        let mut own: Vec<String> = functions.map(|name| plain(name).to_owned()).collect();
        // A recursion counts once, however deep.
        own.dedup();
        own.truncate(MOST);
        if kind == Kind::Unknown && own.is_empty() {
            return None;
        }
        let mut text = kind.name().to_owned();
        own.iter().for_each(|name| text += &format!("\n{name}"));
        let digest = Sha256::digest(text.as_bytes());
        let hash = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { hash, kind, functions: own })
    }
}

/// The name without suffixes of the compiler: `.isra.0`, `.cold`, `.llvm.1234`.
fn plain(name: &str) -> &str {
    match name.find('.') {
        Some(end) if end > 0 => &name[..end],
        _ => name,
    }
}

fn starts(name: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| name.starts_with(start))
}

fn is_machinery(name: &str) -> bool {
    MACHINERY.contains(&name) || starts(name, &MACHINERY_STARTS)
}

fn is_entry(name: &str) -> bool {
    ENTRIES.contains(&name) || starts(name, &ENTRY_STARTS)
}

/// The places of the functions that are to blame among `names`, those of the sure frames of the CPU
/// that crashed, innermost first.
pub(super) fn blamed(kind: Kind, names: &[&str]) -> std::ops::Range<usize> {
    let is = |test: fn(&str) -> bool| move |name: &&str| test(plain(name));
    let skip = |from: usize, test: fn(&str) -> bool| {
        from + names[from..].iter().take_while(|name| is(test)(name)).count()
    };
    if kind.is_from_outside() {
        return 0..0;
    }
    let mut start = skip(0, is_machinery);
    if kind.is_of_interrupted() {
        // The last of the functions that entered the kernel for the interrupt.
        if let Some(entry) = names.iter().position(is(is_entry)) {
            start = skip(entry, is_entry);
        }
        start = skip(start, |name| starts(name, &WAITS));
    }
    let length = names[start..].iter().position(is(is_entry));
    start..length.map_or(names.len(), |length| start + length)
}

/// The same of a task that sleeps.
pub(super) fn blamed_of_sleeper(names: &[&str]) -> std::ops::Range<usize> {
    let is_sleep = |name: &&&str| starts(plain(name), &SLEEPS);
    let start = names.iter().take_while(is_sleep).count();
    let length = names[start..].iter().position(|name| is_entry(plain(name)));
    start..length.map_or(names.len(), |length| start + length)
}
