//! Reading a part of a view.

use std::path::Path;

use dumpfile::Contents;
use dumpfile::wire::{Plan, Verdict};

use crate::session::Session;
use crate::store::Part;
use crate::{DumpDisk, Error, LinkOptions, Observer, Source, Timeouts};

/// Most bytes that are read at once: they are kept in memory until all have come.
const MOST: u64 = 256 << 20;

/// Pulls `length` bytes of a view from the address `start` on over a line.
///
/// # Errors
/// [`Error::TooMuch`], or why they did not come.
pub fn read(
    source: &Source,
    (view, start, length): (&str, u64, u64),
    options: LinkOptions,
    timeouts: Timeouts,
    observer: &mut dyn Observer,
) -> Result<Vec<u8>, Error> {
    if let Source::Disk(path) = source {
        return read_disk(path, view, start, length);
    }
    let mut part = Part::new(room(length)?);
    let plan = Plan::Part { view: view.to_owned(), start, length };
    let mut receiver = Session::receiver(source, plan, None);
    match Session::new(source, options, timeouts)?.run(&mut receiver, &mut part, observer)? {
        Verdict::Complete => Ok(part.into_bytes()),
        Verdict::Differs => Err(Error::Differs),
    }
}

/// Pulls a view over a line, or its first `most` bytes.
///
/// # Errors
/// The reason why it did not come.
pub(crate) fn read_view(
    source: &Source,
    (view, most): (&str, usize),
    options: LinkOptions,
    timeouts: Timeouts,
    observer: &mut dyn Observer,
) -> Result<Vec<u8>, Error> {
    let mut part = Part::whole(most);
    let mut receiver = Session::receiver(source, Plan::View(view.to_owned()), None);
    match Session::new(source, options, timeouts)?.run(&mut receiver, &mut part, observer)? {
        Verdict::Complete => Ok(part.into_bytes()),
        Verdict::Differs => Err(Error::Differs),
    }
}

fn room(length: u64) -> Result<usize, Error> {
    let fits = usize::try_from(length).ok().filter(|_| length <= MOST);
    fits.ok_or(Error::TooMuch(length))
}

/// The same from a dump disk that holds this view.
///
/// # Errors
/// [`Error::TooMuch`], [`Error::NotThere`], or why the disk holds no dump.
pub fn read_disk(path: &Path, view: &str, start: u64, length: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; room(length)?];
    let disk = DumpDisk::open(path)?;
    let dump = disk.choose(None)?;
    disk.check_complete(dump)?;
    let whole = dump.length;
    let (name, base) = match dump.contents {
        Contents::Vmcore => ("vmcore", 0),
        Contents::OldMem { start } => ("oldmem", start),
        Contents::Unknown(_) => ("something unknown", 0),
    };
    let offset = start.checked_sub(base).filter(|_| name == view);
    let within = offset.filter(|from| from.checked_add(length).is_some_and(|end| end <= whole));
    let there = format!("the view {name}, {base:#x}+{whole:#x}");
    let offset = within.ok_or(Error::NotThere { path: path.to_owned(), there })?;
    disk.bulk(dump)?.read(offset, &mut bytes)?;
    Ok(bytes)
}
