//! The views of the dead kernel's memory, as the command line asks for them.

use crate::machine::time::Tsc;
use crate::machine::{boot, heap, oldmem, progress};
use alloc::rc::Rc;
use alloc::vec::Vec;
use boot_stub::console::println;
use boot_stub::{paging, tsc};
use capture_kernel::backtraces;
use capture_kernel::dump::{Dump, Later, NamedView, Urgent, id};
use capture_kernel::selection::{KernelPages, Selection};
use cmdline::{Options, ViewSpec};
use core::ops::Range;
use dumpfile::Contents;
use linux::{Filter, LaterViews, SegmentMap, SmallView};
use vmcore::{
    CoreHeader, Extents, Holes, PageFilter, PhysAddr, PhysRange, Verdict, View, Vmcore,
    WINDOW_PAGES,
};

/// Most left-out ranges that the console names.
const NAMED: usize = 8;

/// Everything that can leave the machine: the view that was asked for, the small views before it,
/// and the other one of vmcore and oldmem on request, with the kernel's own pages of the vmcore.
/// Missing parts are reported. Of the dead kernel's log only the end is read here.
pub(crate) fn read(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
    holes: &Holes,
    clock: &Tsc,
) -> Dump {
    let vmcore = header.and_then(|header| Some((header, read_vmcore(header, holes)?)));
    let id = id(tsc::now(), vmcore.as_ref().map_or(&[], |(_, vmcore)| vmcore.notes()));
    let clock = options.backtrace.then_some(*clock);
    let (first, later) =
        vmcore.as_ref().map(|(header, vmcore)| small(header, vmcore, clock)).unwrap_or_default();
    let range = if let ViewSpec::OldMem(range) = options.view { range } else { None };
    let start = range.map_or(0, |range| range.start().get());
    let oldmem = read_oldmem(options, boot, header, (range, holes));
    let oldmem = oldmem.map(|view| NamedView { name: "oldmem", view: Rc::new(view), start });
    let vmcore = vmcore.map(|(_, vmcore)| Rc::new(vmcore));
    let (spec, parts_of) = (options.view, header.copied().zip(vmcore.clone()));
    let urgent =
        parts_of.map(|(header, vmcore)| Urgent::new(move || urgent(&header, &vmcore, spec)));
    let urgent = urgent.unwrap_or_default();
    let selection = header.zip(vmcore.clone()).map(|(header, vmcore)| select(*header, vmcore));
    let kernel = vmcore.clone().zip(selection.clone()).map(|(vmcore, selection)| {
        let view = Rc::new(KernelPages::new(vmcore, selection));
        NamedView { name: "vmcore-kern", view, start: 0 }
    });
    let vmcore = vmcore.map(|view| NamedView { name: "vmcore", view, start: 0 });
    let (contents, bulk, other) = match options.view {
        ViewSpec::Vmcore => (Contents::Vmcore, vmcore, oldmem),
        ViewSpec::OldMem(_) => (Contents::OldMem { start }, oldmem, vmcore),
    };
    let on_request = other.into_iter().chain(kernel).collect();
    let level = options.level;
    Dump { id, first, later, bulk, level, selection, contents, urgent, on_request }
}

/// The selection of pages by the structs of a dead Linux.
fn select(header: CoreHeader, vmcore: Rc<Vmcore>) -> Selection {
    Selection::new(&oldmem::Window, move || match filter(&header, &vmcore) {
        Ok(mut filter) => {
            filter.protect_stacks(vmcore.machine, vmcore.notes());
            for area in &vmcore.note_areas {
                PhysRange::new(area.source, area.length).map(|area| filter.protect(area)).ok();
            }
            Some(Rc::new(Reporting(filter)))
        }
        Err(error) => {
            log::warn!("no page can be left out: {error}");
            None
        }
    })
}

fn filter(header: &CoreHeader, vmcore: &Vmcore) -> Result<Pages, linux::Error> {
    let segments = SegmentMap::new(header.segments(&oldmem::Window))?;
    Filter::new(&oldmem::Window, segments, linux::vmcoreinfo(vmcore.notes()))
}

type Pages = Filter<&'static oldmem::Window>;

/// A filter that reports progress with each window: a count of all pages has no other end.
#[derive(Debug)]
struct Reporting(Pages);

impl PageFilter for Reporting {
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        progress::report();
        self.0.classify(window, into);
    }
}

/// The vmcore, or [`None`] and the reason on the console: then its length is zero.
fn read_vmcore(header: &CoreHeader, holes: &Holes) -> Option<Vmcore> {
    let complain = &mut |area: &vmcore::NoteArea| log::info!("{area}");
    match vmcore::vmcore(header, &oldmem::Window, paging::physical_limit(), holes, complain) {
        Ok(vmcore) => {
            log::info!("vmcore of {} bytes, {} CPUs", vmcore.view.len(), vmcore.cpus);
            say_left_out(&vmcore.left_out);
            Some(vmcore)
        }
        Err(error) => {
            log::warn!("elfcorehdr refused: {error}; vmcore has length zero");
            None
        }
    }
}

/// The parts of the bulk that go first if there is no room for all of it, in this order: the parts
/// that a reader needs to open the dump, the dead kernel's image, the way to its page structs, and
/// these.
fn urgent(header: &CoreHeader, vmcore: &Vmcore, view: ViewSpec) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut add = |part| match parts.try_reserve(1) {
        Ok(()) => parts.push(part),
        Err(_) => log::warn!("no room in the heap for the list of what goes first"),
    };
    if view == ViewSpec::Vmcore {
        add(0..vmcore.head());
    }
    let mut add_memory = |memory: PhysRange| match view {
        ViewSpec::Vmcore => linux::in_file(vmcore, memory, &mut add),
        ViewSpec::OldMem(range) => {
            let base = range.map_or(0, |range| range.start().get());
            let offset = |at: PhysAddr| at.get().saturating_sub(base);
            add(offset(memory.start())..offset(memory.end()));
        }
    };
    linux::kernel_image(vmcore).into_iter().for_each(&mut add_memory);
    if let Ok(filter) = filter(header, vmcore) {
        filter.page_structs(&mut add_memory);
    }
    parts
}

/// Names the first ranges that are left out, and counts all of them.
fn say_left_out(left_out: &Holes) {
    for hole in left_out.iter().take(NAMED) {
        log::info!("left out: {}, {}, zero in the dump", hole.range, hole.reason);
    }
    if !left_out.is_empty() {
        let (count, bytes) = (left_out.iter().len(), left_out.total());
        log::info!("left out: {bytes} bytes in all, in {count} ranges");
    }
}

/// The small views: those that are read at once, and those that are read later; backtraces are
/// among these if there is a clock.
fn small(header: &CoreHeader, vmcore: &Vmcore, clock: Option<Tsc>) -> (Vec<NamedView>, Later) {
    let (first, later) = linux::first_views(header, vmcore, &oldmem::Window);
    let read = move || {
        let backtraces = clock.and_then(|clock| show_backtraces(&later, &clock));
        named(later.read(&oldmem::Window, backtraces.unwrap_or_default()))
    };
    (named(first), Later::new(LaterViews::MOST, read))
}

/// Shows the backtraces on the console, and returns the text of the small view.
fn show_backtraces(later: &LaterViews, clock: &Tsc) -> Option<Vec<u8>> {
    // Frames stand below the line of their CPU.
    let print = |line: &str| match line.starts_with(' ') {
        true => println!("{line}"),
        false => println!("kdump: {line}"),
    };
    let show = || backtraces::show(later, &oldmem::Window, clock, print);
    let (shown, heap) = heap::most_used_by(show);
    let (text, took) = shown?;
    log::info!("backtraces: {took} ms, {heap} bytes of heap, {} bytes stored", text.len());
    Some(text)
}

fn named(views: Vec<SmallView>) -> Vec<NamedView> {
    let named = |SmallView { name, start, view }| NamedView { name, start, view: Rc::new(view) };
    views.into_iter().map(named).collect()
}

/// Physical memory as it is, as far as it is known to be RAM.
fn read_oldmem(
    options: &Options<'_>,
    boot: &boot::Parameters,
    header: Option<&CoreHeader>,
    (range, holes): (Option<PhysRange>, &Holes),
) -> Option<Extents> {
    let ram = boot.ram(options, header);
    let view = ram.and_then(|ram| vmcore::oldmem(&ram, range)?.without(holes));
    match &view {
        Ok(view) => log::info!("oldmem of {} bytes", view.len()),
        Err(error) => log::warn!("oldmem: {error}"),
    }
    view.ok()
}
