//! Errors, in words that name the next step.

use std::io;
use std::path::{Path, PathBuf};

use dumpfile::disk::Refused;
use dumpfile::flattened::FlattenedError;
use dumpfile::kdump_file::KdumpError;
use dumpfile::wire::{ReceiverError, WireError};
use dumpfile::{DiskError, DiskId, DiskState};
use handoff::Stage;
use vmcore::Level;

use crate::in_use::InUse;
use crate::kind::FileKind;

/// Reason that a disk was not formatted, or a dump not extracted or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened.
    #[error("cannot open {}: {source}{}", .path.display(), open_hint(.source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A file can be opened, but reading or writing fails.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// Operation that was tried: read, write.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The block device, or a partition of it, has a user.
    #[error("{} is in use: {in_use}", .path.display())]
    InUse {
        /// The device, as it was named.
        path: PathBuf,
        /// Its user.
        in_use: InUse,
    },
    /// The block device is in use, and nothing says by what.
    #[error("{} is in use (mounted, swap or part of a volume, perhaps in another container): a dump \
             disk must be a disk or a partition that nothing else uses", .0.display())]
    Busy(PathBuf),
    /// The disk has partitions, which would be lost.
    #[error("{} has a partition table: name one of its partitions, or, if all of them can be lost, \
             say --force", .0.display())]
    Partitioned(PathBuf),
    /// The front of the disk is zero, and something is where file systems, RAID and ZFS have theirs.
    #[error("{} holds something (its first byte that is not zero is at {at}; a file system or part \
             of an array?): if that can be lost, say --force", .path.display())]
    NotEmpty {
        /// The disk.
        path: PathBuf,
        /// Offset of that byte.
        at: u64,
    },
    /// The disk has no room for a header and one block of a dump.
    #[error("{} is {size} bytes long, too small for a dump: make it somewhat larger than the \
             memory of the machine", .path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
    /// The first blocks are neither ours nor empty.
    #[error("{} holds something else ({kind}): if that can be lost, say --force", .path.display())]
    Foreign {
        /// The disk.
        path: PathBuf,
        /// Its apparent kind.
        kind: FileKind,
    },
    /// The disk is a dump disk of another version, and may hold dumps.
    #[error("{} is a dump disk of version {version}: if no dump on it is needed, say --force", .path.display())]
    OtherVersion {
        /// The disk.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The command does not take files of this kind.
    #[error("{} is {kind}{}: {}", .path.display(), wanted(*.disk, *.kind), .kind.next_step(.path, *.disk))]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// Its kind.
        kind: FileKind,
        /// True if only a dump disk is accepted, and no vmcore.
        disk: bool,
    },
    /// The disk holds dumps that would be lost.
    #[error("{} holds {} (id {id}): extract first, or say --force", .path.display(), complete_dumps(*.dumps, *.length))]
    HoldsDump {
        /// The disk.
        path: PathBuf,
        /// Its id.
        id: DiskId,
        /// Number of complete dumps.
        dumps: usize,
        /// Length of the newest of them in bytes.
        length: u64,
    },
    /// The system has no random bytes for an id.
    #[error("no random id from the system ({0}): name one with --id")]
    Random(getrandom::Error),
    /// There is no good header at the front of the disk.
    #[error("{}: {source}", .path.display())]
    Header {
        /// The disk.
        path: PathBuf,
        /// The reason.
        source: DiskError,
    },
    /// The disk does not say that its dump is complete.
    #[error("{}: {}", .path.display(), no_dump(*.state, *.stage))]
    NotComplete {
        /// The disk.
        path: PathBuf,
        /// State of the dump.
        state: DiskState,
        /// Code of the last stage that the capture reached.
        stage: u32,
    },
    /// There is no dump on the disk.
    #[error("{}: {}", .path.display(), nothing_there(.refused))]
    NoDump {
        /// The disk.
        path: PathBuf,
        /// Captures that found no room.
        refused: Refused,
    },
    /// There is no dump with this number.
    #[error("{} has no dump {number}; there is {}", .path.display(), numbers(.there))]
    NoSuchDump {
        /// The disk.
        path: PathBuf,
        /// The number that was asked for.
        number: u64,
        /// The numbers that there are.
        there: Vec<u64>,
    },
    /// A dump was asked for by number, and the file is no disk.
    #[error("{} is no dump disk: leave out --dump", .0.display())]
    NotADisk(PathBuf),
    /// A complete dump of no bytes.
    #[error("{}: the capture ended, but the vmcore is empty: the ELF core header was refused, and \
             the capture kernel's console says why", .0.display())]
    EmptyDump(PathBuf),
    /// The file to write exists and is a folder or a device.
    #[error("{} is not a regular file: name a file for the vmcore", .0.display())]
    NotAFile(PathBuf),
    /// The other end cannot be reached.
    #[error("cannot reach {link}: {source}{}", link_hint(.source))]
    Link {
        /// The source, as it was named.
        link: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The other end says nothing.
    #[error(
        "{link}: nothing that is ours has come for {seconds} seconds: does the machine still run, \
         and does its kdump.target name this line?"
    )]
    Silent {
        /// The source, as it was named.
        link: String,
        /// For how long.
        seconds: u64,
    },
    /// The time that was given is over.
    #[error("the time of {0} seconds is over")]
    TimeOver(u64),
    /// The other end sends unusable data.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// A frame could not be written.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Bytes stay different from those at the other end.
    #[error(
        "what has come stays different from what the other end has: its memory changes, or this \
         disk is failing"
    )]
    Differs,
    /// More is asked for than is kept in memory.
    #[error("{0} bytes are more than `read` takes at once (256 MiB): use `receive --view`")]
    TooMuch(u64),
    /// A dump disk holds something else than the view that is wanted, or less.
    #[error("{} holds {there}: the range is not within it", .path.display())]
    NotThere {
        /// The disk.
        path: PathBuf,
        /// Contents of the disk.
        there: String,
    },
    /// The disk ends before the dump does.
    #[error("{} is {size} bytes long, but its dump of {length} bytes ends at {end}: was the disk \
             shortened or copied in part?", .path.display())]
    Truncated {
        /// The disk.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
        /// Length of the dump in bytes.
        length: u64,
        /// End of the dump, in bytes from the disk's start.
        end: u64,
    },
    /// The headers of the vmcore, or the data that they lead to, are damaged.
    #[error("{}: {source}", .path.display())]
    Vmcore {
        /// The vmcore.
        path: PathBuf,
        /// The reason.
        source: linux::Error,
    },
    /// A kdump-compressed file cannot be read.
    #[error("{}: {source}", .path.display())]
    Kdump {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: KdumpError,
    },
    /// A flattened file cannot be put together.
    #[error("{}: {source}", .path.display())]
    Flattened {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: FlattenedError,
    },
    /// The dump on the disk is not a vmcore.
    #[error(
        "{} holds oldmem, physical memory without headers: kdump-collector extract copies it into \
         a file",
        .0.display()
    )]
    OldMem(PathBuf),
    /// The vmcore is cut, and the needed part is missing.
    #[error("{} is cut, and {what} in the missing part ({length} bytes are there): copy it again", .path.display())]
    Cut {
        /// The vmcore.
        path: PathBuf,
        /// The needed part, with its verb.
        what: &'static str,
        /// Length in bytes.
        length: u64,
    },
    /// The vmcore has no VMCOREINFO note.
    #[error("{} has no VMCOREINFO, so the kernel's log cannot be found{}", .path.display(), vmcoreinfo_hint(*.by_qemu))]
    NoVmcoreinfo {
        /// The vmcore.
        path: PathBuf,
        /// True if QEMU wrote it.
        by_qemu: bool,
    },
    /// The functions that CPUs or tasks were in cannot be found.
    #[error("{}: no backtraces: {reason}", .path.display())]
    NoBacktrace {
        /// The vmcore.
        path: PathBuf,
        /// The reason, and the next step.
        reason: String,
    },
    /// The dump has no CPU of this number.
    #[error("{name} has no backtrace of CPU {cpu}: without --cpu all are shown")]
    NoCpu {
        /// The dump.
        name: String,
        /// The number of the CPU.
        cpu: u32,
    },
    /// Tasks are wanted of a capture kernel, which has the backtraces of its CPUs only.
    #[error(
        "{0}: a capture kernel has the backtraces of CPUs only; for the tasks receive the dump: \
         kdump-collector receive"
    )]
    OnlyCpus(String),
    /// Pages cannot be told apart by their classes.
    #[error("{}: its pages cannot be told apart by class: {reason}", .path.display())]
    NoFilter {
        /// The vmcore.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A dump lacks pages that a lower level keeps.
    #[error("{} was made at level {made}: it lacks pages that level {wanted} keeps", .path.display())]
    LevelBelow {
        /// The vmcore.
        path: PathBuf,
        /// Its level.
        made: Level,
        /// The level that was asked for.
        wanted: Level,
    },
    /// An ELF core has no compression.
    #[error("an ELF core is not compressed: --format kdump with --compress {0}")]
    NoCompression(&'static str),
    /// The result cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl Error {
    /// For `map_err`: an error while doing `what` to `path`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Error text for the kinds that the command takes. Empty if the kind explains enough.
fn wanted(disk: bool, kind: FileKind) -> &'static str {
    match kind {
        FileKind::Empty | FileKind::CutElf => "",
        _ if disk => ", not a dump disk",
        _ => ", neither a vmcore nor a dump disk",
    }
}

fn vmcoreinfo_hint(by_qemu: bool) -> &'static str {
    match by_qemu {
        true => "; QEMU puts it in if its machine has `-device vmcoreinfo`",
        false => "",
    }
}

fn open_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": for a virtual machine make it with `truncate -s SIZE FILE`",
        io::ErrorKind::PermissionDenied => ": a block device needs root",
        _ => "",
    }
}

fn link_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another program listens there already",
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock => {
            ": the other end was not there in time; --wait SECONDS waits longer, --listen lets it connect to \
             us"
        }
        _ => "",
    }
}

fn complete_dumps(dumps: usize, length: u64) -> String {
    match dumps {
        1 => format!("a complete dump of {length} bytes"),
        _ => format!("{dumps} complete dumps, the newest of {length} bytes"),
    }
}

fn nothing_there(refused: &Refused) -> String {
    match refused {
        Refused { captures: 0, .. } => no_dump(DiskState::EMPTY, 0),
        Refused { captures, need } => format!(
            "no dump is on it, for want of room (captures: {captures}, the last one needed {need} \
             bytes): use a larger disk"
        ),
    }
}

fn numbers(there: &[u64]) -> String {
    let numbers: Vec<_> = there.iter().map(u64::to_string).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

/// Describes a state other than complete, and the next step.
pub(crate) fn no_dump(state: DiskState, stage: u32) -> String {
    let reached = match Stage::from_code(stage) {
        Some(stage) => format!("the last stage it reached is `{stage}`"),
        None if stage == 0 => "it reached no stage".to_owned(),
        None => format!("the last stage it reached has the unknown code {stage:#x}"),
    };
    match state {
        DiskState::EMPTY => {
            "the disk is formatted, and no capture has begun on it: did the machine \
                             crash, and does kdump.target name this id?"
                .to_owned()
        }
        DiskState::IN_PROGRESS => format!(
            "a capture began and did not end; {reached}: wait for it if the machine still runs, \
             else see the machine's console for what stopped it"
        ),
        DiskState::FAILED => {
            format!("the capture failed; {reached}: the machine's console names the reason")
        }
        DiskState::PARTIAL => format!(
            "the disk had no room for all of the dump; {reached}: for the next one use a larger \
             disk"
        ),
        DiskState(other) => {
            format!("unknown state {other}; {reached}: use a collector of the kernel's release")
        }
    }
}
