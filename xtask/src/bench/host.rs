//! The machine that measures: its hardware and its load.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::programs::output_of;

/// Load of the machine: `/proc/loadavg`'s averages over 1, 5 and 15 minutes; zeros if it cannot be
/// read.
pub(super) fn load() -> [f64; 3] {
    load_of(&fs::read_to_string("/proc/loadavg").unwrap_or_default())
}

fn load_of(text: &str) -> [f64; 3] {
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
    std::array::from_fn(|_| words.next().unwrap_or(0.0))
}

/// Facts that do not change during a run.
#[derive(Clone, Debug)]
pub(super) struct Host {
    started: u64,
    cpus: usize,
    model: String,
    qemu: String,
}

impl Host {
    pub(super) fn new() -> Self {
        let version = output_of(Command::new("qemu-system-i386").arg("--version"));
        let qemu = version.unwrap_or_default().lines().next().unwrap_or("unknown").to_string();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let model = model_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
        Self { started, cpus, model, qemu }
    }

    /// One line.
    pub(super) fn text(&self, before: [f64; 3], after: [f64; 3]) -> String {
        let Self { cpus, model, qemu, .. } = self;
        let (before, after) = (before[0], after[0]);
        format!("{cpus} CPUs ({model}), load average {before} before, {after} after; {qemu}")
    }

    /// For programs.
    pub(super) fn json(&self, before: [f64; 3], after: [f64; 3]) -> Value {
        json!({
            "started_unix_s": self.started,
            "cpus": self.cpus,
            "cpu_model": self.model,
            "qemu": self.qemu,
            "accelerator": "tcg",
            "load_average_before": before,
            "load_average_after": after,
        })
    }
}

fn model_of(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("of unknown model").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(load_of("4.98 2.78 1.95 3/211 12345\n"), [4.98, 2.78, 1.95]);
        assert_eq!(load_of(""), [0.0; 3]);
        let cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast @ 2 GHz\n";
        assert_eq!(model_of(cpuinfo), "Fast @ 2 GHz");
        assert_eq!(model_of(""), "of unknown model");
    }
}
