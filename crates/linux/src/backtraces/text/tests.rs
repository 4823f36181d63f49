use super::*;
use crate::Comm;
use crate::backtrace::kallsyms::fake::{Image, KINDS};
use crate::backtrace::{Budget, Kallsyms, Modules, Names, Sources, Trace};
use alloc::format;
use alloc::string::String;
use alloc::vec;

const NAMES: [&str; 7] = [
    "T_stext",
    "Tpanic",
    "tspin_loop",
    "Tacpi_idle_enter",
    "tdo_idle",
    "Tcommon_interrupt",
    "B_end",
];

/// The address in the function with this number, and whether it is believed.
fn frame(function: u64, trust: Trust) -> Frame {
    Frame { at: KINDS[0].image + 0x20 * function + 4, is_return: true, trust }
}

fn cpu(number: u32, pid: u32, comm: &str, functions: &[u64]) -> CpuTrace {
    let mut name = [0; 16];
    name[..comm.len()].copy_from_slice(comm.as_bytes());
    let frames = functions.iter().map(|function| frame(*function, Trust::Sure)).collect();
    CpuTrace {
        number: Some(number),
        pid,
        comm: (!comm.is_empty()).then_some(Comm::new(name)),
        has_crashed: false,
        has_registers: true,
        trace: Trace { frames, end: TraceEnd::Complete },
    }
}

fn backtraces(cpus: Vec<CpuTrace>, left_out: usize) -> Backtraces {
    let at = |index: usize| KINDS[0].image + 0x20 * index as u64;
    let symbols: Vec<_> =
        NAMES.iter().enumerate().map(|(index, name)| (at(index), *name)).collect();
    let image = Image::new(KINDS[0], &symbols);
    let names = image.with(|memory| {
        let kallsyms = Kallsyms::find(memory, image.vmcoreinfo.as_bytes()).expect("tables");
        let (kallsyms, modules) = (Some(&kallsyms), &Modules::default());
        let frames = cpus.iter().flat_map(|cpu| &cpu.trace.frames);
        let mut go_on = || true;
        let budget = &mut Budget::new(&mut go_on);
        Names::find(&Sources { memory, kallsyms, modules }, frames, crate::MostNames::HOST, budget)
    });
    Backtraces { cpus, names, left_out }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[test]
fn each_cpu_has_its_frames() {
    let mut crashed = cpu(1, 7, "sh\u{1b}[", &[1, 2, 9]);
    crashed.has_crashed = true;
    crashed.trace.frames[1].trust = Trust::Guess;
    crashed.trace.end = TraceEnd::User;
    let mut silent = cpu(2, 8, "", &[2]);
    (silent.has_registers, silent.number, silent.trace.end) = (false, None, TraceEnd::Lost);
    let all = backtraces(vec![crashed, cpu(0, 0, "swapper/0", &[3, 4]), silent], 3);
    let no_name = KINDS[0].image + 0x124;
    assert_eq!(
        text(all.whole(MOST_WHOLE)),
        format!(
            "cpu 1 pid 7 [sh?[], crashed:\n panic+0x4/0x20\n ? spin_loop+0x4/0x20\n {no_name:#x}\n \
             (user mode)\n\
             cpu 0 pid 0 [swapper/0]:\n acpi_idle_enter+0x4/0x20\n do_idle+0x4/0x20\n\
             cpu ? pid 8, did not answer:\n spin_loop+0x4/0x20\n (no way to the next frame)\n\
             3 more cpus\n"
        )
    );
    assert_eq!(
        text(all.short()),
        format!(
            "cpu 1 pid 7 [sh?[], crashed:\n panic+0x4/0x20\n ? spin_loop+0x4/0x20\n {no_name:#x}\n \
             (user mode)\n\
             idle: cpu 0\n\
             cpu ? pid 8, did not answer: spin_loop+0x4/0x20 (no way to the next frame)\n\
             3 more cpus\n"
        )
    );
}

/// A CPU is idle if it waits for work, and not if it does something on the way.
#[test]
fn idle_cpus_share_a_line() {
    let idle = |number| cpu(number, 0, "", &[3, 4]);
    let cpus = [0, 2, 3, 4, 7].map(idle).into_iter();
    let cpus = cpus.chain([
        cpu(8, 0, "", &[2, 5, 3, 4]),
        cpu(9, 9, "acpi", &[3, 4]),
        cpu(10, 0, "", &[3]),
    ]);
    assert_eq!(
        text(backtraces(cpus.collect(), 0).short()),
        "idle: cpu 0 2-4 7\n\
         cpu 8 pid 0: spin_loop+0x4/0x20 < common_interrupt < acpi_idle_enter < do_idle\n\
         cpu 9 pid 9 [acpi]: acpi_idle_enter+0x4/0x20 < do_idle\n\
         cpu 10 pid 0: acpi_idle_enter+0x4/0x20\n"
    );
}

/// However many frames and CPUs there are, the console gets whole lines, and the CPU that crashed
/// leaves room for others.
#[test]
fn a_console_gets_few_bytes() {
    for frames in [1, 20, 60, 61, 200] {
        let mut crashed = cpu(0, 1, "init", &vec![1; frames]);
        crashed.has_crashed = true;
        let others = (1..=300).map(|number| cpu(number, number, "cat", &[2; 40]));
        let all = backtraces([crashed].into_iter().chain(others).collect(), 9);
        let short = text(all.short());
        assert!((1300..=MOST_SHORT).contains(&short.len()), "{}", short.len());
        assert!(short.starts_with("cpu 0 pid 1 [init], crashed:\n panic+0x4/0x20\n"));
        assert_eq!(short.contains(" ...\n"), frames > 60);
        assert!(short.contains("\ncpu 1 pid 1 [cat]: spin_loop+0x4/0x20 < spin_loop < "));
        let lines =
            || short.lines().filter(|line| line.starts_with("cpu ") && !line.contains("[init]"));
        assert!(lines().all(|line| line.ends_with("spin_loop")), "whole names: {short}");
        let count = lines().count();
        assert!(short.ends_with(&format!("\n{} more cpus\n", 309 - count)), "{count}: {short}");
        assert!(short.ends_with('\n') && short.lines().all(|line| line.len() <= 120), "{short}");
        let whole = text(all.whole(5000));
        assert!((4900..=5000).contains(&whole.len()) && whole.ends_with("0x20\n"));
    }
}
