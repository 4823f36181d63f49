//! Places of everything in the slot. Pure arithmetic over sizes; no bytes yet.
//!
//! ```text
//! slot start                                                                   slot end
//! │ kernel │ free: the capture kernel's memory │ initrd │ line │ boot │ purgatory │ elfcorehdr │ backup │
//! └──────────────── memmap= ────────────────────────────┘
//! ```

use handoff::layout::{BACKUP_LENGTH, PAGE_SIZE};
use vmcore::{PhysAddr, PhysRange};

use crate::facts::memory::Ram;
use crate::facts::system::Machine;
use crate::images::kernel_image::KernelImage;
use crate::plan::error::PlanError;

/// Least part of the slot that stays undeclared, in one piece: the first kernel takes its control
/// pages from there (Linux, `kimage_alloc_crash_control_pages`). 64 KiB.
const CONTROL_PAGES: u64 = 64 << 10;

/// The same for this machine and its RAM, in bytes. An x86_64 kernel also builds the page tables
/// there that purgatory is entered with: where the CPU has no larger pages than 2 MiB, that is one
/// page for each GiB, one for each 512 GiB, and two above these.
///
/// Source: Linux, `arch/x86/kernel/machine_kexec_64.c`, `init_pgtable`.
pub(crate) fn control_pages(machine: Option<Machine>, ram: &Ram) -> u64 {
    let end = ram.iter().last().map_or(0, |range| range.end().get());
    let tables = match machine {
        Some(Machine::X86_64) => end.div_ceil(1 << 30) + end.div_ceil(512 << 30) + 2,
        Some(Machine::I386) | None => 0,
    };
    CONTROL_PAGES + tables * PAGE_SIZE
}

/// Number of bytes that the parts above the capture kernel take.
pub(crate) struct Sizes {
    pub(crate) elfcorehdr: u64,
    pub(crate) purgatory: u64,
    /// Zero without an initramfs.
    pub(crate) initrd: u64,
    pub(crate) control_pages: u64,
}

/// The places of all parts, in whole pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Number that is added to each of the image's physical addresses; negative if it moves down.
    pub(crate) delta: i64,
    /// From the slot's start up to the command line: `memmap=`.
    pub(crate) memory: PhysRange,
    /// The longest undeclared piece of the slot.
    pub(crate) gap: PhysRange,
    /// At the end of `memory`: a Linux would copy an initramfs that is outside. May be empty.
    pub(crate) initrd: PhysRange,
    pub(crate) command_line: PhysRange,
    pub(crate) boot_params: PhysRange,
    pub(crate) purgatory: PhysRange,
    pub(crate) elfcorehdr: PhysRange,
    pub(crate) backup: PhysRange,
}

/// A piece of the slot. Signed, because a piece that does not fit ends up below the slot's start.
type Piece = (i64, i64);

impl Layout {
    /// Places everything in the slot, whose bounds are whole pages.
    pub(crate) fn new(
        slot: PhysRange,
        kernel: &KernelImage<'_>,
        sizes: &Sizes,
    ) -> Result<Self, PlanError> {
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE_SIZE) as i64;
        let page = PAGE_SIZE as i64;
        let parts = [
            pages(sizes.initrd),
            page,
            page,
            pages(sizes.purgatory),
            pages(sizes.elfcorehdr),
            BACKUP_LENGTH as i64,
        ];
        let free = (slot.start().get() as i64, slot.end().get() as i64 - parts.iter().sum::<i64>());
        let (delta, gap) = place_kernel(slot, free, kernel, sizes.control_pages as i64)?;
        let mut next = free.1;
        let [initrd, command_line, boot_params, purgatory, elfcorehdr, backup] =
            parts.map(|length| {
                let part = (next, next + length);
                next = part.1;
                part
            });
        Ok(Self {
            delta,
            memory: range((free.0, command_line.0))?,
            gap: range(gap)?,
            initrd: range(initrd)?,
            command_line: range(command_line)?,
            boot_params: range(boot_params)?,
            purgatory: range(purgatory)?,
            elfcorehdr: range(elfcorehdr)?,
            backup: range(backup)?,
        })
    }

    /// Place of the byte of the kernel that is linked to the physical address `linked`.
    pub(crate) fn moved(&self, linked: i64) -> PhysAddr {
        PhysAddr::new((linked + self.delta) as u64)
    }
}

fn range((start, end): Piece) -> Result<PhysRange, PlanError> {
    let [start, end] = [start, end].map(|bound| PhysAddr::new(bound as u64));
    Ok(PhysRange::from_bounds(start, end)?)
}

/// Place of the kernel in the free part of the slot: its own address if it fits there; otherwise,
/// if it may be moved, the slot's start.
///
/// Returns the distance it moves and the gap that stays.
fn place_kernel(
    slot: PhysRange,
    free: Piece,
    kernel: &KernelImage<'_>,
    control_pages: i64,
) -> Result<(i64, Piece), PlanError> {
    let linked = kernel.span();
    let segment = range(linked)?;
    let in_place = slot.contains_range(segment).then(|| gap_around(free, linked, control_pages));
    match in_place {
        Some(Ok(gap)) => return Ok((0, gap)),
        None if !kernel.movable => return Err(PlanError::SegmentOutsideSlot { segment, slot }),
        Some(Err(missing)) if !kernel.movable => return Err(too_small(slot, missing)),
        _ => {}
    }
    let delta = kernel.moved_start(free.0) - linked.0;
    match gap_around(free, (linked.0 + delta, linked.1 + delta), control_pages) {
        Ok(gap) => Ok((delta, gap)),
        Err(missing) => Err(too_small(slot, missing)),
    }
}

/// The longer one of the two pieces below and above the kernel, or how many bytes are missing.
fn gap_around(free: Piece, kernel: Piece, control_pages: i64) -> Result<Piece, i64> {
    let length = |piece: Piece| piece.1 - piece.0;
    let (below, above) = ((free.0, kernel.0), (kernel.1, free.1));
    let gap = if length(below) > length(above) { below } else { above };
    if length(above) >= 0 && length(gap) >= control_pages {
        return Ok(gap);
    }
    let wanted = if length(below) >= control_pages { 0 } else { control_pages };
    Err(wanted - length(above))
}

fn too_small(slot: PhysRange, missing: i64) -> PlanError {
    PlanError::SlotTooSmall { slot, missing: missing.unsigned_abs().div_ceil(1024) }
}
