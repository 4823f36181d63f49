//! Memory that is added while the first kernel runs: a virtio-mem device, in the middle of whose
//! memory some may be taken away again after the load.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::checks::vmcoreinfo_text;
use crate::check::core_file::CoreFile;
use crate::check::ranges::{overlap, show, subtract, total};
use crate::check::truth::Truth;
use crate::host::deadline::{Deadline, Interrupt};
use crate::host::memory::{GuestMemory, PAGE};
use crate::host::qmp::Qmp;

/// The first physical address of that memory: behind all of a guest with less than 3 GiB.
pub const ADDRESS: u64 = 1 << 32;
/// QEMU's name of the device.
const DEVICE: &str = "hot0";
/// Time that a guest may take to give memory back.
const UNPLUG: Duration = Duration::from_secs(60);
/// So many pages of hot-added memory must have contents, or a dump of it proves nothing.
const LEAST_PAGES: usize = 1000;

/// Memory that is added while the guest runs.
#[derive(Clone, Copy, Debug)]
pub struct Hotplug {
    /// Size in bytes.
    pub size: u64,
    /// What is to be left of it at the crash, when some is to be taken away after the load.
    pub left: Option<u64>,
}

/// More of the value of QEMU's `-m` for this memory, and arguments behind it.
pub fn arguments(memory: &GuestMemory, escape: impl Fn(&std::path::Path) -> String) -> Vec<String> {
    let Some(hot) = memory.hot() else { return Vec::new() };
    let (Range { start, end }, path) = (hot.range(), escape(hot.path()));
    let size = end - start;
    let backend = format!("memory-backend-file,id=hot,size={size},mem-path={path},share=on");
    // A driver that does not know that what is unplugged must not be read is refused.
    let device = format!(
        "virtio-mem-pci,id={DEVICE},memdev=hot,memaddr={start:#x},requested-size={size},\
         unplugged-inaccessible=on"
    );
    ["-object", &backend, "-device", &device].map(str::to_string).to_vec()
}

/// Takes memory away from the first kernel, when that is asked for, and waits until it has given it
/// back. Returns how much is plugged then, in bytes.
///
/// # Errors
/// When QEMU does not answer, or the guest keeps the memory.
pub fn settle(qmp: &mut Qmp, hotplug: Hotplug, interrupt: &Interrupt) -> Result<u64> {
    let device = format!("/machine/peripheral/{DEVICE}");
    let wanted = hotplug.left.unwrap_or(hotplug.size);
    if hotplug.left.is_some() {
        qmp.set(&device, "requested-size", wanted.into())?;
    }
    let deadline = Deadline::new("guest with the memory that is asked for", UNPLUG, interrupt);
    deadline.wait_for(|| {
        let size = qmp.get(&device, "size")?;
        let size = size.as_u64().context("virtio-mem's size is no number")?;
        Ok((size == wanted).then_some(size))
    })
}

/// Hot-added memory of which `plugged` bytes were plugged at the crash: what was not is named in
/// VMCOREINFO, and nothing else is; nobody has touched it since; and what was plugged has contents.
///
/// # Errors
/// The first of these that does not hold.
pub fn check(core: &CoreFile, memory: &GuestMemory, truth: &Truth, plugged: u64) -> Result<String> {
    let hot = memory.hot().context("there is no such memory")?;
    let range = hot.range();
    let holes = left_out(&vmcoreinfo_text(core)?)?;
    ensure!(overlap(&holes).is_none(), "ranges are named twice: {}", show(&holes));
    let inside = std::slice::from_ref(&range);
    ensure!(subtract(&holes, inside).is_empty(), "more is left out: {}", show(&holes));
    let unplugged = range.end - range.start - plugged;
    ensure!(
        total(&holes) == unplugged,
        "{unplugged} bytes are unplugged, and named are {}: {}",
        total(&holes),
        show(&holes)
    );
    for hole in &holes {
        ensure!(
            hot.is_untouched(hole)?,
            "somebody has touched {}",
            show(std::slice::from_ref(hole))
        );
    }
    let (reference, _) = truth.reference();
    let pages = (range.start..range.end).step_by(PAGE as usize);
    let used = pages.filter(|page| memory.digest_at(reference, *page).is_some_and(|it| it != 0));
    let used = used.count();
    ensure!(used >= LEAST_PAGES, "only {used} pages of hot-added memory are not zero");
    let left_out = if holes.is_empty() { "nothing".into() } else { show(&holes) };
    Ok(format!(
        "{used} pages of hot-added memory have contents; left out and untouched: {left_out}"
    ))
}

/// The ranges that lines `LEFTOUT(START-END)=unplugged` name. Read here and not by our own reader.
fn left_out(text: &str) -> Result<Vec<Range<u64>>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("LEFTOUT("));
    let parse = |line: &str| {
        let (start, end) = line.strip_suffix(")=unplugged")?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some(hex(start)?..hex(end)?)
    };
    lines.map(|line| parse(line).with_context(|| format!("an odd line LEFTOUT({line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_vmcoreinfo_are_read() {
        let text = "A=1\nLEFTOUT(100000000-100200000)=unplugged\nLEFTOUT(5-9)=unplugged\n";
        assert_eq!(left_out(text).unwrap(), [0x1_0000_0000..0x1_0020_0000, 5..9]);
        assert!(left_out("LEFTOUT(5-9)=GART\n").is_err());
    }
}
