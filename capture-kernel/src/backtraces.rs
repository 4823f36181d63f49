//! Backtraces of the dead kernel's CPUs: for the console, and as a small view.

use crate::{Clock, Deadline};
use alloc::vec::Vec;
use linux::LaterViews;
use log::warn;
use vmcore::ReadPhys;

/// Most milliseconds that they may take: names are found last, and after this time the rest of them
/// are addresses. Debian's kernels take a tenth of it.
const MOST: u64 = 400;

/// Reads them, and has `print` called with the lines for the console. Returns the text of the small
/// view, and the time in milliseconds; [`None`] if there are none, which is reported.
pub fn show(
    later: &LaterViews,
    memory: &impl ReadPhys,
    clock: &dyn Clock,
    print: impl FnMut(&str),
) -> Option<(Vec<u8>, u64)> {
    let start = clock.milliseconds();
    let deadline = Deadline::after(clock, MOST);
    let mut go_on = || {
        clock.progress();
        !deadline.is_over(clock)
    };
    let read = later.backtraces(memory, &mut go_on);
    let backtraces = read.map_err(|error| warn!("backtraces: {error}")).ok()?;
    let short = backtraces.short();
    let lines = short.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| str::from_utf8(line).ok()).for_each(print);
    drop(short);
    let text = Some(backtraces.whole(backtraces.most_whole())).filter(|text| !text.is_empty());
    Some((text?, clock.milliseconds().saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::logged;
    use core::cell::Cell;
    use std::string::String;
    use vmcore::fake::{FakeMemory, note};
    use vmcore::{Class, EM_386, ElfCoreHdr, Holes, PhysAddr, Segment, SegmentKind, build};

    /// Address of the core header, and of the note areas after it.
    const BLOCK: u64 = 0x100_0000;
    const NOTES: u64 = 0x101_0000;

    /// A clock on which each reading takes some milliseconds.
    struct Slow {
        each: u64,
        now: Cell<u64>,
        reports: Cell<u32>,
    }

    impl Clock for Slow {
        fn milliseconds(&self) -> u64 {
            self.now.set(self.now.get() + self.each);
            self.now.get()
        }

        fn progress(&self) {
            self.reports.set(self.reports.get() + 1);
        }
    }

    /// The backtraces of a kernel of two CPUs that left its registers and nothing else, by a clock
    /// on which each reading takes `each` milliseconds: the lines for the console, the text, the
    /// time, and the number of reports to the watchdog.
    fn shown(each: u64) -> (Vec<String>, String, u64, u32) {
        let mut status = [0; 144];
        status[24] = 7;
        status[72 + 12 * 4] = 0x42;
        let area = note(b"CORE\0", 1, &status);
        let segment = |index: u64| {
            let source = PhysAddr::new(NOTES + 0x1000 * index);
            let (kind, filesz) = (SegmentKind::Note, area.len() as u64);
            Segment { kind, source, vaddr: 0, paddr: source, filesz, memsz: filesz, flags: 0 }
        };
        let block = build(EM_386, Class::Elf32, &[segment(0), segment(1)]).expect("a block");
        let place = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size: Some(block.len() as u64) };
        let memory = FakeMemory::with(BLOCK, block).and(NOTES, area.clone());
        let memory = memory.and(NOTES + 0x1000, area.clone());
        let header = vmcore::CoreHeader::read(&memory, place).expect("a header");
        let vmcore = vmcore::vmcore(&header, &memory, 1 << 32, &Holes::new(), &mut |_| ());
        let vmcore = vmcore.expect("a vmcore");
        let clock = Slow { each, now: Cell::new(0), reports: Cell::new(0) };
        let mut lines = Vec::new();
        let (shown, _) = logged(|| {
            let (_, later) = linux::first_views(&header, &vmcore, &memory);
            show(&later, &memory, &clock, |line| lines.push(line.into()))
        });
        let (text, took) = shown.expect("some text");
        (lines, String::from_utf8(text).expect("ASCII"), took, clock.reports.get())
    }

    #[test]
    fn a_kernel_without_symbols_has_addresses() {
        let (lines, text, took, reports) = shown(1);
        let lost = " (no way to the next frame)\n";
        assert_eq!(text, std::format!("cpu 0 pid 7:\n 0x42\n{lost}cpu 1 pid 7:\n 0x42\n{lost}"));
        assert_eq!(lines.len(), 2, "a line for each CPU: {lines:?}");
        assert!(lines[0].starts_with("cpu 0 pid 7: 0x42"), "{lines:?}");
        assert!(took < MOST && reports > 2, "{took} {reports}");
    }

    #[test]
    fn at_the_deadline_the_rest_is_left_out() {
        let (lines, text, ..) = shown(MOST);
        assert_eq!((lines.concat(), text), ("2 more cpus".into(), "2 more cpus\n".into()));
    }
}
