//! `cargo xtask bench`: how fast dumps are, beside those of others, and how small the slot may be.
//!
//! In each round every stack dumps the same guest once, so that other load of the host hits all of
//! them alike: absolute times are those of this machine at this hour, ratios mean more.

mod analysis;
mod extraction;
mod host;
mod instructions;
mod objects;
mod ratio;
mod results;
mod samples;
mod slots;
mod stacks;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use log::info;
use qemu_tests::first::slot::parse_size;
use qemu_tests::host::scratch;
use qemu_tests::{Config, FirstKernel, Interrupt, KexecTools, Report, StockCapture};

use self::extraction::Extraction;
use self::host::Host;
use self::instructions::Count;
use self::results::{Measured, Results};
use self::slots::{Bounds, Probe, Search};
use self::stacks::{Files, Stack, Target, Workload};
use crate::cycle::{catch_ctrl_c, failure, linux, ordinary};
use crate::debian::{self, Architecture, DebianFiles};
use crate::image::{self, Images};
use crate::setup;
use crate::vmlinux;
use crate::workspace::{root, target_dir};

/// Start address of all slots.
const BASE: &str = "16M";
/// Dumps of larger guests are not extracted and checked: three times their memory is more than a
/// host has.
const MOST_EXAMINED: u64 = 4 << 30;
const MIB: u64 = 1 << 20;

/// Command line of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// About three minutes: one guest size, few rounds, a short search for our smallest slot
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The first answers of crashinfo, drgn and crash to the same dump, and many objects in Python,
    /// nothing else
    #[arg(long, conflicts_with_all = ["quick", "full", "memory", "fill", "target", "no_slots"])]
    #[arg(conflicts_with_all = ["json", "out"])]
    analysis: bool,
    /// Guests of 256 MiB to 8 GiB, one after the other
    #[arg(long)]
    full: bool,
    /// Memory of the guest; several with commas [default: 1G]
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    memory: Vec<String>,
    /// Random data in a tmpfs of the guest; several with commas [default: 0,400M]
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    fill: Vec<String>,
    /// Dumps of each stack and guest [default: 5; with --quick 2, with --full 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Targets of our dumps; several with commas
    #[arg(
        long,
        value_name = "TARGETS",
        value_enum,
        value_delimiter = ',',
        default_value = "virtio-blk,virtio-console,level31"
    )]
    target: Vec<Target>,
    /// Do not look for the smallest slot
    #[arg(long)]
    no_slots: bool,
    /// Print the results as JSON on stdout
    #[arg(long)]
    json: bool,
    /// File for the results as JSON [default: out/bench.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The measurements of one run.
struct Plan {
    workloads: Vec<Workload>,
    stacks: Vec<Stack>,
    rounds: u32,
    /// Every dump is checked, and not that of the first round only.
    checks_all: bool,
    /// The target whose instructions are counted.
    counted: Vec<Stack>,
    /// Kernel pages are taken out of a dump on the host, too.
    extracts: bool,
    /// Searches for the smallest slot: the stack, the sizes, and the guest's memory in bytes.
    slots: Vec<(Stack, Bounds, u64)>,
}

impl Args {
    fn plan(&self) -> Result<Plan> {
        let memory: &[&str] = match self.full {
            true => &["256M", "512M", "1G", "2G", "4G", "8G"],
            false => &["1G"],
        };
        let (memory, fill) = (sizes(&self.memory, memory)?, sizes(&self.fill, &["0", "400M"])?);
        let of_memory = |memory: &u64| {
            let memory = *memory;
            fill.iter().map(move |fill| Workload::new(memory, *fill)).collect::<Vec<_>>()
        };
        let ours = self.target.iter().map(|target| Stack::Ours(*target));
        let usual_rounds = if self.quick {
            2
        } else if self.full {
            3
        } else {
            5
        };
        let counted = if self.quick { 1 } else { self.target.len() };
        Ok(Plan {
            counted: ours.clone().take(counted).collect(),
            workloads: memory.iter().flat_map(of_memory).collect(),
            stacks: stacks(&self.target),
            rounds: self.rounds.unwrap_or(usual_rounds),
            checks_all: !self.quick && !self.full,
            extracts: self.target.contains(&Target::Level31),
            slots: self.slots(),
        })
    }

    fn slots(&self) -> Vec<(Stack, Bounds, u64)> {
        let ours = |target: &Target, bounds, memory| (Stack::Ours(*target), bounds, memory);
        if self.no_slots {
            return Vec::new();
        }
        if self.quick {
            let bounds = Bounds { low: 0, high: 4 * MIB, step: MIB };
            return self
                .target
                .iter()
                .take(1)
                .map(|target| ours(target, bounds, 256 * MIB))
                .collect();
        }
        let bounds = Bounds { low: MIB / 2, high: 8 * MIB, step: MIB / 4 };
        let ours = self.target.iter().map(|target| ours(target, bounds, 1 << 30));
        let bounds = Bounds { low: 16 * MIB, high: 32 * MIB, step: MIB };
        ours.chain([(Stack::Stock, bounds, 1 << 30)]).collect()
    }
}

/// Ours, and those that they are compared with.
fn stacks(targets: &[Target]) -> Vec<Stack> {
    let stock = [Stack::Stock, Stack::StockFiltered];
    let is_needed =
        |stack: &Stack| targets.iter().any(|target| target.opponent().as_ref() == Some(stack));
    let ours = targets.iter().map(|target| Stack::Ours(*target));
    ours.chain(stock.into_iter().filter(is_needed)).collect()
}

/// The sizes that are asked for, or the usual ones, in bytes.
fn sizes(asked: &[String], usual: &[&str]) -> Result<Vec<u64>> {
    let asked: Vec<_> = asked.iter().map(String::as_str).collect();
    let texts = if asked.is_empty() { usual } else { &asked };
    texts.iter().map(|text| parse_size(text)).collect()
}

/// Runs the task. A goal that is missed is reported, and is no error.
///
/// # Errors
/// Fails if something is missing, a dump was wrong, or Ctrl-C came.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.analysis {
        return analysis::run(args.rounds.unwrap_or(5));
    }
    let plan = args.plan()?;
    let out = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => root().join("out/bench.json"),
    };
    let equipment = Equipment::new()?;
    catch_ctrl_c(&equipment.interrupt)?;
    let results = equipment.measure(&plan)?;
    let json = serde_json::to_string_pretty(&results.json())?;
    fs::create_dir_all(out.parent().unwrap_or(Path::new(".")))?;
    fs::write(&out, &json).with_context(|| format!("writing {}", out.display()))?;
    if args.json {
        println!("{json}");
    } else {
        print!("{}", results.text());
        println!("\nevery sample: {}", out.display());
    }
    if results.interrupted {
        bail!("interrupted; the results are those up to then");
    }
    match results.failures().count() {
        0 => Ok(()),
        failed => bail!("{failed} dumps were not complete and right"),
    }
}

/// Everything that the cycles use.
struct Equipment {
    images: Images,
    first_kernel: FirstKernel,
    kernel: String,
    files: Files,
    interrupt: Interrupt,
}

impl Equipment {
    fn new() -> Result<Self> {
        setup::machine(&setup::Args::default())?;
        let debian = DebianFiles::ensure(Architecture::I386, None)?;
        let images = image::build()?;
        let first_kernel = linux(debian::I386, images.loader.clone())?;
        fs::create_dir_all(results_folder())?;
        let files = debian.first_kernel;
        let vmlinux = Some(vmlinux::unpack(&files.kernel, &results_folder())?);
        let (kernel, busybox) = (files.kernel, files.busybox);
        let package = files.package;
        let files = Files {
            collector: image::build_collector()?,
            kexec_tools: KexecTools { root: debian.tools, memmap: false },
            capture: StockCapture { kernel, vmlinux, busybox, makedumpfile: None },
        };
        let interrupt = Interrupt::default();
        Ok(Self { images, first_kernel, kernel: package, files, interrupt })
    }

    fn measure(&self, plan: &Plan) -> Result<Results> {
        let (host, before) = (Host::new(), host::load());
        let mut measured = Vec::new();
        for workload in &plan.workloads {
            if !self.interrupt.is_set() {
                measured.push(self.workload(plan, *workload)?);
            }
        }
        let mut counts = Vec::new();
        for stack in &plan.counted {
            if !self.interrupt.is_set() {
                counts.extend(self.count(*stack)?);
            }
        }
        let extraction = match plan.workloads.last() {
            Some(workload) if plan.extracts && !self.interrupt.is_set() => {
                self.extraction(*workload)?
            }
            _ => None,
        };
        let mut slots = Vec::new();
        for (stack, bounds, memory) in &plan.slots {
            if !self.interrupt.is_set() {
                let search = self.smallest_slot(*stack, *bounds, *memory)?;
                slots.push((search, matches!(stack, Stack::Ours(_))));
            }
        }
        Ok(Results {
            host,
            loads: [before, host::load()],
            kernel: self.kernel.clone(),
            cpus: self.config(Stack::Stock, 0, Stack::Stock.slot()).cpus,
            measured,
            counts,
            extraction,
            slots,
            interrupted: self.interrupt.is_set(),
        })
    }

    /// All rounds of one workload; those that Ctrl-C cut off are not there.
    fn workload(&self, plan: &Plan, workload: Workload) -> Result<Measured> {
        let mut measured = Measured::new(workload, &plan.stacks);
        for round in 1..=plan.rounds {
            match self.round(plan, workload, round)? {
                Some(reports) => measured.take(&reports),
                None => break,
            }
        }
        Ok(measured)
    }

    /// One dump by each stack, in the plan's order of stacks; `None` when Ctrl-C came.
    fn round(&self, plan: &Plan, workload: Workload, round: u32) -> Result<Option<Vec<Report>>> {
        let (rounds, name) = (plan.rounds, workload.name());
        let mut reports: Vec<_> = plan.stacks.iter().map(|_| None).collect();
        let mut order: Vec<_> = reports.iter_mut().zip(&plan.stacks).collect();
        // The first stack of one round is the last of the next.
        if round.is_multiple_of(2) {
            order.reverse();
        }
        for (report, stack) in order {
            let name = format!("{name}, round {round} of {rounds}, {}", stack.name());
            let checked = plan.checks_all || round == 1;
            *report = self.timed(*stack, workload, checked, &name)?;
            if report.is_none() {
                return Ok(None);
            }
        }
        Ok(reports.into_iter().collect())
    }

    fn timed(
        &self,
        stack: Stack,
        workload: Workload,
        checked: bool,
        name: &str,
    ) -> Result<Option<Report>> {
        let mut config = self.config(stack, workload.memory, stack.slot());
        config.before_crash = workload.before_crash();
        config.guest_dump = stack == Stack::Stock;
        let is_filtered = stack == Stack::StockFiltered;
        config.examine = checked && workload.memory <= MOST_EXAMINED && !is_filtered;
        self.patient_cycle(config, name)
    }

    /// Kernel pages out of a raw dump, on the host; `None` when Ctrl-C came.
    fn extraction(&self, workload: Workload) -> Result<Option<Extraction>> {
        let memory = workload.memory.min(MOST_EXAMINED);
        let mut config = self.config(Stack::Ours(Target::VirtioBlk), memory, Stack::Stock.slot());
        config.before_crash = Workload::new(memory, workload.fill).before_crash();
        let out = scratch::folder(2 * memory, false, &results_folder())?;
        let report = self.cycle_in(config, "a dump for extract", out.path())?;
        let vmcore = out.path().join("vmcore");
        let (collector, tools) = (&self.files.collector, &self.files.kexec_tools.root);
        report.map(|_| Extraction::measure(collector, tools, &vmcore)).transpose()
    }

    /// Instructions up to the first byte of a dump by `stack`; `None` when Ctrl-C came.
    fn count(&self, stack: Stack) -> Result<Option<Count>> {
        let mut config = self.config(stack, instructions::MEMORY, stack.slot());
        instructions::configure(&mut config);
        let report = self.cycle(config, &format!("instructions, {}", stack.name()))?;
        Ok(report.map(|report| Count::new(stack.name(), &report)))
    }

    fn smallest_slot(&self, stack: Stack, bounds: Bounds, memory: u64) -> Result<Search> {
        Search::run(stack.name(), bounds, |size| {
            let slot = format!("{}K@{BASE}", size >> 10);
            let name = format!("smallest slot, {}, {slot}", stack.name());
            let report = self.patient_cycle(self.config(stack, memory, &slot), &name)?;
            Ok(report.map(|report| Probe { size, failure: failure(&report) }))
        })
    }

    /// A cycle whose times count: the VM is never stopped, and all memory is there before it
    /// starts.
    fn config(&self, stack: Stack, memory: u64, slot: &str) -> Config {
        let (first_kernel, interrupt) = (self.first_kernel.clone(), self.interrupt.clone());
        let mut config = ordinary(&self.images, first_kernel, PathBuf::new(), interrupt);
        stack.configure(&self.files, &mut config);
        Config { memory, slot: slot.into(), truth: false, ..config }
    }

    /// As [`Self::cycle`]; three times at most while the first kernel finds no room for the slot: a
    /// kernel that moves at random may have moved to the slot's place.
    fn patient_cycle(&self, config: Config, name: &str) -> Result<Option<Report>> {
        let has_no_slot = |report: &Report| report.stage == "boot";
        let mut report = self.cycle(config.clone(), name)?;
        for _ in 0..2 {
            if report.as_ref().is_some_and(has_no_slot) {
                report = self.cycle(config.clone(), name)?;
            }
        }
        Ok(report)
    }

    /// Runs a cycle and keeps none of its files, but for the console of one that failed. `None`
    /// when Ctrl-C came.
    fn cycle(&self, config: Config, name: &str) -> Result<Option<Report>> {
        let extracted = if config.examine { config.memory } else { 0 };
        let out = scratch::folder(extracted, false, &results_folder())?;
        self.cycle_in(config, name, out.path())
    }

    /// The same with all files in `out`.
    fn cycle_in(&self, mut config: Config, name: &str, out: &Path) -> Result<Option<Report>> {
        info!("{name}");
        config.out = out.to_path_buf();
        let start = Instant::now();
        let report = qemu_tests::run(&config);
        if self.interrupt.is_set() {
            return Ok(None);
        }
        let report = report?;
        let took = start.elapsed().as_secs_f32();
        match failure(&report) {
            None => info!("  {} ({took:.0} s in all)", results::in_short(&report)),
            Some(failure) => {
                info!("  {failure}");
                let console = results_folder().join("failed-console.log");
                fs::copy(out.join("console.log"), console).context("the failed console")?;
            }
        }
        Ok(Some(report))
    }
}

/// Folder for the uncompressed kernel and the console of a failed cycle.
fn results_folder() -> PathBuf {
    target_dir().join("bench")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches};

    fn plan(words: &str) -> Plan {
        let command = Args::augment_args(Command::new("bench"));
        let words = ["bench"].into_iter().chain(words.split_whitespace());
        let matches = command.try_get_matches_from(words).expect("options that are known");
        Args::from_arg_matches(&matches).expect("options").plan().expect("a plan")
    }

    #[test]
    fn each_kind_of_run_has_its_plan() {
        let usual = plan("");
        assert_eq!((usual.workloads.len(), usual.rounds, usual.checks_all), (2, 5, true));
        let ours = [Target::VirtioBlk, Target::VirtioConsole, Target::Level31].map(Stack::Ours);
        assert_eq!(usual.stacks[..3], ours);
        assert_eq!(usual.stacks[3..], [Stack::Stock, Stack::StockFiltered]);
        let disks = plan("--target virtio-blk,nvme,ahci-level31").stacks;
        assert_eq!(disks[1..3], [Target::Nvme, Target::AhciLevel31].map(Stack::Ours));
        assert_eq!(disks[3..], [Stack::Stock]);
        let raw = plan("--target virtio-blk");
        assert_eq!((&raw.stacks[..], raw.extracts), (&[ours[0], Stack::Stock][..], false));
        assert_eq!(usual.slots.len(), 4);
        assert_eq!(usual.counted, ours);
        let quick = plan("--quick");
        assert_eq!((quick.workloads.len(), quick.rounds, quick.slots.len()), (2, 2, 1));
        assert_eq!(quick.counted, ours[..1]);
        assert_eq!(plan("--full").workloads.len(), 12);
        let own = plan("--memory 8G --fill 0 --rounds 1 --no-slots");
        assert_eq!(own.workloads, [Workload::new(8 << 30, 0)]);
        assert_eq!((own.rounds, own.slots.len(), own.extracts), (1, 0, true));
    }
}
