//! Results that remain after the guest is gone.

use anyhow::Result;

use crate::check::facts::Facts;
use crate::check::mappings::Mappings;
use crate::host::guest_dump::GuestDump;
use crate::host::memory::Digests;
use crate::line::collector_process::Received;
use crate::report::Outcome;
use crate::timeline::Timeline;

/// Everything that was seen while it lived.
#[derive(Default)]
pub struct Ended {
    /// Reason for which the cycle did not get to its end, or `None`.
    pub failure: Option<String>,
    /// The kind of failure, or `None`.
    pub outcome: Option<Outcome>,
    /// The first kernel was not ready to crash in time: nothing of ours has run yet but the loader.
    pub boot_hung: bool,
    /// Reason of the machine's shutdown, in QEMU's word, if QEMU ended by itself.
    pub shutdown: Option<String>,
    /// Times at which the stages were reached.
    pub timeline: Timeline,
    /// The first kernel's facts about itself.
    pub facts: Facts,
    /// Page digests at T0, T1 and T2.
    pub digests: [Option<Digests>; 3],
    /// The capture kernel's mappings at T2.
    pub mappings: Option<Result<Mappings>>,
    /// Size and time of QEMU's own dump, if it was asked for.
    pub guest_dump: Option<GuestDump>,
    /// All lines of the console.
    pub lines: Vec<String>,
    /// Result of each link.
    pub received: Vec<Received>,
}
