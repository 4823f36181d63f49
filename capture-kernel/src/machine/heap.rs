//! The heap: memory of the slot, and of nothing else.

#![expect(unsafe_code, reason = "the global allocator, and the memory that it is given")]

use crate::machine::boot::Parameters;
use crate::machine::oldmem::Window;
use boot_stub::heap::LockedHeap;
use boot_stub::paging::{self, AREA_SIZE};
use capture_kernel::driver::dma::SlotMemory;
use capture_kernel::driver::translation::Translation;
use capture_kernel::memory::{self, Ranges, Source};
use cmdline::Options;
use vmcore::{CoreHeader, Error, PhysRange, SegmentKind};

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Finds granted memory without another user, and gives it to the heap.
pub(crate) fn start(
    options: &Options<'_>,
    boot: &Parameters,
    mapping: paging::SlotMemory,
    header: Option<&CoreHeader>,
) -> SlotMemory {
    let free = free_ranges(options, boot, header).unwrap_or_else(|error| {
        log::warn!("the memory map cannot be used: {error}");
        boot_stub::fail()
    });
    let Some(range) = memory::heap(&free, AREA_SIZE as u64) else {
        log::info!("no free memory in the slot: check memmap= and the size of the slot");
        boot_stub::fail()
    };
    log::info!("image {}, heap {range}", boot.image);
    let length = range.length() as usize;
    // SAFETY: granted by the loader, outside of our image and of everything that is to be read, and
    // this is the only call.
    let memory = unsafe { mapping.take(range.start().get(), length) };
    let memory = memory.expect("whole pages, and no more than the area has");
    let address = memory.as_mut_ptr().cast::<u8>();
    // SAFETY: the memory is ours for ever, and the heap is empty.
    unsafe { HEAP.init(address, length) };
    let translation = Translation::Unknown;
    SlotMemory { address: address as usize, start: range.start(), length, translation }
}

/// Logs how much of it was used.
pub(crate) fn report() {
    let (most, all) = HEAP.most_used();
    log::info!("heap: {most} of {all} bytes used");
}

/// Runs `work`; returns its result and the heap that it used, in bytes.
pub(crate) fn most_used_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HEAP.most_used_by(work)
}

/// Granted memory less old memory, our image and the data that the loader left for us.
fn free_ranges(
    options: &Options<'_>,
    boot: &Parameters,
    header: Option<&CoreHeader>,
) -> Result<Ranges, Error> {
    let image = boot.image;
    let (mut free, source) = memory::granted(options, boot.e820(), image)?;
    if !free.contains(image) {
        log::warn!("the memory map ({source:?}) does not cover our own image {image}");
    }
    if source == Source::CommandLine {
        for nothing in memory::not_ram(&free, boot.e820(), image)?.iter() {
            log::warn!("memmap= covers {nothing}, no RAM in e820: left alone");
            free.give_up(nothing);
        }
    }
    // Memory outside the list is not used, so any number of holes in old memory fits.
    let knows_old_memory = exclude_old_memory(&mut free, source, header)?;
    if source == Source::E820 {
        free = memory::within_slot(&free, image, &[boot.page, boot.line], knows_old_memory)?;
    }
    for taken in [image, boot.page, boot.line] {
        free.give_up(taken);
    }
    if let Some(block) = options.elfcorehdr {
        free.give_up(PhysRange::new(block.addr, block.size.unwrap_or(AREA_SIZE as u64))?);
    }
    Ok(free)
}

/// Takes everything that the ELF core header names out of `free`; whether it names any memory.
fn exclude_old_memory(
    free: &mut Ranges,
    source: Source,
    header: Option<&CoreHeader>,
) -> Result<bool, Error> {
    let mut knows_old_memory = false;
    for segment in header.iter().flat_map(|header| header.segments(&Window)) {
        let segment = segment?;
        knows_old_memory |= segment.kind == SegmentKind::Load && segment.memsz > 0;
        // The PT_LOADs have passed `check_ranges`. A PT_NOTE that wraps is nowhere.
        for old in [segment.source_range(), segment.memory_range()].into_iter().flatten() {
            if source == Source::CommandLine && free.iter().any(|range| range.overlaps(old)) {
                log::warn!("memmap= covers old memory {old}: left alone");
            }
            free.give_up(old);
        }
    }
    Ok(knows_old_memory)
}
