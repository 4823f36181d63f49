//! Symbol tables: of the kernel's image, and of modules.

use linux::{
    Budget, Frame, Kallsyms, KernelMemory, MOST_MODULES, MOST_NAME, Modules, Names, Sources,
    Symbols, Trust, VirtualMemory,
};

use crate::memory::{Memory, VADDRS, dead_kernel};

/// Addresses whose symbols are looked up: one in each this many bytes.
const STEP: usize = 509;
/// The most calls of the clock: two passes over the names, and one for each address.
const MOST_CALLS: u64 = (2 + 2 * 8192 / STEP as u64) * (4 << 20);

/// Takes the bytes up to the first NUL as the text of VMCOREINFO, and those after it as memory.
///
/// # Panics
/// Panics if a symbol does not have the address that it was found by, if a name is too long or not
/// printable, or a list longer than its bound.
pub fn kallsyms(bytes: &[u8]) {
    let (text, rest, segments) = dead_kernel(bytes);
    let mem = Memory(rest);
    let memory = VirtualMemory::new(KernelMemory::new(&mem, &segments), text);
    let mut calls = 0;
    let mut go_on = || {
        calls += 1;
        true
    };
    let mut budget = Budget::new(&mut go_on);
    let found = Kallsyms::find(memory, text).or_else(|_| Kallsyms::search(memory, text)).ok();
    let symbols = Symbols::find(text, found.as_ref(), &mut budget).unwrap_or_default();
    let modules = Modules::read(memory, text, &symbols).unwrap_or_default();
    assert!(modules.iter().count() <= MOST_MODULES);
    let offsets = (0..rest.len() as u64).step_by(STEP);
    let addresses = VADDRS.into_iter().flat_map(|start| offsets.clone().map(move |at| start + at));
    let frame = |at| Frame { at, is_return: true, trust: Trust::Sure };
    let frames: Vec<_> = addresses.map(frame).collect();
    for at in frames.iter().map(|frame| frame.at) {
        let located = found.as_ref().and_then(|kallsyms| kallsyms.locate(at).ok().flatten());
        assert!(located.is_none_or(|it| it.start <= at && at - it.start < it.size));
    }
    let sources = Sources { memory, kallsyms: found.as_ref(), modules: &modules };
    let names = Names::find(&sources, frames.iter(), linux::MostNames::HOST, &mut budget);
    for name in frames.iter().filter_map(|frame| names.get(frame)) {
        assert!((1..MOST_NAME).contains(&name.name.len()), "{name}");
        assert!(name.name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
        assert!((1..=name.size).contains(&name.offset), "{name}");
    }
    assert!(calls <= MOST_CALLS, "{calls} calls");
}
