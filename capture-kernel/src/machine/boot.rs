//! State of the machine and of boot_params at the start.

#![expect(unsafe_code, reason = "the address space is taken once")]

use crate::machine::oldmem::{self, Window};
use boot_stub::paging::{AddressSpace, SlotMemory, physical_limit};
use boot_stub::{double_fault, machine_check};
use capture_kernel::driver::dma::SlotMemory as Heap;
use capture_kernel::memory;
use cmdline::Options;
use handoff::boot_params::{BootParams, COMMAND_LINE_SIZE, E820Entry};
use vmcore::{CoreHeader, Error, Holes, PhysAddr, PhysRange, RangeSet, ReadPhys, SegmentKind};
use zerocopy::{FromZeros, IntoBytes};

/// The address space that is left once the window on old memory is in use.
pub(crate) struct Machine {
    /// First to one-past-last byte of the running image.
    pub(crate) image: PhysRange,
    /// The mapping for the heap.
    pub(crate) slot_memory: SlotMemory,
}

/// Sets up the address space and lets exceptions of memory through. Old memory can be read from
/// here on, and only read: that is tried out.
pub(crate) fn take_machine(physical_minus_virtual: u32) -> Machine {
    // SAFETY: called once, by the main function that the entry code called.
    let mut space = unsafe { AddressSpace::take(physical_minus_virtual) };
    double_fault::init();
    machine_check::init();
    if !space.window_refuses_writes() {
        log::warn!("this CPU lets us write to old memory; giving up before that happens");
        boot_stub::fail()
    }
    let (start, end) = space.image();
    let image = PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end));
    oldmem::start(space.old_memory);
    crate::machine::registers::start(space.devices);
    Machine {
        image: image.expect("the linker script puts the end behind the start"),
        slot_memory: space.slot_memory,
    }
}

/// The fields of boot_params that we use, copied.
pub(crate) struct Parameters {
    /// First to one-past-last byte of the running image.
    pub(crate) image: PhysRange,
    /// Address of boot_params itself.
    pub(crate) page: PhysRange,
    /// Address of the command line.
    pub(crate) line: PhysRange,
    /// The command line, followed by zeros.
    pub(crate) command_line: [u8; COMMAND_LINE_SIZE],
    /// boot_params itself.
    copy: BootParams,
}

impl Parameters {
    /// Reads the page at the physical address `at` and the command line that it names. Parts that
    /// cannot be read count as empty and are reported.
    pub(crate) fn read(at: u32, image: PhysRange) -> Self {
        let mut copy = BootParams::new_zeroed();
        let at = PhysAddr::new(at.into());
        if let Err(error) = Window.read_phys(at, copy.as_mut_bytes()) {
            log::warn!("boot_params at {at}: {error}");
        }
        let line_at = PhysAddr::new(copy.hdr.cmd_line_ptr.get().into());
        let mut command_line = [0; COMMAND_LINE_SIZE];
        if line_at.get() == 0 {
            log::warn!("boot_params name no command line");
        } else if let Err(error) = Window.read_phys(line_at, &mut command_line) {
            log::warn!("command line at {line_at}: {error}");
        }
        let page_of = |at: PhysAddr, length: usize| {
            PhysRange::new(at, length as u64).expect("a 32-bit address does not wrap 64 bits")
        };
        Self {
            image,
            page: page_of(at, size_of::<BootParams>()),
            line: page_of(line_at, COMMAND_LINE_SIZE),
            command_line,
            copy,
        }
    }

    /// The e820 entries that boot_params say are valid, as many as there is room for.
    pub(crate) fn e820(&self) -> &[E820Entry] {
        let count = usize::from(self.copy.e820_entries).min(self.copy.e820_table.len());
        &self.copy.e820_table[..count]
    }
}

impl Parameters {
    /// Memory that holds the running kernel and the loader's data, as far as its place is known.
    pub(crate) fn ours(&self, options: &Options<'_>, slot: Heap) -> [PhysRange; 5] {
        let Self { image, page, line, .. } = *self;
        let heap = PhysRange::new(slot.start, slot.length as u64).unwrap_or(image);
        let block = options.elfcorehdr.and_then(|block| PhysRange::new(block.addr, 1).ok());
        [image, page, line, heap, block.unwrap_or(image)]
    }

    /// Everything that is known to be RAM.
    ///
    /// # Errors
    /// `memmap=` has too many ranges, or there is no memory for those of RAM.
    pub(crate) fn ram(
        &self,
        options: &Options<'_>,
        header: Option<&CoreHeader>,
    ) -> Result<RangeSet, Error> {
        let segments = header.iter().flat_map(|header| header.segments(&Window));
        let loads = segments.filter_map(|segment| {
            segment.ok().filter(|segment| segment.kind == SegmentKind::Load)?.memory_range().ok()
        });
        let (granted, _) = memory::granted(options, self.e820(), self.image)?;
        memory::ram(loads, &granted, self.e820(), physical_limit())
    }

    /// Has RAM mapped by large pages from here on, except memory that the e820 table calls
    /// something else and `holes`.
    pub(crate) fn map_large(
        &self,
        options: &Options<'_>,
        header: Option<&CoreHeader>,
        holes: &Holes,
    ) {
        let ram = self.ram(options, header);
        let holes = holes.iter().map(|hole| hole.range);
        let undisputed = ram.and_then(|ram| memory::undisputed(ram, self.e820(), holes));
        if let Err(error) = undisputed.and_then(|ram| oldmem::know(ram.iter())) {
            log::warn!("old memory is mapped by pages of 4 KiB only: {error}");
        }
    }
}

/// The ELF core header that `elfcorehdr=` names, or [`None`] and the reason on the console.
pub(crate) fn core_header(options: &Options<'_>) -> Option<CoreHeader> {
    let Some(elfcorehdr) = options.elfcorehdr else {
        log::warn!("no elfcorehdr= on the command line: vmcore has length zero");
        return None;
    };
    CoreHeader::read(&Window, elfcorehdr)
        .and_then(|header| header.check_ranges(&Window).map(|()| header))
        .inspect_err(|error| log::warn!("elfcorehdr refused: {error}; vmcore has length zero"))
        .ok()
}
