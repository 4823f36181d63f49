//! NMIs, as from a button or a watchdog, at every moment of a crash.

use crate::common::*;
use qemu_tests::{Fault, NmiPlace};

#[track_caller]
fn assert_survives(place: NmiPlace, words: &str) -> Dump {
    let dump = Dump::of(|config| {
        config.fault = Some(Fault::NmiAt(place));
        config.first_append = words.into();
    });
    assert_passes(&dump.report);
    dump
}

#[test]
fn an_nmi_before_the_crash_is_ignored() {
    let dump = assert_survives(NmiPlace::FirstKernel, "ignore-nmi");
    assert!(dump.console.contains("guest: ignored 1 NMI"), "{}", dump.console);
    assert!(!dump.console.contains("guest: exception"), "{}", dump.console);
}

#[test]
fn an_nmi_is_a_reason_to_crash() {
    let dump = assert_survives(NmiPlace::FirstKernel, "die=nmi");
    assert!(dump.console.contains("guest: exception 2 (NMI) at eip 0x"), "{}", dump.console);
    dump.assert_place(0, "guest_wait_for_nmi");
}

/// The check `nmi_counted` reads purgatory's own counter.
#[test]
fn an_nmi_while_purgatory_hashes_is_counted() {
    assert_survives(NmiPlace::Hashing, "");
}

#[test]
fn an_nmi_after_purgatory_is_counted() {
    assert_survives(NmiPlace::CaptureEntry, "");
}

#[test]
fn an_nmi_during_the_capture_is_counted() {
    assert_captured(Fault::Nmi, "kdump: 1 NMIs arrived during the capture");
}
