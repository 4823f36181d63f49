//! Slot images: `pack`, `flash` and `inspect`.

use std::fs;
use std::path::Path;
use std::process::Output;

use cmdline::{memparse, size_at};
use loader::{FlashError, Images, Plan, PlanError, PlanOptions, SlotSpec, flash, pack, plan_slot};
use slot_image::parse;
use vmcore::{Class, PhysAddr, PhysRange};

use crate::cli::{json, loader, path};
use crate::common::{elf, fixture, fixture_folder, plan_for, segment};

fn slot(text: &str) -> PhysRange {
    size_at(text.as_bytes()).expect("a slot")
}

/// Plans a slot with the tiny images.
fn plan_at(text: &str, options: &PlanOptions) -> Result<Plan, PlanError> {
    let (elfcorehdr, _) = memparse(b"8K").expect("a size");
    let spec = SlotSpec { slot: slot(text), elfcorehdr, system: None };
    let images = Images { capture_kernel: &elf::kernel(), purgatory: &elf::purgatory() };
    plan_slot(&spec, &images, options)
}

/// The slot of the paper; from the top down 640 KiB backup, 2 pages for the ELF core header, 2 of
/// purgatory, boot_params, command line.
#[test]
fn a_slot_is_planned_without_a_system() {
    let plan = plan_at("32M@16M", &PlanOptions::default()).expect("a plan");
    assert_eq!(plan.command_line, "memmap=exactmap memmap=32104K@16384K elfcorehdr=8K@48504K");
    assert!(!plan.sealed && plan.loads.is_empty() && plan.notes.is_empty());
    assert!(segment(&plan, "elfcorehdr").iter().all(|byte| *byte == 0));
    let bytes = pack(&plan).expect("an image");
    let image = parse(&bytes).expect("a good image");
    assert!(!image.is_sealed());
    assert_eq!((image.slot, image.entry), (plan.slot, plan.entry));
    assert_eq!(image.backup.start(), PhysAddr::new(0x2f6_0000));
    assert_eq!(image.params().expect("parameters").state, 1);
}

/// With the first kernel's files, an image holds the same segments as `load`.
#[test]
fn an_image_of_a_known_system_is_its_plan() {
    let system = fixture("i386-512m");
    let loaded = plan_for(&system).expect("a plan");
    let spec = SlotSpec { slot: slot("32M@16M"), elfcorehdr: 1, system: Some(&system) };
    let images = Images { capture_kernel: &elf::kernel(), purgatory: &elf::purgatory() };
    let plan = plan_slot(&spec, &images, &PlanOptions::default()).expect("a plan");
    assert_eq!(plan, loaded);
    let bytes = pack(&plan).expect("an image");
    let image = parse(&bytes).expect("a good image");
    assert!(image.is_sealed());
    for segment in image.segments() {
        let name = segment.name.to_string();
        let whole = crate::common::segment(&plan, &name);
        let (given, zeros) = whole.split_at(segment.bytes.len());
        assert_eq!(segment.bytes, given, "{name}");
        assert!(zeros.iter().all(|byte| *byte == 0), "{name}");
    }
}

#[test]
fn what_needs_the_system_says_so() {
    let low = PlanOptions { low_memory: true, ..PlanOptions::default() };
    let class = PlanOptions { class: Some(Class::Elf64), ..PlanOptions::default() };
    for options in [low, class] {
        let error = plan_at("32M@16M", &options).expect_err("nothing is known");
        assert!(error.to_string().contains("--system DIR"), "{error}");
    }
    assert!(matches!(
        plan_at("32M@17M", &PlanOptions::default()),
        Err(PlanError::SlotUnaligned { .. })
    ));
}

fn an_image() -> Vec<u8> {
    pack(&plan_at("32M@16M", &PlanOptions::default()).expect("a plan")).expect("an image")
}

#[test]
fn flash_keeps_what_lies_around_the_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("flash");
    let image = an_image();
    let mut told = 0;
    fs::write(&target, vec![0xee; image.len() + 8192]).expect("a file");
    flash(&image, &target, 4096, &mut |written| told = written).expect("room");
    let found = fs::read(&target).expect("a file");
    assert_eq!(&found[4096..4096 + image.len()], image);
    assert!(found[..4096].iter().chain(&found[4096 + image.len()..]).all(|byte| *byte == 0xee));
    assert_eq!((found.len(), told), (image.len() + 8192, image.len()));
    fs::remove_file(&target).expect("it is there");
    flash(&image, &target, 0, &mut |_| ()).expect("it is created");
    assert_eq!(fs::read(&target).expect("a file"), image);
}

#[test]
fn flash_refuses_before_it_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("flash");
    let mut image = an_image();
    let to = |image: &[u8], target: &Path| flash(image, target, 0, &mut |_| ());
    assert!(matches!(to(&image, folder.path()), Err(FlashError::NotAFile { .. })));
    assert!(matches!(to(&image, Path::new("/dev/null")), Err(FlashError::NotAFile { .. })));
    let nowhere = folder.path().join("no/flash");
    assert!(matches!(to(&image, &nowhere), Err(FlashError::Open { .. })));
    let too_far = flash(&image, &target, i64::MAX as u64, &mut |_| ());
    assert!(matches!(too_far, Err(FlashError::TooSmall { .. })));
    image[4096] ^= 1;
    assert!(matches!(to(&image, &target), Err(FlashError::Image(_))));
    assert!(!target.exists());
}

/// Runs `pack` with the tiny images and these words at the end.
fn run_pack(output: &Path, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let (kernel, purgatory) = (folder.path().join("kernel"), folder.path().join("purgatory"));
    fs::write(&kernel, elf::kernel()).expect("a file");
    fs::write(&purgatory, elf::purgatory()).expect("a file");
    let files = ["--kernel", path(&kernel), "--purgatory", path(&purgatory), "-o", path(output)];
    loader(&[&["pack"], &files[..], words].concat())
}

#[test]
fn pack_flash_and_inspect_as_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, target) = (folder.path().join("slot.img"), folder.path().join("flash"));
    let packed = run_pack(&image, &["--slot", "32M@64M", "--final-action", "poweroff"]);
    assert_eq!(packed.status.code(), Some(0), "{}", String::from_utf8_lossy(&packed.stderr));
    let flashed = loader(&["flash", path(&image), path(&target)]);
    assert_eq!(flashed.status.code(), Some(0));
    let report = json(&loader(&["inspect", path(&target), "--json"]));
    assert_eq!((&report["version"], &report["sealed"]), (&1.into(), &false.into()));
    assert_eq!(
        (&report["slot"]["start"], &report["image_version"]),
        (&0x400_0000.into(), &1.into())
    );
    assert_eq!(report["segments"][0]["name"], "kernel-0");
    assert_eq!(report["segments"][0]["digest_ok"], true);
    let line = report["command_line"].as_str().expect("text");
    assert!(line.starts_with("kdump.final_action=poweroff memmap=exactmap"), "{line}");
    let root = fixture_folder("i386-96m");
    let sealed = run_pack(&image, &["--slot", "32M@16M", "--system", path(&root)]);
    assert_eq!(sealed.status.code(), Some(0), "{}", String::from_utf8_lossy(&sealed.stderr));
    assert_eq!(json(&loader(&["inspect", path(&image), "--json"]))["sealed"], true);
}

#[test]
fn inspect_names_what_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("slot.img");
    let mut bytes = an_image();
    // The tiny kernel's first segment is all zeros and has no bytes in the file.
    bytes[4096] ^= 1;
    fs::write(&image, &bytes).expect("a file");
    let output = loader(&["inspect", path(&image)]);
    assert_eq!(output.status.code(), Some(1));
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("digest BAD") && text.contains("digest ok"), "{text}");
    assert!(said.contains("\"kernel-1\" in the slot image is damaged"), "{said}");
    fs::write(&image, b"something else").expect("a file");
    let output = loader(&["inspect", path(&image)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this is not a slot image"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn wrong_words_are_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("slot.img");
    for words in [&["--slot", "32M"][..], &[], &["--slot", "32M@16M", "--elfcorehdr-size", "1G"]] {
        assert_eq!(run_pack(&image, words).status.code(), Some(2), "{words:?}");
    }
    assert!(!image.exists());
}
