//! Instructions from the capture kernel's first line to the first bytes of the dump: a count that
//! depends on the host only where the capture kernel waits for it.
//!
//! QEMU's `-icount shift=N` lets 2^N ns pass with each instruction, and shows them as the ticks of
//! a time stamp counter of 1 GHz. The capture kernel never sleeps; so ticks are instructions. A
//! wait for a device counts as long as it took.

use qemu_tests::{Config, Report};
use serde_json::{Value, json};

use crate::cycle::failure;

/// N of `-icount shift=N`. With 1 ns, the loop that waits for the PIT would end before the PIT
/// does.
const SHIFT: u32 = 2;
/// Memory of the guest in bytes.
pub(super) const MEMORY: u64 = 256 << 20;

/// Instructions since the capture kernel's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instructions {
    /// Until the views are made: no wait for the host is among them.
    pub views: u64,
    /// Until the first bytes of the dump are out: with the waits for the device.
    pub first_byte: u64,
}

/// Instructions of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// The target.
    pub name: String,
    /// The numbers, or the fault.
    pub found: Result<Instructions, String>,
}

/// Has a cycle count: one CPU, so that no other's instructions are among them.
pub(super) fn configure(config: &mut Config) {
    config.cpus = 1;
    config.devices = vec!["-icount".into(), format!("shift={SHIFT}")];
    config.examine = false;
}

impl Count {
    /// Counts of such a cycle.
    pub(super) fn new(name: String, report: &Report) -> Self {
        let ticks = |stage| report.stage_counters.get(stage);
        let until = |stage| Some(ticks(stage)?.checked_sub(ticks("capture_entry")?)? >> SHIFT);
        let counted =
            || Some(Instructions { views: until("views")?, first_byte: until("first_byte")? });
        let found = match failure(report) {
            Some(failure) => Err(failure),
            None => counted().ok_or("a stage has no counter in its line".into()),
        };
        Self { name, found }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let found = match &self.found {
            Ok(Instructions { views, first_byte }) => {
                format!("{} instructions, {} until views", grouped(*first_byte), grouped(*views))
            }
            Err(_) => "-".to_string(),
        };
        format!("capture_entry to first byte, {}: {found}\n", self.name)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let (found, failure) = (self.found.as_ref().ok(), self.found.as_ref().err());
        json!({
            "name": self.name,
            "entry_to_views_instructions": found.map(|found| found.views),
            "entry_to_first_byte_instructions": found.map(|found| found.first_byte),
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
        let right = count(Ok(Instructions { views: 6_215_318, first_byte: 14_400_806 }));
        let said = "capture_entry to first byte, ours, virtio-blk: 14,400,806 instructions, \
                    6,215,318 until views\n";
        assert_eq!(right.text(), said);
        assert_eq!(right.json()["entry_to_first_byte_instructions"], 14_400_806);
        assert_eq!(right.json()["entry_to_views_instructions"], 6_215_318);
        assert_eq!(right.json()["failure"], Value::Null);
        let wrong = count(Err("cycle: no end".into()));
        assert_eq!(wrong.json()["failure"], "cycle: no end");
        assert_eq!(wrong.json()["entry_to_first_byte_instructions"], Value::Null);
        assert!(wrong.text().ends_with(": -\n"), "{}", wrong.text());
    }
}
