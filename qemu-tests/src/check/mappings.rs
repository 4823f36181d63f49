//! The capture kernel's mappings, by its page tables in guest memory: PAE, read when it is done.
//!
//! Source: Intel manual, volume 3, 4.4.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use crate::check::ranges::{show, subtract, union};
use crate::host::memory::{GuestMemory, PAGE};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// The bits of an entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bytes that a large page maps, and an entry of a page directory stands for.
const BLOCK: u64 = 2 << 20;
/// EFER: entries may forbid execution of the memory that they map.
const EFER_NXE: u64 = 1 << 11;
/// The window on old memory (virtual), by ARCHITECTURE.md.
const WINDOW: Range<u64> = 0xd000_0000..0xe000_0000;
/// Start of its large pages (virtual).
pub(crate) const LARGE_PAGES: u64 = WINDOW.start + BLOCK;

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    /// Its virtual address.
    at: u64,
    /// The memory that it maps (physical).
    physical: Range<u64>,
    is_writable: bool,
    is_executable: bool,
}

impl Mapping {
    fn new(at: u64, entry: u64, size: u64) -> Self {
        let start = entry & ADDRESS & !(size - 1);
        let is_executable = entry & NO_EXECUTE == 0;
        let is_writable = entry & WRITABLE != 0;
        Self { at, physical: start..start + size, is_writable, is_executable }
    }

    fn is_large(&self) -> bool {
        self.physical.end - self.physical.start == BLOCK
    }
}

/// Everything that one CPU has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings {
    pages: Vec<Mapping>,
    /// True if the CPU obeys the execution bits of the entries.
    has_no_execute: bool,
}

impl Mappings {
    /// Reads the mappings of the CPU that is at `eip`, from the monitor's answer to `info registers
    /// -a`.
    ///
    /// # Errors
    /// Fails if no CPU is at `eip`, or its page tables are not in memory.
    pub fn read(memory: &GuestMemory, registers: &str, eip: u64) -> Result<Self> {
        let mut words = registers.split_whitespace();
        let is_there = |word: &str| hexadecimal(word, "EIP=") == Some(eip);
        words.find(|word| is_there(word)).with_context(|| format!("no CPU is at {eip:#x}"))?;
        let mut next = |name| words.find_map(|word| hexadecimal(word, name)).context(name);
        let (root, efer) = (next("CR3=")?, next("EFER=")?);
        let mut pages = Vec::new();
        for (index, pointer) in table(memory, root & !0x1f, 4)?.into_iter().enumerate() {
            if pointer & PRESENT != 0 {
                let at = (index as u64) << 30;
                for (index, entry) in table(memory, pointer & ADDRESS, 512)?.into_iter().enumerate()
                {
                    read_entry(memory, at + index as u64 * BLOCK, entry, &mut pages)?;
                }
            }
        }
        Ok(Self { pages, has_no_execute: efer & EFER_NXE != 0 })
    }

    /// Checks that nothing outside the `slot` that is RAM to QEMU can be written, the window on old
    /// memory is read-only and never code, and large pages show `system_ram` and the slot alone.
    ///
    /// # Errors
    /// The first mapping that breaks one of these.
    pub fn check(
        &self,
        memory: &GuestMemory,
        system_ram: &[Range<u64>],
        slot: &Range<u64>,
    ) -> Result<String> {
        let slot = std::slice::from_ref(slot);
        let old = subtract(&memory.ranges(), slot);
        let known = union(system_ram.iter().chain(slot).cloned());
        for page in &self.pages {
            let shown = std::slice::from_ref(&page.physical);
            let what = format!("{} at {:#x}", show(shown), page.at);
            let is_old = subtract(shown, &old) != shown;
            ensure!(!page.is_writable || !is_old, "{what} is old memory, and can be written");
            let is_data = page.is_writable || WINDOW.contains(&page.at);
            let is_code = is_data && self.has_no_execute && page.is_executable;
            ensure!(!is_code, "{what} can be executed");
            let in_window = WINDOW.contains(&page.at);
            ensure!(!in_window || !page.is_writable, "{what} is in the window, and can be written");
            ensure!(in_window || !page.is_large(), "{what} is a large page");
            let rest = subtract(shown, &known);
            ensure!(!page.is_large() || rest.is_empty(), "{what} is large, and not all of it RAM");
        }
        let large = self.pages.iter().filter(|page| page.is_large());
        let old = subtract(&union(large.map(|page| page.physical.clone())), slot);
        Ok(match old.is_empty() {
            true => "no large pages".to_owned(),
            false => format!("old memory in large pages: {}; read-only RAM", show(&old)),
        })
    }
}

/// Adds the mappings of a page directory's entry at the virtual address `at`.
fn read_entry(memory: &GuestMemory, at: u64, entry: u64, pages: &mut Vec<Mapping>) -> Result<()> {
    if entry & PRESENT == 0 {
        return Ok(());
    }
    if entry & LARGE != 0 {
        pages.push(Mapping::new(at, entry, BLOCK));
        return Ok(());
    }
    for (index, entry) in table(memory, entry & ADDRESS, 512)?.into_iter().enumerate() {
        if entry & PRESENT != 0 {
            pages.push(Mapping::new(at + index as u64 * PAGE, entry, PAGE));
        }
    }
    Ok(())
}

/// Returns the number after `name` in a word of the monitor's output.
fn hexadecimal(word: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix(name)?, 16).ok()
}

fn table(memory: &GuestMemory, at: u64, entries: usize) -> Result<Vec<u64>> {
    let mut bytes = vec![0; entries * 8];
    memory.read(at, &mut bytes).with_context(|| format!("the page table at {at:#x}"))?;
    let (entries, _) = bytes.as_chunks();
    Ok(entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SLOT: Range<u64> = 2 * MIB..4 * MIB;
    const EIP: u64 = 0xc000_1234;

    /// Guest memory of 8 MiB with page tables in a slot: at 2 MiB pointers, directory and page
    /// table of `WINDOW`'s GiB, with these entries from its start on.
    fn found(large: u64, small: u64, efer: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let memory = GuestMemory::create(8 * MIB, folder.path())?;
        let write = |at, entry: u64| memory.write(at, &entry.to_le_bytes());
        let [directory, table] = [SLOT.start + PAGE, SLOT.start + 2 * PAGE];
        write(SLOT.start + 0x20 + 3 * 8, directory | PRESENT)?;
        write(directory + 0x80 * 8, table | PRESENT | WRITABLE)?;
        write(directory + 0x81 * 8, large)?;
        write(table + 8, small)?;
        let registers = format!(
            "CPU#0\r\nEIP=00000000 CR3=00000000\r\nEFER=0\r\nCPU#1\r\nEAX=0\r\nEIP=c0001234\r\n\
             CR0=80010031 CR2=0 CR3=00200020 CR4=00000020\r\nEFER={efer}\r\n"
        );
        let system_ram = [0..0x9_fc00, MIB..7 * MIB];
        Mappings::read(&memory, &registers, EIP)?.check(&memory, &system_ram, &SLOT)
    }

    const NXE: &str = "0000000000000800";
    const READ_ONLY: u64 = PRESENT | NO_EXECUTE;
    const BLOCK_OF_RAM: u64 = (4 * MIB) | READ_ONLY | LARGE;

    #[test]
    fn read_only_ram_is_right() {
        let said = found(BLOCK_OF_RAM, 0x5_0000 | READ_ONLY, NXE).expect("right");
        assert!(said.contains("large pages: 0x400000-0x600000;"), "{said}");
        // Without NXE, bit 63 is reserved, and nothing is asked of it.
        found(BLOCK_OF_RAM & !NO_EXECUTE, 0x5_0000 | PRESENT, "0").expect("right");
        found(0, 0, "0").expect("right");
    }

    #[test]
    fn each_wrong_mapping_is_found() {
        let page = 0x5_0000 | READ_ONLY;
        let no_block = [
            (0, "0x0-0x200000 at 0xd0200000 is large, and not all of it RAM"),
            (6 * MIB, "0x600000-0x800000 at 0xd0200000 is large, and not all of it RAM"),
            (0xc000_0000, "is large, and not all of it RAM"),
        ];
        for (start, said) in no_block {
            assert_says(found(start | READ_ONLY | LARGE, page, NXE), said);
        }
        assert_says(found(BLOCK_OF_RAM | WRITABLE, page, NXE), "is old memory, and can be written");
        assert_says(
            found(BLOCK_OF_RAM, page | WRITABLE, NXE),
            "0x50000-0x51000 at 0xd0001000 is old",
        );
        let own = SLOT.start | READ_ONLY | WRITABLE;
        assert_says(found(BLOCK_OF_RAM, own, NXE), "is in the window, and can be written");
        assert_says(found(BLOCK_OF_RAM & !NO_EXECUTE, page, NXE), "at 0xd0200000 can be executed");
        assert_says(found(BLOCK_OF_RAM, page & !NO_EXECUTE, NXE), "at 0xd0001000 can be executed");
    }

    #[track_caller]
    fn assert_says(found: Result<String>, said: &str) {
        let error = format!("{:#}", found.expect_err("that is wrong"));
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn the_cpu_is_the_one_that_stands_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = GuestMemory::create(MIB, folder.path()).expect("memory");
        let error = Mappings::read(&memory, "CPU#0\r\nEIP=c0001230 CR3=0 EFER=0", EIP);
        assert!(format!("{:#}", error.expect_err("none is")).contains("no CPU is at 0xc0001234"));
    }
}
