//! Writing a vmcore again: with fewer pages, or in another format.
//!
//! ```text
//! VmcoreFile ─▶ Memory ─▶ selection (filter, level) ─▶ elf or kdump ─▶ Sink
//! ```

mod elf;
mod kdump;
mod pages;
mod writing;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Instant;

use dumpfile::kdump_file::PageCodec;
use serde::Serialize;
use vmcore::{Level, PageClass, PageFilter};

use self::writing::Writing;
use crate::memory::Memory;
use crate::selection::{PageSums, filter, select};
use crate::sink::{Flattened, Plain, Sink};
use crate::stored_bulk::Range;
use crate::text::with_suffix;
use crate::{Error, VmcoreFile, json};

/// Format of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// An ELF core.
    Elf,
    /// kdump-compressed.
    Kdump,
    /// kdump-compressed, flattened.
    Flat,
    /// An ELF core, flattened.
    FlatElf,
}

/// The dump to write.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// Number of the dump on a disk; without one as for [`crate::DumpDisk::choose`].
    pub number: Option<u64>,
    /// The dump level; without one the level of the dump.
    pub level: Option<Level>,
    /// The format.
    pub format: Format,
    /// The compression of pages.
    pub codec: PageCodec,
}

/// A dump that was written.
#[derive(Debug, Serialize)]
pub struct Converted {
    /// The file; [`None`] for standard output.
    #[serde(serialize_with = "json::path")]
    pub file: Option<PathBuf>,
    /// Length of the dump in bytes, before it is flattened.
    pub bytes: u64,
    /// Its format.
    pub format: Format,
    /// Its dump level.
    pub level: u8,
    /// The compression of its pages.
    pub compress: &'static str,
    /// Its pages by class.
    pub pages: PageSums,
    /// Time that the search for pages to leave out took, in milliseconds.
    pub scan_ms: f64,
    /// Physical memory that could not be read: zero in the file.
    #[serde(serialize_with = "json::pairs")]
    pub unreadable: Vec<Range>,
}

/// Writes the vmcore at `path` into the file `out`, which is replaced, or (`None`) to standard
/// output. A file that lacks memory which could not be read gets the suffix `.partial`. `progress`
/// is called with the bytes of memory done and those in all.
///
/// # Errors
/// As for [`VmcoreFile::open_dump`]; [`Error::LevelBelow`], [`Error::NoFilter`],
/// [`Error::NoCompression`], [`Error::NotAFile`], or an error of the system.
pub fn convert(
    path: &Path,
    conversion: &Conversion,
    out: Option<&Path>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Converted, Error> {
    let Conversion { number, level, format, codec } = *conversion;
    if matches!(format, Format::Elf | Format::FlatElf) && codec != PageCodec::Raw {
        return Err(Error::NoCompression(codec.name()));
    }
    let vmcore = VmcoreFile::open_dump(path, number)?;
    let memory = Memory::new(&vmcore)?;
    let level = choose_level(&memory, level)?;
    let filter = filter_for(&memory, level)?;
    let start = Instant::now();
    let (kept, pages) = select(&memory, filter.as_deref(), level)?;
    let scan_ms = start.elapsed().as_secs_f64() * 1000.0;
    let unreadable = Vec::new();
    let mut writing = Writing { memory: &memory, codec, level, pages, unreadable, progress };
    let write = |sink: &mut dyn Sink| match format {
        Format::Elf | Format::FlatElf => elf::write(&mut writing, &kept, sink),
        Format::Kdump | Format::Flat => kdump::write(&mut writing, &kept, sink),
    };
    let bytes = write_to(out, format, vmcore.is_on_disk(), write)?;
    let Writing { pages, unreadable, .. } = writing;
    let suffix = if unreadable.is_empty() { "" } else { ".partial" };
    let file = out.map(|out| with_suffix(out, suffix));
    if let (Some(out), Some(file)) = (out, &file) {
        fs::rename(with_suffix(out, ".part"), file).map_err(Error::io("write", file))?;
    }
    let (level, compress) = (level.get(), codec.name());
    Ok(Converted { file, bytes, format, level, compress, pages, scan_ms, unreadable })
}

/// Classes that belong to a bit of the level, without zeros, which are no loss.
const CLASSES: [PageClass; 4] =
    [PageClass::Cache, PageClass::CachePrivate, PageClass::User, PageClass::Free];

/// The level of the new dump.
fn choose_level(memory: &Memory<'_>, wanted: Option<Level>) -> Result<Level, Error> {
    let made = memory.level;
    let wanted = wanted.unwrap_or(made);
    if CLASSES.into_iter().any(|class| made.excludes(class) && !wanted.excludes(class)) {
        return Err(Error::LevelBelow { path: memory.vmcore.path().to_owned(), made, wanted });
    }
    Ok(wanted)
}

/// The filter that finds the pages which `level` leaves out and the dump does not.
fn filter_for<'a>(
    memory: &Memory<'a>,
    level: Level,
) -> Result<Option<Box<dyn PageFilter + Sync + 'a>>, Error> {
    if level.get() & !memory.level.get() == 0 {
        return Ok(None);
    }
    let needs_it = CLASSES.into_iter().any(|class| level.excludes(class));
    match filter(memory) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) if needs_it => Err(error),
        // Zeros are found by a look at memory.
        Err(error) => {
            log::warn!("{error}: zeros alone are left out");
            Ok(None)
        }
    }
}

/// Writes to a file beside `out` first, so that there is never half of one. What comes off a dump
/// disk is on this disk when it is done: the other may be formatted next.
fn write_to(
    out: Option<&Path>,
    format: Format,
    sync: bool,
    write: impl FnOnce(&mut dyn Sink) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let is_flat = matches!(format, Format::Flat | Format::FlatElf);
    let Some(out) = out else {
        return write(&mut Flattened::new(BufWriter::new(io::stdout())));
    };
    if out.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(Error::NotAFile(out.to_owned()));
    }
    let part = with_suffix(out, ".part");
    let create = |source| Error::Open { path: part.clone(), source };
    let file = File::create(&part).map_err(create)?;
    let written = file.try_clone().map_err(Error::io("write", &part)).and_then(|own| {
        let bytes = match is_flat {
            true => write(&mut Flattened::new(BufWriter::with_capacity(1 << 20, own))),
            false => write(&mut Plain(own)),
        }?;
        let synced = if sync { file.sync_all() } else { Ok(()) };
        synced.map_err(Error::io("write", &part))?;
        Ok(bytes)
    });
    if written.is_err() {
        // The rest is of no use; if it cannot be removed, the first error reports more.
        let _ = fs::remove_file(&part);
    }
    written
}
