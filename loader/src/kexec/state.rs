//! Record and copy of the last load, kept in a folder until the next boot.
//!
//! The kernel reports that something is loaded, but not its contents. A copy answers that, and it
//! can be loaded again if its successor is refused.
//!
//! ```text
//! SHA-256 of all that follows │ one line of JSON: boot, record, entry, segments │ the segments' bytes
//! ```
//!
//! Whoever only wants to know reads it without the lock: a new copy takes the place of the old one
//! at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vmcore::PhysAddr;

use crate::facts::name_lines::Names;
use crate::json::SegmentJson;
use crate::kexec::call::Call;
use crate::kexec::error::KexecError;
use crate::kexec::holder::{Holder, holder};
use crate::kexec::lock::{Timeouts, lock};
use crate::kexec::record::Record;
use crate::plan::types::PlannedSegment;

/// The copy, and the lock.
const FILE: &str = "loaded";
const LOCK: &str = "lock";
/// The version of the JSON; a copy of another version is none.
const VERSION: u32 = 2;
/// Length of the digest in bytes.
const DIGEST: usize = 32;
/// No copy is longer, in bytes: a slot is below 4 GiB, and no reservation is that large.
const LONGEST: u64 = 1 << 30;
/// Time that another loader may take.
const TIMEOUTS: Timeouts = Timeouts {
    silent: Duration::from_secs(2),
    whole: Duration::from_secs(60),
    pace: Duration::from_millis(20),
};

/// The folder, locked: as long as this lives, no other loader that uses it loads or unloads.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Which boot of the machine this is; unknown where there is no /proc.
    boot: Option<String>,
    _lock: File,
}

/// Facts that an earlier load of this boot found, and that do not change before the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The rate of the time stamp counter, in kHz.
    pub tsc_khz: Option<u32>,
    /// Lines for backtraces, of this version of the loader.
    pub names: Option<Names>,
}

/// A call that the kernel has taken in this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastCall {
    /// The record of its load.
    pub(crate) record: Record,
    entry: PhysAddr,
    segments: Vec<PlannedSegment>,
}

/// The state that a folder records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: there was no load with this folder, or it was unloaded.
    Nothing,
    /// Something was loaded in another boot, and is lost.
    OfAnotherBoot,
    /// The copy is cut short, was damaged, or is of another release.
    Damaged,
    /// Only root may read it.
    NotPermitted,
    /// The record of a load in this boot.
    Known(Box<Record>),
}

impl Recorded {
    /// Reads the last load from `folder`, in the boot with this id. Never waits.
    pub fn read(folder: &Path, boot: Option<&str>) -> Self {
        let content = match read(&folder.join(FILE)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Self::NotPermitted;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Nothing,
            Err(_) => return Self::Damaged,
        };
        match decode(&content) {
            None => Self::Damaged,
            Some((other, _)) if Some(other.as_str()) != boot => Self::OfAnotherBoot,
            Some((_, last)) => Self::Known(Box::new(last.record)),
        }
    }
}

/// The process that is loading with this folder now, if it can be seen.
pub fn at_work(folder: &Path) -> Option<Holder> {
    holder(&File::open(folder.join(LOCK)).ok()?)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(LONGEST).read_to_end(&mut content)?;
    Ok(content)
}

impl LastCall {
    pub(crate) fn call(&self) -> Call<'_> {
        Call { entry: self.entry, segments: &self.segments }
    }
}

/// Header before the bytes.
#[derive(Deserialize, Serialize)]
struct Head {
    version: u32,
    boot: String,
    record: Record,
    entry: u64,
    segments: Vec<SegmentJson>,
}

impl State {
    /// Makes the folder, for its owner only, and locks it. Waits a minute at most, and reports the
    /// reason after two seconds.
    ///
    /// # Errors
    /// The folder cannot be used, or another loader does not end.
    pub fn open(folder: &Path) -> Result<Self, KexecError> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self::open_in_boot(folder, boot.map(|id| id.trim().to_owned()), TIMEOUTS)
    }

    fn open_in_boot(
        folder: &Path,
        boot: Option<String>,
        timeouts: Timeouts,
    ) -> Result<Self, KexecError> {
        let failed = |path: &Path, source| KexecError::State { path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed(folder, error))?;
        let path = folder.join(LOCK);
        let file = private().open(&path).map_err(|error| failed(&path, error))?;
        lock(&file, &path, timeouts)?;
        Ok(Self { folder: folder.to_owned(), boot, _lock: file })
    }

    /// The facts that the last load of this boot found.
    pub fn known(&self) -> Known {
        let record = self.read().map(|last| last.record);
        let tsc_khz = record.as_ref().and_then(Record::tsc_khz);
        // Another loader may look for more, or find it better.
        let names = record.filter(|record| record.loader == env!("CARGO_PKG_VERSION"));
        Known { tsc_khz, names: names.and_then(|record| record.names) }
    }

    /// The last load in this boot; `None` if it is not known.
    pub(crate) fn read(&self) -> Option<LastCall> {
        let (boot, last) = decode(&read(&self.file()).ok()?)?;
        (self.boot == Some(boot)).then_some(last)
    }

    /// Records the load.
    pub(crate) fn write(&self, call: Call<'_>, record: &Record) -> Result<(), KexecError> {
        let Some(boot) = &self.boot else { return Ok(()) };
        let new = self.folder.join("loaded.new");
        let written = encode(call, record, boot).and_then(|content| {
            let mut file = private().truncate(true).open(&new)?;
            file.write_all(&content)?;
            fs::rename(&new, self.file())
        });
        written.map_err(|source| KexecError::State { path: new, source })
    }

    /// Removes the record.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget(&self) -> Result<(), KexecError> {
        match fs::remove_file(self.file()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KexecError::State { path: self.file(), source })
            }
            _ => Ok(()),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

/// A file for its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

fn encode(call: Call<'_>, record: &Record, boot: &str) -> io::Result<Vec<u8>> {
    let head = Head {
        version: VERSION,
        boot: boot.to_owned(),
        record: record.clone(),
        entry: call.entry.get(),
        segments: call.segments.iter().map(PlannedSegment::json).collect(),
    };
    let mut content = vec![0; DIGEST];
    serde_json::to_writer(&mut content, &head)?;
    content.push(b'\n');
    call.segments.iter().for_each(|segment| content.extend_from_slice(&segment.bytes));
    let digest = Sha256::digest(&content[DIGEST..]);
    content[..DIGEST].copy_from_slice(&digest);
    Ok(content)
}

/// The boot and the load in it, if the copy is whole.
fn decode(content: &[u8]) -> Option<(String, LastCall)> {
    let (digest, rest) = content.split_at_checked(DIGEST)?;
    if Sha256::digest(rest).as_slice() != digest {
        return None;
    }
    let line = rest.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&rest[..line]).ok()?;
    if head.version != VERSION {
        return None;
    }
    let mut bytes = &rest[line + 1..];
    let mut segments = Vec::new();
    for segment in head.segments {
        let (taken, left) = bytes.split_at_checked(segment.bytes)?;
        let range = segment.place.range()?;
        segments.push(PlannedSegment { name: segment.name, range, bytes: taken.to_vec() });
        bytes = left;
    }
    let last = LastCall { record: head.record, entry: PhysAddr::new(head.entry), segments };
    bytes.is_empty().then_some((head.boot, last))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kexec::record::tests::record;
    use std::os::unix::fs::PermissionsExt;
    use vmcore::PhysRange;

    /// A folder that was locked in a boot of this id.
    pub(crate) fn state(folder: &Path, boot: &str) -> State {
        let boot = Some(boot.to_owned());
        State::open_in_boot(folder, boot, TIMEOUTS).expect("a folder")
    }

    pub(crate) fn segments(text: &str) -> Vec<PlannedSegment> {
        let part = |name: &str, start, bytes: &[u8]| PlannedSegment {
            name: name.to_owned(),
            range: PhysRange::new(PhysAddr::new(start), 0x2000).expect("a range"),
            bytes: bytes.to_vec(),
        };
        vec![part("kernel-0", 0x100_0000, text.as_bytes()), part("backup", 0x2f6_0000, b"")]
    }

    pub(crate) fn call(segments: &[PlannedSegment]) -> Call<'_> {
        Call { entry: PhysAddr::new(0x2f5_d010), segments }
    }

    #[test]
    fn what_is_noted_is_read_back_in_the_same_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/kdump-rs");
        let (text, boot) = (segments("a\nb"), state(&path, "boot-1"));
        assert_eq!(boot.read(), None);
        boot.write(call(&text), &record()).expect("written");
        assert_eq!(boot.read().expect("noted").call(), call(&text));
        let mode = |file: &Path| fs::metadata(file).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("loaded"))), (0o700, 0o600));
        drop(boot);
        let next = state(&path, "boot-2");
        assert_eq!(next.read(), None, "another boot has lost it");
        drop(next);
        let again = state(&path, "boot-1");
        let recorded = |boot| Recorded::read(&path, boot);
        assert_eq!(recorded(Some("boot-1")), Recorded::Known(Box::new(record())));
        assert_eq!(recorded(Some("boot-2")), Recorded::OfAnotherBoot);
        assert_eq!(recorded(None), Recorded::OfAnotherBoot, "nothing says that it is this one");
        again.forget().expect("removed");
        assert_eq!(again.read(), None);
        assert_eq!(recorded(Some("boot-1")), Recorded::Nothing);
        again.forget().expect("nothing to remove");
        fs::write(path.join("loaded"), "what").expect("a file");
        assert_eq!(recorded(Some("boot-1")), Recorded::Damaged);
        assert_eq!(at_work(&path).map(|holder| holder.pid), Some(std::process::id()));
        drop(again);
        assert_eq!(at_work(&path), None);
    }

    #[test]
    fn another_loader_s_lines_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = segments("abc");
        let known = |loader: &str, boot: &str| {
            let record = Record {
                loader: loader.to_owned(),
                command_line: "kdump.tsc_khz=7".to_owned(),
                ..record()
            };
            state(folder.path(), "b").write(call(&text), &record).expect("written");
            let Known { tsc_khz, names } = state(folder.path(), boot).known();
            (tsc_khz, names.is_some())
        };
        assert_eq!(known(env!("CARGO_PKG_VERSION"), "b"), (Some(7), true));
        assert_eq!(known("0.0.7", "b"), (Some(7), false));
        assert_eq!(known(env!("CARGO_PKG_VERSION"), "another"), (None, false));
    }

    #[test]
    fn a_damaged_copy_is_none() {
        let whole = encode(call(&segments("abc")), &record(), "b").expect("encoded");
        assert!(decode(&whole).is_some());
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&whole[..at]), None, "cut at {at}");
        }
    }

    /// A whole file may still hold nonsense.
    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let record = serde_json::to_string(&record()).expect("JSON");
        let line = |start: &str, bytes: &str| {
            let json = format!(
                "{{\"version\":2,\"boot\":\"b\",\"record\":{record},\"entry\":1,\"segments\":[{{\"name\":\"x\",\
                 \"start\":{start},\"length\":4096,\"bytes\":{bytes}}}]}}\nabc"
            );
            let mut content = Sha256::digest(json.as_bytes()).to_vec();
            content.extend_from_slice(json.as_bytes());
            decode(&content)
        };
        assert!(line("4096", "3").is_some());
        assert_eq!(line("4096", "2"), None);
        assert_eq!(line("4096", "4294967295"), None);
        assert_eq!(line("18446744073709551615", "3"), None);
    }

    #[test]
    fn one_loader_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = state(folder.path(), "b");
        let quick = Duration::from_millis(50);
        let timeouts = Timeouts { silent: quick, whole: quick, pace: quick / 10 };
        let second = || State::open_in_boot(folder.path(), None, timeouts);
        assert!(matches!(second(), Err(KexecError::Locked { .. })));
        drop(first);
        assert!(second().is_ok());
    }
}
