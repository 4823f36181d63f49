//! The results as a table and as JSON.

use std::fmt::Write;

use qemu_tests::Report;
use serde_json::{Value, json};

use super::extraction::Extraction;
use super::host::Host;
use super::instructions::Count;
use super::samples::{BACKTRACES, BACKTRACES_GOAL, MEASURES, PARTS, Ratio, Row, Sample, Spread};
use super::slots::Search;
use super::stacks::{Stack, Target, Workload};
use crate::cycle::failure;

/// Version of the JSON's layout. Fields may be added to it, not renamed.
const VERSION: u32 = 1;
/// The smallest slot should be no larger, in bytes.
const SLOT_GOAL: u64 = 4 << 20;
/// The filter should look at so many pages in a second, in millions.
const SCAN_GOAL: f64 = 30.0;
/// Widths of the table's columns, in characters.
const NAME: usize = 29;
const COLUMN: usize = 26;
/// Width of a ratio's name.
const RATIO: usize = 44;
/// From here on a number is shown without a fraction.
const LARGE: f64 = 1000.0;

/// Samples of one workload.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    workload: Workload,
    /// Ours, to each target, and the stock stack.
    rows: Vec<(Stack, Row)>,
    /// QEMU's own dump.
    guest_dump: Row,
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new(workload: Workload, stacks: &[Stack]) -> Self {
        let row = |stack: &Stack| {
            (*stack, Row { name: stack.name(), reservation: stack.slot().into(), ..Row::default() })
        };
        let guest_dump = Row { name: "dump-guest-memory".into(), ..Row::default() };
        Self { workload, rows: stacks.iter().map(row).collect(), guest_dump }
    }

    /// Takes a round: the stacks' reports in their order.
    pub(super) fn take(&mut self, reports: &[Report]) {
        for ((_, row), report) in self.rows.iter_mut().zip(reports) {
            let failure = failure(report).or_else(|| self.workload.missing(report.distinct_pages));
            row.samples.push(failure.is_none().then(|| Sample::of_cycle(report)));
            row.failures.extend(failure);
        }
        let dump = reports.iter().find_map(|report| report.guest_dump.as_ref());
        self.guest_dump.samples.push(dump.map(Sample::of_guest_dump));
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|(_, row)| row).chain([&self.guest_dump])
    }

    fn ours(&self) -> impl Iterator<Item = (Target, &Row)> {
        self.rows.iter().filter_map(|(stack, row)| match stack {
            Stack::Ours(target) => Some((*target, row)),
            Stack::Stock | Stack::StockFiltered => None,
        })
    }

    /// Ratios of our stacks and the others.
    fn ratios(&self) -> Vec<Ratio> {
        let row =
            |of: Stack| self.rows.iter().find_map(|(stack, row)| (*stack == of).then_some(row));
        let with_opponent =
            |(target, ours): (Target, _)| Some((target, ours, row(target.opponent()?)?));
        let pairs = self.ours().filter_map(with_opponent);
        let stock = pairs.flat_map(|(target, ours, stock)| self.ratios_of(target, ours, stock));
        let beside = self.ours().map(|(target, ours)| {
            let (other, goal) = target.beside()?;
            let name = format!("{}: MB/s, by that of {}", target.name(), other.name());
            Ratio::new(name, (ours, row(Stack::Ours(other))?), Sample::rate, goal)
        });
        stock.chain(beside).flatten().collect()
    }

    fn ratios_of(&self, target: Target, ours: &Row, stock: &Row) -> [Option<Ratio>; 3] {
        let [_, first_byte, done, rate, _] = MEASURES.map(|(_, _, measure)| measure);
        let (goals, name) = (target.goals(), target.name());
        let name = |what: &str| format!("{name}: {what}");
        let (sooner, faster) = ((stock, ours), (ours, &self.guest_dump));
        [
            Ratio::new(name("first byte, stock / ours"), sooner, first_byte, goals.first_byte),
            Ratio::new(name("done, stock / ours"), sooner, done, goals.done),
            Ratio::new(name("MB/s, ours / dump-guest-memory"), faster, rate, goals.rate),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "memory_bytes": self.workload.memory,
            "fill_bytes": self.workload.fill,
            "rows": self.rows().map(Row::json).collect::<Vec<_>>(),
            "ratios": self.ratios().iter().map(Ratio::json).collect::<Vec<_>>(),
        })
    }
}

/// Everything that one run found.
pub(super) struct Results {
    pub host: Host,
    /// Load averages when it began and when it ended.
    pub loads: [[f64; 3]; 2],
    /// Name and version of the Debian kernel on both sides.
    pub kernel: String,
    /// CPUs of the guest.
    pub cpus: u32,
    pub measured: Vec<Measured>,
    /// Instructions up to our first byte.
    pub counts: Vec<Count>,
    /// Kernel pages taken out on the host.
    pub extraction: Option<Extraction>,
    /// Ours first, and the limit of the smallest slot.
    pub slots: Vec<(Search, bool)>,
    /// Ctrl-C ended it.
    pub interrupted: bool,
}

impl Results {
    /// Failures of all cycles whose dumps were measured.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let dumps = self.measured.iter().flat_map(|measured| {
            let named = move |row: &Row| {
                let (workload, name) = (measured.workload.name(), row.name.clone());
                let of = move |failure: &String| format!("{workload}, {name}: {failure}");
                row.failures.iter().map(of).collect::<Vec<_>>()
            };
            measured.rows().flat_map(named)
        });
        let counts = self.counts.iter().filter_map(|count| {
            let failure = count.found.as_ref().err()?;
            Some(format!("instructions, {}: {failure}", count.name))
        });
        dumps.chain(counts)
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> Value {
        let [before, after] = self.loads;
        let slot = |(search, is_ours): &(Search, bool)| search.json(is_ours.then_some(SLOT_GOAL));
        json!({
            "version": VERSION,
            "host": self.host.json(before, after),
            "kernel": self.kernel,
            "guest_cpus": self.cpus,
            "interrupted": self.interrupted,
            "workloads": self.measured.iter().map(Measured::json).collect::<Vec<_>>(),
            "instructions": self.counts.iter().map(Count::json).collect::<Vec<_>>(),
            "extraction": self.extraction.as_ref().map(Extraction::json),
            "slots": self.slots.iter().map(slot).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let [before, after] = self.loads;
        let mut text = format!("{}\n", self.host.text(before, after));
        let _ = writeln!(text, "{} on both sides, {} CPUs in the guest", self.kernel, self.cpus);
        let _ = writeln!(text, "median (least … most); times in ms from the panic line");
        for measured in &self.measured {
            text.push_str(&table(measured));
        }
        if !self.counts.is_empty() {
            text.push('\n');
        }
        for count in &self.counts {
            text.push_str(&count.text());
        }
        if let Some(extraction) = &self.extraction {
            extraction_lines(extraction, &mut text);
        }
        for (search, is_ours) in &self.slots {
            text.push_str(&slot_line(search, is_ours.then_some(SLOT_GOAL)));
        }
        for failure in self.failures() {
            let _ = writeln!(text, "FAILED  {failure}");
        }
        text
    }
}

/// A cycle in one line.
pub(super) fn in_short(report: &Report) -> String {
    let sample = Sample::of_cycle(report);
    let shown = MEASURES
        .iter()
        .filter_map(|(name, _, measure)| Some(format!("{name} {:.0}", measure(&sample)?)));
    let dump = report.guest_dump.map(|dump| format!("dump-guest-memory {:.0}", dump.ms));
    let checks = format!("{} checks", report.checks.len());
    shown.chain(dump).chain([checks]).collect::<Vec<_>>().join(", ")
}

fn table(measured: &Measured) -> String {
    let rounds = measured.guest_dump.samples.len();
    let mut text = format!("\n{}; rounds: {rounds}\n{:NAME$}", measured.workload.name(), "");
    for (name, _, _) in MEASURES {
        let _ = write!(text, "{name:>COLUMN$}");
    }
    text.push_str("   reservation\n");
    for row in measured.rows() {
        let _ = write!(text, "  {:width$}", row.name, width = NAME - 2);
        for (_, _, measure) in MEASURES {
            let spread = row.spread(measure).map_or("-".into(), |spread| shown(&spread));
            let _ = write!(text, "{spread:>COLUMN$}");
        }
        let reservation = if row.reservation.is_empty() { "-" } else { &row.reservation };
        let _ = writeln!(text, "   {reservation}");
    }
    for (target, row) in measured.ours() {
        for (name, _, measure) in PARTS {
            let Some(spread) = row.spread(measure) else { continue };
            let goal = (name == BACKTRACES).then_some(BACKTRACES_GOAL);
            let met = goal.map(|goal| spread.median <= goal);
            let verdict = verdict(goal.map(|goal| format!("at most {goal}")), met);
            let name = format!("{}: {name}, ms", target.name());
            let _ = writeln!(text, "  {name:RATIO$}{:>COLUMN$}{verdict}", shown(&spread));
        }
    }
    for ratio in measured.ratios() {
        ratio_line(&ratio, &mut text);
    }
    text
}

fn ratio_line(ratio: &Ratio, text: &mut String) {
    let verdict = verdict(ratio.goal.map(|goal| goal.to_string()), ratio.is_met());
    let spread = shown(&ratio.spread);
    let _ = writeln!(text, "  {:RATIO$}{spread:>COLUMN$}{verdict}", ratio.name);
}

fn extraction_lines(extraction: &Extraction, text: &mut String) {
    text.push_str("\nkernel pages out of a raw dump, on the host\n");
    let (rows, ratios) = extraction.lines();
    for row in rows {
        let Some(spread) = row.spread(|sample| sample.done) else { continue };
        let name = format!("{}, ms", row.name);
        let _ = writeln!(text, "  {name:RATIO$}{:>COLUMN$}", shown(&spread));
    }
    if let Some(scan) = extraction.scan() {
        let name = "pages that the filter looks at, millions/s";
        let verdict = verdict(Some(SCAN_GOAL.to_string()), Some(scan.median >= SCAN_GOAL));
        let _ = writeln!(text, "  {name:RATIO$}{:>COLUMN$}{verdict}", shown(&scan));
    }
    for ratio in ratios {
        ratio_line(&ratio, text);
    }
}

fn slot_line(search: &Search, goal: Option<u64>) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes as f64 / f64::from(1 << 20));
    let found = match search.smallest() {
        Some(smallest) if search.is_whole => mib(smallest),
        Some(smallest) => format!("at most {}", mib(smallest)),
        None => "none was found".into(),
    };
    let verdict = verdict(goal.map(mib), goal.and_then(|goal| search.is_met(goal)));
    let (name, step) = (format!("smallest slot, {}", search.name), mib(search.step));
    format!("\n{name:46}{found}, in steps of {step}{verdict}\n")
}

fn shown(Spread { median, min, max }: &Spread) -> String {
    let digits = match *median {
        LARGE.. => 0,
        100.0.. => 1,
        _ => 2,
    };
    format!("{median:.digits$} ({min:.digits$} … {max:.digits$})")
}

fn verdict(goal: Option<String>, met: Option<bool>) -> String {
    match (goal, met) {
        (Some(goal), Some(true)) => format!("   goal {goal}: met"),
        (Some(goal), Some(false)) => format!("   goal {goal}: MISSED"),
        (Some(goal), None) => format!("   goal {goal}: not known"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::instructions::Instructions;
    use super::super::slots::Probe;
    use super::*;

    const OURS: Stack = Stack::Ours(Target::VirtioBlk);

    fn sample(first: f64, done: f64) -> Option<Sample> {
        let (first_line, first_byte) = (Some(first / 2.0), Some(first));
        let sample = Sample { first_line, first_byte, done: Some(done), ..Sample::default() };
        Some(Sample { bytes: 1_000_000_000, bytes_out: 250_000_000, ..sample })
    }

    /// Two rounds; the stock stack failed in the second.
    fn measured() -> Measured {
        let workload = Workload::new(1 << 30, 400 << 20);
        let mut measured = Measured::new(workload, &[OURS, Stack::Stock]);
        let ours = [sample(50.0, 1050.0), sample(100.0, 2100.0)];
        let with_purgatory = ours.map(|ours| {
            ours.map(|ours| Sample { purgatory: Some(10.0), backtraces: Some(120.0), ..ours })
        });
        measured.rows[0].1.samples = with_purgatory.to_vec();
        measured.rows[1].1.samples = vec![sample(3000.0, 7000.0), None];
        measured.rows[1].1.failures = vec!["cycle: no end".into()];
        let (bytes, bytes_out) = (1_000_000_000, 1_000_000_000);
        let dump = |ms| Some(Sample { done: Some(ms), bytes, bytes_out, ..Sample::default() });
        measured.guest_dump.samples = vec![dump(500.0), dump(1000.0)];
        measured
    }

    fn results() -> Results {
        let probe =
            |size, failure: Option<&str>| Probe { size, failure: failure.map(String::from) };
        let instructions = Instructions { views: 6_000_000, first_byte: 7_000_000 };
        let search = |name: &str, probes| {
            (Search { name: name.into(), step: 1 << 20, probes, is_whole: true }, name == "ours")
        };
        Results {
            host: Host::new(),
            loads: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
            kernel: "linux".into(),
            cpus: 2,
            measured: vec![measured()],
            counts: vec![
                Count { name: "ours, virtio-blk".into(), found: Ok(instructions) },
                Count { name: "ours, virtio-console".into(), found: Err("hung".into()) },
            ],
            extraction: None,
            slots: vec![
                search("ours", vec![probe(4 << 20, None), probe(2 << 20, Some("no room"))]),
                search("stock Linux", vec![probe(32 << 20, Some("no room"))]),
            ],
            interrupted: false,
        }
    }

    #[test]
    fn the_table_shows_medians_ratios_and_goals() {
        let text = results().text();
        // One column's numbers after the other's, whatever is between them.
        let line = |start: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(start));
            let words: Vec<_> = line.expect("the line is there").split_whitespace().collect();
            words.join(" ")
        };
        assert_eq!(line("1024"), "1024 MiB guest, 400 MiB of random data; rounds: 2");
        assert_eq!(line("first line"), "first line first byte done MB/s MB out reservation");
        assert_eq!(
            line("ours, virtio-blk"),
            "ours, virtio-blk 37.50 (25.00 … 50.00) 75.00 (50.00 … 100.00) 1575 (1050 … 2100) \
             750.0 (500.0 … 1000.0) 250.0 (250.0 … 250.0) 32M@16M"
        );
        assert_eq!(
            line("dump-guest-memory"),
            "dump-guest-memory - - 750.0 (500.0 … 1000.0) \
             1500 (1000 … 2000) 1000 (1000 … 1000) -"
        );
        let first_byte = "virtio-blk: first byte, stock / ours 60.00 (60.00 … 60.00) goal 40: met";
        assert_eq!(line("virtio-blk: first"), first_byte);
        assert_eq!(
            line("virtio-blk: MB/s"),
            "virtio-blk: MB/s, ours / dump-guest-memory 0.50 (0.50 … 0.50) goal 0.8: MISSED"
        );
        let parts =
            ["panic to purgatory", "purgatory to first byte", "capture_entry to first byte"];
        let numbers = ["10.00 (10.00 … 10.00)", "65.00 (40.00 … 90.00)", "37.50 (25.00 … 50.00)"];
        for (part, number) in parts.into_iter().zip(numbers) {
            let start = format!("virtio-blk: {part}");
            assert_eq!(line(&start), format!("{start}, ms {number}"));
        }
        assert_eq!(
            line("virtio-blk: panic to the last"),
            "virtio-blk: panic to the last backtrace line, ms 120.0 (120.0 … 120.0) goal at most \
             150: met"
        );
        let count = "capture_entry to first byte, ours, virtio-blk: 7,000,000 instructions, \
                     6,000,000 until views";
        assert_eq!(line("capture_entry"), count);
        assert_eq!(line("FAILED  instr"), "FAILED instructions, ours, virtio-console: hung");
        let slot = "smallest slot, ours 4 MiB, in steps of 1 MiB goal 4 MiB: met";
        assert_eq!(line("smallest slot, ours"), slot);
        let slot = "smallest slot, stock Linux none was found, in steps of 1 MiB";
        assert_eq!(line("smallest slot, stock"), slot);
        let failed = "FAILED 1024 MiB guest, 400 MiB of random data, stock Linux: cycle: no end";
        assert_eq!(line("FAILED"), failed);
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let widest = Spread { median: 999_999.0, min: 99_999.0, max: 999_999.0 };
        assert!(shown(&widest).chars().count() < COLUMN);
        let text = results().text();
        let end = |line: &str| line.split("   ").next().unwrap_or_default().chars().count();
        assert!(
            text.lines().filter(|line| line.starts_with("  ours")).all(|line| end(line) < NAME)
        );
    }

    #[test]
    fn programs_get_one_object() {
        let json = results().json();
        assert_eq!(json["version"], 1);
        assert_eq!(json["host"]["load_average_after"], json!([4.0, 5.0, 6.0]));
        let workload = &json["workloads"][0];
        assert_eq!(workload["fill_bytes"], 400 << 20);
        assert_eq!(workload["rows"][0]["samples"][1]["mb_per_s"], 500.0);
        assert_eq!(workload["rows"][1]["failures"], json!(["cycle: no end"]));
        let met: Vec<_> = (0..3).map(|ratio| &workload["ratios"][ratio]["met"]).collect();
        assert_eq!(met, [true, true, false]);
        assert_eq!(
            (&json["slots"][0]["met"], &json["slots"][1]["met"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(json["slots"][0]["smallest_bytes"], 4 << 20);
        let counts = &json["instructions"];
        assert_eq!(counts[0]["entry_to_first_byte_instructions"], 7_000_000);
    }
}
