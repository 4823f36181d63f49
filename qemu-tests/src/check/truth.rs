//! The ground truth: digests of guest memory at the moments that matter.

use anyhow::{Context, Result, bail, ensure};

use crate::host::memory::{Digests, GuestMemory, PAGE};

/// A moment at which the VM is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// T0: before purgatory's first instruction.
    Purgatory,
    /// T1: devices are quiet, old memory has not been read yet.
    Quiesced,
    /// T2: before the final action.
    End,
}

impl Moment {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Purgatory, Self::Quiesced, Self::End];

    /// The symbol in our capture kernel at which it is; T0 is in purgatory.
    pub fn symbol(self) -> Option<&'static str> {
        match self {
            Self::Purgatory => None,
            Self::Quiesced => Some("kdump_truth_quiesced"),
            Self::End => Some("kdump_truth_final"),
        }
    }
}

/// Digests by moment. The first three need the VM stopped and are missing with `--no-truth`.
#[derive(Clone, Debug)]
pub struct Truth {
    /// T0.
    pub purgatory: Option<Digests>,
    /// T1.
    pub quiesced: Option<Digests>,
    /// T2.
    pub end: Option<Digests>,
    /// After QEMU ended.
    pub exit: Digests,
}

impl Truth {
    /// Returns the digests that the vmcore must match, and their name: T1, T0 if the capture kernel
    /// is a stock one and has no T1, or memory after QEMU's end.
    pub fn reference(&self) -> (&Digests, &'static str) {
        match (&self.quiesced, &self.purgatory) {
            (Some(digests), _) => (digests, "T1"),
            (None, Some(digests)) => (digests, "T0"),
            (None, None) => (&self.exit, "memory after the end"),
        }
    }

    /// Checks that the VM was stopped at all three moments.
    ///
    /// # Errors
    /// Fails if a moment was not reached under gdb.
    pub fn complete(&self) -> Result<String> {
        for (name, digests) in [("T0", &self.purgatory), ("T1", &self.quiesced), ("T2", &self.end)]
        {
            ensure!(digests.is_some(), "the VM was not stopped at {name}");
        }
        Ok("page digests taken at T0, T1 and T2".to_string())
    }

    /// The bytes that guest memory held at the reference moment (physical address).
    ///
    /// The file has the memory of the very end; the digests show if the range is still the same.
    ///
    /// # Errors
    /// Fails if a page has changed since, or the range is not RAM.
    pub fn bytes(&self, memory: &GuestMemory, address: u64, length: u64) -> Result<Vec<u8>> {
        let (reference, name) = self.reference();
        let end = address.checked_add(length).context("a range that wraps")?;
        let mut page = address - address % PAGE;
        while page < end {
            let was = memory.digest_at(reference, page);
            if was.is_none() || was != memory.digest_at(&self.exit, page) {
                bail!("the page at {page:#x} is not RAM or has changed since {name}");
            }
            page += PAGE;
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        memory.read(address, &mut bytes)?;
        Ok(bytes)
    }
}
