//! CPUs of a vmcore were where the dead kernel says, with the registers that it says.

use anyhow::{Context, Result, ensure};

use crate::check::core_file::{CoreFile, GENERAL_REGISTERS, Note, Registers};
use crate::check::dead_kernel::Function;
use crate::check::evidence::Evidence;
use crate::check::notes::prstatus;
use crate::check::page_tables;
use crate::host::memory::PAGE;

/// Size and alignment of a kernel stack of i386 and x86_64 Linux is at least this, in machine
/// words.
const STACK: u64 = 2048;

fn registers_of_all(core: &CoreFile) -> Result<Vec<Registers>> {
    let all: Option<Vec<_>> = prstatus(core).map(Note::registers).collect();
    all.filter(|all| !all.is_empty()).context("no PRSTATUS note of a known size")
}

/// Each CPU was in kernel text, on a stack in RAM; or, where the kernel may run anything, in a
/// module, which is mapped, or in a program.
pub(crate) fn registers(evidence: &Evidence<'_>) -> Result<String> {
    let dead = evidence.dead;
    let all = registers_of_all(evidence.core)?;
    for (cpu, Registers { ip, sp, in_user_mode, .. }) in all.iter().enumerate() {
        if dead.runs_anything && *in_user_mode {
            continue;
        }
        let is_known = dead.text.contains(ip) || (dead.runs_anything && is_mapped(evidence, *ip));
        ensure!(is_known, "CPU {cpu} was at {ip:#x}, not in kernel text");
        let stack = physical(evidence, *sp).with_context(|| format!("CPU {cpu}'s stack"))?;
        let in_ram = dead.system_ram.iter().any(|range| range.contains(&stack));
        ensure!(in_ram, "CPU {cpu} had its stack at {sp:#x}, not in RAM");
    }
    let place = |regs: &Registers| {
        let in_program = if regs.in_user_mode { " (of a program)" } else { "" };
        format!("{:#x}{in_program}", regs.ip)
    };
    let places: Vec<_> = all.iter().map(place).collect();
    Ok(format!("instruction pointers {}", places.join(", ")))
}

/// True if a part of the kernel is mapped there, as far as can be determined: on i386 modules are
/// above all memory that is mapped directly.
fn is_mapped(evidence: &Evidence<'_>, address: u64) -> bool {
    match evidence.dead.page_tables {
        Some(tables) => page_tables::translate(evidence.core, tables, address).is_ok(),
        None => address >= evidence.dead.virtual_base,
    }
}

/// Returns the physical address of an address on a kernel stack.
fn physical(evidence: &Evidence<'_>, address: u64) -> Result<u64> {
    match evidence.dead.page_tables {
        Some(tables) => page_tables::translate(evidence.core, tables, address),
        None => Ok(address.wrapping_sub(evidence.dead.virtual_base)),
    }
}

/// Each CPU's note has the values that it had loaded into its registers.
pub(crate) fn register_pattern(evidence: &Evidence<'_>) -> Result<String> {
    let expected = &evidence.dead.register_patterns;
    let found = prstatus(evidence.core).count();
    ensure!(found == expected.len(), "{found} PRSTATUS notes for {} CPUs", expected.len());
    let mut known = 0;
    for (cpu, (note, expected)) in prstatus(evidence.core).zip(expected).enumerate() {
        let Some(expected) = expected else { continue };
        known += 1;
        let found = note.general_registers();
        let found = found.with_context(|| format!("the note of CPU {cpu} is not i386's"))?;
        for (name, (found, expected)) in GENERAL_REGISTERS.iter().zip(found.iter().zip(expected)) {
            ensure!(found == expected, "CPU {cpu} had {name} = {found:#x}, not {expected:#x}");
        }
    }
    Ok(format!("{} general registers of each of {known} CPUs", GENERAL_REGISTERS.len()))
}

/// Checks that one CPU died in a function in which kernels record a panic, and that its stack shows
/// the path to it.
pub(crate) fn panic_path(evidence: &Evidence<'_>) -> Result<String> {
    let within = |functions: &[Function], address: u64| {
        functions.iter().find(|(_, code)| code.contains(&address)).map(|(name, _)| name.clone())
    };
    let all = registers_of_all(evidence.core)?;
    if let Some(stack) = evidence.dead.oops_stack {
        let is_there = |registers: &Registers| registers.sp == stack && !registers.in_user_mode;
        let cpu = all.iter().position(is_there);
        let cpu =
            cpu.with_context(|| format!("no CPU has the stack pointer of the oops, {stack:#x}"))?;
        return Ok(format!(
            "CPU {cpu} died of an oops; its stack pointer is {stack:#x}, as printed"
        ));
    }
    let mut died = all.iter().enumerate().filter_map(|(cpu, registers)| {
        Some((cpu, registers, within(&evidence.dead.recorders, registers.ip)?))
    });
    let (cpu, registers, place) = died.next().context("no CPU was in a function that panics")?;
    let is_one = died.next().is_none() || evidence.dead.several_die;
    ensure!(is_one, "more than one CPU was in a function that panics");
    if evidence.dead.callers.is_empty() {
        return Ok(format!("CPU {cpu} died in {place}"));
    }
    let stack = return_addresses(evidence, registers).context("the dead CPU's stack")?;
    for caller in &evidence.dead.callers {
        let called = stack.iter().any(|address| caller.1.contains(address));
        ensure!(called, "CPU {cpu}'s stack has no return address into {}", caller.0);
    }
    let callers: Vec<_> = evidence.dead.callers.iter().map(|(name, _)| name.as_str()).collect();
    Ok(format!("CPU {cpu} died in {place}; on its stack: {}", callers.join(", ")))
}

/// The words of a kernel stack from its pointer to its end.
fn return_addresses(evidence: &Evidence<'_>, registers: &Registers) -> Result<Vec<u64>> {
    let size = STACK * registers.word as u64;
    let end = (registers.sp - registers.sp % size).saturating_add(size);
    let (mut at, mut bytes) = (registers.sp, Vec::new());
    while at < end {
        let mut piece = vec![0; (end - at).min(PAGE - at % PAGE) as usize];
        evidence.core.read_physical(physical(evidence, at)?, &mut piece)?;
        at += piece.len() as u64;
        bytes.extend(piece);
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Ok(bytes.chunks_exact(registers.word).map(word).collect())
}
