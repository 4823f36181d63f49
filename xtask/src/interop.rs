//! `cargo xtask interop`: our loader and capture kernel beside stock ones, and the programs that
//! read dumps. Each row of the matrix is a crash cycle with all its checks, and each further column
//! a reader.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use log::info;
use qemu_tests::{Config, FirstKernel, Interrupt, KexecTools, Loading, Report, StockCapture};
use serde_json::json;

use crate::console;
use crate::cycle::{catch_ctrl_c, failure, linux, ordinary};
use crate::debian::{Architecture, DebianFiles, DebianKernel};
use crate::image::{self, Images};
use crate::makedumpfile::Dump;
use crate::matrix::{self, Cell, Row};
use crate::readers::{self, Readers};
use crate::setup;
use crate::workspace::target_dir;

/// Command line of `cargo xtask interop`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only rows whose names contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the matrix as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// The loader of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    /// Our static i386 program.
    Ours,
    /// Our static x86_64 program.
    OursX86_64,
    /// Debian's, with the memory map also on the command line or not.
    KexecTools { memmap: bool },
    /// Our plan in a slot image; the first kernel does the rest.
    SlotImage,
}

/// The capture kernel of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    Ours,
    Debian(Architecture),
}

/// The first kernel of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Debian(Architecture),
    Guest,
}

type Cycle = (Loader, Capture, First);

const I386: Architecture = Architecture::I386;
const AMD64: Architecture = Architecture::Amd64;

/// The cycles, in the matrix's order.
const CYCLES: [Cycle; 11] = [
    (Loader::Ours, Capture::Ours, First::Debian(I386)),
    (Loader::Ours, Capture::Ours, First::Debian(AMD64)),
    (Loader::OursX86_64, Capture::Ours, First::Debian(AMD64)),
    (Loader::SlotImage, Capture::Ours, First::Guest),
    (Loader::KexecTools { memmap: true }, Capture::Ours, First::Debian(I386)),
    (Loader::KexecTools { memmap: false }, Capture::Ours, First::Debian(I386)),
    (Loader::KexecTools { memmap: true }, Capture::Ours, First::Debian(AMD64)),
    (Loader::Ours, Capture::Debian(I386), First::Debian(I386)),
    (Loader::Ours, Capture::Debian(I386), First::Debian(AMD64)),
    (Loader::Ours, Capture::Debian(AMD64), First::Debian(AMD64)),
    (Loader::KexecTools { memmap: false }, Capture::Debian(I386), First::Debian(I386)),
];

/// Rows without a cycle: the names, and the reason.
const IMPOSSIBLE: [([&str; 3], &str); 2] = [
    (
        ["kexec_file_load", "ours", "debian-i386"],
        "there is no kexec_file_load on i386: x86 has that system call in 64-bit kernels only",
    ),
    (
        ["kexec_file_load", "ours", "debian-amd64"],
        "kexec_file_load takes a bzImage with a 64-bit entry; the capture kernel is an ELF file",
    ),
];

/// Remark under each reader if the dump is not of a Linux.
const NO_LINUX: &str =
    "the test guest is not Linux: these readers need VMCOREINFO, which it does not have";
/// Remark under drgn if VMCOREINFO has no KERNELOFFSET.
const NO_OFFSET: &str = "opens; i386 Linux does not report KERNELOFFSET, and only our loader \
                         together with our capture kernel adds it: give drgn the offset by hand";

/// Runs the task.
///
/// # Errors
/// Fails if something is missing, or a cell that should work does not.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = |names: &[&str; 3]| {
        args.only.as_deref().is_none_or(|only| names.join(" × ").contains(only))
    };
    let equipment = Equipment::new()?;
    catch_ctrl_c(&equipment.interrupt)?;
    let mut rows = Vec::new();
    for cycle in CYCLES {
        let names = names(cycle);
        if wanted(&names) {
            rows.push(Row { names, cells: equipment.row(cycle)? });
        }
        if equipment.interrupt.is_set() {
            bail!("interrupted");
        }
    }
    for (names, reason) in IMPOSSIBLE.iter().filter(|(names, _)| wanted(names)) {
        let cells = columns().map(|_| Cell::Impossible(reason)).collect();
        rows.push(Row { names: *names, cells });
    }
    finish(args, &rows)
}

/// Prints the matrix.
fn finish(args: &Args, rows: &[Row]) -> Result<()> {
    let columns: Vec<_> = columns().collect();
    if args.json {
        let rows: Vec<_> = rows.iter().map(|row| row.json(&columns)).collect();
        println!("{}", serde_json::to_string_pretty(&json!({"version": 1, "rows": rows}))?);
    } else {
        print!("{}", matrix::table(&columns, rows));
        println!("reports and consoles: {}", results().display());
    }
    match rows.iter().flat_map(|row| &row.cells).filter(|cell| cell.is_failure()).count() {
        0 if rows.is_empty() => bail!("no row's names contain the text of --only"),
        0 => Ok(()),
        failed => bail!("{failed} cells that should work do not"),
    }
}

/// Folder for the reports and the consoles of all rows.
fn results() -> PathBuf {
    target_dir().join("interop")
}

/// The cycle's own checks, gdb's among them, then the readers.
fn columns() -> impl Iterator<Item = &'static str> {
    ["cycle"].into_iter().chain(readers::NAMES)
}

/// Names of a row in the matrix.
fn names((loader, capture, first): Cycle) -> [&'static str; 3] {
    let loader = match loader {
        Loader::Ours => "ours",
        Loader::OursX86_64 => "ours, x86_64",
        Loader::KexecTools { memmap: true } => "kexec-tools --pass-memmap-cmdline",
        Loader::KexecTools { memmap: false } => "kexec-tools",
        Loader::SlotImage => "slot image",
    };
    let capture = match capture {
        Capture::Ours => "ours",
        Capture::Debian(Architecture::I386) => "debian-i386",
        Capture::Debian(Architecture::Amd64) => "debian-amd64",
    };
    let first = match first {
        First::Debian(Architecture::I386) => "debian-i386",
        First::Debian(Architecture::Amd64) => "debian-amd64",
        First::Guest => "test guest",
    };
    [loader, capture, first]
}

/// Everything that the cycles use.
struct Equipment {
    images: Images,
    loader_x86_64: PathBuf,
    i386: DebianFiles,
    amd64: DebianFiles,
    readers: Readers,
    interrupt: Interrupt,
}

impl Equipment {
    fn new() -> Result<Self> {
        setup::machine(&setup::Args::default())?;
        let (i386, amd64) = (DebianFiles::ensure(I386, None)?, DebianFiles::ensure(AMD64, None)?);
        let readers = Readers::new([&i386.tools, &amd64.tools])?;
        let images = image::build()?;
        let loader_x86_64 = image::build_loader_x86_64(&images)?;
        Ok(Self { images, loader_x86_64, i386, amd64, readers, interrupt: Interrupt::default() })
    }

    fn debian(&self, architecture: Architecture) -> &DebianFiles {
        match architecture {
            Architecture::I386 => &self.i386,
            Architecture::Amd64 => &self.amd64,
        }
    }

    /// Runs one cycle, has its dump read, and keeps only the small files.
    fn row(&self, cycle: Cycle) -> Result<Vec<Cell>> {
        let name = names(cycle).join(" × ");
        let folder = results().join(names(cycle).join("_").replace(", ", "-").replace(' ', "-"));
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("emptying {}", folder.display()))?;
        }
        let config = self.config(cycle, folder.clone())?;
        let show = move |step: &str| info!("{name}: {step}");
        let report = console::with_steps(show, || qemu_tests::run(&config))?;
        let mut cells = vec![of_cycle(&report)];
        cells.extend(self.read(cycle, &report, &folder));
        remove_dumps(&folder)?;
        Ok(cells)
    }

    /// The readers' cells.
    fn read(&self, cycle: Cycle, report: &Report, folder: &Path) -> Vec<Cell> {
        let (loader, capture, first) = cycle;
        let all = |cell: Cell| vec![cell; readers::NAMES.len()];
        let First::Debian(architecture) = first else { return all(Cell::Impossible(NO_LINUX)) };
        let Some(banner) = &report.banner else {
            return all(Cell::Failed("there is no dump".into()));
        };
        info!("{}: reading the dump", names(cycle).join(" × "));
        let is_ours = capture == Capture::Ours && !matches!(loader, Loader::KexecTools { .. });
        let says_offset = is_ours || architecture == AMD64;
        let dump = Dump { folder, banner, architecture, says_offset };
        let remark = |name: &str| (name == "drgn" && !says_offset).then_some(NO_OFFSET);
        let found = readers::NAMES.iter().zip(self.readers.read(&dump));
        found.map(|(name, found)| Cell::new(found, remark(name))).collect()
    }

    fn config(&self, (loader, capture, first): Cycle, out: PathBuf) -> Result<Config> {
        let first_kernel = match first {
            First::Debian(architecture) => {
                let program = match loader {
                    Loader::OursX86_64 => &self.loader_x86_64,
                    _ => &self.images.loader,
                };
                linux(DebianKernel::of(architecture), program.clone())?
            }
            First::Guest => {
                FirstKernel::Guest { elf: self.images.guest.clone(), loading: Loading::Module }
            }
        };
        let mut config = ordinary(&self.images, first_kernel, out, self.interrupt.clone());
        if let (Loader::KexecTools { memmap }, First::Debian(architecture)) = (loader, first) {
            let root = self.debian(architecture).tools.clone();
            config.kexec_tools = Some(KexecTools { root, memmap });
        }
        if let Capture::Debian(architecture) = capture {
            let files = &self.debian(architecture).first_kernel;
            let (kernel, busybox) = (files.kernel.clone(), files.busybox.clone());
            config.stock_capture =
                Some(StockCapture { kernel, busybox, ..StockCapture::default() });
        }
        if capture == Capture::Debian(AMD64) {
            // It does not run in 32 MiB, and 128 MiB at 16 MiB is where the first kernel itself is.
            config.slot = "128M".into();
            config.memory = 512 << 20;
        }
        Ok(config)
    }
}

/// The cell of the cycle itself.
fn of_cycle(report: &Report) -> Cell {
    let checks = || Cell::Passed(format!("{} checks", report.checks.len()), None);
    failure(report).map_or_else(checks, Cell::Failed)
}

/// Dumps are as large as memory; reports and consoles stay.
fn remove_dumps(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_dump = ["vmcore", readers::FILTERED].contains(&&*name)
            || ["ours.", "theirs"].iter().any(|front| name.starts_with(front));
        if is_dump {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_name_of_its_own() {
        let mut all: Vec<_> = CYCLES.into_iter().map(names).collect();
        all.extend(IMPOSSIBLE.map(|(names, _)| names));
        let rows = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), rows);
    }
}
