//! The bytes of every segment, and the digests that purgatory checks before it lets them run.

use cmdline::Action;
use handoff::boot_params::COMMAND_LINE_SIZE;
use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE, PAGE_SIZE};
use handoff::purgatory::{
    Backup, MAX_REGIONS, ON_MISMATCH_HALT, ON_MISMATCH_RESET, REGION_BOOT_PARAMS,
    REGION_COMMAND_LINE, REGION_ELFCOREHDR, REGION_INITRD, REGION_KERNEL, REGION_PURGATORY, Region,
    STATE_SEALED, STATE_UNSEALED,
};
use handoff::setup_header::LOADED_HIGH;
use handoff::{Block, BootParams, PurgatoryParams};
use sha2::{Digest, Sha256};
use vmcore::{PhysAddr, PhysRange};
use zerocopy::IntoBytes;

use crate::images::elf::Load;
use crate::images::error::ImageError;
use crate::images::kernel_image::{KernelImage, MAX_KERNEL_SEGMENTS, first_page, last_page_end};
use crate::images::purgatory::PurgatoryImage;
use crate::plan::command_line::CommandLine;
use crate::plan::e820::E820;
use crate::plan::error::PlanError;
use crate::plan::layout::Layout;
use crate::plan::types::{PlanOptions, PlannedSegment};

/// Input of the segments.
pub(crate) struct Contents<'a> {
    pub(crate) kernel: &'a KernelImage<'a>,
    pub(crate) purgatory: &'a PurgatoryImage,
    pub(crate) elfcorehdr: Vec<u8>,
    pub(crate) e820: &'a E820,
    pub(crate) line: &'a CommandLine,
    pub(crate) options: &'a PlanOptions,
    /// True if `elfcorehdr` is final, as it will be when the first kernel dies.
    pub(crate) sealed: bool,
}

// Every PT_LOAD of the kernel and five other regions have a place in the parameter block.
const _: () = assert!(MAX_KERNEL_SEGMENTS + 5 <= MAX_REGIONS);

impl Contents<'_> {
    /// All segments, lowest first.
    pub(crate) fn segments(self, layout: &Layout) -> Result<Vec<PlannedSegment>, PlanError> {
        let command_line = padded(self.line.text.as_bytes(), layout.command_line);
        let mut boot_params = boot_params(self.e820, layout.command_line.start());
        if let Some(header) = self.kernel.setup_header {
            put_setup_header(&mut boot_params, header, layout.moved(self.kernel.entry.into()));
        }
        let initrd = self.initrd(layout)?;
        put_initrd(&mut boot_params, initrd);
        let elfcorehdr = padded(&self.elfcorehdr, layout.elfcorehdr);
        let kernel = self.kernel.loads.iter().enumerate();
        let mut segments = kernel
            .map(|(index, load)| kernel_segment(index, load, layout))
            .collect::<Result<Vec<_>, _>>()?;
        let mut regions = kernel_regions(&self.kernel.loads, layout);
        let others = [
            (REGION_BOOT_PARAMS, layout.boot_params, boot_params.as_bytes()),
            (REGION_COMMAND_LINE, layout.command_line, &command_line),
            (REGION_ELFCOREHDR, layout.elfcorehdr, &elfcorehdr),
        ];
        let initrd = initrd.map(|(range, bytes)| (REGION_INITRD, range, bytes));
        let others = others.into_iter().chain(initrd);
        regions.extend(others.map(|(name, range, bytes)| region(name, range.start(), bytes)));
        let purgatory = self.linked_purgatory(layout, regions);
        let segment = |name: &str, range, bytes| PlannedSegment { name: name.into(), range, bytes };
        segments.extend(initrd.map(|(name, range, bytes)| segment(name, range, bytes.to_vec())));
        segments.push(segment("command-line", layout.command_line, command_line));
        segments.push(segment("boot-params", layout.boot_params, boot_params.as_bytes().to_vec()));
        segments.push(segment("purgatory", layout.purgatory, purgatory));
        segments.push(segment("elfcorehdr", layout.elfcorehdr, elfcorehdr));
        segments.push(segment("backup", layout.backup, Vec::new()));
        segments.sort_by_key(|segment| segment.range.start());
        Ok(segments)
    }

    /// The initramfs, when there is one. It takes a segment of those that a kernel could have.
    fn initrd(&self, layout: &Layout) -> Result<Option<(PhysRange, &[u8])>, PlanError> {
        let Some(bytes) = &self.options.initrd else { return Ok(None) };
        let (count, limit) = (self.kernel.loads.len(), MAX_KERNEL_SEGMENTS - 1);
        if count > limit {
            return Err(PlanError::CaptureKernel(ImageError::TooManySegments { count, limit }));
        }
        Ok(Some((layout.initrd, bytes)))
    }

    /// Purgatory at its place, with its parameters; the last region it checks is itself.
    fn linked_purgatory(&self, layout: &Layout, mut regions: Vec<Region>) -> Vec<u8> {
        let base = layout.purgatory.start();
        // The slot is below 4 GiB, and so are all addresses below.
        let mut image = self.purgatory.relocated(base.get() as u32);
        let constant = self.purgatory.constant.clone();
        let start = PhysAddr::new(base.get() + constant.start as u64);
        regions.push(region(REGION_PURGATORY, start, &image[constant]));
        if !self.options.checks {
            regions.clear();
        }
        let params = self.params(layout, &regions);
        self.purgatory.fill(&mut image, &params);
        image
    }

    /// The parameter block, its own digest last.
    fn params(&self, layout: &Layout, regions: &[Region]) -> PurgatoryParams {
        let mut params = PurgatoryParams::new();
        params.entry = layout.moved(self.kernel.entry.into()).get() as u32;
        params.boot_params = layout.boot_params.start().get() as u32;
        params.console_port = self.options.console_port.into();
        params.on_mismatch = match self.line.failure_action {
            Action::Halt => ON_MISMATCH_HALT,
            Action::Reboot | Action::PowerOff => ON_MISMATCH_RESET,
        };
        params.backup = Backup {
            source: BACKUP_SOURCE,
            destination: layout.backup.start().get(),
            length: BACKUP_LENGTH,
        };
        params.region_count = regions.len() as u32;
        params.regions[..regions.len()].copy_from_slice(regions);
        params.state = if self.sealed { STATE_SEALED } else { STATE_UNSEALED };
        slot_image::sign(&mut params);
        params
    }
}

/// A PT_LOAD in whole pages: zeros up to where it starts in its first page, then the file's bytes.
fn kernel_segment(
    index: usize,
    load: &Load<'_>,
    layout: &Layout,
) -> Result<PlannedSegment, PlanError> {
    let first = first_page(load);
    let bounds = [first, last_page_end(load)].map(|linked| layout.moved(linked as i64));
    let range = PhysRange::from_bounds(bounds[0], bounds[1])?;
    let mut bytes = vec![0; (u64::from(load.paddr) - first) as usize];
    bytes.extend_from_slice(load.bytes);
    Ok(PlannedSegment { name: format!("kernel-{index}"), range, bytes })
}

/// The file part of each PT_LOAD; the rest is bss, which the kernel clears by itself.
fn kernel_regions(loads: &[Load<'_>], layout: &Layout) -> Vec<Region> {
    let loads = loads.iter().filter(|load| !load.bytes.is_empty());
    loads.map(|load| region(REGION_KERNEL, layout.moved(load.paddr.into()), load.bytes)).collect()
}

/// The region that holds `bytes` at `start`.
fn region(name: &str, start: PhysAddr, bytes: &[u8]) -> Region {
    let mut region = Region::new(name, start.get(), bytes.len() as u64);
    region.digest = Sha256::digest(bytes).into();
    region
}

/// `bytes`, followed by zeros: the whole segment is digested.
fn padded(bytes: &[u8], segment: PhysRange) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(segment.length() as usize, 0);
    bytes
}

/// The page that ESI points to: command line and memory map.
fn boot_params(e820: &E820, command_line: PhysAddr) -> BootParams {
    let mut page = BootParams::new();
    page.hdr.cmd_line_ptr = (command_line.get() as u32).into();
    page.hdr.cmdline_size = (COMMAND_LINE_SIZE as u32 - 1).into();
    page.e820_entries = e820.entries.len() as u8;
    page.e820_table[..e820.entries.len()].copy_from_slice(&e820.entries);
    page
}

/// Gives a bzImage its own setup header, with the fields that a boot loader fills in: the loader's
/// type, the address of the code, and that of the command line.
fn put_setup_header(page: &mut BootParams, header: &[u8], entry: PhysAddr) {
    let ours = page.hdr.clone();
    let room = page.hdr.as_mut_bytes();
    let length = header.len().min(room.len());
    room[..length].copy_from_slice(&header[..length]);
    page.hdr.type_of_loader = ours.type_of_loader;
    page.hdr.loadflags |= LOADED_HIGH;
    page.hdr.code32_start = (entry.get() as u32).into();
    page.hdr.cmd_line_ptr = ours.cmd_line_ptr;
}

/// Gives a Linux the address of its initramfs. The slot is below 4 GiB.
fn put_initrd(page: &mut BootParams, initrd: Option<(PhysRange, &[u8])>) {
    if let Some((range, bytes)) = initrd {
        page.hdr.ramdisk_image = (range.start().get() as u32).into();
        page.hdr.ramdisk_size = (bytes.len() as u32).into();
    }
}

// The command line and its NUL have room in the page that the layout gives them.
const _: () = assert!(COMMAND_LINE_SIZE as u64 <= PAGE_SIZE);
