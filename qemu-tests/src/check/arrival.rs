//! The dump as it arrived at the other end of each target.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use vmcore::{Level, PageClass};

use crate::check::contents::{claims_equal_memory, oldmem_equals_memory};
use crate::check::truth::Truth;
use crate::config::Config;
use crate::delivery::Way;
use crate::host::dump_disk::DumpDisk;
use crate::host::memory::GuestMemory;
use crate::line::collector_process::{Received, ReceivedView};
use crate::line::receiving::{self, pulled_name};
use crate::report::Check;

/// The dump's name in the folder of each target, and in the cycle's own.
const DUMP: &str = "vmcore";

/// A dump that has arrived whole.
pub struct Arrival {
    /// Over which target.
    pub way: Way,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Parts of it that were left out, and the class of each, as the collector names them.
    pub left: Vec<(Range<u64>, PageClass)>,
}

impl Arrival {
    /// Parts that a dump of `level` leaves out. Memory that could not be read is none.
    pub fn left_by(&self, level: Level) -> Vec<Range<u64>> {
        let is_asked =
            |class| level.excludes(class) && class != PageClass::Unreadable && level != Level::ALL;
        let left = self.left.iter().filter(|(_, class)| is_asked(*class));
        left.map(|(range, _)| range.clone()).collect()
    }
}

/// Gets the dump from every target that was to have it, or from the first that has it, to the
/// cycle's own folder. All of them are the same where there are several; that is the check beside
/// it.
///
/// # Errors
/// Fails if a target that was to have the dump lacks it.
pub fn collect(
    config: &Config,
    disk: &DumpDisk,
    received: &[Received],
) -> Result<(Arrival, Option<Check>)> {
    let targets = &config.delivery.targets;
    let mut arrived = Vec::new();
    let mut reasons = Vec::new();
    for way in targets.ways() {
        let dump = dump_of(*way, &config.out);
        fs::create_dir_all(dump.parent().context("a path in a folder")?)?;
        let arrival = arrive(*way, disk, received, &dump);
        match arrival.with_context(|| format!("target {}", way.name())) {
            Ok(arrival) => arrived.push(arrival),
            Err(error) if targets.is_all() => return Err(error),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    let several = (arrived.len() > 1).then(|| Check::new("same_everywhere", same(&arrived)));
    let Some(first) = arrived.into_iter().next() else { bail!("{}", reasons.join("; ")) };
    take_over(&dump_of(first.way, &config.out), &config.out)?;
    Ok((first, several))
}

/// Length of the dump in bytes as the first target says that was to have it, without a look at its
/// bytes.
///
/// # Errors
/// Fails if that target has no complete dump.
pub fn length(config: &Config, disk: &DumpDisk, received: &[Received]) -> Result<u64> {
    let way = config.delivery.targets.ways().first().context("no target is named")?;
    if way.disk().is_some() {
        let info = collector::info(disk.path(), None).context("looking at the dump disk")?;
        return Ok(info.vmcore.context("there is no vmcore on the dump disk")?.length);
    }
    let received = received.iter().find(|received| received.target == way.name());
    let received = received.context("no collector was there")?;
    ensure!(received.complete, "the collector has no whole dump: {}", received.said.trim());
    let view = received.views.iter().find(|view| view.view == DUMP);
    Ok(view.context("the collector names no vmcore")?.bytes)
}

/// Returns the first path of a target's dump.
pub fn dump_of(way: Way, out: &Path) -> PathBuf {
    out.join(receiving::FOLDER).join(way.name()).join(DUMP)
}

fn arrive(way: Way, disk: &DumpDisk, received: &[Received], dump: &Path) -> Result<Arrival> {
    if way.disk().is_some() {
        let extracted = collector::extract(disk.path(), None, dump, &mut |_, _| {});
        let extracted = extracted.context("extracting the vmcore")?;
        if let Some(trouble) = extracted.trouble() {
            bail!("the dump is not whole: {trouble}");
        }
        let collector::Extracted { length, sha256, left, .. } = extracted;
        let left = left.iter().map(|range| (range.start..range.end, range.class)).collect();
        return Ok(Arrival { way, length, sha256, left });
    }
    let received = received.iter().find(|received| received.target == way.name());
    let received = received.context("no collector was there")?;
    ensure!(received.complete, "the collector has no whole dump: {}", received.said.trim());
    let (length, sha256) = hash(dump)?;
    let shown = crate::report::hex(&sha256);
    let is_it = |view: &&ReceivedView| {
        view.bytes == length && view.sha256.as_deref() == Some(shown.as_str())
    };
    let view = received.views.iter().find(is_it).with_context(|| {
        format!("the collector names no view of {length} bytes with the SHA-256 {shown}")
    })?;
    let named = view.left.iter().map(|(start, length, class)| {
        Some((*start..start.checked_add(*length)?, PageClass::from_name(class)?))
    });
    let left = named.collect::<Option<_>>().context("the collector names an unknown class")?;
    Ok(Arrival { way, length, sha256, left })
}

/// Length and SHA-256 of a file.
fn hash(path: &Path) -> Result<(u64, [u8; 32])> {
    let open = fs::File::open(path).with_context(|| format!("opening {}", path.display()));
    let (mut file, mut hash) = (open?, Sha256::new());
    let length = std::io::copy(&mut file, &mut hash)?;
    Ok((length, hash.finalize().into()))
}

fn same(arrived: &[Arrival]) -> Result<String> {
    let names: Vec<_> = arrived.iter().map(|arrival| arrival.way.name()).collect();
    let first = arrived.first().context("nothing has arrived")?;
    for other in arrived {
        let (one, two) = (first.way.name(), other.way.name());
        ensure!(other.sha256 == first.sha256, "{two} has another vmcore than {one}");
    }
    Ok(format!("one SHA-256 from {}", names.join(", ")))
}

/// Moves a dump and the views beside it into the cycle's own folder.
fn take_over(dump: &Path, out: &Path) -> Result<()> {
    let folder = dump.parent().context("a path in a folder")?;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(DUMP) {
            fs::rename(folder.join(&name), out.join(&name))
                .with_context(|| format!("moving {}", name.display()))?;
        }
    }
    Ok(())
}

/// Checks that every byte that a collector claims to have of an incomplete dump is right.
pub fn accounts(
    config: &Config,
    received: &[Received],
    memory: &GuestMemory,
    truth: &Truth,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for received in received.iter().filter(|received| !received.complete) {
        let Ok(way) = received.target.parse::<Way>() else { continue };
        let view = received.views.iter().find(|view| view.view == DUMP);
        let Some(view) = view else { continue };
        let path = dump_of(way, &config.out).with_extension(format!("{DUMP}.partial"));
        let claims = claims_equal_memory(&path, view, memory, truth);
        checks.push(Check::new(&format!("claims_of_{way}", way = way.name()), claims));
    }
    checks
}

/// Checks that the pulled parts of oldmem equal memory.
pub fn pulled(config: &Config, memory: &GuestMemory, truth: &Truth) -> Vec<Check> {
    let pulls = config.delivery.pulls.iter().enumerate();
    let oldmem = pulls.filter(|(_, pull)| pull.view == "oldmem");
    oldmem
        .map(|(number, pull)| {
            let range: Range<u64> = pull.start..pull.start + pull.length;
            let equal = oldmem_equals_memory(&pull_file(config, number), memory, truth, &range);
            Check::new("pull_equals_memory", equal)
        })
        .collect()
}

/// Returns the path of a pull's output file.
pub fn pull_file(config: &Config, number: usize) -> PathBuf {
    let line = config.delivery.targets.ways().iter().find(|way| way.is_line());
    let folder = line.map_or("", |way| way.name());
    config.out.join(receiving::FOLDER).join(folder).join(pulled_name(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::controller::Controller;

    fn arrival(way: Way, sha256: u8) -> Arrival {
        Arrival { way, length: 1, sha256: [sha256; 32], left: Vec::new() }
    }

    #[test]
    fn dumps_of_one_run_are_the_same() {
        let blk = Way::Disk(Controller::VirtioBlk);
        let one = [arrival(blk, 1), arrival(Way::Serial, 1)];
        assert_eq!(same(&one).unwrap(), "one SHA-256 from virtio-blk, serial");
        let two = [arrival(blk, 1), arrival(Way::Serial, 2)];
        let error = same(&two).unwrap_err().to_string();
        assert_eq!(error, "serial has another vmcore than virtio-blk");
    }

    #[test]
    fn a_dump_and_its_views_move_and_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        let dump = dump_of(Way::Serial, out.path());
        fs::create_dir_all(dump.parent().unwrap()).unwrap();
        for name in ["vmcore", "vmcore.dmesg-tail", "said"] {
            fs::write(dump.with_file_name(name), name).unwrap();
        }
        take_over(&dump, out.path()).unwrap();
        assert_eq!(fs::read(out.path().join("vmcore.dmesg-tail")).unwrap(), b"vmcore.dmesg-tail");
        assert!(out.path().join("vmcore").exists() && !out.path().join("said").exists());
    }

    /// A collector is believed if the file matches its report, and only then.
    #[test]
    fn a_file_must_have_the_sha256_that_the_collector_says() {
        let out = tempfile::tempdir().unwrap();
        let absent = crate::host::dump_disk::Attachment::Absent;
        let disk = DumpDisk::create(out.path(), 1 << 20, absent, false).unwrap();
        let dump = dump_of(Way::Serial, out.path());
        fs::create_dir_all(dump.parent().unwrap()).unwrap();
        fs::write(&dump, "abc").unwrap();
        // FIPS 180-4's example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let received = |sha256: &str, complete| Received {
            target: "serial".into(),
            complete,
            views: vec![crate::line::collector_process::ReceivedView {
                view: "vmcore".into(),
                bytes: 3,
                sha256: Some(sha256.into()),
                missing: Vec::new(),
                left: Vec::new(),
                pages: None,
                differs: Vec::new(),
            }],
            ..Received::default()
        };
        let arrive = |received| arrive(Way::Serial, &disk, &[received], &dump).map(|it| it.length);
        assert_eq!(arrive(received(abc, true)).unwrap(), 3);
        assert!(arrive(received(abc, false)).is_err());
        assert!(arrive(received(&abc.replace('b', "c"), true)).is_err());
    }
}
