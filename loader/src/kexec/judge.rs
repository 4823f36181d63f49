//! Judges the outcome of a panic now: the loaded kernel, its fit to the machine, and missing parts.

use crate::facts::system::System;
use crate::json::RangeJson;
use crate::kexec::call;
use crate::kexec::record::Record;
use crate::kexec::state::Recorded;
use crate::kexec::status::{Seen, Status, Verdict};
use crate::plan::core_header::Core;
use crate::plan::error::PlanError;
use crate::plan::machine::Facts;
use crate::plan::reservation::check_system;
use crate::plan::room;
use crate::plan::sizes::LevelSizes;
use crate::plan::target::{self, Target};

impl Status {
    /// Judges the facts.
    pub fn of(system: &System, seen: Seen) -> Self {
        let slot = check_system(system);
        let default = Target::found(&system.dump_disks);
        let mut status = Self {
            version: 1,
            verdict: Verdict::Unknown,
            summary: String::new(),
            reserved: system.kexec.crash_size,
            cma: system.kexec.cma.iter().copied().map(RangeJson::from).collect(),
            loaded: is_loaded(system),
            record: None,
            age: None,
            misfits: Vec::new(),
            disks: Vec::new(),
            sizes: None,
            warnings: Vec::new(),
            at_work: seen.at_work,
            missing: missing(system, slot.as_ref().err()),
            slot: slot.ok().map(RangeJson::from),
            target: String::new(),
            next_step: String::new(),
        };
        match (status.loaded, seen.recorded) {
            (Some(true), Recorded::Known(record)) => status.judge(*record, system, seen.now),
            (Some(true), recorded) => status.judge_unknown(&recorded),
            (loaded, _) => status.judge_empty(loaded, &default, system),
        }
        status.target = default.map_or_else(|error| error.to_string(), |target| target.words);
        status
    }

    /// Judges a plan that this loader loaded.
    fn judge(&mut self, record: Record, system: &System, now: u64) {
        self.misfits = match Facts::of_system(system) {
            Ok(facts) => record.facts.misfits(&facts),
            Err(error) => vec![format!("it cannot be compared with the machine: {error}")],
        };
        let (line, disks) = (&record.command_line, &system.dump_disks);
        match target::check_line(line, disks) {
            Ok(warnings) => self.warnings = warnings,
            Err(error) => self.misfits.push(error.to_string()),
        }
        self.disks = room::of_line(line, &record.facts, system);
        self.sizes = LevelSizes::of(line, Some(&record.facts), system);
        for disk in &self.disks {
            let into = if disk.nothing { &mut self.misfits } else { &mut self.warnings };
            into.extend(disk.problem.clone());
        }
        let again = match self.missing.first() {
            Some(missing) => missing.clone(),
            None => format!("`{}` again, or with another target", record.command()),
        };
        let (verdict, summary, next_step) = match &self.misfits[..] {
            [] if record.no_target => (
                Verdict::NoTarget,
                "loaded without a target: a panic is reported on the console and leaves no dump"
                    .into(),
                "`kdump-collector format` a disk, and `kdump-loader load` again".to_owned(),
            ),
            [] => (
                Verdict::Ready,
                format!("ready: a panic will be captured, to {}", record.target),
                "nothing: a panic will be captured".to_owned(),
            ),
            [one] => (Verdict::Misfit, format!("loaded, but it no longer fits: {one}"), again),
            [first, more @ ..] => (
                Verdict::Misfit,
                format!("loaded, but it no longer fits: {first} (and {} more, below)", more.len()),
                again,
            ),
        };
        (self.verdict, self.summary, self.next_step) = (verdict, summary, next_step);
        self.age = Some(now.saturating_sub(record.at));
        self.record = Some(record);
    }

    /// Judges a loaded kernel without a record.
    fn judge_unknown(&mut self, recorded: &Recorded) {
        let (verdict, why) = match (recorded, &self.at_work) {
            (Recorded::NotPermitted, _) => {
                (Verdict::NotPermitted, "only root may read what, by whom and for which target")
            }
            (_, Some(_)) => (Verdict::AtWork, "a loader is at work at this moment"),
            (Recorded::Damaged, _) => {
                (Verdict::OtherProgram, "its record is damaged, or of another release")
            }
            _ => (
                Verdict::OtherProgram,
                "by another program (kexec-tools?), or with another --state-dir: where a dump goes \
                 is not known here",
            ),
        };
        self.verdict = verdict;
        self.summary = format!("loaded: {why}");
        self.next_step = match verdict {
            Verdict::NotPermitted => "`kdump-loader status` as root",
            Verdict::AtWork => "`kdump-loader status` again",
            _ => "nothing, if that is meant to be; `kdump-loader load` loads ours in its place",
        }
        .to_owned();
    }

    /// Nothing is loaded, or the kernel does not say.
    fn judge_empty(
        &mut self,
        loaded: Option<bool>,
        default: &Result<Target, PlanError>,
        system: &System,
    ) {
        let value = default.as_ref().ok().and_then(|target| target.value.as_ref());
        let line = value.map_or(String::new(), |value| format!("kdump.target={value}"));
        let facts = Facts::of_system(system).ok();
        if let Some(facts) = &facts {
            self.disks = room::of_line(&line, facts, system);
            self.warnings.extend(self.disks.iter().filter_map(|disk| disk.problem.clone()));
        }
        self.sizes = LevelSizes::of(&line, facts.as_ref(), system);
        let step = self.missing.first().cloned();
        self.next_step = step.unwrap_or_else(|| "run `kdump-loader load`".to_owned());
        (self.verdict, self.summary) = match loaded {
            Some(_) => (Verdict::NotLoaded, "not loaded: a panic will not be captured".to_owned()),
            None => (
                Verdict::Unknown,
                "unknown: the kernel does not say whether a capture kernel is loaded".to_owned(),
            ),
        };
    }
}

/// True if a capture kernel is loaded, as the kernel says; or the fact that it has no place for
/// one.
fn is_loaded(system: &System) -> Option<bool> {
    let no_place = !system.memory.hidden && system.memory.reservations.is_empty();
    let cannot_be =
        no_place || system.kexec.crash_size == Some(0) || system.kexec.supported == Some(false);
    system.kexec.crash_loaded.or(cannot_be.then_some(false))
}

/// Everything that is in the way, the most fundamental first.
fn missing(system: &System, slot: Option<&PlanError>) -> Vec<String> {
    let mut missing = Vec::new();
    missing.extend(slot.map(PlanError::to_string));
    missing.extend(call::check(system).err().map(|error| error.to_string()));
    if slot.is_none() {
        missing.extend(Core::find(system, None).err().map(|error| error.to_string()));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::dump_disks::DumpDisks;
    use crate::facts::dump_disks::tests::disk;
    use crate::facts::iomem::MemoryMap;
    use crate::kexec::holder::Holder;
    use crate::kexec::record::tests::record;
    use std::path::Path;
    use vmcore::{PhysAddr, PhysRange};

    fn system() -> System {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/i386-2g");
        System::read(&folder).expect("a good fixture")
    }

    fn status(change: impl FnOnce(&mut System)) -> Status {
        let mut system = system();
        change(&mut system);
        Status::of(&system, seen(Recorded::Nothing))
    }

    fn seen(recorded: Recorded) -> Seen {
        Seen { recorded, at_work: None, now: record().at + 200 }
    }

    const TARGET: &str = "disk:id=01010101010101010101010101010101";

    /// The machine loaded a plan with a disk as the target, a dump disk of 4 GiB; then it changed.
    fn loaded(change: impl FnOnce(&mut System, &mut Record)) -> Status {
        let mut system = system();
        system.kexec.crash_loaded = Some(true);
        system.dump_disks = DumpDisks {
            found: vec![disk("/dev/vdb", 1, 4 << 30)],
            unreadable: false,
            seen: Some(2),
            ..DumpDisks::default()
        };
        let mut record = Record {
            target: TARGET.to_owned(),
            command_line: format!("kdump.target={TARGET}"),
            facts: Facts::of_system(&system).expect("facts"),
            ..record()
        };
        change(&mut system, &mut record);
        Status::of(&system, seen(Recorded::Known(Box::new(record))))
    }

    fn assert_misfit(status: &Status, words: &[&str]) {
        assert_eq!(status.verdict, Verdict::Misfit, "{status}");
        let text = status.to_string();
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with("loaded, but it no longer fits: "), "{first}");
        for words in words {
            assert!(text.contains(words), "{words}:\n{text}");
        }
        assert_eq!(
            status.next_step,
            "`kdump-loader load --append 'a b'` again, or with another target"
        );
    }

    #[test]
    fn what_is_loaded_is_said_and_not_what_would_be() {
        let status = loaded(|_, _| ());
        assert_eq!((status.verdict, &status.misfits[..]), (Verdict::Ready, &[][..]));
        let text = status.to_string();
        let expected = format!("ready: a panic will be captured, to {TARGET}\n");
        assert!(text.starts_with(&expected), "{text}");
        for words in [
            "capture kernel  loaded 2026-11-21 15:10:42 UTC (1795273842), 3 min ago, in this boot",
            &format!("target          {TARGET}\n"),
            &format!("command line    kdump.target={TARGET}\n"),
            "dump disk       /dev/vdb: 4096 MiB with 0 dumps, room for 4095 MiB",
            "CPUs            4\n",
            "backtraces      symbols of the running kernel; no BTF\n",
            "next step       nothing",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
        assert!(!text.contains("default target") && !text.contains("does not fit"), "{text}");
    }

    #[test]
    fn what_no_longer_fits_the_machine_is_named() {
        let hot = PhysRange::new(PhysAddr::new(4 << 30), 128 << 20).expect("a range");
        let grown = loaded(|system, _| system.memory.ram.push(hot));
        assert_misfit(&grown, &["memory was added: 0x100000000..0x108000000 (131072 KiB)"]);
        let more_cpus = loaded(|_, record| record.facts.cpus.truncate(3));
        assert_misfit(&more_cpus, &["does not fit    CPU 3 was added"]);
        let fewer = loaded(|system, _| system.cpus.truncate(3));
        assert_misfit(&fewer, &["CPU 3 is gone"]);
        let both = loaded(|system, record| {
            system.memory.ram.push(hot);
            record.facts.cpus.truncate(3);
        });
        assert_misfit(&both, &["(and 1 more, below)", "CPU 3 was added", "memory was added"]);
        let slot = PhysRange::new(PhysAddr::new(64 << 20), 32 << 20).expect("a range");
        let moved = loaded(|system, _| system.memory.reservations = vec![slot]);
        assert_misfit(&moved, &["the reservation is 0x4000000..0x6000000"]);
    }

    #[test]
    fn what_no_longer_fits_the_disks_is_named() {
        let other =
            loaded(|system, _| system.dump_disks.found = vec![disk("/dev/vdc", 2, 4 << 30)]);
        assert_misfit(&other, &["carries the id 0101", "/dev/vdc (disk:id=0202"]);
        let small =
            loaded(|system, _| system.dump_disks.found = vec![disk("/dev/vdb", 1, 1 << 30)]);
        let said = "/dev/vdb has room for 1023 MiB, and a dump takes up to 20";
        assert!(small.warnings.iter().any(|warning| warning.contains(said)), "{small}");
        assert_eq!(small.misfits, [""; 0], "something gets out");
        let tiny = loaded(|system, _| system.dump_disks.found = vec![disk("/dev/vdb", 1, 16384)]);
        assert_misfit(&tiny, &["/dev/vdb has room for 0 MiB", "nothing will get there"]);
        let locked = loaded(|system, _| system.dump_disks.found[0].read_only = true);
        assert_misfit(&locked, &["/dev/vdb is read-only"]);
        let hidden = loaded(|system, _| {
            system.dump_disks = DumpDisks { seen: Some(0), ..DumpDisks::default() };
        });
        assert_eq!(hidden.verdict, Verdict::Ready, "it is not known to be wrong");
        assert!(hidden.to_string().contains("warning         nothing says whether"), "{hidden}");
    }

    #[test]
    fn without_a_target_nothing_is_promised() {
        let status = loaded(|_, record| {
            record.no_target = true;
            record.command_line.clear();
        });
        assert_eq!(status.verdict, Verdict::NoTarget);
        assert!(status.summary.starts_with("loaded without a target"), "{status}");
    }

    #[test]
    fn what_another_program_has_loaded_is_not_taken_for_ours() {
        let mut system = system();
        system.kexec.crash_loaded = Some(true);
        let holder =
            Holder { pid: 7, command: Some("kdump-loader load".to_owned()), runs_for: Some(1) };
        let of = |recorded, at_work| Status::of(&system, Seen { at_work, ..seen(recorded) });
        for recorded in [Recorded::Nothing, Recorded::OfAnotherBoot, Recorded::Damaged] {
            let status = of(recorded.clone(), None);
            assert_eq!((status.verdict, &status.record), (Verdict::OtherProgram, &None));
            assert!(!status.to_string().contains("target  "), "nothing is known: {status}");
            let busy = of(recorded, Some(holder.clone()));
            assert_eq!(busy.verdict, Verdict::AtWork);
            let line = "at work         process 7 (kdump-loader load), which was started 1 s ago\n";
            assert!(busy.to_string().contains(line), "{busy}");
        }
        let user = of(Recorded::NotPermitted, None);
        assert_eq!(user.verdict, Verdict::NotPermitted);
        assert!(user.summary.contains("only root") && user.next_step.contains("as root"), "{user}");
    }

    /// The kernel's report overrides the record.
    #[test]
    fn what_was_unloaded_is_not_said_to_be_loaded() {
        let status = loaded(|system, _| system.kexec.crash_loaded = Some(false));
        assert_eq!((status.verdict, &status.record), (Verdict::NotLoaded, &None));
        assert!(status.to_string().starts_with("not loaded: a panic will not be captured\n"));
    }

    #[test]
    fn before_a_load_the_default_disk_is_looked_at() {
        let status = status(|system| {
            let found = vec![disk("/dev/vdb", 1, 1 << 30)];
            system.dump_disks = DumpDisks { found, seen: Some(1), ..DumpDisks::default() };
        });
        assert_eq!(status.verdict, Verdict::NotLoaded);
        assert!(status.warnings[0].contains("/dev/vdb has room for 1023 MiB"), "{status}");
    }

    #[test]
    fn nothing_is_loaded_yet() {
        let ready = status(|_| {});
        assert_eq!((ready.loaded, ready.missing.len()), (Some(false), 0));
        assert_eq!(ready.next_step, "run `kdump-loader load`");
    }

    #[test]
    fn nothing_is_loaded_where_nothing_can_be() {
        let loaded = |change: fn(&mut System)| {
            let unsaid = |system: &mut System| {
                system.kexec.crash_loaded = None;
                change(system);
            };
            status(unsaid).loaded
        };
        assert_eq!(loaded(|_| {}), None, "it does not say");
        assert_eq!(loaded(|system| system.kexec.crash_size = Some(0)), Some(false));
        assert_eq!(loaded(|system| system.memory.reservations.clear()), Some(false));
        assert_eq!(loaded(|system| system.kexec.supported = Some(false)), Some(false));
        let hidden = MemoryMap { hidden: true, ..MemoryMap::default() };
        let unprivileged = |system: &mut System| {
            (system.memory, system.kexec.crash_loaded) = (hidden, None);
        };
        assert_eq!(status(unprivileged).loaded, None, "who sees no addresses cannot tell");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let status = status(|system| {
            system.memory.reservations.clear();
            system.command_line.clear();
            system.kexec.crash_size = Some(0);
            system.kexec.disabled = Some(true);
        });
        assert_eq!(status.missing.len(), 2);
        assert!(status.next_step.contains("add crashkernel=32M"));
        assert!(status.missing[1].contains("kexec_load_disabled"));
        let text = status.to_string();
        assert!(text.contains("reservation     none\n") && text.contains("not loaded"), "{text}");
    }

    #[test]
    fn an_ordinary_user_learns_what_the_kernel_lets_him_see() {
        let status = status(|system| {
            system.memory = MemoryMap { hidden: true, ..MemoryMap::default() };
            system.kexec.capable = Some(false);
        });
        assert!(status.missing[0].contains("run this as root"), "{:?}", status.missing);
        assert!(status.to_string().contains("32768 KiB, place unknown"));
    }

    #[test]
    fn a_cpu_without_notes() {
        let status = status(|system| system.cpus[1].area = None);
        assert!(status.next_step.starts_with("CPU 1 has no crash notes"));
    }
}
