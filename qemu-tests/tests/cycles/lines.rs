//! Bad lines and collectors that disappear: the dump is whole, or the missing parts are named.
//! Every byte that a collector claims is compared with memory (`claims_of_…`).

use std::time::Duration;

use crate::common::*;
use qemu_tests::line::Rates;
use qemu_tests::line::collector_process::Received;
use qemu_tests::{Config, Delivery, Fate, Noise, Report};

/// About half of the bytes on a serial line if they are not compressed; faults happen at that
/// point.
const HALF: u64 = 250_000;
/// Memory as it is, also on a serial line.
const RAW: &str = "kdump.compress=none";
/// A moment without a collector.
const MOMENT: Duration = Duration::from_millis(700);

/// Runs the guest on `targets`, with this fate of their collectors.
fn fated(targets: &str, fate: Fate, change: impl FnOnce(&mut Config)) -> (Report, String) {
    cycle_and_console(guest(), |config| {
        small(config);
        config.delivery = Delivery { fate, ..over(targets) };
        change(config);
    })
}

fn noisy(rates: Rates, seed: u64) -> Report {
    cycle(guest(), |config| {
        small(config);
        config.delivery = Delivery { noise: Some(Noise { rates, seed }), ..over("serial") };
        config.append = RAW.into();
    })
}

#[track_caller]
fn only(report: &Report) -> &Received {
    let [received] = &report.received[..] else { panic!("one line: {report:#?}") };
    received
}

/// A dump with no collector to finish it. The claims of the one that there was are true, and not
/// all.
#[track_caller]
fn assert_partial(report: &Report, line: &str) {
    let claims = format!("claims_of_{line}");
    let claims = report.checks.iter().find(|check| check.name == claims);
    assert!(claims.is_some_and(|check| check.pass), "{report:#?}");
    let received = report.received.iter().find(|received| received.target == line);
    let received = received.expect("a collector");
    let vmcore = received.views.iter().find(|view| view.view == "vmcore").expect("a vmcore");
    let missing: u64 = vmcore.missing.iter().map(|(_, length)| length).sum();
    assert!((1..vmcore.bytes).contains(&missing), "{received:#?}");
}

#[test]
fn bytes_flipped_and_lost_on_a_serial_line() {
    let report = noisy(Rates { flips: 100, drops: 100, bursts: 0 }, 1);
    assert_passes(&report);
    assert!(only(&report).damaged_frames > 20, "{report:#?}");
}

#[test]
fn bursts_on_a_serial_line() {
    let report = noisy(Rates { flips: 0, drops: 0, bursts: 20 }, 2);
    assert_passes(&report);
    assert!(only(&report).damaged_frames > 5, "{report:#?}");
}

#[test]
fn a_collector_killed_and_started_again_on_a_serial_line() {
    let fate = Fate::Killed { after: HALF, back: Some(MOMENT) };
    let (report, _) = fated("serial", fate, |config| config.append = RAW.into());
    assert_passes(&report);
    assert_eq!(only(&report).collectors, 2);
    assert!(only(&report).said.contains("going on with"), "{report:#?}");
}

#[test]
fn a_collector_that_stalls_on_a_serial_line() {
    let fate = Fate::Stalls { after: HALF, pause: 3 * MOMENT };
    let (report, _) = fated("serial", fate, |config| config.append = RAW.into());
    assert_passes(&report);
    assert_eq!(only(&report).collectors, 1);
}

#[test]
fn a_collector_that_is_gone_for_good_on_a_serial_line() {
    let fate = Fate::Killed { after: HALF, back: None };
    let (report, console) =
        fated("serial", fate, |config| config.append = format!("{RAW} kdump.timeout=10"));
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, &["the collector has fallen silent", "kdump: stage=failed"]);
    assert_partial(&report, "serial");
    assert!(report.checks.iter().any(|check| is_kept_to_the_end(&check.name)), "{report:#?}");
}

#[test]
fn a_machine_that_loses_its_power_on_a_serial_line() {
    let (report, _) = fated("serial", Fate::PowerCut { after: HALF }, |config| {
        config.truth = false;
        config.append = RAW.into();
    });
    assert_only_fails(&report, &["cycle"]);
    assert_partial(&report, "serial");
}

#[test]
fn nobody_at_the_other_end_of_a_serial_line() {
    let (report, console) =
        fated("serial", Fate::Absent, |config| config.append = "kdump.timeout=2".into());
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, &["no collector answers", "kdump: stage=failed", "kdump: rebooting"]);
    assert!(report.checks.iter().any(|check| is_kept_to_the_end(&check.name)), "{report:#?}");
}

#[test]
fn a_collector_of_another_version_is_refused_in_words() {
    let (report, console) =
        fated("serial", Fate::OtherVersion, |config| config.append = "kdump.timeout=10".into());
    assert_only_fails(&report, &["cycle"]);
    assert_says(
        &console,
        &["the collector speaks version 3 of the wire protocol, this kernel version 2"],
    );
}

/// Bytes on the line to a collector of the whole dump, which equals memory. Those of a console port
/// are counted where its collector stalls for a moment.
fn line_bytes(target: &str, compress: &str) -> u64 {
    let fate = Fate::Stalls { after: 100_000, pause: MOMENT };
    let (report, _) = fated(target, fate, |config| config.append = compress.into());
    assert_passes(&report);
    let bytes = only(&report).line_bytes;
    assert!(bytes > 0);
    bytes
}

#[test]
fn lz4_on_a_serial_line_is_the_default_and_sends_less() {
    let (raw, lz4) = (line_bytes("serial", RAW), line_bytes("serial", "kdump.compress=auto"));
    assert!(lz4 < raw * 3 / 4, "{lz4} bytes of {raw}");
}

#[test]
fn lz4_on_a_virtio_console_sends_less() {
    let [raw, auto, lz4] = ["none", "auto", "lz4"]
        .map(|compress| line_bytes("virtio-console", &format!("kdump.compress={compress}")));
    assert!(lz4 < raw * 3 / 4, "{lz4} bytes of {raw}");
    assert!(auto > raw * 3 / 4, "memory is sent as it is: {auto} bytes");
}

/// The line is bad and the collector is killed: chunks are sent again, and in part.
#[test]
fn lz4_on_a_bad_serial_line_whose_collector_is_killed() {
    let rates = Rates { flips: 100, drops: 100, bursts: 0 };
    let report = cycle(guest(), |config| {
        small(config);
        let fate = Fate::Killed { after: 40_000, back: Some(MOMENT) };
        config.delivery =
            Delivery { noise: Some(Noise { rates, seed: 3 }), fate, ..over("serial") };
        config.append = "kdump.compress=lz4".into();
    });
    assert_passes(&report);
    assert_eq!(only(&report).collectors, 2);
}

#[test]
fn a_collector_that_comes_late_to_a_serial_line() {
    let (report, _) = fated("serial", Fate::Late(3 * MOMENT), |_| ());
    assert_passes(&report);
}

#[test]
fn a_collector_killed_and_started_again_on_a_virtio_console() {
    let fate = Fate::Killed { after: 8 << 20, back: Some(MOMENT) };
    let (report, _) = fated("virtio-console", fate, |_| ());
    assert_passes(&report);
    assert_eq!(only(&report).collectors, 2);
}

#[test]
fn a_collector_that_comes_late_to_a_virtio_console() {
    let (report, _) = fated("virtio-console", Fate::Late(3 * MOMENT), |_| ());
    assert_passes(&report);
}

#[test]
fn nobody_at_the_other_end_of_a_virtio_console() {
    let (report, console) =
        fated("virtio-console", Fate::Absent, |config| config.append = "kdump.timeout=2".into());
    assert_only_fails(&report, &["cycle"]);
    assert_says(&console, &["kdump: stage=failed", "kdump: rebooting"]);
}
