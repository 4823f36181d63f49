//! The slot: a slot image is found, checked, unpacked and sealed. This is all that a kernel without
//! kexec_load needs.

#![expect(unsafe_code, reason = "memory that the boot loader or firmware has left, and the slot")]

use crate::machine::command_line::CommandLine;
use crate::machine::core_header;
use crate::machine::multiboot::Multiboot;
use boot_stub::console::println;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::slice;
use handoff::PurgatoryParams;
use slot_image::{Error, SlotImage, backup_place, parse, seal};
use vmcore::{PhysAddr, PhysRange};

/// Fills the slot from the first module, or else from the image that is in place; returns
/// purgatory's entry (physical).
pub(crate) fn load(information: Multiboot, line: &CommandLine) -> Result<u32, &'static str> {
    let is_ram = |ram: core::ops::Range<u64>| {
        ram.start <= line.slot.start && line.slot.end <= ram.end.min(1 << 32)
    };
    if !information.ram().any(is_ram) {
        return Err("crashkernel=SIZE@BASE: there is no RAM");
    }
    fill(information, line).map_err(|error| {
        println!("guest: {error}");
        "no capture kernel is loaded"
    })
}

fn fill(information: Multiboot, line: &CommandLine) -> Result<u32, Error> {
    let range = |start, end| PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end));
    let slot = range(line.slot.start, line.slot.end)?;
    let (found, place) = match information.first_module() {
        Some(module) => ("in a module", range(module.start, module.end)?),
        None => ("in place", backup_place(slot)?),
    };
    let image = parse(memory(place))?;
    image.check_slot(slot)?;
    image.check_place(place.start())?;
    unpack(&image);
    if line.seal && !image.is_sealed() {
        let header = core_header::build(information, slot, image.backup, line.cpus)?;
        complete(&image, &header)?;
    }
    println!("guest: slot image {found} at {}, unpacked", place.start());
    // The entry is in the slot, which ends below 4 GiB.
    Ok(image.entry.get() as u32)
}

/// The bytes of a range below 4 GiB.
fn memory(range: PhysRange) -> &'static [u8] {
    let start = with_exposed_provenance(range.start().get() as usize);
    // SAFETY: paging is off. The range is a module that the boot loader has reported, or the end of
    // the slot, which is RAM. `unpack` writes to other memory.
    unsafe { slice::from_raw_parts(start, range.length() as usize) }
}

/// Puts every segment to its place, followed by zeros.
fn unpack(image: &SlotImage<'_>) {
    for segment in image.segments() {
        let start = with_exposed_provenance_mut::<u8>(segment.place.start().get() as usize);
        let (used, length) = (segment.bytes.len(), segment.place.length() as usize);
        // SAFETY: the place is in the slot, which is RAM without a user; it overlaps neither
        // another place nor the image, and the bytes fit into it, as was checked.
        unsafe {
            start.copy_from_nonoverlapping(segment.bytes.as_ptr(), used);
            start.add(used).write_bytes(0, length - used);
        }
    }
}

/// Puts the ELF core header to its place, which is zeros by now, and seals the slot.
fn complete(image: &SlotImage<'_>, header: &[u8]) -> Result<(), Error> {
    let mut params = image.params()?;
    seal(&mut params, image.elfcorehdr, header)?;
    let at = |place: PhysRange| with_exposed_provenance_mut::<u8>(place.start().get() as usize);
    // SAFETY: both places are in the slot, as in `unpack`, and `seal` has seen that the header
    // fits.
    unsafe {
        at(image.elfcorehdr).copy_from_nonoverlapping(header.as_ptr(), header.len());
        at(image.params_place).cast::<PurgatoryParams>().write_unaligned(params);
    }
    Ok(())
}
