//! Features that kexec's users know: an initramfs, bounds, no checks, CPUs that come and go.

use std::fs;

use crate::common::elf::{self, ET_DYN, Load};
use crate::common::{fixture, plan_with, rules, segment};
use handoff::boot_params::BootParams;
use handoff::purgatory::PurgatoryParams;
use loader::{ImageError, Plan, PlanError, PlanOptions, System};
use sha2::{Digest, Sha256};
use vmcore::PhysAddr;
use zerocopy::FromBytes;

fn plan_for(options: &PlanOptions) -> Result<Plan, PlanError> {
    plan_with(&fixture("i386-512m"), &elf::kernel(), options)
}

fn bounds(plan: &Plan, name: &str) -> (u64, u64) {
    let segment = plan.segments.iter().find(|segment| segment.name == name).expect("a segment");
    (segment.range.start().get(), segment.range.end().get())
}

fn regions(plan: &Plan) -> Vec<handoff::purgatory::Region> {
    let bytes = &segment(plan, "purgatory")[elf::PARAMS_AT..][..size_of::<PurgatoryParams>()];
    let params = PurgatoryParams::read_from_bytes(bytes).expect("its size");
    params.regions[..params.region_count as usize].to_vec()
}

/// 0x2f5b000 is where the command line starts (see `the_slot_of_the_paper`); 5000 bytes are 2
/// pages.
#[test]
fn an_initramfs_lies_at_the_end_of_the_capture_kernels_memory() {
    let initrd = vec![7; 5000];
    let options = PlanOptions { initrd: Some(initrd.clone()), ..PlanOptions::default() };
    let plan = plan_for(&options).expect("a plan");
    rules::check(&fixture("i386-512m"), &plan);
    assert_eq!(bounds(&plan, "initrd"), (0x2f5_9000, 0x2f5_b000));
    assert_eq!(plan.gap.end(), PhysAddr::new(0x2f5_9000), "it is no room for control pages");
    assert_eq!(plan.memory[0].end(), PhysAddr::new(0x2f5_b000));
    assert_eq!(segment(&plan, "initrd"), initrd);
    let page = BootParams::read_from_bytes(segment(&plan, "boot-params")).expect("a page");
    assert_eq!((page.hdr.ramdisk_image.get(), page.hdr.ramdisk_size.get()), (0x2f5_9000, 5000));
    let region = regions(&plan).into_iter().find(|region| region.name() == "initrd");
    let region = region.expect("purgatory checks it");
    assert_eq!((region.start, region.length), (0x2f5_9000, 5000));
    assert_eq!(region.digest, <[u8; 32]>::from(Sha256::digest(&initrd)));
    let without = plan_for(&PlanOptions::default()).expect("a plan");
    let page = BootParams::read_from_bytes(segment(&without, "boot-params")).expect("a page");
    assert_eq!((page.hdr.ramdisk_image.get(), page.hdr.ramdisk_size.get()), (0, 0));
}

/// 16 segments: the initramfs takes one of the kernel's eleven.
#[test]
fn an_initramfs_takes_a_segment() {
    let load =
        |index: u32| Load { addr: 0x100_0000 + index * 4096, bytes: vec![0x90; 16], memsz: 16 };
    let loads: Vec<Load> = (0..11).map(load).collect();
    let image = elf::kernel_from(ET_DYN, 0x100_0000, &loads);
    let plan = |initrd| {
        let options = PlanOptions { initrd, ..PlanOptions::default() };
        plan_with(&fixture("i386-512m"), &image, &options)
    };
    assert_eq!(plan(None).expect("16 segments").segments.len(), 16);
    let error = ImageError::TooManySegments { count: 11, limit: 10 };
    assert_eq!(plan(Some(vec![1])), Err(PlanError::CaptureKernel(error)));
}

#[test]
fn an_initramfs_that_does_not_fit() {
    let options = PlanOptions { initrd: Some(vec![0; 32 << 20]), ..PlanOptions::default() };
    assert!(matches!(plan_for(&options), Err(PlanError::SlotTooSmall { .. })));
}

fn within(min: Option<u64>, max: Option<u64>) -> Result<Plan, PlanError> {
    let (mem_min, mem_max) = (min.map(PhysAddr::new), max.map(PhysAddr::new));
    plan_for(&PlanOptions { mem_min, mem_max, ..PlanOptions::default() })
}

#[test]
fn bounds_inside_the_slot() {
    let plan = within(Some(0x180_0001), Some(0x27f_ffff)).expect("a plan");
    rules::check(&fixture("i386-512m"), &plan);
    assert_eq!((plan.slot.start().get(), plan.slot.end().get()), (0x1a0_0000, 0x280_0000));
    assert_eq!(bounds(&plan, "backup").1, 0x280_0000);
    assert_eq!(bounds(&plan, "kernel-0").0, 0x1a0_0000, "from a multiple of 2 MiB on");
    let loads = |plan: &Plan| plan.loads.iter().map(|load| load.paddr).collect::<Vec<_>>();
    let all = plan_for(&PlanOptions::default()).expect("a plan");
    assert_eq!(loads(&plan), loads(&all), "what is reserved is not dumped, used or not");
}

#[test]
fn bounds_that_say_nothing_or_too_much() {
    let all = plan_for(&PlanOptions::default());
    assert_eq!(within(Some(0), Some(u64::MAX)), all);
    for (min, max) in [(Some(0x300_0000), None), (None, Some(0xff_ffff)), (Some(u64::MAX), None)] {
        let error = within(min, max).expect_err("nothing is left");
        assert!(matches!(error, PlanError::BoundsOutsideSlot { .. }), "{error}");
    }
    assert!(matches!(within(None, Some(0x107_ffff)), Err(PlanError::SlotTooSmall { .. })));
}

/// The block's own digest is in the block, and stays.
#[test]
fn without_checks_purgatory_has_no_regions() {
    let plan = plan_for(&PlanOptions { checks: false, ..PlanOptions::default() }).expect("a plan");
    assert!(regions(&plan).is_empty());
    assert!(plan.warnings[0].starts_with("--no-checks"), "{:?}", plan.warnings);
    let bytes = &segment(&plan, "purgatory")[elf::PARAMS_AT..][..size_of::<PurgatoryParams>()];
    let mut params = PurgatoryParams::read_from_bytes(bytes).expect("its size");
    let digest = std::mem::take(&mut params.block.digest);
    assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(zerocopy::IntoBytes::as_bytes(&params))));
}

/// A CPU that is offline now may be online when the kernel dies: its notes have their place.
#[test]
fn cpus_that_are_present_and_offline_have_notes() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write("proc/iomem", "00100000-1ffdffff : System RAM\n  01000000-02ffffff : Crash kernel\n");
    write("sys/devices/system/cpu/present", "0-1\n");
    write("sys/devices/system/cpu/possible", "0-3\n");
    write("sys/devices/system/cpu/online", "0\n");
    for (cpu, notes) in [(0, "1facae00\n"), (1, "1fadde00\n")] {
        write(&format!("sys/devices/system/cpu/cpu{cpu}/crash_notes"), notes);
        write(&format!("sys/devices/system/cpu/cpu{cpu}/crash_notes_size"), "176\n");
    }
    let system = System::read(folder.path()).expect("a system");
    let plan = plan_with(&system, &elf::kernel(), &PlanOptions::default()).expect("a plan");
    let notes: Vec<_> = plan.notes.iter().map(|n| (n.cpu, n.area.start().get())).collect();
    assert_eq!(notes, [(0, 0x1fac_ae00), (1, 0x1fad_de00)]);
}
