//! The ELF core header that the guest builds of itself (paper, section 4.2).

use crate::machine::multiboot::Multiboot;
use crate::machine::note;
use alloc::vec::Vec;
use vmcore::{Class, EM_386, Error, LinearMap, PhysAddr, PhysRange};

/// The distance between virtual and physical addresses in the dump. The guest is mapped one to one;
/// the dump gets the addresses of an i386 Linux, so that there is something for gdb to look up.
const PAGE_OFFSET: u64 = 0xc000_0000;
/// One past the last physical address that an i386 Linux maps directly (896 MiB).
const LOWMEM_END: PhysAddr = PhysAddr::new(0x3800_0000);
/// Firmware's interrupt vectors: no kernel calls this page RAM.
const FIRST_PAGE: u64 = 4096;

/// One PT_NOTE for each of the guest's CPUs, one PT_LOAD for each range of RAM less the `slot`; low
/// memory is to be read from `backup`.
pub(crate) fn build(
    information: Multiboot,
    slot: PhysRange,
    backup: PhysRange,
    cpus: u32,
) -> Result<Vec<u8>, Error> {
    let range = |start, end| PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end));
    let ram = information.ram().filter_map(|ram| range(ram.start, ram.end).ok());
    let taken = [range(0, FIRST_PAGE)?, slot];
    let ram = vmcore::crash_memory_ranges(ram, &taken)?;
    let end = ram.iter().last().map_or(PhysAddr::new(0), PhysRange::end);
    let linear = LinearMap { page_offset: PAGE_OFFSET, end: end.min(LOWMEM_END) };
    let loads = vmcore::loads(&ram, Some(linear), backup.start());
    vmcore::core_header(EM_386, Class::narrowest(end), note::areas(cpus), &loads)
}
