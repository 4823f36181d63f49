//! The smallest slot that still works, by bisection.

use anyhow::Result;
use serde_json::{Value, json};

/// Sizes between which the smallest one is sought, in bytes: all of them multiples of `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Too small for sure: it is not tried.
    pub low: u64,
    /// Hoped to be enough: tried first.
    pub high: u64,
    /// Distance between two sizes that are tried.
    pub step: u64,
}

/// One size that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// The slot's size in bytes.
    pub size: u64,
    /// The failure, or `None` if the dump was complete and right.
    pub failure: Option<String>,
}

/// Result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// The stack that uses the slot.
    pub name: String,
    /// Distance between two sizes that are tried, in bytes.
    pub step: u64,
    /// Sizes that were tried, in this order.
    pub probes: Vec<Probe>,
    /// False if the search was interrupted.
    pub is_whole: bool,
}

impl Search {
    /// Looks for the smallest size that works: `probe` tries one. Every larger size is taken to
    /// work as well. `probe` ends the search with `Ok(None)`.
    ///
    /// # Errors
    /// That of `probe`.
    pub(super) fn run(
        name: String,
        bounds: Bounds,
        mut probe: impl FnMut(u64) -> Result<Option<Probe>>,
    ) -> Result<Self> {
        let Bounds { mut low, mut high, step } = bounds;
        let mut search = Self { name, step, probes: Vec::new(), is_whole: false };
        let mut size = high;
        loop {
            let Some(probe) = probe(size)? else { return Ok(search) };
            let works = probe.failure.is_none();
            search.probes.push(probe);
            match works {
                true => high = size,
                false => low = size,
            }
            size = low + (high.saturating_sub(low) / step).div_ceil(2) * step;
            if size <= low || size >= high {
                search.is_whole = true;
                return Ok(search);
            }
        }
    }

    /// The smallest size that worked, in bytes.
    pub(super) fn smallest(&self) -> Option<u64> {
        let working = self.probes.iter().filter(|probe| probe.failure.is_none());
        working.map(|probe| probe.size).min()
    }

    /// True if the smallest size is at most `goal` (bytes); [`None`] if the search was interrupted
    /// before that was known.
    pub(super) fn is_met(&self, goal: u64) -> Option<bool> {
        let is_small = self.smallest().is_some_and(|smallest| smallest <= goal);
        (is_small || self.is_whole).then_some(is_small)
    }

    /// For programs.
    pub(super) fn json(&self, goal: Option<u64>) -> Value {
        let probe = |probe: &Probe| json!({"bytes": probe.size, "failure": probe.failure});
        json!({
            "name": self.name,
            "step_bytes": self.step,
            "smallest_bytes": self.smallest(),
            "whole": self.is_whole,
            "goal_bytes": goal,
            "met": goal.and_then(|goal| self.is_met(goal)),
            "probes": self.probes.iter().map(probe).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where sizes from `enough` on work; returns the answer and how many were tried.
    fn search(bounds: Bounds, enough: u64) -> (Option<u64>, usize) {
        let found = Search::run("ours".into(), bounds, |size| {
            assert!(size > bounds.low && size <= bounds.high && size % bounds.step == 0, "{size}");
            let failure = (size < enough).then(|| "too small".to_string());
            Ok(Some(Probe { size, failure }))
        });
        let found = found.unwrap();
        assert!(found.is_whole);
        (found.smallest(), found.probes.len())
    }

    #[test]
    fn every_answer_is_found_in_few_steps() {
        let bounds = Bounds { low: 100, high: 900, step: 50 };
        for enough in 101..=900 {
            let (smallest, tried) = search(bounds, enough);
            assert_eq!(smallest, Some(u64::next_multiple_of(enough, 50)), "{enough}");
            assert!(tried <= 6, "{enough}: {tried}");
        }
        // Sizes at or below the lower bound are not tried.
        assert_eq!(search(bounds, 0).0, Some(150));
        assert_eq!(search(bounds, 901), (None, 1));
    }

    #[test]
    fn one_size_is_tried_once() {
        assert_eq!(search(Bounds { low: 1, high: 2, step: 1 }, 2), (Some(2), 1));
    }

    #[test]
    fn a_search_that_is_broken_off_says_what_it_has() {
        let bounds = Bounds { low: 0, high: 16, step: 1 };
        let mut tries = 0;
        let found = Search::run("ours".into(), bounds, |size| {
            tries += 1;
            Ok((tries < 3).then_some(Probe { size, failure: None }))
        });
        let found = found.unwrap();
        assert_eq!((found.smallest(), found.is_whole), (Some(8), false));
        let json = found.json(Some(4));
        assert_eq!((&json["met"], &json["smallest_bytes"]), (&Value::Null, &json!(8)));
        assert_eq!(found.json(Some(8))["met"], true);
        let whole = Search { is_whole: true, ..found.clone() };
        assert_eq!(whole.json(Some(4))["met"], false);
        assert_eq!(json["probes"][1]["bytes"], 8);
        assert_eq!(found.json(None)["met"], Value::Null);
    }
}
