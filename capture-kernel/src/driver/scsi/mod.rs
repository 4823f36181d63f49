//! SCSI disks, whatever carries the commands: the commands, the answers, and the questions that
//! lead to a disk's size. All of it is pure; answers are foreign bytes.

mod command;
mod identify;
mod reply;
mod sense;

pub use command::{CDB, Command};
pub use identify::{Ask, Unit, find_units, identify};
pub use reply::{Capacity, Mode, block_limits, capacity_10, capacity_16, device_type, luns, mode};
pub use sense::{Next, SENSE, Sense};

use core::fmt;

/// The reason why a command was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk's own.
    Sense(Sense),
    /// A status (SAM-5, 5.3) without sense data.
    Status(u8),
    /// It did not get to the disk, for this reason.
    Undelivered(&'static str),
    /// Fewer bytes were moved than asked for.
    Short,
}

impl Failure {
    /// True if the disk does not know the command, or a field of it.
    pub const fn is_unknown_command(self) -> bool {
        matches!(self, Self::Sense(sense) if sense.is_unknown_command())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sense(sense) => write!(f, "the disk reported {sense}"),
            Self::Status(status) => {
                let words = match status {
                    2 => " (an error without a reason)",
                    8 => " (busy)",
                    0x18 => " (reserved by another computer)",
                    0x28 => " (too many commands)",
                    _ => "",
                };
                write!(f, "the disk answered with SCSI status {status:#x}{words}")
            }
            Self::Undelivered(reason) => write!(f, "a command did not get to the disk: {reason}"),
            Self::Short => f.write_str("the disk moved fewer bytes than it was asked for"),
        }
    }
}
