//! The views of the dead kernel's memory, as the command line asks for them.

use crate::{boot, oldmem};
use alloc::vec::Vec;
use boot_stub::console::println;
use boot_stub::paging;
use capture_kernel::dump::{Dump, NamedView};
use dumpfile::Contents;
use vmcore::{CoreHeader, Options, PhysRange, View, ViewSpec};

/// Everything that can leave the machine. What cannot be had is said.
pub(crate) fn read(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
) -> Dump {
    let (name, start, contents, view) = match options.view {
        ViewSpec::Vmcore => ("vmcore", 0, Contents::Vmcore, header.and_then(read_vmcore)),
        ViewSpec::OldMem(range) => {
            let start = range.map_or(0, |range| range.start().get());
            ("oldmem", start, Contents::OldMem { start }, read_oldmem(options, boot, header, range))
        }
    };
    let bulk = view.map(|view| NamedView { name, view, start });
    Dump { small: Vec::new(), bulk, contents, on_request: Vec::new() }
}

/// The vmcore, or [`None`] and the reason on the console: then its length is zero.
fn read_vmcore(header: &CoreHeader) -> Option<View> {
    let complain = &mut |area: &vmcore::NoteArea| println!("kdump: {area}");
    match vmcore::vmcore(header, &oldmem::Window, paging::physical_limit(), complain) {
        Ok(vmcore) => {
            println!("kdump: vmcore of {} bytes, {} CPUs", vmcore.view.len(), vmcore.cpus);
            Some(vmcore.view)
        }
        Err(error) => {
            println!("kdump: elfcorehdr refused: {error}; vmcore has length zero");
            None
        }
    }
}

/// Physical memory as it is, as far as it is known to be RAM.
fn read_oldmem(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
    range: Option<PhysRange>,
) -> Option<View> {
    let view = boot.ram(options, header).and_then(|ram| vmcore::oldmem(&ram, range));
    match &view {
        Ok(view) => println!("kdump: oldmem of {} bytes", view.len()),
        Err(error) => println!("kdump: oldmem: {error}"),
    }
    view.ok()
}
