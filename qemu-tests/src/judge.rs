//! Judgement of a cycle, from the first check to the report.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use vmcore::Class;

use crate::check::arrival;
use crate::check::backtrace::backtrace;
use crate::check::contents::oldmem_equals_memory;
use crate::check::core_file::CoreFile;
use crate::check::disk_after::{DiskAfter, after_failure};
use crate::check::evidence::Evidence;
use crate::check::judged::Judged;
use crate::check::kept::memory_kept;
use crate::check::left_out;
use crate::check::page_flags::PageFlags;
use crate::check::stacks::{cpus_agree, tasks_agree};
use crate::check::truth::Truth;
use crate::check::unwound;
use crate::check::vmcore::vmcore_checks;
use crate::config::Config;
use crate::delivery::Way;
use crate::ended::Ended;
use crate::fault::hooks::Hooks;
use crate::first::prepared::Prepared;
use crate::first::said::Said;
use crate::first::stock_capture;
use crate::host::dump_disk::DumpDisk;
use crate::host::memory::GuestMemory;
use crate::host::qmp::GUEST_RESET;
use crate::report::{Banner, Check, CpuStack, Outcome, Report, VERSION, Verdict, hex, verdict};

/// Number of the console's last lines in a report.
const LAST_LINES: usize = 15;

/// A cycle whose guest is gone.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The cycle's configuration.
    pub config: &'a Config,
    /// The fault that was put in.
    pub hooks: &'a dyn Hooks,
    /// The kernel that was to die.
    pub prepared: &'a Prepared,
    /// Its memory.
    pub memory: &'a GuestMemory,
    /// The dump disk.
    pub disk: &'a DumpDisk,
    /// The bytes around it, if it is a partition.
    pub rest: Option<&'a Check>,
    /// Observations while the guest ran.
    pub ended: &'a Ended,
}

/// Findings about a cycle.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    bytes: u64,
    sha256: String,
    arrived_by: Option<Way>,
    /// Pages that the dump level leaves out, as ranges of bytes of the vmcore.
    left: Vec<Range<u64>>,
    banner: Option<Banner>,
    stacks: Vec<CpuStack>,
}

impl Case<'_> {
    /// Makes every check that there is something for, and the report.
    ///
    /// # Errors
    /// A file of the host cannot be read or written.
    pub fn judge(self) -> Result<Report> {
        let Self { config, ended, .. } = self;
        let truth = self.truth()?;
        let findings = self.find_out(&truth);
        let last_lines = ended.lines.len().saturating_sub(LAST_LINES);
        let verdict = verdict(&findings.checks);
        Ok(Report {
            version: VERSION,
            verdict,
            outcome: outcome(verdict, ended),
            panic: ended.facts.death.line.clone(),
            stage: ended.timeline.last().to_string(),
            boots: 1,
            boot_hung: false,
            first_kernel: config.first_kernel.name().to_string(),
            slot: config.slot.clone(),
            memory: config.memory,
            cpus: config.cpus,
            target: config.delivery.targets.words(&self.disk.target),
            arrived_by: findings.arrived_by.map(|way| way.name().to_string()),
            disk_after: self.disk_after(findings.arrived_by)?,
            guest_dump: ended.guest_dump,
            distinct_pages: truth.exit.distinct(),
            timeline_ms: ended.timeline.milestones(),
            backtraces_ms: ended.timeline.backtraces_ms(),
            stage_counters: ended.timeline.counters(),
            stopped_ms: ended.timeline.stopped_ms(),
            truth: config.truth,
            bytes: findings.bytes,
            bytes_out: ended.facts.bytes_out,
            vmcore_sha256: findings.sha256,
            banner: findings.banner,
            stacks: findings.stacks,
            received: ended.received.clone(),
            checks: findings.checks,
            last_lines: ended.lines[last_lines..].to_vec(),
        })
    }

    /// The digests of a guest that is gone.
    fn truth(self) -> Result<Truth> {
        let [purgatory, quiesced, end] = self.ended.digests.clone();
        Ok(Truth { purgatory, quiesced, end, exit: self.memory.digests()? })
    }

    fn find_out(self, truth: &Truth) -> Findings {
        let Self { config, memory, ended, .. } = self;
        let only_pulled = !config.delivery.pulls.is_empty();
        let completed = match &ended.failure {
            None if only_pulled => Ok("everything was pulled that was to be".to_string()),
            None => Ok("QEMU ended by itself after the dump was complete".to_string()),
            Some(failure) => Err(anyhow!("{failure}")),
        };
        let mut findings = Findings::default();
        findings.checks.push(Check::new("cycle", completed));
        findings.checks.extend(self.rest.cloned());
        if ended.failure.is_none() && !only_pulled {
            let examined = match config.examine {
                true => self.examine(truth, &mut findings),
                false => self.length().map(|bytes| findings.bytes = bytes),
            };
            if let Err(error) = examined {
                findings.checks.push(Check::new("vmcore", Err(error)));
            }
        } else {
            findings.checks.extend(self.kept_without_dump(truth));
        }
        findings.checks.extend(arrival::accounts(config, &ended.received, memory, truth));
        findings.checks.extend(died_without_a_word(ended));
        findings.checks.extend(self.mappings());
        findings
    }

    /// Extracts the vmcore and runs all checks on it.
    fn examine(self, truth: &Truth, findings: &mut Findings) -> Result<()> {
        let Self { config, memory, ended, .. } = self;
        let path = config.out.join("vmcore");
        self.fetch(&path, findings)?;
        if let Some(range) = &config.oldmem {
            let equal = oldmem_equals_memory(&path, memory, truth, range);
            findings.checks.push(Check::new("oldmem_equals_memory", equal));
            let dead = self.prepared.dead_kernel(&ended.facts, memory)?;
            findings.checks.extend(memory_kept(memory, &dead, truth));
            return Ok(());
        }
        let core = CoreFile::open(&path)?;
        self.hooks.vmcore(&core)?;
        let dead = self.prepared.dead_kernel(&ended.facts, memory)?;
        findings.banner = dead.banner.as_ref().map(|(address, text)| {
            let text = String::from_utf8_lossy(text).into_owned();
            Banner { address: *address, text }
        });
        let is_stock = config.stock_capture.is_some();
        let left = &findings.left;
        let evidence = Evidence { core: &core, memory, truth, dead: &dead, left, is_stock };
        findings.checks.extend(vmcore_checks(&evidence));
        if config.truth && !is_stock {
            findings.checks.push(Check::new("truth", truth.complete()));
        }
        findings.checks.extend(self.hooks.check(&evidence));
        if let (Some(area), Some(saved)) = (self.prepared.saved(), &config.saved_pages) {
            let (flags, judged) = (PageFlags::read(area, memory, truth)?, Judged::of(&path)?);
            let most = saved.most_changed();
            findings.checks.extend(left_out::checks(&evidence, &flags, &judged, most));
        }
        if let Some(area) = self.prepared.saved().filter(|_| config.said) {
            let said = Said::read(area, memory, truth)?;
            said.write(&config.out.join("said"))?;
            let program = config.crashinfo.iter();
            findings.checks.extend(program.flat_map(|program| program.checks(&path, &said)));
        }
        if dead.vmcoreinfo.is_some() && !is_stock {
            self.take_stacks(&path, findings);
        }
        if let Some(class) = config.core_headers {
            findings.checks.push(Check::new("core_headers", has_class(&core, class)));
        }
        Ok(())
    }

    /// Checks the stacks of a Linux, which our unwinder finds in its vmcore at `path`.
    fn take_stacks(self, path: &Path, findings: &mut Findings) {
        let check = match backtrace(path, &self.ended.lines) {
            Err(error) => Check::new("backtrace", Err(error)),
            Ok((stacks, judged)) => {
                findings.stacks = stacks.iter().map(CpuStack::from).collect();
                let silent = "the log shows no stack of the death";
                judged.map_or_else(
                    || Check::skipped("backtrace", silent),
                    |judged| Check::new("backtrace", judged),
                )
            }
        };
        findings.checks.push(check);
        if self.config.shown_stacks {
            let agree = shown_stacks_agree(path);
            findings.checks.push(Check::new("call_traces", agree));
        }
    }

    /// Length of the dump in bytes, as the target or the capture kernel has it.
    fn length(self) -> Result<u64> {
        match self.config.stock_capture {
            Some(ref stock) => {
                stock.check_signature(self.disk.path())?;
                self.stock_length()
            }
            None => arrival::length(self.config, self.disk, &self.ended.received),
        }
    }

    /// The same of a stock Linux.
    fn stock_length(self) -> Result<u64> {
        self.ended.facts.dump_bytes.context("the capture kernel has not said how long")
    }

    /// Gets the dump to `path`, and records its kind and origin.
    fn fetch(self, path: &Path, findings: &mut Findings) -> Result<()> {
        let sha256 = if self.config.stock_capture.is_some() {
            findings.bytes = self.stock_length()?;
            stock_capture::extract(self.disk.path(), findings.bytes, path)?
        } else {
            let (arrival, same) = arrival::collect(self.config, self.disk, &self.ended.received)?;
            findings.bytes = arrival.length;
            findings.left = arrival.left_by(self.config.level);
            findings.arrived_by = Some(arrival.way);
            findings.checks.extend(same);
            arrival.sha256
        };
        findings.sha256 = hex(&sha256);
        Ok(())
    }

    /// Makes the checks that need no dump: old memory must be left alone, and pulled parts must be
    /// right.
    fn kept_without_dump(self, truth: &Truth) -> Vec<Check> {
        let Self { config, memory, .. } = self;
        // A first kernel that did not get to its crash has not said where the slot is.
        let dead = self.prepared.dead_kernel(&self.ended.facts, memory);
        let Ok(dead) = dead else { return Vec::new() };
        let mut truth = truth.clone();
        if !config.delivery.pulls.is_empty() {
            // It is over when the last pull is.
            truth.end = Some(truth.exit.clone());
        }
        let pulled = arrival::pulled(config, memory, &truth);
        memory_kept(memory, &dead, &truth).into_iter().chain(pulled).collect()
    }

    /// Checks that the capture kernel mapped old memory as it may. There is no such check without
    /// T2.
    fn mappings(self) -> Option<Check> {
        let dead = self.prepared.dead_kernel(&self.ended.facts, self.memory).ok()?;
        let found = match self.ended.mappings.as_ref()? {
            Ok(mappings) => mappings.check(self.memory, &dead.system_ram, &dead.slot),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        Some(Check::new("mappings", found))
    }

    /// Returns the contents of a dump disk that was to have the dump and does not.
    fn disk_after(self, arrived_by: Option<Way>) -> Result<Option<DiskAfter>> {
        let targets = &self.config.delivery.targets;
        let missed = self.ended.failure.is_some()
            || (!targets.is_all() && arrived_by.and_then(Way::disk).is_none());
        let Some(controller) = targets.disk().filter(|_| missed) else { return Ok(None) };
        let found = arrival::dump_of(Way::Disk(controller), &self.config.out);
        fs::create_dir_all(found.parent().context("a path in a folder")?)?;
        after_failure(self.disk, &found, self.memory).map(Some)
    }
}

/// Compares the stacks in the vmcore at `path` with those that the kernel has shown before.
fn shown_stacks_agree(path: &Path) -> Result<String> {
    let log = unwound::log(path)?;
    let tasks = tasks_agree(&log, &unwound::tasks(path)?)?;
    let cpus = cpus_agree(&log, &unwound::cpus(path)?)?;
    Ok(format!("{tasks}; {cpus} CPUs as sysrq l has shown them"))
}

/// The verdict's kind: of a cycle that got to its end, by the checks.
fn outcome(verdict: Verdict, ended: &Ended) -> Outcome {
    match (ended.outcome, verdict) {
        (Some(outcome), _) => outcome,
        (None, Verdict::Pass) => Outcome::GoodDump,
        (None, Verdict::Fail) => Outcome::BadDump,
    }
}

/// A first kernel that is gone without a panic was reset: by a triple fault, or by itself. There is
/// no such check when it was not.
fn died_without_a_word(ended: &Ended) -> Option<Check> {
    let is_reset = ended.shutdown.as_deref() == Some(GUEST_RESET);
    (is_reset && !ended.timeline.has_panicked()).then(|| {
        let error = anyhow!("the machine was reset, and the first kernel had not panicked");
        Check::new("no_reset", Err(error))
    })
}

/// Checks that the vmcore has headers of the class that was passed to the loader (`EI_CLASS`).
fn has_class(core: &CoreFile, asked: Class) -> Result<String> {
    let (name, expected) = match asked {
        Class::Elf32 => ("ELF32", 1),
        Class::Elf64 => ("ELF64", 2),
    };
    let mut class = [0];
    core.read_at(4, &mut class)?;
    ensure!(class == [expected], "EI_CLASS is {}, and {name} was asked for", class[0]);
    Ok(format!("{name}, as asked for"))
}
