//! The rate of the time stamp counter: handed over by the loader, and checked by the capture
//! kernel.

use crate::common::*;

/// Time is counted in instructions of 4 ns: the counter, in ns, has a rate of 1 GHz.
const TIME: [&str; 2] = ["-icount", "shift=2"];

/// The console of a capture by a counter of 1 GHz with these words on its command line.
fn console_of(append: &str) -> String {
    let (report, console) = cycle_and_console(guest(), |config| {
        config.memory = 64 * MIB;
        config.devices = TIME.map(str::to_string).to_vec();
        config.append = append.into();
    });
    assert_passes(&report);
    console
}

/// Returns the rate that the capture kernel counts with, in kHz, and the text after it on the
/// console.
fn counted(console: &str) -> (u32, &str) {
    let line = console.lines().find_map(|line| line.split_once("kdump: tsc_per_ms="));
    let (_, said) = line.expect("the capture kernel says its rate");
    let digits = said.find(|c: char| !c.is_ascii_digit()).unwrap_or(said.len());
    (said[..digits].parse().expect("a number"), &said[digits..])
}

#[test]
fn a_rate_that_is_handed_over_is_counted_with() {
    let console = console_of("kdump.tsc_khz=1012345");
    assert_eq!(counted(&console), (1_012_345, ", as kdump.tsc_khz= says"));
}

/// Ten times too small and too large, the largest that there is, and that of another machine, from
/// which this one has moved.
#[test]
fn a_rate_that_is_wrong_is_measured_instead() {
    for wrong in ["100000", "10000000", "4294967295", "2596366"] {
        let console = console_of(&format!("kdump.tsc_khz={wrong}"));
        let (rate, said) = counted(&console);
        assert!((950_000..1_050_000).contains(&rate) && said.is_empty(), "{rate}{said}");
        let named = format!("kdump: kdump.tsc_khz={wrong} is wrong here, so the rate was measured");
        assert_says(&console, &[&named]);
    }
}

#[test]
fn a_rate_of_zero_is_named() {
    let console = console_of("kdump.tsc_khz=0");
    assert_eq!(counted(&console).1, "");
    assert_says(&console, &["kdump.tsc_khz=0: not understood, ignored"]);
}

#[test]
fn the_loader_hands_over_what_it_has_measured() {
    let (report, console) = cycle_and_console(debian(), |config| {
        config.memory = 256 * MIB;
        config.before_crash =
            r#"say "tsc $(/kdump-loader status | grep -o 'kdump.tsc_khz=[0-9]*')""#.into();
    });
    assert_passes(&report);
    let (_, loaded) = console.split_once("first-kernel: tsc kdump.tsc_khz=").expect("a rate");
    let loaded = loaded.split_whitespace().next().and_then(|khz| khz.parse().ok());
    assert_eq!(counted(&console), (loaded.expect("a number"), ", as kdump.tsc_khz= says"));
}
