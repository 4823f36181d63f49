//! An NMI arrives at an instruction of the test guest, or of what runs after it.

use anyhow::{Context, ensure};

use super::hooks::*;
use crate::fault::kind::NmiPlace;
use crate::host::image::Image;

/// Symbols of the capture kernel: its first instruction, and its first byte.
const CAPTURE_ENTRY: &str = "linux_entry32";
const CAPTURE_START: &str = "__image_start";
/// Symbol of purgatory's counter of NMIs.
const NMI_COUNT: &str = "NMI_COUNT";

pub(super) struct NmiAt {
    place: NmiPlace,
    /// The instruction at which it is still to arrive, or the byte whose read it is.
    address: Option<u64>,
    /// Address of purgatory's counter of NMIs (physical).
    counter: u64,
}

impl NmiAt {
    pub(super) fn new(place: NmiPlace) -> Self {
        Self { place, address: None, counter: 0 }
    }
}

impl Hooks for NmiAt {
    fn guest(&mut self, guest: &mut Guest, config: &Config) -> Result<()> {
        let capture_kernel = guest.segment("kernel-0")?;
        self.address = Some(match self.place {
            NmiPlace::FirstKernel => guest.nmi_wait()?,
            NmiPlace::Hashing => {
                capture_kernel.start + (capture_kernel.end - capture_kernel.start) / 2
            }
            NmiPlace::CaptureEntry => {
                let image = Image::open(&config.capture_kernel_symbols)?;
                let first = |symbol| image.symbol(symbol).map(|range| range.start);
                capture_kernel.start + (first(CAPTURE_ENTRY)? - first(CAPTURE_START)?)
            }
        });
        let count = Image::open(&config.purgatory)?.symbol(NMI_COUNT)?.start;
        self.counter = guest.segment("purgatory")?.start + count;
        Ok(())
    }

    fn attached(&mut self, gdb: &mut Gdb, _config: &Config) -> Result<()> {
        let address = self.address.context("an NMI to the instruction needs the test guest")?;
        if self.place == NmiPlace::FirstKernel { gdb.stop_once_at(address) } else { Ok(()) }
    }

    fn moment(&mut self, moment: Moment, gdb: &mut Gdb, _vm: &mut Vm<'_>) -> Result<()> {
        let (Moment::Purgatory, Some(address)) = (moment, self.address) else { return Ok(()) };
        match self.place {
            NmiPlace::Hashing => gdb.stop_at_read(address),
            _ => gdb.stop_once_at(address),
        }
    }

    fn stopped(&mut self, stop: &Stop, gdb: &mut Gdb, qmp: &mut Qmp) -> Result<bool> {
        let is_here = self.address.is_some_and(|address| stop.address() == Some(address));
        if !stop.is_read() && !is_here {
            return Ok(false);
        }
        self.address = None;
        gdb.forget_reads()?;
        qmp.inject_nmi()?;
        Ok(true)
    }

    /// The first kernel takes its NMI itself; purgatory counts each that comes later.
    fn check(&self, evidence: &Evidence<'_>) -> Option<Check> {
        let is_purgatorys = self.place != NmiPlace::FirstKernel;
        is_purgatorys.then(|| Check::new("nmi_counted", is_counted(evidence.memory, self.counter)))
    }
}

/// Purgatory has counted one NMI. Its memory is in the slot, where nobody has written since.
fn is_counted(memory: &GuestMemory, counter: u64) -> Result<String> {
    let mut count = [0; 4];
    memory.read(counter, &mut count)?;
    let count = u32::from_le_bytes(count);
    ensure!(count == 1, "purgatory counted {count} NMIs of 1");
    Ok(format!("purgatory counted {count}"))
}
