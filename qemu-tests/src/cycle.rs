//! One crash-and-capture cycle: boot, load, crash, capture, judge.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use log::info;

use crate::config::Config;
use crate::delivery::Way;
use crate::fault::hooks::Hooks;
use crate::fault::table;
use crate::first::prepared::Prepared;
use crate::host::dump_disk::{Attachment, DumpDisk};
use crate::host::memory::GuestMemory;
use crate::host::scratch;
use crate::judge::Case;
use crate::line::receiving;
use crate::report::{Check, Report};
use crate::session::Session;

/// Room on the dump disk besides the guest's memory, in bytes.
const DISK_SPARE: u64 = 16 << 20;
/// The same when a stock Linux writes the dump, with the dead kernel's text and data twice, in
/// bytes.
const DISK_SPARE_STOCK: u64 = 80 << 20;

/// Most boots of a first kernel until it is ready to crash. Linux on several emulated CPUs was seen
/// standing still in its own boot, one time. That says nothing about a capture, so it is booted
/// once more, and the report says so.
const MOST_BOOTS: u32 = 2;

/// Runs one cycle and writes its files. Each step is logged in a few words.
///
/// # Errors
/// Fails if the host lacks something or a file cannot be written. A failure in the guest is no
/// error: the report has it.
pub fn run(config: &Config) -> Result<Report> {
    fs::create_dir_all(&config.out)
        .with_context(|| format!("creating {}", config.out.display()))?;
    let mut boots = 1;
    let report = loop {
        let report = attempt(config, boots)?;
        if !report.boot_hung || boots == MOST_BOOTS {
            break report;
        }
        boots += 1;
        info!("the first kernel hangs in its boot; booting it once more");
    };
    report.write(&config.out.join("report.json"))?;
    Ok(report)
}

/// Everything up to the report. `boots` says which boot of the first kernel this is.
fn attempt(config: &Config, boots: u32) -> Result<Report> {
    remove_old_results(&config.out)?;
    let mut hooks = table::hooks(config.fault);
    let bytes = 2 * config.all_memory() + DISK_SPARE_STOCK;
    let work = scratch::folder(bytes, config.examine, &config.out)?;
    let memory = GuestMemory::create(config.memory, work.path())?;
    let memory = hooks.memory(memory, work.path())?;
    info!("preparing the dump disk and the first kernel's files");
    let mut disk = dump_disk(config, &*hooks, work.path())?;
    let target = config.delivery.targets.words(&disk.target);
    let prepared = Prepared::new(config, &mut *hooks, &memory, &target, work.path())?;
    let session = Session::start(config, &mut *hooks, &prepared, &memory, &mut disk)?;
    let ended = session.live();
    info!("checking");
    let rest = disk.take_out().map(|rest| Check::new("rest_of_disk", rest));
    let (hooks, memory, disk, ended) = (&*hooks, &memory, &disk, &ended);
    let (prepared, rest) = (&prepared, rest.as_ref());
    let report = Case { config, hooks, prepared, memory, disk, rest, ended }.judge()?;
    Ok(Report { boots, boot_hung: ended.boot_hung, ..report })
}

/// Results of an earlier run must not be taken for those of this one.
fn remove_old_results(out: &Path) -> Result<()> {
    for name in ["vmcore", "vmcore.partial", "console.log", "report.json"] {
        let path = out.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    let received = out.join(receiving::FOLDER);
    if received.exists() {
        fs::remove_dir_all(&received)
            .with_context(|| format!("removing {}", received.display()))?;
    }
    Ok(())
}

fn dump_disk(config: &Config, hooks: &dyn Hooks, folder: &Path) -> Result<DumpDisk> {
    let disk = config.delivery.targets.disk();
    let controller = disk.unwrap_or_default();
    if let Some(path) = &config.dump_disk {
        return Ok(DumpDisk::open(path.clone(), Attachment::Whole)?.on(controller));
    }
    let spare = if config.stock_capture.is_some() { DISK_SPARE_STOCK } else { DISK_SPARE };
    let mut size = config.all_memory() + spare;
    let mut attachment = match disk.is_some() {
        true => Attachment::Whole,
        false => Attachment::Absent,
    };
    hooks.disk(&mut size, &mut attachment);
    let disk = DumpDisk::create(folder, size, attachment, !config.truth)?.on(controller);
    if config.delivery.targets.has(Way::Partition) { disk.on_partition() } else { Ok(disk) }
}
