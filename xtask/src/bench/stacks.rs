//! Stacks that take the dumps, and the guests that they dump.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use qemu_tests::delivery::Way;
use qemu_tests::host::memory::PAGE;
use qemu_tests::{Config, Controller, KexecTools, Level, StockCapture};

/// Target that our capture kernel sends the dump to. A new one is a variant, its name and its goals
/// here, and its part of a cycle's configuration in [`Target::configure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// A dump disk
    VirtioBlk,
    /// A port of a virtio console, with `kdump-collector receive` at the other end
    VirtioConsole,
    /// A dump disk, for kernel pages alone: `kdump.level=31`
    Level31,
    /// A dump disk on virtio-scsi
    VirtioScsi,
    /// A dump disk on NVMe
    Nvme,
    /// A dump disk on AHCI
    Ahci,
    /// The same with `kdump.level=31`
    VirtioScsiLevel31,
    /// The same with `kdump.level=31`
    NvmeLevel31,
    /// The same with `kdump.level=31`
    AhciLevel31,
}

/// Goals for the medians of the ratios (docs/bench.md).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Goals {
    /// The stock stack's time to its first dump byte by ours.
    pub first_byte: Option<f64>,
    /// The same for the whole dump.
    pub done: Option<f64>,
    /// Our throughput by that of QEMU's own dump.
    pub rate: Option<f64>,
}

impl Target {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk",
            Self::VirtioConsole => "virtio-console",
            Self::Level31 => "level 31",
            Self::VirtioScsi => "virtio-scsi",
            Self::Nvme => "nvme",
            Self::Ahci => "ahci",
            Self::VirtioScsiLevel31 => "virtio-scsi, level 31",
            Self::NvmeLevel31 => "nvme, level 31",
            Self::AhciLevel31 => "ahci, level 31",
        }
    }

    pub(super) const fn goals(self) -> Goals {
        match self {
            Self::VirtioBlk => Goals { first_byte: Some(40.0), done: Some(4.0), rate: Some(0.8) },
            Self::VirtioConsole => Goals { first_byte: None, done: None, rate: Some(0.4) },
            Self::Level31 => Goals { first_byte: None, done: Some(12.0), rate: None },
            _ => Goals { first_byte: None, done: None, rate: None },
        }
    }

    /// The other stack that our dump to this target is compared with, if it is.
    pub(super) const fn opponent(self) -> Option<Stack> {
        match self {
            Self::VirtioBlk | Self::VirtioConsole => Some(Stack::Stock),
            Self::Level31 => Some(Stack::StockFiltered),
            _ => None,
        }
    }

    /// The target whose throughput is compared with that of this one, and the goal.
    pub(super) const fn beside(self) -> Option<(Self, Option<f64>)> {
        match self {
            Self::VirtioScsi | Self::Nvme => Some((Self::VirtioBlk, Some(0.9))),
            Self::Ahci => Some((Self::VirtioBlk, Some(0.7))),
            Self::VirtioScsiLevel31 | Self::NvmeLevel31 | Self::AhciLevel31 => {
                Some((Self::Level31, None))
            }
            _ => None,
        }
    }

    const fn is_level_31(self) -> bool {
        matches!(
            self,
            Self::Level31 | Self::VirtioScsiLevel31 | Self::NvmeLevel31 | Self::AhciLevel31
        )
    }

    fn way(self) -> Way {
        Way::Disk(match self {
            Self::VirtioConsole => return Way::VirtioConsole,
            Self::VirtioBlk | Self::Level31 => Controller::VirtioBlk,
            Self::VirtioScsi | Self::VirtioScsiLevel31 => Controller::VirtioScsi,
            Self::Nvme | Self::NvmeLevel31 => Controller::Nvme,
            Self::Ahci | Self::AhciLevel31 => Controller::Ahci,
        })
    }

    fn configure(self, collector: &Path, config: &mut Config) {
        if self.is_level_31() {
            config.append =
                format!("{} kdump.level={}", config.append, Level::KERNEL).trim().into();
            config.level = Level::KERNEL;
        }
        config.delivery.targets = self.way().into();
        config.delivery.collector = collector.into();
    }
}

/// Programs in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// Our loader, purgatory and capture kernel.
    Ours(Target),
    /// kexec-tools, an uncompressed Linux, busybox; QEMU's own dump is taken of the same guest
    /// right before it is crashed.
    Stock,
    /// The same Linux with makedumpfile, `-l -d 31`, in a slot that has room for it.
    StockFiltered,
}

/// Files of the stacks, besides our images.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub collector: PathBuf,
    pub kexec_tools: KexecTools,
    pub capture: StockCapture,
}

impl Stack {
    pub(super) fn name(self) -> String {
        match self {
            Self::Ours(target) => format!("ours, {}", target.name()),
            Self::Stock => "stock Linux".into(),
            Self::StockFiltered => "stock, makedumpfile".into(),
        }
    }

    /// Puts the stack into a cycle.
    pub(super) fn configure(self, files: &Files, config: &mut Config) {
        match self {
            Self::Ours(target) => target.configure(&files.collector, config),
            Self::Stock | Self::StockFiltered => {
                config.kexec_tools = Some(files.kexec_tools.clone());
                let is_filtered = self == Self::StockFiltered;
                let makedumpfile = is_filtered.then(|| files.kexec_tools.root.clone());
                config.stock_capture = Some(StockCapture { makedumpfile, ..files.capture.clone() });
            }
        }
    }

    /// The slot of the dumps that are timed.
    pub(super) const fn slot(self) -> &'static str {
        match self {
            // The paper's example.
            Self::Ours(_) | Self::Stock => "32M@16M",
            Self::StockFiltered => "64M@16M",
        }
    }
}

/// The guest whose memory is dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Its memory in bytes.
    pub memory: u64,
    /// Random data in a tmpfs, in bytes; a multiple of 1 MiB.
    pub fill: u64,
}

const MIB: u64 = 1 << 20;

impl Workload {
    /// With as much of `fill` as leaves the guest room to live: two fifths of its memory.
    pub(super) fn new(memory: u64, fill: u64) -> Self {
        let fill = fill.min(memory / 5 * 2) / MIB * MIB;
        Self { memory, fill }
    }

    pub(super) fn name(self) -> String {
        let fill = match self.fill {
            0 => "almost empty".to_string(),
            fill => format!("{} MiB of random data", fill / MIB),
        };
        format!("{} MiB guest, {fill}", self.memory / MIB)
    }

    /// The failure if memory has too few different pages in the end: each page of random data is
    /// one.
    pub(super) fn missing(self, distinct_pages: u64) -> Option<String> {
        let wanted = self.fill / PAGE;
        (distinct_pages < wanted).then(|| {
            format!(
                "memory has {distinct_pages} different pages, and the random data alone {wanted}"
            )
        })
    }

    /// Commands of the first kernel's shell before the crash; see `init.sh` for `fail`.
    pub(super) fn before_crash(self) -> String {
        if self.fill == 0 {
            return String::new();
        }
        let count = self.fill / MIB;
        format!(
            "busybox mkdir /fill && mount -t tmpfs -o size=100% fill /fill || fail \"a tmpfs\"\n\
             dd if=/dev/urandom of=/fill/random bs=1M count={count} 2>/dev/null || fail \"filling \
             it\"\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_guest_is_filled_less() {
        let fill = |memory, fill| Workload::new(memory * MIB, fill * MIB).fill / MIB;
        assert_eq!(fill(1024, 400), 400);
        assert_eq!(fill(8192, 400), 400);
        assert_eq!(fill(512, 400), 204);
        assert_eq!(fill(1024, 0), 0);
    }

    #[test]
    fn a_workload_says_what_it_is() {
        let empty = Workload::new(1 << 30, 0);
        assert_eq!(empty.name(), "1024 MiB guest, almost empty");
        assert_eq!((empty.before_crash().as_str(), empty.missing(0)), ("", None));
        let filled = Workload::new(1 << 30, 400 * MIB);
        assert_eq!(filled.name(), "1024 MiB guest, 400 MiB of random data");
        assert_eq!(filled.missing(102_400), None);
        assert!(filled.missing(102_399).is_some());
        assert!(filled.before_crash().contains("bs=1M count=400 "));
    }
}
