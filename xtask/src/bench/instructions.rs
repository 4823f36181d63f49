//! Instructions from the capture kernel's first line to the first bytes of the dump: a count that
//! does not depend on how fast the host is.
//!
//! QEMU's `-icount shift=N` lets 2^N ns pass with each instruction, and shows them as the ticks of a
//! time stamp counter of 1 GHz. The capture kernel never sleeps; so ticks are instructions. A wait
//! for a device counts as long as it took.

use qemu_tests::{Config, Report};
use serde_json::{Value, json};

use super::results;

/// N of `-icount shift=N`. With 1 ns, the loop that waits for the PIT would end before the PIT does.
const SHIFT: u32 = 2;
/// Memory of the guest in bytes.
pub(super) const MEMORY: u64 = 256 << 20;

/// What one target took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Whose capture.
    pub name: String,
    /// Instructions, or what was wrong.
    pub found: Result<u64, String>,
}

/// Has a cycle count: one CPU, so that no other's instructions are among them.
pub(super) fn configure(config: &mut Config) {
    config.cpus = 1;
    config.devices = vec!["-icount".into(), format!("shift={SHIFT}")];
    config.examine = false;
}

impl Count {
    /// What such a cycle counted.
    pub(super) fn new(name: String, report: &Report) -> Self {
        let ticks = |stage| report.stage_counters.get(stage);
        let between = || ticks("first_byte")?.checked_sub(ticks("capture_entry")?);
        let found = match results::failure(report) {
            Some(failure) => Err(failure),
            None => between().map(|ticks| ticks >> SHIFT).ok_or("no counter in the lines".into()),
        };
        Self { name, found }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let found = match &self.found {
            Ok(count) => grouped(*count),
            Err(_) => "-".to_string(),
        };
        format!("capture_entry to first byte, {}: {found} instructions\n", self.name)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let (count, failure) = (self.found.as_ref().ok(), self.found.as_ref().err());
        json!({
            "name": self.name,
            "entry_to_first_byte_instructions": count,
            "failure": failure,
        })
    }
}

/// The number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_legible() {
        let texts = [0, 999, 1000, 28_780_019].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "28,780,019"]);
    }

    #[test]
    fn a_count_is_said_and_so_is_its_absence() {
        let count = |found| Count { name: "ours, virtio-blk".into(), found };
        let right = count(Ok(7_195_004));
        let said = "capture_entry to first byte, ours, virtio-blk: 7,195,004 instructions\n";
        assert_eq!(right.text(), said);
        assert_eq!(right.json()["entry_to_first_byte_instructions"], 7_195_004);
        assert_eq!(right.json()["failure"], Value::Null);
        let wrong = count(Err("cycle: no end".into()));
        assert_eq!(wrong.json()["failure"], "cycle: no end");
        assert_eq!(wrong.json()["entry_to_first_byte_instructions"], Value::Null);
        assert!(wrong.text().ends_with(": - instructions\n"), "{}", wrong.text());
    }
}
