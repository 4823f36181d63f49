//! Dumps at a level: the pages that are there are right, and the others are those that the filter
//! names.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use qemu_tests::check::core_file::CoreFile;
use qemu_tests::check::judged::Judged;
use qemu_tests::{FirstKernel, Level, Report};
use vmcore::{PageClass, Verdict};

use crate::common::*;

const PAGE: u64 = 4096;

/// The pages that the vmcore at `path` leaves out, as ranges of its bytes, are those that a filter
/// over its own page structs excludes.
#[track_caller]
fn assert_named(path: &Path, left: &[(u64, u64, PageClass)], level: Level) {
    let core = CoreFile::open(path).expect("a vmcore");
    let mut named = BTreeMap::new();
    for &(start, length, class) in left {
        for at in (start..start + length).step_by(PAGE as usize) {
            let mut loads = core.loads.iter();
            let load = loads.find(|load| (load.offset..load.offset + load.filesz).contains(&at));
            let load = load.expect("memory");
            named.insert((at - load.offset + load.paddr) / PAGE, class);
        }
    }
    let judged = Judged::of(path).expect("a filter");
    let excluded = judged.verdicts.iter().filter_map(|(page, verdict)| match verdict {
        Verdict::Excluded(class) if level.excludes(*class) => Some((*page, *class)),
        _ => None,
    });
    let excluded: BTreeMap<_, _> = excluded.collect();
    let differ = |pages: &BTreeMap<u64, PageClass>, other: &BTreeMap<u64, PageClass>| {
        let mut differ = pages.iter().filter(|(page, class)| other.get(page) != Some(class));
        differ.next().map(|(page, class)| (*page, *class))
    };
    assert_eq!((differ(&named, &excluded), differ(&excluded, &named)), (None, None));
    assert!(!named.is_empty(), "no page is left out");
}

/// The parts that the collector on the line names as left out.
fn left_on_the_line(report: &Report) -> Vec<(u64, u64, PageClass)> {
    let mut views = report.received.iter().flat_map(|received| &received.views);
    let view = views.find(|view| view.view == "vmcore").expect("a vmcore");
    let class = |name: &str| PageClass::from_name(name).expect("a class");
    view.left.iter().map(|(start, length, name)| (*start, *length, class(name))).collect()
}

/// Over a disk and a line: both have the same dump at level 31.
#[track_caller]
fn assert_at_level_31(kernel: FirstKernel, compress: &str) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, kernel, |config| {
        config.memory = 256 * MIB;
        config.level = Level::KERNEL;
        config.append = format!("kdump.level=31 kdump.compress={compress}");
        config.delivery = over("virtio-blk+virtio-console");
    });
    assert_all_checked(&report, &[LINUX_CHECKS, &["same_everywhere"]].concat());
    assert_named(&out.path().join("vmcore"), &left_on_the_line(&report), Level::KERNEL);
    let counts: Vec<_> =
        console.lines().filter(|line| line.contains("kdump: level 31: ")).collect();
    let right = counts.iter().all(|line| line.contains(" free") && line.contains(" bytes out"));
    assert!(counts.len() == 2 && right && !console.contains("in doubt"), "{counts:?}");
}

#[test]
fn debian_amd64_at_level_31() {
    assert_at_level_31(debian_amd64(), "none");
}

#[test]
fn debian_i386_at_level_31_compressed() {
    assert_at_level_31(debian(), "lz4");
}

/// The disk has room for the kernel's pages only, and no level was asked for.
#[test]
fn a_disk_of_100_mib_gets_the_kernels_pages_of_256() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let disk = out.path().join("small-disk");
    File::create(&disk).and_then(|file| file.set_len(100 * MIB)).expect("a disk");
    collector::format(&disk, None, false).expect("an empty disk");
    let (report, console) = cycle_into(&out, debian_amd64(), |config| {
        config.memory = 256 * MIB;
        config.level = Level::KERNEL;
        config.dump_disk = Some(disk.clone());
    });
    assert_all_checked(&report, LINUX_CHECKS);
    assert!(console.contains("kdump: no room for all memory ("), "{console}");
    let info = collector::info(&disk, None).expect("a dump disk").disk.expect("a dump disk");
    assert_eq!((info.dumps[0].level, info.dumps[0].level_raised), (Some(31), true));
    let extracted = collector::extract(&disk, None, &out.path().join("again"), &mut |_, _| {});
    let left = extracted.expect("a whole dump").left;
    let left: Vec<_> = left.iter().map(|range| (range.start, range.len(), range.class)).collect();
    assert_named(&out.path().join("vmcore"), &left, Level::KERNEL);
}

/// Not even the kernel's pages have room: its image and its page structs are there, wherever KASLR
/// put the image. The structs are at the end of low memory, and name the free pages: most of an idle
/// guest.
#[track_caller]
fn assert_image_and_page_structs_are_there(kernel: FirstKernel, disk_size: u64) {
    let out = tempfile::tempdir().expect("a folder for the results");
    let disk = out.path().join("small-disk");
    File::create(&disk).and_then(|file| file.set_len(disk_size)).expect("a disk");
    collector::format(&disk, None, false).expect("an empty disk");
    let (report, console) = cycle_into(&out, kernel, |config| {
        config.memory = 256 * MIB;
        config.dump_disk = Some(disk.clone());
    });
    let partial = report.disk_after.and_then(|disk| disk.partial).expect("a part");
    assert!(partial.wrong == 0 && partial.there < partial.length, "{partial:?}");
    let path = out.path().join("vmcore");
    collector::extract(&disk, None, &path, &mut |_, _| {}).expect("a part");
    let judged = Judged::of(&out.path().join("vmcore.partial")).expect("a filter");
    let is_free = |verdict: &&Verdict| **verdict == Verdict::Excluded(PageClass::Free);
    let free = judged.verdicts.values().filter(is_free).count();
    assert!(console.contains("kdump: no room for all memory ("), "{console}");
    assert!(free * 2 > judged.verdicts.len(), "{free} of {}", judged.verdicts.len());
}

#[test]
fn a_disk_of_24_mib_gets_image_and_page_structs_first() {
    assert_image_and_page_structs_are_there(debian(), 24 * MIB);
}

/// Page tables lead to the structs of an x86_64 kernel.
#[test]
fn a_disk_of_40_mib_gets_an_x86_64_image_and_the_way_to_page_structs() {
    assert_image_and_page_structs_are_there(debian_amd64(), 40 * MIB);
}
