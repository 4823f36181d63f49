//! What is known of the dead kernel from itself: the facts that a vmcore is held against.

use std::ops::Range;

use anyhow::{Context, Result, bail};

use crate::core_file::GENERAL_REGISTERS;
use crate::facts::Facts;
use crate::memory::GuestMemory;

/// Where i386 Linux maps the first byte of memory (`PAGE_OFFSET`, virtual).
const I386_PAGE_OFFSET: u64 = 0xc000_0000;
/// The functions in which Linux records the registers of the CPU that panics: which one it is
/// depends on what the compiler made part of what (kernel/kexec_core.c).
const RECORDERS: [&str; 3] = ["__crash_kexec", "crash_kexec", "panic"];
/// The functions that led there after `echo c > /proc/sysrq-trigger`.
const CALLERS: [&str; 2] = ["panic", "sysrq_handle_crash"];

/// A function and the virtual addresses of its code.
pub type Function = (String, Range<u64>);

/// Where i386 Linux is linked for when it is Debian's: `PAGE_OFFSET` and 16 MiB (virtual).
const I386_TEXT: u64 = 0xc100_0000;
/// Where x86_64 Linux is linked for (virtual).
const X86_64_TEXT: u64 = 0xffff_ffff_8100_0000;

/// The kernel's description of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmcoreinfo {
    /// Physical address of its note.
    pub note: u64,
    /// How far the kernel runs from where it is linked, in bytes, where its VMCOREINFO is to say that:
    /// i386 Linux does not, and other loaders than ours do not add it.
    pub kernel_offset: Option<u64>,
}

/// What the vmcore of a kernel must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadKernel {
    /// The reservation that the capture kernel lived in (physical).
    pub slot: Range<u64>,
    /// What the kernel itself called RAM (physical).
    pub system_ram: Vec<Range<u64>>,
    /// RAM that nobody called so (physical): it is not in the vmcore.
    pub holes: Vec<Range<u64>>,
    /// Physical address of each CPU's crash note, in the CPUs' order; of those CPUs that can leave one.
    pub crash_notes: Vec<u64>,
    /// Its VMCOREINFO, of a kernel that has one.
    pub vmcoreinfo: Option<Vmcoreinfo>,
    /// What each of these CPUs had in its [`GENERAL_REGISTERS`], in the same order, and `None` where that
    /// is not known; empty when it is known of none.
    pub register_patterns: Vec<Option<[u32; GENERAL_REGISTERS.len()]>>,
    /// Addresses of pages (physical) into which a device may still write until it is quiet.
    pub arriving: Vec<u64>,
    /// More than one CPU may have died in one of the `recorders`.
    pub several_die: bool,
    /// The kernel's code (virtual).
    pub text: Range<u64>,
    /// What to subtract from a virtual address of directly mapped memory for its physical one.
    pub virtual_base: u64,
    /// Physical address of the kernel's page tables (4 levels), where its stacks are not in directly
    /// mapped memory: [`crate::page_tables`].
    pub page_tables: Option<u64>,
    /// A text in the kernel's memory: its virtual address and how it begins.
    pub banner: (u64, Vec<u8>),
    /// The registers of the CPU that died point into one of these.
    pub recorders: Vec<Function>,
    /// Its stack holds a return address into each of these.
    pub callers: Vec<Function>,
}

impl DeadKernel {
    /// An i386 or x86_64 Linux, from what its `/init` printed and, for the banner, from its memory.
    /// `says_offset` is whether the dump is to say how far the kernel has moved.
    ///
    /// # Errors
    /// When something that the checks need was not printed.
    pub fn linux(
        facts: &Facts,
        memory: &GuestMemory,
        is_64_bit: bool,
        says_offset: bool,
    ) -> Result<Self> {
        if facts.cpus == 0 || facts.crash_notes.len() != facts.cpus {
            bail!("{} CPUs online but {} crash notes", facts.cpus, facts.crash_notes.len());
        }
        let linked_at = if is_64_bit { X86_64_TEXT } else { I386_TEXT };
        let kernel_offset =
            says_offset.then_some(facts.symbol("_text")?.start.wrapping_sub(linked_at));
        let function = |name: &&str| Ok((name.to_string(), facts.symbol(name)?));
        Ok(Self {
            slot: facts.slot()?,
            system_ram: facts.system_ram(),
            holes: Vec::new(),
            crash_notes: facts.crash_notes.values().copied().collect(),
            vmcoreinfo: Some(Vmcoreinfo { note: facts.vmcoreinfo, kernel_offset }),
            register_patterns: Vec::new(),
            arriving: Vec::new(),
            several_die: false,
            text: facts.symbol("_stext")?.start..facts.symbol("_etext")?.start,
            virtual_base: I386_PAGE_OFFSET,
            page_tables: is_64_bit.then(|| page_tables(facts)).transpose()?,
            banner: (linux_banner(facts, memory)?, facts.version.clone().into_bytes()),
            recorders: RECORDERS.iter().map(function).collect::<Result<_>>()?,
            callers: CALLERS.iter().map(function).collect::<Result<_>>()?,
        })
    }
}

/// Where an x86_64 Linux has its page tables (physical): as far from its first byte of code as in
/// virtual memory.
fn page_tables(facts: &Facts) -> Result<u64> {
    let code = facts.resources("Kernel code");
    let code = code.first().context("/proc/iomem shows no Kernel code")?;
    let (text, tables) = (facts.symbol("_text")?.start, facts.symbol("init_top_pgt")?.start);
    let distance = tables.checked_sub(text).context("init_top_pgt lies below _text")?;
    Ok(code.start + distance)
}

/// Where `linux_banner` is (virtual): from kallsyms when the kernel lists its data there, else the
/// one place among its constants that holds the text of /proc/version.
fn linux_banner(facts: &Facts, memory: &GuestMemory) -> Result<u64> {
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
    Ok(I386_PAGE_OFFSET + constants.start + offset as u64)
}
