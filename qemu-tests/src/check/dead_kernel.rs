//! The dead kernel's facts about itself. A vmcore is compared with them.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::check::core_file::GENERAL_REGISTERS;
use crate::check::facts::Facts;
use crate::check::page_tables::PageTables;
use crate::host::memory::GuestMemory;

/// The functions in which Linux records the registers of the CPU that panics: the compiler's
/// inlining decides which of them it is (kernel/kexec_core.c).
const RECORDERS: [&str; 4] = ["__crash_kexec", "crash_kexec", "vpanic", "panic"];
/// Those of them that only some versions have.
const NEW_RECORDERS: [&str; 1] = ["vpanic"];
/// The function that led there in any panic.
const PANIC: &str = "panic";
/// The one that called it after `echo c > /proc/sysrq-trigger`.
const SYSRQ: &str = "sysrq_handle_crash";
/// The check that needs these symbols.
pub const PANIC_PATH: &str = "panic_path";
/// The check that needs to know where the kernel's name is.
pub const BANNER: &str = "banner";

/// A function and the virtual addresses of its code.
pub type Function = (String, Range<u64>);

/// Virtual address of the first byte of memory in the image of an x86_64 Linux
/// (`__START_KERNEL_map`).
const X86_64_MAP: u64 = 0xffff_ffff_8000_0000;
/// Link address of Linux (`LOAD_PHYSICAL_ADDR`, physical) if its header has none.
const USUAL_ADDRESS: u64 = 16 << 20;
/// The longest VMCOREINFO (Linux, `VMCOREINFO_BYTES`, is a page of at most 64 KiB).
const MOST_VMCOREINFO: usize = 64 << 10;

/// Facts for the checks of a Linux, besides its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linux {
    /// True for x86_64, false for i386.
    pub is_64_bit: bool,
    /// True if the dump must report the kernel's offset.
    pub says_offset: bool,
    /// True if our capture kernel makes the dump: it merges our loader's lines into VMCOREINFO.
    pub is_merged: bool,
    /// True if it reports all that the checks need. Otherwise checks that lack something are
    /// skipped.
    pub is_known: bool,
    /// The physical address that it is linked for, where its header says so.
    pub pref_address: Option<u64>,
    /// The harness has crashed it, by sysrq.
    pub is_asked: bool,
    /// Programs may have run on any CPU.
    pub runs_programs: bool,
}

/// The kernel's description of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmcoreinfo {
    /// Physical address of its note.
    pub note: u64,
    /// Distance of the kernel from its link address, in bytes, if its VMCOREINFO must have it. i386
    /// Linux does not write it, and loaders other than ours do not add it.
    pub kernel_offset: Option<u64>,
    /// True if the lines that our loader adds are in this text, and in no note of their own.
    pub is_merged: bool,
}

/// Facts that the vmcore of a kernel must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadKernel {
    /// The reservation that the capture kernel lived in (physical).
    pub slot: Range<u64>,
    /// Ranges that the kernel itself calls RAM (physical).
    pub system_ram: Vec<Range<u64>>,
    /// RAM that was not reported as RAM (physical): it is not in the vmcore.
    pub holes: Vec<Range<u64>>,
    /// Physical address of each CPU's crash note, in the CPUs' order; of those CPUs that can leave
    /// one.
    pub crash_notes: Vec<u64>,
    /// Its VMCOREINFO, of a kernel that has one.
    pub vmcoreinfo: Option<Vmcoreinfo>,
    /// Contents of the [`GENERAL_REGISTERS`] of each of these CPUs, in the same order; `None` if
    /// they are not known. Empty if they are known of no CPU.
    pub register_patterns: Vec<Option<[u32; GENERAL_REGISTERS.len()]>>,
    /// Addresses of pages (physical) into which a device may still write until it is quiet.
    pub arriving: Vec<u64>,
    /// More than one CPU may have died in one of the `recorders`.
    pub several_die: bool,
    /// The kernel's code (virtual).
    pub text: Range<u64>,
    /// Virtual address minus physical address in directly mapped memory.
    pub virtual_base: u64,
    /// The kernel's page tables, where its stacks are not in directly
    /// mapped memory.
    pub page_tables: Option<PageTables>,
    /// CPUs may have been in a module or in a program.
    pub runs_anything: bool,
    /// A text in the kernel's memory: its virtual address and how it begins.
    pub banner: Option<(u64, Vec<u8>)>,
    /// The stack pointer of the CPU that died, where that is all that the kernel said (virtual).
    pub oops_stack: Option<u64>,
    /// Checks that cannot be made, and why.
    pub unchecked: BTreeMap<&'static str, String>,
    /// The registers of the CPU that died point into one of these.
    pub recorders: Vec<Function>,
    /// Its stack holds a return address into each of these.
    pub callers: Vec<Function>,
}

impl DeadKernel {
    /// Describes a Linux from the output of its `/init` and, for facts missing there, from its
    /// memory.
    ///
    /// # Errors
    /// Fails if something that the checks need was not printed.
    pub fn linux(facts: &Facts, memory: &GuestMemory, linux: &Linux) -> Result<Self> {
        if facts.cpus == 0 || facts.crash_notes.len() != facts.cpus {
            bail!("{} CPUs online but {} crash notes", facts.cpus, facts.crash_notes.len());
        }
        let code = facts.resources("Kernel code");
        let code = code.first().context("/proc/iomem shows no Kernel code")?.clone();
        let text = text(facts, memory, linux, &code)?;
        let virtual_base = text.start.wrapping_sub(code.start);
        let mut dead = Self {
            slot: facts.slot()?,
            system_ram: facts.system_ram(),
            holes: Vec::new(),
            crash_notes: facts.crash_notes.values().copied().collect(),
            vmcoreinfo: Some(Vmcoreinfo {
                note: facts.vmcoreinfo,
                kernel_offset: linux.says_offset.then_some(offset(linux, &text, &code)),
                is_merged: linux.is_merged,
            }),
            register_patterns: Vec::new(),
            arriving: Vec::new(),
            several_die: false,
            text,
            virtual_base,
            page_tables: page_tables(facts, memory, linux, &code)?,
            runs_anything: linux.runs_programs || !linux.is_asked,
            banner: None,
            oops_stack: None,
            unchecked: BTreeMap::new(),
            recorders: Vec::new(),
            callers: Vec::new(),
        };
        match linux_banner(facts, memory, virtual_base) {
            Ok(address) => dead.banner = Some((address, facts.version.clone().into_bytes())),
            Err(error) => dead.cannot_check(linux, BANNER, error)?,
        }
        if let Err(error) = dead.take_death(facts, linux) {
            dead.cannot_check(linux, PANIC_PATH, error)?;
        }
        Ok(dead)
    }

    /// Of a kernel that is not known a check is left out.
    fn cannot_check(&mut self, linux: &Linux, name: &'static str, error: Error) -> Result<()> {
        if linux.is_known {
            return Err(error);
        }
        self.unchecked.insert(name, format!("{error:#}"));
        Ok(())
    }

    /// Takes the cause of its death. An oops without a panic leaves the registers of the fault,
    /// which may be anywhere; the console has the stack pointer.
    fn take_death(&mut self, facts: &Facts, linux: &Linux) -> Result<()> {
        let function = |name: &str| Ok::<_, Error>((name.to_string(), facts.symbol(name)?));
        if linux.is_asked || facts.death.panicked {
            for name in RECORDERS {
                match function(name) {
                    Err(_) if NEW_RECORDERS.contains(&name) => (),
                    found => self.recorders.push(found?),
                }
            }
            self.callers.push(function(PANIC)?);
            if linux.is_asked {
                self.callers.push(function(SYSRQ)?);
            }
            return Ok(());
        }
        self.oops_stack = facts.death.stack_pointer;
        if self.oops_stack.is_none() {
            let why = "the kernel printed neither a panic nor the registers of an oops";
            self.unchecked.insert(PANIC_PATH, why.to_string());
        }
        Ok(())
    }
}

/// The kernel's code (virtual), from kallsyms or, of a kernel that lists nothing there, from where
/// VMCOREINFO says that it begins.
fn text(
    facts: &Facts,
    memory: &GuestMemory,
    linux: &Linux,
    code: &Range<u64>,
) -> Result<Range<u64>> {
    let listed = |name| facts.symbol(name).map(|range| range.start);
    match (listed("_text"), listed("_etext")) {
        (Ok(start), Ok(end)) => Ok(start..end),
        (Err(error), _) | (_, Err(error)) if linux.is_known => Err(error),
        _ => {
            let start = hexadecimal(&vmcoreinfo(facts, memory)?, "SYMBOL(_stext)=")?;
            Ok(start..start + (code.end - code.start))
        }
    }
}

/// Offset of a Linux from its link address: physical on i386, virtual on x86_64.
fn offset(linux: &Linux, text: &Range<u64>, code: &Range<u64>) -> u64 {
    let linked = linux.pref_address.unwrap_or(USUAL_ADDRESS);
    match linux.is_64_bit {
        true => text.start.wrapping_sub(X86_64_MAP + linked),
        false => code.start.wrapping_sub(linked),
    }
}

/// Returns an x86_64 Linux's page tables: as far from its first byte of code as in virtual memory.
/// If kallsyms lists no data, VMCOREINFO has the address.
fn page_tables(
    facts: &Facts,
    memory: &GuestMemory,
    linux: &Linux,
    code: &Range<u64>,
) -> Result<Option<PageTables>> {
    if !linux.is_64_bit {
        return Ok(None);
    }
    if linux.is_known {
        let tables = facts.symbol("init_top_pgt")?.start;
        let distance = tables.checked_sub(facts.symbol("_text")?.start);
        let distance = distance.context("init_top_pgt lies below _text")?;
        return Ok(Some(PageTables { root: code.start + distance, levels: 4 }));
    }
    let info = vmcoreinfo(facts, memory)?;
    let tables = hexadecimal(&info, "SYMBOL(init_top_pgt)=")?;
    let moved: i64 = value(&info, "NUMBER(phys_base)=")?.parse()?;
    let root = tables.wrapping_sub(X86_64_MAP).wrapping_add_signed(moved);
    let has_5_levels =
        value(&info, "NUMBER(pgtable_l5_enabled)=").is_ok_and(|number| number == "1");
    Ok(Some(PageTables { root, levels: if has_5_levels { 5 } else { 4 } }))
}

/// The text of the kernel's VMCOREINFO note.
pub(crate) fn vmcoreinfo(facts: &Facts, memory: &GuestMemory) -> Result<String> {
    // Lengths of name and text, the type, and the padded name.
    let mut header = [0; 24];
    memory.read(facts.vmcoreinfo, &mut header)?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    ensure!(length <= MOST_VMCOREINFO, "VMCOREINFO has {length} bytes");
    let mut text = vec![0; length];
    memory.read(facts.vmcoreinfo + 24, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn value<'t>(vmcoreinfo: &'t str, key: &str) -> Result<&'t str> {
    let found = vmcoreinfo.lines().find_map(|line| line.strip_prefix(key));
    found.with_context(|| format!("the kernel's VMCOREINFO has no {key}"))
}

pub(crate) fn hexadecimal(vmcoreinfo: &str, key: &str) -> Result<u64> {
    u64::from_str_radix(value(vmcoreinfo, key)?, 16).with_context(|| format!("the value of {key}"))
}

/// Returns the address of `linux_banner` (virtual): from kallsyms if the kernel lists its data
/// there, else the one place among its constants that holds the text of /proc/version.
fn linux_banner(facts: &Facts, memory: &GuestMemory, virtual_base: u64) -> Result<u64> {
    if let Ok(symbol) = facts.symbol("linux_banner") {
        return Ok(symbol.start);
    }
    let text = facts.version.as_bytes();
    let constants = facts.resources("Kernel rodata");
    let constants = constants.first().context("/proc/iomem shows no Kernel rodata")?;
    let mut bytes = vec![0; usize::try_from(constants.end - constants.start)?];
    memory.read(constants.start, &mut bytes)?;
    let found = bytes.windows(text.len().max(1)).position(|window| window == text);
    let offset = found.context("the kernel's constants do not hold the text of /proc/version")?;
    Ok(virtual_base.wrapping_add(constants.start + offset as u64))
}
