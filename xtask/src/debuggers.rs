//! `cargo xtask debuggers`: drgn and crash, which need a kernel's debug information, find the same
//! tasks and stacks in dumps without pages of some classes as in the raw dump that these come from.
//! The collector, which needs none, finds the same frames as they do. Of i386 kernels, whose stacks
//! drgn does not unwind, crash alone lists tasks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use log::info;
use qemu_tests::check::crashinfo::Crashinfo;
use qemu_tests::{Interrupt, Level, Load, SavedPages};

use crate::addresses::{self, Stacks, of_crash, of_crash_i386, of_drgn};
use crate::answers;
use crate::console;
use crate::cycle::{catch_ctrl_c, failure, linux, ordinary};
use crate::debian::{AMD64, Architecture, DebianKernel, I386};
use crate::formats::Collector;
use crate::image::{self, Images};
use crate::makedumpfile::read_text;
use crate::programs::{SYMBOLS, ensure as ensure_programs, output_of};
use crate::setup;
use crate::stacks::{Crash, Listing, NAMES, Programs};
use crate::workspace::{remove_folder, target_dir};

/// Names of the columns: the programs, and the collector's stacks and crashinfo's answers beside
/// theirs.
const COLUMNS: [&str; 4] = [NAMES[0], NAMES[1], "collector backtrace", "crashinfo"];
/// Readers of the programs' lists.
const READERS: [fn(&str) -> Stacks; 2] = [of_drgn, of_crash];
/// The raw dump.
const RAW: &str = "raw";
/// The dump that the capture kernel filters itself, of a crash of its own.
const OWN: &str = "by-capture-kernel";
/// Dumps of an i386 kernel, raw and at level 31.
const I386_DUMPS: [&str; 2] = ["raw-i386", "elf-i386"];
/// The collector's forms of the raw dump: names, and options.
const FORMS: [(&str, &[&str]); 3] = [
    ("elf", &["--level", "31"]),
    ("kdump", &["--level", "31", "--format", "kdump", "--compress", "none"]),
    ("kdump-zlib", &["--level", "31", "--format", "kdump", "--compress", "zlib"]),
];

/// Our programs.
struct Ours {
    collector: Collector,
    crashinfo: Crashinfo,
}

impl Ours {
    /// Their cells for a dump, beside the lists of the others.
    fn cells(&self, dump: &Path, lists: &[Result<Listing>; NAMES.len()]) -> [Result<String>; 2] {
        [stacks(dump, lists, &self.collector), answers::same(&self.crashinfo, dump, lists)]
    }
}

/// Results of the programs for one dump.
struct Row {
    name: String,
    bytes: u64,
    cells: Vec<Result<String>>,
}

impl Row {
    /// There is no dump.
    fn failed(name: &str, error: &anyhow::Error) -> Self {
        let cells = COLUMNS.map(|_| Err(anyhow!("{error:#}")));
        Self { name: name.into(), bytes: 0, cells: cells.into() }
    }
}

/// Runs the task.
///
/// # Errors
/// Fails if something is missing, a cycle does not pass, or a program finds something else.
pub(crate) fn run() -> Result<()> {
    setup::machine(&setup::Args::default())?;
    let interrupt = Interrupt::default();
    let programs = Programs::new(AMD64.debug_information(None)?, interrupt.clone())?;
    let images = image::build()?;
    let collector = Collector(image::build_collector()?);
    let program = image::build_crashinfo()?;
    let crashinfo = Crashinfo { program, debug_vmlinux: None, is_live: false };
    let ours = Ours { collector, crashinfo };
    catch_ctrl_c(&interrupt)?;
    remove_folder(&results())?;
    let raw = cycle(&images, RAW, AMD64, Level::ALL, &interrupt)?;
    let mut rows = of_forms(&programs, &raw, &ours)?;
    let own = cycle(&images, OWN, AMD64, Level::KERNEL, &interrupt)
        .and_then(|folder| Ok(alone(OWN, &folder, &programs, &ours)?.0));
    rows.push(own.unwrap_or_else(|error| Row::failed(OWN, &error)));
    let i386 = of_i386(&images, &ours.collector, &interrupt);
    rows.extend(i386.unwrap_or_else(|error| vec![Row::failed(I386_DUMPS[0], &error)]));
    ensure!(!interrupt.is_set(), "interrupted");
    print!("{}", table(&rows));
    println!("lists of tasks, and consoles: {}", results().display());
    match rows.iter().flat_map(|row| &row.cells).filter(|cell| cell.is_err()).count() {
        0 => remove_dumps(&[RAW, OWN, I386_DUMPS[0]].map(|name| results().join(name))),
        failed => bail!("{failed} lists are not as they should be; the dumps are still there"),
    }
}

/// Folder for dumps, lists and consoles.
fn results() -> PathBuf {
    target_dir().join("debuggers")
}

/// Crashes a kernel whose memory is in use in many ways; returns the folder with the `vmcore`.
fn cycle(
    images: &Images,
    name: &str,
    kernel: DebianKernel,
    level: Level,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let folder = results().join(name);
    let first_kernel = linux(kernel, images.loader.clone())?;
    let mut config = ordinary(images, first_kernel, folder.clone(), interrupt.clone());
    config.saved_pages = Some(SavedPages { loads: vec![Load::Cache, Load::Anonymous] });
    config.said = true;
    config.level = level;
    config.append = format!("kdump.level={level}");
    let shown = name.to_string();
    let show = move |step: &str| info!("{shown}: {step}");
    let report = console::with_steps(show, || qemu_tests::run(&config))?;
    failure(&report).map_or(Ok(folder), |failed| bail!("{name}: {failed}"))
}

/// The raw dump's lists, and those of each form of it beside them.
fn of_forms(programs: &Programs, raw: &Path, ours: &Ours) -> Result<Vec<Row>> {
    let (row, whole) = alone(RAW, raw, programs, ours)?;
    let mut rows = vec![row];
    let vmcore = raw.join("vmcore");
    for (name, options) in FORMS {
        let dump = raw.join(name);
        ours.collector.extract(&vmcore, &dump, options)?;
        info!("{name}: listing tasks");
        let lists = programs.list(&dump);
        let by_ours = ours.cells(&dump, &lists);
        let cells = lists.into_iter().zip(&whole).map(|(found, whole)| {
            let whole = whole.as_ref().map_err(|_| anyhow!("the raw dump has no list"))?;
            same(&found?, whole, [&dump, &vmcore])
        });
        let cells = cells.chain(by_ours).collect();
        rows.push(Row { name: name.into(), bytes: size(&dump)?, cells });
    }
    Ok(rows)
}

/// The lists of a dump without another to compare them with, and its row.
fn alone(
    name: &str,
    folder: &Path,
    programs: &Programs,
    ours: &Ours,
) -> Result<(Row, Vec<Result<Listing>>)> {
    info!("{name}: listing tasks");
    let vmcore = folder.join("vmcore");
    let console = read_text(&folder.join("console.log"))?;
    let lists = programs.list(&vmcore);
    let pids = |list: &Result<Listing>| list.as_ref().map(Listing::pids).unwrap_or_default();
    let is_same = lists.windows(2).all(|pair| pids(&pair[0]) == pids(&pair[1]));
    let cell = |list: &Result<Listing>| {
        let list = list.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        list.check(&console)?;
        ensure!(is_same, "the tasks are not those of the other program");
        Ok(summary(list))
    };
    let cells = lists.iter().map(cell).chain(ours.cells(&vmcore, &lists)).collect();
    Ok((Row { name: name.into(), bytes: size(&vmcore)?, cells }, lists.into()))
}

/// Checks that the collector finds the same frames of all tasks that slept as both programs.
fn stacks(dump: &Path, lists: &[Result<Listing>], collector: &Collector) -> Result<String> {
    let start = Instant::now();
    let text = collector.tasks(dump)?;
    let (ours, took) = (addresses::of_collector(&text)?, start.elapsed().as_secs_f64());
    let mut said = String::new();
    for ((list, name), read) in lists.iter().zip(NAMES).zip(READERS) {
        let list = list.as_ref().map_err(|_| anyhow!("there is no list of {name}"))?;
        let (tasks, frames) = addresses::same(&ours, &read(&list.text)).context(name)?;
        said = format!("{tasks} tasks, {frames} frames, {took:.1} s");
    }
    Ok(said)
}

/// The lists of an i386 kernel's raw dump, and of the same at level 31.
fn of_i386(images: &Images, collector: &Collector, interrupt: &Interrupt) -> Result<Vec<Row>> {
    let vmlinux = vmlinux_for_crash(&I386.debug_information(None)?)?;
    let crash = Crash::new(Architecture::I386, vmlinux.clone(), interrupt.clone())?;
    let folder = cycle(images, I386_DUMPS[0], I386, Level::ALL, interrupt)?;
    let [vmcore, at_level] = ["vmcore", "elf"].map(|name| folder.join(name));
    collector.extract(&vmcore, &at_level, FORMS[0].1)?;
    let console = read_text(&folder.join("console.log"))?;
    let kaslr = format!("--kaslr=0x{}", kernel_offset(&folder.join("vmcore.vmcoreinfo"))?);
    let options = [kaslr.as_str(), "-m", "page_offset=0xc0000000"];
    let lists = [&vmcore, &at_level].map(|dump| {
        info!("i386, {}: listing tasks", dump.display());
        crash.list(dump, &options)
    });
    fs::remove_file(&vmlinux).context("removing the vmlinux for crash")?;
    let whole = lists[0].as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let cells = [&lists[0], &lists[1]].map(|list| {
        let list = list.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        list.check(&console)?;
        let names = [&at_level, &vmcore].map(|dump| dump.to_string_lossy().into_owned());
        let difference = list.difference(whole, [&names[0], &names[1]]);
        ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
        Ok(summary(list))
    });
    let rows = I386_DUMPS.into_iter().zip([&vmcore, &at_level]).zip(cells);
    let row = |((name, dump), cell): ((&str, &PathBuf), Result<String>)| {
        let frames = stacks_i386(dump, whole, collector);
        let cells = vec![Ok("no unwinder".into()), cell, frames, Ok("not asked".into())];
        Ok(Row { name: name.into(), bytes: size(dump)?, cells })
    };
    rows.map(row).collect()
}

/// A copy of an i386 vmlinux with a symbol that crash looks for; the kernel has none of that name.
fn vmlinux_for_crash(vmlinux: &Path) -> Result<PathBuf> {
    ensure_programs(SYMBOLS)?;
    let copy = results().join("vmlinux-i386");
    let mut objcopy = Command::new("objcopy");
    output_of(objcopy.args(["--add-symbol", "sys_open=.text:0"]).args([vmlinux, &copy]))?;
    Ok(copy)
}

/// The distance by which the kernel was moved, a hexadecimal number.
fn kernel_offset(vmcoreinfo: &Path) -> Result<String> {
    let text = read_text(vmcoreinfo)?;
    let offset = text.lines().find_map(|line| line.strip_prefix("KERNELOFFSET="));
    Ok(offset.context("VMCOREINFO has no KERNELOFFSET")?.to_owned())
}

/// Checks that the collector finds crash's tasks and, of those that slept, the same frames.
fn stacks_i386(dump: &Path, list: &Listing, collector: &Collector) -> Result<String> {
    let start = Instant::now();
    let ours = addresses::of_collector(&collector.tasks(dump)?)?;
    let took = start.elapsed().as_secs_f64();
    let pids: Vec<_> = ours.keys().copied().filter(|pid| *pid != 0).collect();
    ensure!(pids == list.pids(), "the tasks are not crash's: {pids:?}, {:?}", list.pids());
    let (tasks, frames) = addresses::same_but_for_entry(&ours, &of_crash_i386(&list.text))?;
    Ok(format!("{tasks} tasks, {frames} frames, {took:.1} s"))
}

/// Checks that a form's list is the raw dump's.
fn same(found: &Listing, raw: &Listing, dumps: [&Path; 2]) -> Result<String> {
    let names = dumps.map(|dump| dump.to_string_lossy().into_owned());
    match found.difference(raw, [&names[0], &names[1]]) {
        Some(difference) => bail!("{difference}"),
        None => Ok(summary(found)),
    }
}

fn summary(list: &Listing) -> String {
    let (tasks, frames, took) = (list.pids().len(), list.frames(), list.took.as_secs_f64());
    format!("{tasks} tasks, {frames} frames, {took:.1} s")
}

/// Size on disk in bytes: files have holes.
fn size(dump: &Path) -> Result<u64> {
    let found = fs::metadata(dump).with_context(|| format!("looking at {}", dump.display()))?;
    Ok(found.blocks() * 512)
}

/// A Markdown table; reasons of failures follow it.
fn table(rows: &[Row]) -> String {
    let mut text = format!("| {:<17} | {:>9} |", "dump", "on disk");
    text.extend(COLUMNS.map(|name| format!(" {name:<29} |")));
    text.push_str(&format!("\n|-{:-<17}-|-{:->9}-|", "", ""));
    text.extend(COLUMNS.map(|_| format!("-{:-<29}-|", "")));
    let mut reasons = String::new();
    for Row { name, bytes, cells } in rows {
        text.push_str(&format!("\n| {name:<17} | {bytes:>9} |"));
        for (cell, program) in cells.iter().zip(COLUMNS) {
            let shown = cell.as_ref().map_or("FAIL", String::as_str);
            text.push_str(&format!(" {shown:<29} |"));
            if let Err(error) = cell {
                reasons.push_str(&format!("{program}, {name}: {error:#}\n"));
            }
        }
    }
    text + "\n" + &reasons
}

/// Dumps are as large as memory; lists and consoles stay.
fn remove_dumps(folders: &[PathBuf]) -> Result<()> {
    let names = FORMS.map(|(name, _)| name).into_iter().chain(["vmcore"]);
    for dump in names.flat_map(|name| folders.iter().map(move |folder| folder.join(name))) {
        if dump.exists() {
            fs::remove_file(&dump).with_context(|| format!("removing {}", dump.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_program_and_form() {
        let found = || Ok("2 tasks, 9 frames, 0.5 s".into());
        let cells = vec![found(), Err(anyhow!("line 2 is \"x\"")), found(), found()];
        let text = table(&[Row { name: "elf".into(), bytes: 7, cells }]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].contains(" 2 tasks, 9 frames, 0.5 s ") && lines[2].contains(" FAIL "));
        assert_eq!(lines[3], "crash, elf: line 2 is \"x\"");
        assert_eq!(lines[0].len(), lines[2].len());
    }
}
