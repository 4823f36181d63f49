//! When each stage was reached, without the time that the VM stood still.

use std::time::{Duration, Instant};

use handoff::Stage;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Collects the moments of one cycle.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    panic: Option<Instant>,
    stages: Vec<(Stage, Instant)>,
    stops: Vec<(Instant, Instant)>,
}

impl Timeline {
    /// The panic line; the first one counts.
    pub fn panicked(&mut self, at: Instant) {
        self.panic.get_or_insert(at);
    }

    /// True once the first kernel has panicked.
    pub fn has_panicked(&self) -> bool {
        self.panic.is_some()
    }

    /// A stage line; the first of each stage counts.
    pub fn reached(&mut self, stage: Stage, at: Instant) {
        if !self.has(stage) {
            self.stages.push((stage, at));
        }
    }

    /// True once the stage's line came.
    pub fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|(reached, _)| *reached == stage)
    }

    /// The VM stood still from `start` to `end`.
    pub fn stopped(&mut self, start: Instant, end: Instant) {
        self.stops.push((start, end));
    }

    /// The name of the last stage, "panic" or "boot". That the capture failed is no stage to stop at.
    pub fn last(&self) -> &'static str {
        let last = self.stages.iter().rfind(|(stage, _)| *stage != Stage::Failed);
        match (last, self.panic) {
            (Some((stage, _)), _) => stage.name(),
            (None, Some(_)) => "panic",
            (None, None) => "boot",
        }
    }

    /// Milliseconds that the VM stood still in all.
    pub fn stopped_ms(&self) -> f64 {
        millis(self.stops.iter().map(|(start, end)| end.saturating_duration_since(*start)).sum())
    }

    /// Milliseconds from the panic to each stage.
    pub fn milestones(&self) -> Milestones {
        let named = Stage::ALL.iter().filter(|stage| **stage != Stage::Failed);
        let stages = named.map(|stage| {
            let found = self.stages.iter().find(|(reached, _)| reached == stage);
            (stage.name(), found.and_then(|(_, at)| self.since_panic(*at)))
        });
        let panic = ("panic", self.panic.map(|_| 0.0));
        Milestones(std::iter::once(panic).chain(stages).collect())
    }

    fn since_panic(&self, at: Instant) -> Option<f64> {
        let panic = self.panic?;
        let stood = |(start, end): &(Instant, Instant)| {
            (*end).min(at).saturating_duration_since((*start).max(panic))
        };
        let stopped: Duration = self.stops.iter().map(stood).sum();
        Some(millis(at.saturating_duration_since(panic).saturating_sub(stopped)))
    }
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are more than the host can tell.
    duration.as_micros() as f64 / 1000.0
}

/// Stage names with milliseconds since the panic, in the order of the stages; `None` when a stage
/// was not reached. In JSON an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Milestones(pub Vec<(&'static str, Option<f64>)>);

impl Milestones {
    /// Milliseconds from the panic to the stage of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(stage, _)| *stage == name).and_then(|(_, ms)| *ms)
    }
}

impl Serialize for Milestones {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, ms) in &self.0 {
            map.serialize_entry(name, ms)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_taken_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timeline = Timeline::default();
        assert_eq!(timeline.last(), "boot");
        // Attaching gdb before the panic does not count for what comes after it.
        timeline.stopped(at(10), at(90));
        timeline.panicked(at(100));
        assert_eq!(timeline.last(), "panic");
        timeline.stopped(at(110), at(160));
        timeline.reached(Stage::Purgatory, at(170));
        timeline.stopped(at(180), at(200));
        timeline.reached(Stage::Quiesced, at(210));
        timeline.reached(Stage::Quiesced, at(900));
        let milestones = timeline.milestones();
        assert_eq!(milestones.get("panic"), Some(0.0));
        assert_eq!(milestones.get("purgatory"), Some(20.0));
        assert_eq!(milestones.get("quiesced"), Some(40.0));
        assert_eq!(milestones.get("done"), None);
        assert_eq!(timeline.stopped_ms(), 150.0);
        assert_eq!(timeline.last(), "quiesced");
        timeline.reached(Stage::Failed, at(950));
        assert_eq!(timeline.last(), "quiesced");
    }

    #[test]
    fn json_keeps_the_order_of_the_stages() {
        let json = serde_json::to_string(&Timeline::default().milestones()).unwrap();
        assert!(json.starts_with(r#"{"panic":null,"purgatory":null,"verified":null"#), "{json}");
    }
}
