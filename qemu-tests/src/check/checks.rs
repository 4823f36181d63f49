//! What must hold after a crash cycle (each check sees a vmcore that fails it in the tests below).

mod claims;

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use handoff::layout::BACKUP_LENGTH;

use crate::check::core_file::{CoreFile, GENERAL_REGISTERS, Load, Note, Registers};
use crate::check::dead_kernel::{self, DeadKernel, Function, Vmcoreinfo};
use crate::check::page_tables;
use crate::check::ranges::{overlap, show, subtract, total, union};
use crate::check::truth::Truth;
use crate::host::gdb;
use crate::host::memory::{Digests, GuestMemory, PAGE, digest};
use crate::report::Check;

pub use claims::claims_equal_memory;

/// How much of the vmcore is compared at once, in bytes; a multiple of [`PAGE`].
const CHUNK: u64 = 1 << 20;
/// Size and alignment of a kernel stack of i386 and x86_64 Linux is at least this, in machine words.
const STACK: u64 = 2048;
/// The name of the note with what our loader adds to VMCOREINFO.
const ADDITION: &str = "KDUMP-RS";
/// The first page: firmware's interrupt vectors, kept by Linux for itself.
const FIRST_PAGE: Range<u64> = 0..PAGE;
/// The extended BIOS data area's page, video memory and ROMs.
const LEGACY: Range<u64> = 0x9_f000..0x10_0000;
/// SeaBIOS keeps ACPI tables and its drivers' rings at the end of memory below 4 GiB: 128 KiB and
/// a few more for each disk; never more than this, in bytes. What the dead kernel itself calls
/// System RAM there must be in the vmcore all the same.
const FIRMWARE_TOP: u64 = 256 << 10;

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The vmcore.
    pub core: &'a CoreFile,
    /// Guest memory after QEMU's end.
    pub memory: &'a GuestMemory,
    /// Its digests.
    pub truth: &'a Truth,
    /// What the dead kernel said of itself.
    pub dead: &'a DeadKernel,
    /// Whether a stock Linux wrote it. The file may then have bytes of memory twice, as those of an x86_64
    /// kernel's text; and the first 640 KiB of memory are no more what they were: it has used them.
    pub is_stock: bool,
}

/// All checks that the evidence allows.
pub fn all(evidence: &Evidence<'_>) -> Vec<Check> {
    let mut checks = vec![
        Check::new("vmcore_equals_memory", vmcore_equals_memory(evidence)),
        Check::new("coverage", coverage(evidence)),
        Check::new("prstatus_notes", prstatus_notes(evidence)),
        Check::new("registers", registers(evidence)),
        unless_unchecked(evidence, dead_kernel::BANNER, banner),
        unless_unchecked(evidence, dead_kernel::PANIC_PATH, panic_path),
    ];
    if !evidence.dead.register_patterns.is_empty() {
        checks.push(Check::new("register_pattern", register_pattern(evidence)));
    }
    if let Some(vmcoreinfo) = evidence.dead.vmcoreinfo {
        checks.push(Check::new("vmcoreinfo", only_vmcoreinfo(evidence, vmcoreinfo)));
    }
    checks.extend(memory_kept(evidence.memory, evidence.dead, evidence.truth));
    checks
}

/// The check, or why it cannot be made.
fn unless_unchecked(
    evidence: &Evidence<'_>,
    name: &str,
    check: impl Fn(&Evidence<'_>) -> Result<String>,
) -> Check {
    match evidence.dead.unchecked.get(name) {
        Some(why) => Check::skipped(name, why),
        None => Check::new(name, check(evidence)),
    }
}

/// Whether the file at `path` is what `range` of memory (physical) held, byte for byte.
///
/// # Errors
/// When it is not, or the file cannot be read.
pub fn oldmem_equals_memory(
    path: &Path,
    memory: &GuestMemory,
    truth: &Truth,
    range: &Range<u64>,
) -> Result<String> {
    let expected = truth.bytes(memory, range.start, range.end - range.start)?;
    let found = std::fs::read(path).context("reading the dump")?;
    ensure!(found.len() == expected.len(), "the dump has {} bytes", found.len());
    if let Some(at) = expected.iter().zip(&found).position(|(expected, found)| expected != found) {
        bail!("the byte of {:#x} differs", range.start + at as u64);
    }
    Ok(format!("{} bytes from {:#x} on equal memory", found.len(), range.start))
}

/// Whether memory outside the slot stayed as it was between the moments of which there are digests.
/// Before the devices are quiet, what was under way to the dead kernel may still arrive.
pub fn memory_kept(memory: &GuestMemory, dead: &DeadKernel, truth: &Truth) -> Vec<Check> {
    let (slot, arriving) = (&dead.slot, &dead.arriving);
    let mut checks = Vec::new();
    if let (Some(t0), Some(t1)) = (&truth.purgatory, &truth.quiesced) {
        checks.push(Check::new("memory_kept_t0_t1", kept(memory, slot, arriving, t0, t1)));
    }
    if let (Some(t1), Some(t2)) = (&truth.quiesced, &truth.end) {
        checks.push(Check::new("memory_kept_t1_t2", kept(memory, slot, &[], t1, t2)));
    }
    if let (Some(t0), None, Some(t2)) = (&truth.purgatory, &truth.quiesced, &truth.end) {
        checks.push(Check::new("memory_kept_t0_t2", kept(memory, slot, arriving, t0, t2)));
    }
    checks
}

/// Every byte of every PT_LOAD is what memory held at T1.
fn vmcore_equals_memory(evidence: &Evidence<'_>) -> Result<String> {
    let loads = &evidence.core.loads;
    ensure!(!loads.is_empty(), "the vmcore has no PT_LOAD");
    let mut wrong = Vec::new();
    let Evidence { core, memory, truth, .. } = *evidence;
    for load in loads {
        let end = load.paddr.checked_add(load.filesz).context("a PT_LOAD wraps")?;
        compare(&Compared { core, memory, truth }, load, load.paddr..end, &mut wrong)?;
    }
    let (_, name) = evidence.truth.reference();
    let reused = drop_reused(evidence, &mut wrong);
    if let Some(first) = wrong.first() {
        bail!("{} pages differ from {name}, the first at {first:#x}", wrong.len());
    }
    let bytes: u64 = loads.iter().map(|load| load.filesz).sum();
    Ok(format!("{bytes} bytes in {} PT_LOADs equal {name}{reused}", loads.len()))
}

/// Takes the pages out of `wrong` that a stock Linux has used itself since they were saved, when memory is
/// only known as it is after its end; says how many.
fn drop_reused(evidence: &Evidence<'_>, wrong: &mut Vec<u64>) -> String {
    let before = wrong.len();
    if evidence.is_stock && evidence.truth.purgatory.is_none() {
        wrong.retain(|page| *page >= BACKUP_LENGTH);
    }
    match before - wrong.len() {
        0 => String::new(),
        reused => format!(", but for {reused} pages that the capture kernel used"),
    }
}

/// A file and what it is compared with.
struct Compared<'a> {
    core: &'a CoreFile,
    memory: &'a GuestMemory,
    truth: &'a Truth,
}

/// Adds the addresses of pages that differ to `wrong`; of the load, those of `part` (physical).
fn compare(
    compared: &Compared<'_>,
    load: &Load,
    part: Range<u64>,
    wrong: &mut Vec<u64>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = part.start;
    while at < part.end {
        let next = (at + CHUNK - at % CHUNK).min(part.end);
        let bytes = &mut buffer[..(next - at) as usize];
        let pages = compared.core.read_at(load.offset + (at - load.paddr), bytes);
        pages
            .and_then(|()| compare_pages(compared, at, bytes, wrong))
            .with_context(|| format!("PT_LOAD at {:#x}", load.paddr))?;
        at = next;
    }
    Ok(())
}

fn compare_pages(
    compared: &Compared<'_>,
    start: u64,
    mut bytes: &[u8],
    wrong: &mut Vec<u64>,
) -> Result<()> {
    let (reference, name) = compared.truth.reference();
    let mut at = start;
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min((PAGE - at % PAGE) as usize));
        let same = if piece.len() as u64 == PAGE {
            let taken = compared.memory.digest_at(reference, at);
            taken.with_context(|| format!("{at:#x} is not RAM"))? == digest(piece)
        } else {
            let held = compared.truth.bytes(compared.memory, at, piece.len() as u64);
            held.with_context(|| format!("comparing a part of a page with {name}"))? == piece
        };
        if !same {
            wrong.push(at);
        }
        at += piece.len() as u64;
        bytes = rest;
    }
    Ok(())
}

/// No page outside the slot has changed between two moments, but for those `arriving`.
fn kept(
    memory: &GuestMemory,
    slot: &Range<u64>,
    arriving: &[u64],
    before: &Digests,
    after: &Digests,
) -> Result<String> {
    let mut changed = memory.changed_pages(before, after);
    changed.retain(|page| !slot.contains(page) && !arriving.contains(page));
    if let Some(first) = changed.first() {
        bail!("{} pages outside the slot were written, the first at {first:#x}", changed.len());
    }
    let pages = (memory.total() - (slot.end - slot.start)) / PAGE;
    Ok(format!("{pages} pages outside the slot are as they were"))
}

/// The PT_LOADs are RAM less the slot less what is listed as not RAM, and each byte once.
fn coverage(evidence: &Evidence<'_>) -> Result<String> {
    let loads = &evidence.core.loads;
    if let Some(load) = loads.iter().find(|load| load.filesz != load.memsz) {
        bail!("PT_LOAD at {:#x} holds {:#x} of {:#x} bytes", load.paddr, load.filesz, load.memsz);
    }
    let ranges: Vec<_> = loads
        .iter()
        .filter(|load| !loads.iter().any(|other| is_alias(load, other, evidence.is_stock)))
        .map(|load| load.paddr..load.paddr.saturating_add(load.filesz))
        .collect();
    if let Some((one, other)) = overlap(&ranges) {
        bail!("two PT_LOADs overlap: {}", show(&[one, other]));
    }
    let covered = union(ranges);
    let slot = std::slice::from_ref(&evidence.dead.slot);
    let ram = evidence.memory.ranges();
    nothing(subtract(&covered, &subtract(&ram, slot)), "is in the vmcore but slot or no RAM")?;
    let top = evidence.memory.below_4g();
    let known =
        [FIRST_PAGE, LEGACY, top.saturating_sub(FIRMWARE_TOP)..top, evidence.dead.slot.clone()];
    let told = &evidence.dead.holes;
    let missing = subtract(&ram, &covered);
    nothing(subtract(told, &missing), "is no RAM to the dead kernel and in the vmcore")?;
    let missing = subtract(&missing, told);
    nothing(subtract(&missing, &known), "is RAM and not in the vmcore")?;
    let unseen = subtract(&subtract(&evidence.dead.system_ram, slot), &covered);
    nothing(unseen, "is System RAM to the dead kernel and not in the vmcore")?;
    let holes = subtract(&missing, slot);
    let (bytes, left_out) = (total(&covered), show(&holes));
    let told = match told.len() {
        0 => String::new(),
        count => format!(" and less {count} holes"),
    };
    Ok(format!("{bytes} bytes are RAM less the slot less firmware's {left_out}{told}"))
}

/// Whether `load` only gives other virtual addresses to bytes of `other`: those in the file, or, where
/// it `repeats`, those in memory.
fn is_alias(load: &Load, other: &Load, repeats: bool) -> bool {
    let bytes = |load: &Load| load.paddr..load.paddr.saturating_add(load.filesz);
    let (inner, outer) = (bytes(load), bytes(other));
    let is_same_place =
        load.paddr.wrapping_sub(load.offset) == other.paddr.wrapping_sub(other.offset);
    inner != outer
        && outer.start <= inner.start
        && inner.end <= outer.end
        && (repeats || is_same_place)
}

fn nothing(ranges: Vec<Range<u64>>, what: &str) -> Result<()> {
    ensure!(ranges.is_empty(), "{} {what}", show(&ranges));
    Ok(())
}

fn prstatus(core: &CoreFile) -> impl Iterator<Item = &Note> {
    core.notes.iter().filter(|note| note.is_prstatus())
}

/// One PRSTATUS note per CPU, byte for byte what the dead kernel left at the address it named.
fn prstatus_notes(evidence: &Evidence<'_>) -> Result<String> {
    let expected = &evidence.dead.crash_notes;
    let found = prstatus(evidence.core).count();
    ensure!(found == expected.len(), "{found} PRSTATUS notes for {} CPUs", expected.len());
    for (cpu, (note, address)) in prstatus(evidence.core).zip(expected).enumerate() {
        let length = note.raw.len() as u64;
        let left = evidence.truth.bytes(evidence.memory, *address, length);
        let left = left.with_context(|| format!("reading the note of CPU {cpu}"))?;
        ensure!(left == note.raw, "the note of CPU {cpu} is not what memory holds at {address:#x}");
    }
    Ok(format!("{found} notes equal the dead kernel's, byte for byte"))
}

/// The one VMCOREINFO note begins with what memory holds, and says how far the kernel has moved, where
/// kernel or loader know that it should.
fn only_vmcoreinfo(evidence: &Evidence<'_>, dead: Vmcoreinfo) -> Result<String> {
    let notes = &evidence.core.notes;
    let mut texts = notes.iter().filter(|note| note.name.starts_with("VMCOREINFO"));
    let text = &texts.next().context("there is no VMCOREINFO note")?.desc;
    ensure!(texts.next().is_none(), "there is more than one VMCOREINFO note");
    // Whoever does not know what our loader adds passes it on as it is.
    let is_known = |note: &Note| {
        let is_addition = note.name == ADDITION && dead.kernel_offset.is_none();
        is_addition || note.is_prstatus() || note.name.starts_with("VMCOREINFO")
    };
    let others = notes.iter().find(|note| !is_known(note));
    ensure!(others.is_none(), "there is a note of an unknown name: {others:?}");
    // Its header: lengths of name and text, and the type; then the name, padded.
    let header = evidence.truth.bytes(evidence.memory, dead.note, 24)?;
    ensure!(header[12..24] == *b"VMCOREINFO\0\0", "memory has no VMCOREINFO at {:#x}", dead.note);
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let left = evidence.truth.bytes(evidence.memory, dead.note + 24, length.into())?;
    let added = text.strip_prefix(&left[..]).context("it is not what memory holds")?;
    let expected = dead.kernel_offset.map(|offset| format!("KERNELOFFSET={offset:x}"));
    let lines: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"KERNELOFFSET="))
        .collect();
    let is_said = lines.iter().copied().eq(expected.as_deref().map(str::as_bytes));
    ensure!(is_said, "{} lines with a KERNELOFFSET", lines.len());
    let said = expected.as_deref().unwrap_or("no KERNELOFFSET, which nobody knows here");
    Ok(format!("{length} bytes of the dead kernel's, {} added; {said}", added.len()))
}

/// The text of the VMCOREINFO note.
///
/// # Errors
/// When there is none, or it is no text.
pub fn vmcoreinfo_text(core: &CoreFile) -> Result<String> {
    let note = core.notes.iter().find(|note| note.name.starts_with("VMCOREINFO"));
    let text = note.context("there is no VMCOREINFO note")?.desc.clone();
    String::from_utf8(text).context("VMCOREINFO is no text")
}

fn registers_of_all(core: &CoreFile) -> Result<Vec<Registers>> {
    let all: Option<Vec<_>> = prstatus(core).map(Note::registers).collect();
    all.filter(|all| !all.is_empty()).context("no PRSTATUS note of a known size")
}

/// Each CPU was in kernel text, on a stack in RAM; or, where the kernel may run anything, in a
/// module, which is mapped, or in a program.
fn registers(evidence: &Evidence<'_>) -> Result<String> {
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

/// True if something of the kernel is mapped there, as far as can be told: on i386 modules lie
/// above all memory that is mapped directly.
fn is_mapped(evidence: &Evidence<'_>, address: u64) -> bool {
    match evidence.dead.page_tables {
        Some(tables) => page_tables::translate(evidence.core, tables, address).is_ok(),
        None => address >= evidence.dead.virtual_base,
    }
}

/// The physical address behind an address on a kernel stack.
fn physical(evidence: &Evidence<'_>, address: u64) -> Result<u64> {
    match evidence.dead.page_tables {
        Some(tables) => page_tables::translate(evidence.core, tables, address),
        None => Ok(address.wrapping_sub(evidence.dead.virtual_base)),
    }
}

/// Each CPU's note has the values that it had loaded into its registers.
fn register_pattern(evidence: &Evidence<'_>) -> Result<String> {
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

/// gdb, without a vmlinux, reads the kernel's banner where the kernel said it is.
fn banner(evidence: &Evidence<'_>) -> Result<String> {
    let (address, expected) = evidence.dead.banner.as_ref().context("where it is is not known")?;
    let read = gdb::read_core(evidence.core.path(), *address, expected.len())?;
    let shown = String::from_utf8_lossy(&read).replace(char::is_control, " ");
    let shown = shown.trim();
    ensure!(read == *expected, "gdb reads at {address:#x}: {shown}");
    Ok(format!("gdb reads at {address:#x}: {shown}"))
}

/// One CPU died where kernels record a panic, and its stack tells how it came there.
fn panic_path(evidence: &Evidence<'_>) -> Result<String> {
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

#[cfg(test)]
mod tests;
