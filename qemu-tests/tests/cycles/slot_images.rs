//! Slot images: the guest does the whole of the paper itself, and refuses images that it cannot
//! use.

use std::process::Command;

use crate::common::*;
use qemu_tests::{Fault, Loading};

#[test]
fn an_image_in_a_module_is_unpacked_and_sealed() {
    let change = |config: &mut qemu_tests::Config| config.cpus = 2;
    let (report, console) = cycle_and_console(guest_with(Loading::Module), change);
    assert_passes(&report);
    assert!(console.contains("guest: slot image in a module at 0x"), "{console}");
}

#[test]
fn an_image_in_place_is_unpacked_and_sealed() {
    let slot = |config: &mut qemu_tests::Config| config.slot = "16M@32M".into();
    let (report, console) = cycle_and_console(guest_with(Loading::InPlace), slot);
    assert_passes(&report);
    // 48 MiB less 640 KiB.
    assert!(console.contains("guest: slot image in place at 0x2f60000"), "{console}");
}

#[test]
fn an_image_that_was_packed_sealed_is_taken_as_it_is() {
    let (report, _) = cycle_and_console(guest_with(Loading::SealedModule), |_| ());
    assert_passes(&report);
}

/// The guest seals nothing: purgatory must notice.
#[test]
fn purgatory_refuses_an_unsealed_slot() {
    let report = cycle(guest_with(Loading::Module), |config| {
        config.truth = false;
        config.fault = Some(Fault::Unsealed);
    });
    assert_no_dump(&report, "kdump: purgatory: the slot image is not sealed");
    assert_eq!(report.stage, "purgatory");
}

/// The guest refuses the image with these words and jumps nowhere.
#[track_caller]
fn assert_image_refused(loading: Loading, fault: Fault, said: &str) {
    let (report, console) = cycle_and_console(guest_with(loading), |config| {
        config.truth = false;
        config.fault = Some(fault);
    });
    // The guest gives up by a reset.
    assert_only_fails(&report, &["cycle", "no_reset"]);
    for said in [said, "guest: no capture kernel is loaded", "guest: failed"] {
        assert!(console.contains(said), "the console does not say {said:?}:\n{console}");
    }
    assert!(!console.contains("kdump: stage="), "{console}");
}

#[test]
fn an_image_for_another_slot_is_refused() {
    let said = "guest: the slot image is for 0x1000000..0x3000000, but the first kernel has \
                reserved 0x2000000..0x4000000";
    assert_image_refused(Loading::Module, Fault::OtherReservation("32M@32M"), said);
}

/// The first segment begins after the header's page.
#[test]
fn an_image_with_a_damaged_segment_is_refused() {
    let fault = Fault::WrongSlotImage(|image| image[0x1234] ^= 1);
    assert_image_refused(
        Loading::Module,
        fault,
        "guest: \"kernel-0\" in the slot image is damaged",
    );
}

#[test]
fn what_is_no_slot_image_is_refused() {
    let fault = Fault::WrongSlotImage(|image| image[0] = 0);
    assert_image_refused(Loading::InPlace, fault, "guest: this is not a slot image");
}

#[test]
fn an_image_of_another_version_is_refused() {
    let fault = Fault::WrongSlotImage(|image| image[8] = 2);
    assert_image_refused(Loading::Module, fault, "guest: a slot image of version 2");
}

/// The program itself: it packs with its own images, inspects, and writes the packed image.
#[test]
fn the_loader_packs_flashes_and_inspects() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).into_os_string();
    let loader = |words: &[&std::ffi::OsStr]| {
        let output = Command::new(file("KDUMP_TEST_LOADER")).args(words).output();
        let output = output.expect("the loader runs on the host");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let (image, device) = (path("slot.img"), path("device"));
    loader(&["pack".as_ref(), "--slot".as_ref(), "32M@16M".as_ref(), "-o".as_ref(), &image]);
    let said = loader(&["flash".as_ref(), &image, &device]);
    assert!(said.contains("read back and equal"), "{said}");
    let said = loader(&["inspect".as_ref(), &device]);
    assert!(said.contains("unsealed") && !said.contains("BAD"), "{said}");
}
