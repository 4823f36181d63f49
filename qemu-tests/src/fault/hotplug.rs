//! Memory that is added while the first kernel runs: a virtio-mem device. After the load, some
//! memory in its middle may be taken away again.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, ensure};
use log::info;

use super::hooks::*;
use crate::check::notes::vmcoreinfo_text;
use crate::check::ranges::{overlap, show, subtract, total};
use crate::check::truth::Truth;
use crate::first::virtio_modules;
use crate::host::deadline::Deadline;
use crate::host::machine_type::option_path;
use crate::host::memory::PAGE;

/// First physical address of that memory: above all memory of a guest with less than 3 GiB.
const ADDRESS: u64 = 1 << 32;
/// QEMU's name of the device.
const DEVICE: &str = "hot0";
/// Time that a guest may take to give memory back.
const UNPLUG: Duration = Duration::from_secs(60);
/// So many pages of hot-added memory must have contents, or a dump of it proves nothing.
const LEAST_PAGES: usize = 1000;

pub(super) struct Hotplug {
    /// Size in bytes.
    size: u64,
    /// Bytes of it that are to be left at the crash, when some is to be taken away.
    left: Option<u64>,
    /// Bytes of it that were there at the crash.
    plugged: Option<u64>,
}

impl Hotplug {
    pub(super) fn new(size: u64, left: Option<u64>) -> Self {
        Self { size, left, plugged: None }
    }
}

impl Hooks for Hotplug {
    fn memory(&self, memory: GuestMemory, folder: &Path) -> Result<GuestMemory> {
        memory.and_hot(self.size, ADDRESS, folder)
    }

    fn initramfs(&self, kernel: &Path, contents: &mut Contents<'_>) -> Result<()> {
        contents.memory_modules = virtio_modules::of(kernel, virtio_modules::MEMORY)?;
        contents.hot_memory = self.size;
        Ok(())
    }

    fn machine(&self, machine: &mut Machine<'_>) -> Result<()> {
        let hot = machine.memory.hot().context("guest memory without room for more")?;
        let (Range { start, end }, path) = (hot.range(), option_path(hot.path()));
        let size = end - start;
        let backend = format!("memory-backend-file,id=hot,size={size},mem-path={path},share=on");
        // The device refuses a driver that does not know that unplugged memory must not be read.
        let device = format!(
            "virtio-mem-pci,id={DEVICE},memdev=hot,memaddr={start:#x},requested-size={size},\
             unplugged-inaccessible=on"
        );
        let words = ["-object", &backend, "-device", &device];
        machine.devices.extend(words.map(str::to_string));
        Ok(())
    }

    /// Takes memory away from the first kernel, when that is asked for, and waits until it has
    /// given it back.
    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        info!("waiting for the guest's memory");
        let device = format!("/machine/peripheral/{DEVICE}");
        let wanted = self.left.unwrap_or(self.size);
        if self.left.is_some() {
            vm.qmp.set(&device, "requested-size", wanted.into())?;
        }
        let what = "guest with the memory that is asked for";
        let plugged = Deadline::new(what, UNPLUG, &vm.config.interrupt).wait_for(|| {
            let size = vm.qmp.get(&device, "size")?;
            let size = size.as_u64().context("virtio-mem's size is no number")?;
            Ok((size == wanted).then_some(size))
        })?;
        self.plugged = Some(plugged);
        Ok(())
    }

    fn check(&self, evidence: &Evidence<'_>) -> Option<Check> {
        let Evidence { core, memory, truth, .. } = *evidence;
        let found = check(core, memory, truth, self.plugged?);
        Some(Check::new("hot_memory", found))
    }
}

/// Checks hot-added memory of which `plugged` bytes were plugged at the crash: VMCOREINFO names the
/// unplugged memory and nothing else; unplugged memory is untouched since; and plugged memory has
/// contents.
fn check(core: &CoreFile, memory: &GuestMemory, truth: &Truth, plugged: u64) -> Result<String> {
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
