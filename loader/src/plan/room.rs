//! The part of the next dump that a dump disk has room for.

use std::fmt;
use std::path::PathBuf;

use cmdline::{Options, TargetSpec, ViewSpec};
use dumpfile::chunk::CHUNK;
use dumpfile::disk::{BulkSize, FIRST_OFFSET, LEAST_SEGMENT, Placement};
use dumpfile::{DiskHeader, DiskId};
use linux::LaterViews;
use serde::Serialize;
use vmcore::{Level, MAX_ADDED};

use crate::facts::dump_disks::{DumpDisks, FoundDumpDisk};
use crate::facts::pages::LivePages;
use crate::facts::system::System;
use crate::json::RangeJson;
use crate::plan::machine::Facts;

const PAGE: u64 = 4096;
/// The most bytes of the end of the log that leaves first.
const LONGEST_DMESG_TAIL: u64 = 8 << 10;
/// The most bytes of an entry in an ELF program header table, and of the part before the table.
const ELF_ENTRY: u64 = 64;

/// A dump disk that a target names, and the outcome of the next dump there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskRoom {
    /// Its device.
    pub device: PathBuf,
    /// Its id.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// Number of dumps on it.
    pub dumps: usize,
    /// Dump level of the next dump there.
    pub level: u8,
    /// Most bytes that it takes.
    pub need: u64,
    /// The largest place for it, in bytes; dumps that may be given up count as room.
    pub room: u64,
    /// The dumps that are overwritten for it.
    pub given_up: Vec<u64>,
    /// The parts that will not fit, if not all of it will: `load` warns of them.
    pub problem: Option<String>,
    /// True if nothing gets there at all.
    pub nothing: bool,
}

/// Bytes that a dump takes at most on a disk.
#[derive(Clone, Copy)]
struct Need {
    /// The level that was chosen.
    level: Option<Level>,
    /// All of it. If the pages were not counted, as much as at level 0.
    whole: u64,
    /// True if the pages were counted.
    is_counted: bool,
    /// The same at level 31, which the capture kernel takes if no level was chosen.
    kernel: Option<u64>,
    /// Its headers and first small views. Larger ones are refused.
    least: u64,
}

impl DiskRoom {
    fn new(disk: &FoundDumpDisk, need: Need, replace: bool) -> Option<Self> {
        let size = disk.capacity?;
        let mut room = Self {
            device: disk.device.clone(),
            id: disk.id.to_string(),
            size,
            dumps: disk.directory.dumps.as_slice().len(),
            level: need.level.unwrap_or_default().get(),
            need: need.whole,
            room: 0,
            given_up: Vec::new(),
            problem: None,
            nothing: false,
        };
        room.place(&disk.directory, need, replace);
        if disk.read_only {
            room.nothing = true;
            room.problem = Some(room.says("is read-only: attach it writable"));
        }
        Some(room)
    }

    /// Looks for a place as the capture kernel will.
    fn place(&mut self, header: &DiskHeader, need: Need, replace: bool) {
        let no_room = match header.place(self.size, need.whole, 0, replace) {
            Ok(placed) => {
                self.room = largest(header, self.size, replace);
                self.given_up = numbers(&placed);
                return;
            }
            Err(no_room) => no_room,
        };
        self.room = no_room.have;
        let (have, whole) = (self.room >> 20, mib(self.need));
        let kernel = need.kernel.filter(|need| header.place(self.size, *need, 0, replace).is_ok());
        let part = match header.place_part(self.size, kernel.unwrap_or(need.least), 0, replace) {
            Ok(placed) => {
                self.given_up = numbers(&placed);
                // Without complete dumps that are given up, this is the room.
                self.room = placed.entry.length;
                let Some(part) = self.part(kernel, need) else { return };
                part
            }
            Err(_) => {
                self.nothing = true;
                "nothing will get there"
            }
        };
        let have = if self.nothing { have } else { self.room >> 20 };
        let next = next_step(no_room.complete_dumps);
        let what =
            format!("has room for {have} MiB, and a dump takes up to {whole} MiB{next}; {part}");
        self.problem = Some(self.says(&what));
    }

    /// The part of a dump that gets to the disk: `kernel` bytes of level 31, or less. [`None`] if
    /// it may be all, because its size is not known.
    fn part(&mut self, kernel: Option<u64>, need: Need) -> Option<&'static str> {
        let part = "the small views and as much of memory as fits, the kernel's own first, will \
                    get there";
        match (kernel, need.level) {
            (Some(kernel), _) => {
                (self.level, self.need) = (Level::KERNEL.get(), kernel);
                Some("the dump will have level 31: kernel pages only")
            }
            (None, Some(level)) if level > Level::ALL && !need.is_counted => None,
            (None, None) if !need.is_counted => Some(
                "level 31 (kernel pages only) if that fits, else the small views and as much of \
                 memory as fits, the kernel's own first, will get there",
            ),
            _ => Some(part),
        }
    }

    fn says(&self, what: &str) -> String {
        format!("the dump disk {} {what}", self.device.display())
    }
}

/// The next step on a disk without room.
fn next_step(has_complete_dumps: bool) -> &'static str {
    match has_complete_dumps {
        true => {
            " beside its complete dumps: extract them and format it again, or append \
             kdump.replace=oldest"
        }
        false => ": take a larger disk",
    }
}

/// The largest place that there is, or that there could be.
fn largest(header: &DiskHeader, size: u64, replace: bool) -> u64 {
    header.place(size, u64::MAX, 0, replace).map_or_else(|no_room| no_room.have, |_| u64::MAX)
}

fn numbers(placed: &Placement) -> Vec<u64> {
    placed.given_up.as_slice().iter().map(|dump| dump.sequence).collect()
}

/// The dump disks that the capture kernel's command line names, as far as they can be seen.
pub(crate) fn of_line(line: &str, facts: &Facts, system: &System) -> Vec<DiskRoom> {
    let options = Options::parse(line.as_bytes(), &mut |_| ());
    let need = need(&options, facts, pages(system));
    let found = named(&options, &system.dump_disks);
    found.filter_map(|disk| DiskRoom::new(disk, need, options.replace_oldest)).collect()
}

/// True if all of these disks have room for a dump at `level`; [`None`] if there are none, or the
/// pages were not counted.
pub(crate) fn fits(line: &str, facts: &Facts, system: &System, level: Level) -> Option<bool> {
    let options = Options::parse(line.as_bytes(), &mut |_| ());
    let options = Options { level: Some(level), ..options };
    let need = need(&options, facts, Some(pages(system)?));
    let mut found = named(&options, &system.dump_disks).peekable();
    found.peek().filter(|_| need.is_counted)?;
    Some(found.all(|disk| {
        let place = |size| disk.directory.place(size, need.whole, 0, options.replace_oldest);
        disk.capacity.is_some_and(|size| place(size).is_ok())
    }))
}

/// The dump disks that the options name.
fn named<'a>(
    options: &Options<'_>,
    disks: &'a DumpDisks,
) -> impl Iterator<Item = &'a FoundDumpDisk> {
    let ids = options.targets.iter().filter_map(|entry| match entry.target {
        TargetSpec::Disk { id } => Some(DiskId(id)),
        _ => None,
    });
    ids.flat_map(|id| disks.with_id(id))
}

fn pages(system: &System) -> Option<&LivePages> {
    system.pages.as_ref()?.as_ref().ok()
}

/// Upper bound of a dump's size on a disk, in bytes: notes and log are not there yet.
fn need(options: &Options<'_>, facts: &Facts, pages: Option<&LivePages>) -> Need {
    let notes = sum(facts.cpus.iter().map(|cpu| cpu.notes).chain(facts.vmcoreinfo));
    let notes = notes.saturating_add(MAX_ADDED as u64);
    // As many views as there can be, each in blocks of its own.
    let in_pages = |length: u64| length.div_ceil(PAGE).saturating_mul(PAGE);
    let first = [LONGEST_DMESG_TAIL, notes, notes].map(in_pages).into_iter().sum::<u64>();
    let least = FIRST_OFFSET.saturating_add(first);
    // Some PT_LOADs are cut in two, and each begins in a page of its own.
    let pieces = facts.ram.len() as u64 + 8;
    let raw_length = raw_length(options, facts, notes.saturating_add(pieces * (ELF_ENTRY + PAGE)));
    let all = raw_length.div_ceil(PAGE);
    let whole = |left: u64| {
        let kept = all.saturating_sub(left);
        let bulk = BulkSize {
            raw_length,
            pages: kept.saturating_add(pieces),
            chunks: raw_length.div_ceil(CHUNK).saturating_add(pieces),
            // At most, kept pages and others alternate.
            runs: left.min(kept).saturating_add(pieces),
        };
        let rest = LaterViews::MOST.saturating_add(bulk.most(LEAST_SEGMENT));
        least.saturating_add(rest)
    };
    // The pages of a part of memory were not counted apart.
    let pages = pages.filter(|_| !matches!(options.view, ViewSpec::OldMem(Some(_))));
    let at = |level| pages.map(|pages| whole(pages.all() - pages.at(level)));
    Need {
        level: options.level,
        whole: at(options.level.unwrap_or_default()).unwrap_or_else(|| whole(0)),
        is_counted: pages.is_some(),
        kernel: at(Level::KERNEL).filter(|_| options.level.is_none()),
        least,
    }
}

/// Length of the raw view in bytes; `headers` is that of a vmcore's headers.
fn raw_length(options: &Options<'_>, facts: &Facts, headers: u64) -> u64 {
    match options.view {
        ViewSpec::OldMem(Some(range)) => range.length(),
        ViewSpec::OldMem(None) => {
            let ends = facts.ram.iter().map(|range| range.start.saturating_add(range.length));
            ends.max().unwrap_or(0)
        }
        ViewSpec::Vmcore => facts.bytes().saturating_add(headers),
    }
}

fn sum(ranges: impl Iterator<Item = RangeJson>) -> u64 {
    ranges.fold(0, |sum, range| sum.saturating_add(range.length))
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl fmt::Display for DiskRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, need) = (self.size >> 20, mib(self.need));
        write!(f, "{}: {size} MiB with {} dumps, ", self.device.display(), self.dumps)?;
        write!(f, "room for {} MiB, the next takes up to {need} MiB", self.room >> 20)?;
        if self.level > 0 {
            write!(f, " at level {}", self.level)?;
        }
        match &self.given_up[..] {
            [] => Ok(()),
            given_up => {
                let numbers: Vec<_> = given_up.iter().map(ToString::to_string).collect();
                write!(f, ", and dump {} is given up for it", numbers.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::dump_disks::tests::disk;
    use crate::plan::machine::tests::facts;
    use dumpfile::DiskState;
    use dumpfile::disk::DumpEntry;

    const MIB: u64 = 1 << 20;

    fn system(found: Vec<FoundDumpDisk>) -> System {
        let dump_disks = DumpDisks { found, seen: Some(1), ..DumpDisks::default() };
        System { dump_disks, ..System::default() }
    }

    /// 479 MiB, of which 10,000 pages are kept at level 31.
    fn counted(size: u64) -> System {
        let pages = LivePages::free_and_kept(112_624, 10_000);
        System { pages: Some(Ok(pages)), ..system(vec![disk("/dev/vdb", 1, size * MIB)]) }
    }

    fn line(words: &str) -> String {
        format!("kdump.target=serial+disk:id={} {words}", "01".repeat(16))
    }

    /// The only disk, changed by `change`, and these words after the target.
    fn room(size: u64, words: &str, change: impl FnOnce(&mut FoundDumpDisk)) -> DiskRoom {
        let mut found = disk("/dev/vdb", 1, size * MIB);
        change(&mut found);
        let mut rooms = of_line(&line(words), &facts(), &system(vec![found]));
        assert_eq!(rooms.len(), 1);
        rooms.remove(0)
    }

    fn with_dump(disk: &mut FoundDumpDisk, length: u64, state: DiskState) {
        let header = &mut disk.directory;
        header.next = 6;
        let entry = DumpEntry { sequence: 5, offset: 8192, length: length * MIB, state, key: 0 };
        header.dumps.push(entry).expect("it has a place");
    }

    /// 479 MiB of RAM: 15 below the slot and 464 above it.
    #[test]
    fn a_dump_takes_all_ram_and_a_few_mib() {
        let need = room(1024, "", |_| ()).need;
        assert!((479 * MIB + (584 << 10)..481 * MIB).contains(&need), "{need}");
        assert_eq!(room(1024, "", |_| ()).problem, None);
        let oldmem = room(1024, "kdump.view=oldmem", |_| ()).need;
        assert!((512 * MIB..514 * MIB).contains(&oldmem), "{oldmem}");
        let part = room(1024, "kdump.view=oldmem:0x100000+15M", |_| ()).need;
        assert!((15 * MIB..17 * MIB).contains(&part), "{part}");
    }

    #[test]
    fn a_disk_that_is_too_small_is_said_in_figures() {
        let small = room(400, "", |_| ());
        let problem = small.problem.clone().expect("too small");
        assert!(problem.contains("/dev/vdb has room for 399 MiB"), "{problem}");
        assert!(problem.contains("takes up to 481 MiB: take a larger disk"), "{problem}");
        assert!(problem.contains("level 31 (kernel pages only) if that fits"), "{problem}");
        assert!(!small.nothing);
        let none = room(0, "", |disk| disk.capacity = Some(16 << 10));
        assert!(none.nothing && none.problem.is_some_and(|said| said.contains("nothing will get")));
        let tight = room(0, "", |disk| disk.capacity = Some(479 * MIB + (64 << 10)));
        assert!(tight.problem.is_some(), "RAM alone would have fitted");
    }

    #[test]
    fn dumps_on_the_disk_count_unless_they_may_be_given_up() {
        let whole = |disk: &mut FoundDumpDisk| with_dump(disk, 300, DiskState::COMPLETE);
        let full = room(700, "", whole).problem.expect("full");
        assert!(
            full.contains("room for 399 MiB") && full.contains("kdump.replace=oldest"),
            "{full}"
        );
        let replaced = room(700, "kdump.replace=oldest", whole);
        assert_eq!((replaced.problem.clone(), &replaced.given_up[..]), (None, &[5][..]));
        assert!(replaced.to_string().ends_with("and dump 5 is given up for it"), "{replaced}");
        let partial = room(700, "", |disk| with_dump(disk, 300, DiskState::FAILED));
        assert_eq!((partial.problem, &partial.given_up[..]), (None, &[5][..]));
        let both = room(900, "", whole);
        assert_eq!((both.problem.clone(), both.dumps, both.given_up.len()), (None, 1, 0));
        assert_eq!(
            both.to_string(),
            "/dev/vdb: 900 MiB with 1 dumps, room for 599 MiB, the next takes up to 481 MiB"
        );
    }

    #[test]
    fn a_disk_that_takes_no_writes_is_said() {
        let locked = room(1024, "", |disk| disk.read_only = true).problem.expect("read-only");
        assert!(locked.contains("read-only"), "{locked}");
    }

    /// 10,000 pages are 40 MiB, with log, headers and slack less than 48.
    #[test]
    fn the_dump_level_counts() {
        let room = |size, words| of_line(&line(words), &facts(), &counted(size)).remove(0);
        let small = room(400, "");
        assert_eq!((small.level, small.nothing), (31, false));
        assert!((40 * MIB..48 * MIB).contains(&small.need), "{}", small.need);
        let problem = small.problem.as_ref().expect("not for all");
        assert!(problem.ends_with("the dump will have level 31: kernel pages only"), "{problem}");
        assert!(small.to_string().ends_with(" MiB at level 31"), "{small}");
        let chosen = room(400, "kdump.level=31");
        assert_eq!((chosen.level, chosen.need, chosen.problem), (31, small.need, None));
        let all = room(400, "kdump.level=0").problem.expect("not for all");
        assert!(all.contains("the small views and as much of memory as fits"), "{all}");
        let tight = room(30, "kdump.level=31").problem.expect("no room for 40 MiB");
        assert!(tight.contains("has room for 29 MiB"), "{tight}");
        assert_eq!((room(1024, "").level, room(1024, "").problem), (0, None));
    }

    #[test]
    fn a_level_whose_size_is_not_known_is_no_problem() {
        let chosen = room(400, "kdump.level=31", |_| ());
        assert_eq!((chosen.level, chosen.problem, chosen.nothing), (31, None, false));
        let none = room(0, "kdump.level=31", |disk| disk.capacity = Some(16 << 10));
        assert!(none.nothing && none.problem.is_some());
    }

    #[test]
    fn levels_fit_or_not() {
        let fits = |size, level| fits(&line(""), &facts(), &counted(size), level);
        assert_eq!(
            [Level::ALL, Level::KERNEL].map(|level| fits(400, level)),
            [false, true].map(Some)
        );
        assert_eq!(fits(1024, Level::ALL), Some(true));
        let counted = counted(400);
        assert_eq!(super::fits("kdump.target=serial", &facts(), &counted, Level::ALL), None);
        let unknown = System { pages: None, ..counted };
        assert_eq!(super::fits(&line(""), &facts(), &unknown, Level::ALL), None);
    }

    #[test]
    fn other_targets_and_unknown_sizes_are_passed_over() {
        let mut unknown = disk("/dev/vdb", 1, 0);
        unknown.capacity = None;
        let system = system(vec![unknown]);
        let line = format!("kdump.target=disk:id={},none", "01".repeat(16));
        assert_eq!(of_line(&line, &facts(), &system), []);
        assert_eq!(of_line("kdump.target=serial", &facts(), &system), []);
    }
}
