//! Pages that a dump level leaves out: the kernel's own word on each of them, and makedumpfile
//! beside our filter on the same raw vmcore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use qemu_tests::check::crashinfo::Crashinfo;
use qemu_tests::check::judged::Judged;
use qemu_tests::{Config, FirstKernel, Load, SavedPages, Sockets};
use tempfile::TempDir;
use vmcore::{Level, PageClass, Verdict};

use crate::basics::*;

/// All uses of memory that need no device.
pub(crate) const LOADS: &[Load] = &[Load::Cache, Load::Anonymous, Load::HugeTlb, Load::Poison];
/// The classes of pages that they leave.
pub(crate) const CLASSES: &[PageClass] = &[
    PageClass::Cache,
    PageClass::CachePrivate,
    PageClass::User,
    PageClass::Free,
    PageClass::HwPoison,
];
/// The checks of a kernel that saves its word on its pages.
const CHECKS: &[&str] = &["pages_left_out", "free_pages"];
/// The check of a kernel that shows its stacks.
const CALL_TRACES: &str = "call_traces";
/// The check of a kernel that saves what its /proc says.
const CRASHINFO: &str = "crashinfo";
/// The same of the kernel that runs.
const CRASHINFO_LIVE: &str = "crashinfo_live";
/// Words with which a panic shows the stacks of all tasks itself, when no other CPU runs any more.
/// Linux before 5.18 does so after the capture kernel's turn.
pub(crate) const SHOW_IN_PANIC: &str = "crash_kexec_post_notifiers panic_print=1";
/// The levels of makedumpfile's classes one by one, and all of them.
const LEVELS: [u8; 6] = [1, 2, 4, 8, 16, 31];
/// Offsets in `struct disk_dump_header` of the number of blocks of the sub header and of both
/// bitmaps, i386 and x86_64.
const PLACES: [(usize, usize); 2] = [(420, 424), (432, 436)];
/// `struct page_desc`: place in the file, size, two words of flags.
const DESCRIPTOR: usize = 24;
const PAGE: usize = 4096;
/// Most pages in doubt that makedumpfile leaves out.
const MOST_IN_DOUBT: usize = 8;

/// Has a kernel save what its /proc, ss and ip say, and crashinfo read it from the dump.
pub(crate) fn also_by_crashinfo(config: &mut Config, crashinfo: Crashinfo) {
    config.said = true;
    let iproute = if config.first_kernel.is_64_bit() { "AMD64" } else { "I386" };
    config.sockets = Some(Sockets {
        program: file("KDUMP_TEST_SOCKETS"),
        iproute: file(&format!("KDUMP_TEST_IPROUTE_{iproute}")),
    });
    config.crashinfo = Some(crashinfo);
}

/// Runs a cycle of a kernel that saves its word on its pages after these loads, and shows its
/// stacks, with `change`. The unwinder agrees with it; and the filter does with it, and has found
/// pages of all of `classes`; and with makedumpfile, if that knows the kernel. Returns the folder
/// with the cycle's files.
#[track_caller]
pub(crate) fn assert_pages(
    kernel: FirstKernel,
    loads: &[Load],
    classes: &[PageClass],
    is_known_to_makedumpfile: bool,
    change: impl FnOnce(&mut Config),
) -> TempDir {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (is_64_bit, mut more) = (kernel.is_64_bit(), Vec::new());
    let (report, _) = cycle_into(&out, kernel, |config| {
        config.memory = 256 * MIB;
        config.saved_pages = Some(SavedPages { loads: loads.to_vec() });
        config.shown_stacks = true;
        change(config);
        more.extend(config.shown_stacks.then_some(CALL_TRACES));
        if let Some(program) = &config.crashinfo {
            more.extend([CRASHINFO].into_iter().chain(program.is_live.then_some(CRASHINFO_LIVE)));
        }
    });
    let checks = [CHECKS, &more].concat();
    for check in report.checks.iter().filter(|check| checks.contains(&check.name.as_str())) {
        println!("{}: {}", check.name, check.detail);
    }
    let hot = report.checks.iter().find(|check| check.name == "hot_memory").map(|_| "hot_memory");
    assert_all_checked(&report, &[LINUX_CHECKS, &checks, hot.as_slice()].concat());
    let vmcore = out.path().join("vmcore");
    let judged = Judged::of(&vmcore).expect("a filter");
    for class in classes {
        let found = judged.verdicts.values().any(|verdict| *verdict == Verdict::Excluded(*class));
        assert!(found, "there is no page of the class {class}");
    }
    if is_known_to_makedumpfile {
        let mut differences = differences(&vmcore, is_64_bit, &judged);
        // The filter keeps protected memory in doubt: a freed page of the kernel's image may still
        // be mapped read-only there.
        differences.retain(|(_, verdict, only_theirs), pages| {
            *only_theirs || verdict != "Doubt" || pages.len() > MOST_IN_DOUBT
        });
        assert!(differences.is_empty(), "{differences:x?}");
    }
    out
}

/// Keeps the files of a cycle under this name for the Python tests: the vmcore, and the kernel's
/// words on itself.
pub(crate) fn keep_for_python(out: &TempDir, name: &str) {
    let dumps = file("KDUMP_TEST_DUMPS");
    std::fs::create_dir_all(&dumps).expect("a folder for the dumps");
    let folder = dumps.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder of an earlier run");
    }
    // The folders may be on two file systems.
    output(Command::new("mv").arg("-T").arg(out.path()).arg(&folder));
}

/// Numbers of the pages that a kdump-compressed file has: those in its second bitmap, but for pages
/// of zeros. Of these there is one, and their descriptors share it.
fn pages_in(file: &[u8], is_64_bit: bool) -> BTreeSet<u64> {
    assert_eq!(&file[..8], b"KDUMP   ");
    let (sub_header, bitmaps) = PLACES[usize::from(is_64_bit)];
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    let (sub_header, bitmaps) = (number(sub_header) as usize, number(bitmaps) as usize);
    let second = (1 + sub_header + bitmaps / 2) * PAGE;
    let descriptors = second + bitmaps / 2 * PAGE;
    let bits = file[second..descriptors].iter().enumerate().flat_map(|(at, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| (at * 8 + bit) as u64)
    });
    let places = file[descriptors..].chunks_exact(DESCRIPTOR);
    let pages: Vec<_> = bits.zip(places.map(|descriptor| &descriptor[..8])).collect();
    let mut uses = BTreeMap::<_, u64>::new();
    for (_, place) in &pages {
        *uses.entry(*place).or_default() += 1;
    }
    pages.iter().filter(|(_, place)| uses[place] == 1).map(|(page, _)| *page).collect()
}

/// The pages that makedumpfile keeps of the vmcore at `level`.
fn kept_by_makedumpfile(vmcore: &Path, is_64_bit: bool, level: u8) -> BTreeSet<u64> {
    let filtered = vmcore.with_file_name("makedumpfile.kdump");
    let mut makedumpfile = tool(is_64_bit, "usr/bin/makedumpfile");
    makedumpfile.args(["-d", &level.to_string()]).args([vmcore, &filtered]);
    output(&mut makedumpfile);
    let pages = pages_in(&std::fs::read(&filtered).expect("a file"), is_64_bit);
    std::fs::remove_file(&filtered).expect("it is there");
    pages
}

/// The page numbers by kind of difference: the level, the verdict of our filter, and true if only
/// makedumpfile keeps the page.
type Differences = BTreeMap<(u8, String, bool), Vec<u64>>;

/// Compares both at all levels, and prints a row for each.
fn differences(vmcore: &Path, is_64_bit: bool, judged: &Judged) -> Differences {
    let mut found = Differences::new();
    println!("-d  pages kept by makedumpfile  by us  by both");
    for number in LEVELS {
        let level = Level::new(number).expect("a level");
        let theirs = kept_by_makedumpfile(vmcore, is_64_bit, number);
        let (mut ours, mut both) = (0, 0);
        for (page, verdict) in &judged.verdicts {
            let is_zero = level.excludes(PageClass::Zero) && judged.zeros.contains(page);
            let is_left_out = matches!(verdict, Verdict::Excluded(class) if level.excludes(*class));
            let (is_ours, is_theirs) = (!is_zero && !is_left_out, theirs.contains(page));
            ours += u64::from(is_ours);
            both += u64::from(is_ours && is_theirs);
            if is_ours != is_theirs {
                let kind = (number, format!("{verdict:?}"), is_theirs);
                found.entry(kind).or_default().push(*page);
            }
        }
        println!("{number:2}  {:26}  {ours:5}  {both:7}", theirs.len());
    }
    found
}
