//! Samples, their spread, and their ratios.

use qemu_tests::{GuestDump, Report};
use serde_json::{Map, Value, json};

use crate::distribution::Distribution;

/// One dump. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// From the panic to purgatory's first line: the dead kernel's own way out.
    pub purgatory: Option<f64>,
    /// From the panic to the first line of the capture kernel.
    pub first_line: Option<f64>,
    /// From the panic until the first bytes of the dump are on the disk.
    pub first_byte: Option<f64>,
    /// From the panic until the console has shown the backtraces.
    pub backtraces: Option<f64>,
    /// From the panic until the dump is complete; of QEMU's own dump the whole of it.
    pub done: Option<f64>,
    /// Length of the dump in bytes.
    pub bytes: u64,
    /// Bytes of the dump on the target.
    pub bytes_out: u64,
}

impl Sample {
    /// The sample of a crash cycle.
    pub(super) fn of_cycle(report: &Report) -> Self {
        let at = |stage| report.timeline_ms.get(stage);
        Self {
            purgatory: at("purgatory"),
            first_line: at("capture_entry"),
            first_byte: at("first_byte"),
            backtraces: report.backtraces_ms,
            done: at("done"),
            bytes: report.bytes,
            bytes_out: report.bytes_out.unwrap_or(report.bytes),
        }
    }

    /// From purgatory's first line to the first bytes of the dump.
    fn purgatory_to_first_byte(&self) -> Option<f64> {
        Some(self.first_byte? - self.purgatory?)
    }

    /// From the capture kernel's first line to the first bytes of the dump, if purgatory reports
    /// our capture kernel.
    fn entry_to_first_byte(&self) -> Option<f64> {
        self.purgatory?;
        Some(self.first_byte? - self.first_line?)
    }

    /// The sample of QEMU's own dump.
    pub(super) fn of_guest_dump(dump: &GuestDump) -> Self {
        let (bytes, bytes_out) = (dump.bytes, dump.bytes);
        Self { done: Some(dump.ms), bytes, bytes_out, ..Self::default() }
    }

    /// Raw throughput in MB/s (10^6 bytes): from the first byte of the dump to its end.
    pub(super) fn rate(&self) -> Option<f64> {
        let took = self.done? - self.first_byte.unwrap_or(0.0);
        (took > 0.0).then(|| self.bytes as f64 / took / 1000.0)
    }

    fn json(&self) -> Value {
        let measures = MEASURES.iter().chain(&PARTS);
        let mut all: Map<_, _> =
            measures.map(|(_, name, measure)| (name.to_string(), json!(measure(self)))).collect();
        all.insert("bytes".into(), self.bytes.into());
        Value::Object(all)
    }
}

/// One number of a sample.
pub(super) type Measure = fn(&Sample) -> Option<f64>;

/// The columns, with their names in the table and in JSON.
pub(super) const MEASURES: [(&str, &str, Measure); 5] = [
    ("first line", "first_line_ms", |sample| sample.first_line),
    ("first byte", "first_byte_ms", |sample| sample.first_byte),
    ("done", "done_ms", |sample| sample.done),
    ("MB/s", "mb_per_s", Sample::rate),
    ("MB out", "mb_out", |sample| Some(sample.bytes_out as f64 / 1e6)),
];

/// Parts of the time to our first byte, likewise, each part on its own; and the time to the last
/// line of the backtraces.
pub(super) const PARTS: [(&str, &str, Measure); 4] = [
    ("panic to purgatory", "purgatory_ms", |sample| sample.purgatory),
    ("purgatory to first byte", "purgatory_to_first_byte_ms", Sample::purgatory_to_first_byte),
    ("capture_entry to first byte", "entry_to_first_byte_ms", Sample::entry_to_first_byte),
    (BACKTRACES, "backtraces_ms", |sample| sample.backtraces),
];

/// The name of the part whose goal is [`BACKTRACES_GOAL`].
pub(super) const BACKTRACES: &str = "panic to the last backtrace line";
/// The most that it should take, in milliseconds.
pub(super) const BACKTRACES_GOAL: f64 = 150.0;

/// One stack's dumps under one workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Its name.
    pub name: String,
    /// The memory that is set aside for it, as `crashkernel=` has it; empty when it needs none.
    pub reservation: String,
    /// A sample for each round; `None` where there was no dump.
    pub samples: Vec<Option<Sample>>,
    /// Failures, by round.
    pub failures: Vec<String>,
}

impl Row {
    /// The spread of this number over all samples; `None` if no sample has it.
    pub(super) fn spread(&self, measure: Measure) -> Option<Spread> {
        Spread::new(self.samples.iter().flatten().filter_map(measure).collect())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let spread = |(_, name, measure): &(&str, &str, Measure)| {
            (name.to_string(), self.spread(*measure).map_or(Value::Null, |spread| spread.json()))
        };
        json!({
            "name": self.name,
            "reservation": self.reservation,
            "summary": MEASURES.iter().chain(&PARTS).map(spread).collect::<Map<_, _>>(),
            "samples": self.samples.iter()
                .map(|sample| sample.as_ref().map(Sample::json)).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

/// The median of some numbers, and the smallest and the largest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// [`None`] when there are no numbers.
    pub(super) fn new(numbers: Vec<f64>) -> Option<Self> {
        let numbers = Distribution::new(numbers)?;
        let [min, max] = [0, 100].map(|percent| numbers.percentile(percent));
        Some(Self { median: numbers.median(), min, max })
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// Comparison of one stack with another. Each round gives a quotient of its own, because other load
/// of the host hits the dumps of one round alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Name of the comparison.
    pub name: String,
    /// The quotients' spread; more is better.
    pub spread: Spread,
    /// Number that the median should reach.
    pub goal: Option<f64>,
}

impl Ratio {
    /// `above` by `below` in each round that has both; `None` when none has.
    pub(super) fn new(
        name: String,
        (above, below): (&Row, &Row),
        measure: Measure,
        goal: Option<f64>,
    ) -> Option<Self> {
        let rounds = above.samples.iter().zip(&below.samples);
        let quotients = rounds.filter_map(|(above, below)| {
            let below = measure(below.as_ref()?)?;
            (below > 0.0).then_some(measure(above.as_ref()?)? / below)
        });
        Some(Self { name, spread: Spread::new(quotients.collect())?, goal })
    }

    /// True if the goal is met; `None` without a goal.
    pub(super) fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| self.spread.median >= goal)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let spread = self.spread.json();
        json!({"name": self.name, "ratio": spread, "goal": self.goal, "met": self.is_met()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(first_byte: f64, done: f64, bytes: u64) -> Sample {
        let (first_byte, done) = (Some(first_byte), Some(done));
        Sample { first_byte, done, bytes, ..Sample::default() }
    }

    fn row(samples: Vec<Option<Sample>>) -> Row {
        Row { name: "row".into(), samples, ..Row::default() }
    }

    #[test]
    fn the_rate_counts_from_the_first_byte() {
        assert_eq!(sample(100.0, 600.0, 500_000_000).rate(), Some(1000.0));
        let dump = GuestDump { bytes: 3_000_000_000, ms: 2000.0 };
        assert_eq!(Sample::of_guest_dump(&dump).rate(), Some(1500.0));
        assert_eq!(sample(5.0, 5.0, 1).rate(), None);
        assert_eq!(Sample::default().rate(), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let slow = row(vec![Some(sample(400.0, 1.0, 1)), Some(sample(900.0, 1.0, 1)), None]);
        let fast = row(vec![Some(sample(10.0, 1.0, 1)), Some(sample(30.0, 1.0, 1)), None]);
        let first_byte: Measure = |sample| sample.first_byte;
        let ratio = |goal| Ratio::new("r".into(), (&slow, &fast), first_byte, goal).expect("two");
        let spread = Spread { median: 35.0, min: 30.0, max: 40.0 };
        assert_eq!(ratio(None), Ratio { name: "r".into(), spread, goal: None });
        assert_eq!(ratio(None).is_met(), None);
        assert_eq!(ratio(Some(35.0)).is_met(), Some(true));
        assert_eq!(ratio(Some(35.1)).json()["met"], false);
        let nothing = row(vec![None, None, Some(sample(1.0, 1.0, 1))]);
        assert_eq!(Ratio::new("r".into(), (&slow, &nothing), first_byte, None), None);
    }

    #[test]
    fn the_time_to_the_first_byte_has_its_parts() {
        let ours = Sample {
            purgatory: Some(12.5),
            first_line: Some(20.0),
            first_byte: Some(65.0),
            backtraces: Some(90.0),
            ..Sample::default()
        };
        let parts = |sample: &Sample| PARTS.map(|(_, _, measure)| measure(sample));
        assert_eq!(parts(&ours), [Some(12.5), Some(52.5), Some(45.0), Some(90.0)]);
        // A stock Linux does not say when it left purgatory.
        let stock = Sample { purgatory: None, backtraces: None, ..ours };
        assert_eq!(parts(&stock), [None; 4]);
        let without = Sample { first_byte: None, backtraces: None, ..ours };
        assert_eq!(parts(&without), [Some(12.5), None, None, None]);
        let json = row(vec![Some(ours)]).json();
        assert_eq!(json["samples"][0]["purgatory_to_first_byte_ms"], 52.5);
        assert_eq!(json["summary"]["entry_to_first_byte_ms"]["median"], 45.0);
    }

    #[test]
    fn programs_get_every_sample() {
        let json = row(vec![Some(sample(100.0, 600.0, 500_000_000)), None]).json();
        assert_eq!(json["samples"][0]["mb_per_s"], 1000.0);
        assert_eq!(json["samples"][1], Value::Null);
        let spread = json!({"median": 600.0, "min": 600.0, "max": 600.0});
        assert_eq!(json["summary"]["done_ms"], spread);
        assert_eq!(json["summary"]["first_line_ms"], Value::Null);
    }
}
