//! What is left when the guest is gone.

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
    /// Why the cycle did not get to its end, or `None`.
    pub failure: Option<String>,
    /// The kind of failure, or `None`.
    pub outcome: Option<Outcome>,
    /// The first kernel was not ready to crash in time: nothing of ours has run yet but the loader.
    pub boot_hung: bool,
    /// Why the machine was shut down, in QEMU's word, when QEMU ended by itself.
    pub shutdown: Option<String>,
    /// When the stages were reached.
    pub timeline: Timeline,
    /// What the first kernel said of itself.
    pub facts: Facts,
    /// Page digests at T0, T1 and T2.
    pub digests: [Option<Digests>; 3],
    /// The capture kernel's mappings at T2.
    pub mappings: Option<Result<Mappings>>,
    /// What QEMU's own dump took, when it was asked for.
    pub guest_dump: Option<GuestDump>,
    /// All lines of the console.
    pub lines: Vec<String>,
    /// What has come over each line.
    pub received: Vec<Received>,
}
