//! The views of the dead kernel's memory, as the command line asks for them.

use crate::{boot, oldmem};
use alloc::vec::Vec;
use boot_stub::console::println;
use boot_stub::{paging, tsc};
use capture_kernel::dump::{Dump, NamedView};
use core::fmt::Arguments;
use dumpfile::Contents;
use vmcore::{CoreHeader, Extent, Holes, Options, PhysRange, SmallView, View, ViewSpec, Vmcore};

/// Most left-out ranges that the console names.
const NAMED: usize = 8;

/// Everything that can leave the machine: what was asked for, before it what is small and precious,
/// and the other one of vmcore and oldmem for who asks. What cannot be had is said.
pub(crate) fn read(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
    holes: &Holes,
) -> Dump {
    let vmcore = header.and_then(|header| Some((header, read_vmcore(header, holes)?)));
    let small = vmcore.as_ref().map(|(header, vmcore)| small(header, vmcore)).unwrap_or_default();
    let range = if let ViewSpec::OldMem(range) = options.view { range } else { None };
    let start = range.map_or(0, |range| range.start().get());
    let oldmem = read_oldmem(options, boot, header, (range, holes));
    let oldmem = oldmem.map(|view| NamedView { name: "oldmem", view, start });
    let vmcore =
        vmcore.map(|(_, vmcore)| NamedView { name: "vmcore", view: vmcore.view, start: 0 });
    let (contents, bulk, other) = match options.view {
        ViewSpec::Vmcore => (Contents::Vmcore, vmcore, oldmem),
        ViewSpec::OldMem(_) => (Contents::OldMem { start }, oldmem, vmcore),
    };
    let on_request = other.into_iter().collect();
    Dump { small, bulk, contents, on_request, ..Dump::default() }.with_id(tsc::now())
}

/// The vmcore, or [`None`] and the reason on the console: then its length is zero.
fn read_vmcore(header: &CoreHeader, holes: &Holes) -> Option<Vmcore> {
    let complain = &mut |area: &vmcore::NoteArea| println!("kdump: {area}");
    match vmcore::vmcore(header, &oldmem::Window, paging::physical_limit(), holes, complain) {
        Ok(vmcore) => {
            println!("kdump: vmcore of {} bytes, {} CPUs", vmcore.view.len(), vmcore.cpus);
            say_left_out(&vmcore.left_out);
            Some(vmcore)
        }
        Err(error) => {
            println!("kdump: elfcorehdr refused: {error}; vmcore has length zero");
            None
        }
    }
}

/// Names the first ranges that are left out, and counts all of them.
fn say_left_out(left_out: &Holes) {
    for hole in left_out.iter().take(NAMED) {
        println!("kdump: left out: {}, {}, zero in the dump", hole.range, hole.reason);
    }
    if !left_out.is_empty() {
        let (count, bytes) = (left_out.iter().len(), left_out.total());
        println!("kdump: left out: {bytes} bytes in all, in {count} ranges");
    }
}

/// What tells why the kernel died.
fn small(header: &CoreHeader, vmcore: &Vmcore) -> Vec<NamedView> {
    let complain = &mut |line: Arguments<'_>| println!("kdump: {line}");
    let views = vmcore::small_views(header, vmcore, &oldmem::Window, complain);
    let named = |SmallView { name, start, bytes }| {
        let view = View::new(Vec::from([Extent::Bytes(bytes)])).ok()?;
        Some(NamedView { name, view, start })
    };
    views.into_iter().filter_map(named).collect()
}

/// Physical memory as it is, as far as it is known to be RAM.
fn read_oldmem(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
    (range, holes): (Option<PhysRange>, &Holes),
) -> Option<View> {
    let ram = boot.ram(options, header);
    let view = ram.and_then(|ram| vmcore::oldmem(&ram, range)?.without(holes));
    match &view {
        Ok(view) => println!("kdump: oldmem of {} bytes", view.len()),
        Err(error) => println!("kdump: oldmem: {error}"),
    }
    view.ok()
}
