//! Time of each stage, without the time that the VM stood still.

use std::time::{Duration, Instant};

use handoff::Stage;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A stage that was reached.
#[derive(Clone, Copy, Debug)]
struct Reached {
    stage: Stage,
    at: Instant,
    /// The time stamp counter of the guest's CPU, as its line has it.
    counter: Option<u64>,
}

/// Collects the moments of one cycle.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    panic: Option<Instant>,
    stages: Vec<Reached>,
    stops: Vec<(Instant, Instant)>,
    /// The last line of the backtraces.
    backtraces: Option<Instant>,
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

    /// A stage line, with the guest's time stamp counter; the first of each stage counts.
    pub fn reached(&mut self, stage: Stage, at: Instant, counter: Option<u64>) {
        if !self.has(stage) {
            self.stages.push(Reached { stage, at, counter });
        }
    }

    /// The last line of the capture kernel's backtraces; the first one counts.
    pub fn shown_backtraces(&mut self, at: Instant) {
        self.backtraces.get_or_insert(at);
    }

    /// Milliseconds from the panic to the last line of the backtraces.
    pub fn backtraces_ms(&self) -> Option<f64> {
        self.since_panic(self.backtraces?)
    }

    /// True once the stage's line came.
    pub fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|reached| reached.stage == stage)
    }

    /// The VM stood still from `start` to `end`.
    pub fn stopped(&mut self, start: Instant, end: Instant) {
        self.stops.push((start, end));
    }

    /// The name of the last stage, "panic" or "boot". That the capture failed is no stage to stop
    /// at.
    pub fn last(&self) -> &'static str {
        let last = self.stages.iter().rfind(|reached| reached.stage != Stage::Failed);
        match (last, self.panic) {
            (Some(reached), _) => reached.stage.name(),
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
        let panic = ("panic", self.panic.map(|_| 0.0));
        let stages = self.by_stage(|reached| self.since_panic(reached.at));
        ByStage(std::iter::once(panic).chain(stages).collect())
    }

    /// The guest's time stamp counter at each stage, in ticks.
    pub fn counters(&self) -> ByStage<u64> {
        ByStage(self.by_stage(|reached| reached.counter).collect())
    }

    fn by_stage<T>(
        &self,
        value: impl Fn(&Reached) -> Option<T>,
    ) -> impl Iterator<Item = (&'static str, Option<T>)> {
        let named = Stage::ALL.iter().filter(|stage| **stage != Stage::Failed);
        named.map(move |stage| {
            let found = self.stages.iter().find(|reached| reached.stage == *stage);
            (stage.name(), found.and_then(&value))
        })
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

/// Stage names with a number for each, in the order of the stages; `None` when a stage was not
/// reached. In JSON an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByStage<T>(pub Vec<(&'static str, Option<T>)>);

/// Milliseconds since the panic; the first stage is the panic itself.
pub type Milestones = ByStage<f64>;

impl<T: Copy> ByStage<T> {
    /// The number of the stage of this name.
    pub fn get(&self, name: &str) -> Option<T> {
        self.0.iter().find(|(stage, _)| *stage == name).and_then(|(_, number)| *number)
    }
}

impl<T: Serialize> Serialize for ByStage<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, number) in &self.0 {
            map.serialize_entry(name, number)?;
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
        // Attaching gdb before the panic does not count for later times.
        timeline.stopped(at(10), at(90));
        timeline.panicked(at(100));
        assert_eq!(timeline.last(), "panic");
        timeline.stopped(at(110), at(160));
        timeline.reached(Stage::Purgatory, at(170), Some(5));
        timeline.stopped(at(180), at(200));
        assert_eq!(timeline.backtraces_ms(), None);
        timeline.shown_backtraces(at(205));
        timeline.shown_backtraces(at(400));
        assert_eq!(timeline.backtraces_ms(), Some(35.0));
        timeline.reached(Stage::Quiesced, at(210), Some(9));
        timeline.reached(Stage::Quiesced, at(900), Some(11));
        let milestones = timeline.milestones();
        assert_eq!(milestones.get("panic"), Some(0.0));
        assert_eq!(milestones.get("purgatory"), Some(20.0));
        assert_eq!(milestones.get("quiesced"), Some(40.0));
        assert_eq!(milestones.get("done"), None);
        let counters = timeline.counters();
        assert_eq!(
            ["purgatory", "quiesced", "done"].map(|stage| counters.get(stage)),
            [Some(5), Some(9), None]
        );
        assert_eq!(timeline.stopped_ms(), 150.0);
        assert_eq!(timeline.last(), "quiesced");
        timeline.reached(Stage::Failed, at(950), None);
        assert_eq!(timeline.last(), "quiesced");
    }

    #[test]
    fn json_keeps_the_order_of_the_stages() {
        let json = serde_json::to_string(&Timeline::default().milestones()).unwrap();
        assert!(json.starts_with(r#"{"panic":null,"purgatory":null,"verified":null"#), "{json}");
    }
}
