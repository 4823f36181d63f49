//! The options of a command line, as values.

use arrayvec::ArrayVec;
use vmcore::{ElfCoreHdr, Level, MemoryRanges, PhysRange};

use crate::iommu::IommuList;
use crate::target::TargetEntry;

/// Most `memmap=` ranges.
pub const MAX_MEMMAP: usize = 32;
/// Most targets.
pub const MAX_TARGETS: usize = 4;
/// Most virtio devices with registers in memory. QEMU's microvm has 24.
pub const MAX_VIRTIO_MMIO: usize = 32;
/// `kdump.timeout` where it is not given, in seconds.
pub const DEFAULT_TIMEOUT: u32 = 30;

/// The options of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// The command line itself, up to its NUL.
    pub line: &'a [u8],
    /// `memmap=exactmap`: the memory is `memmap`, whatever the firmware says.
    pub exactmap: bool,
    /// The RAM of `memmap=SIZE@START`, less what another `memmap=` reserves.
    pub memmap: MemoryRanges<MAX_MEMMAP>,
    /// `elfcorehdr=`: address of the ELF core header.
    pub elfcorehdr: Option<ElfCoreHdr>,
    /// `virtio_mmio.device=SIZE@BASE:IRQ[:ID]`: where virtio devices have their registers
    /// (physical), in the order given, each once.
    pub virtio_mmio: ArrayVec<PhysRange, MAX_VIRTIO_MMIO>,
    /// `kdump.iommu`: the machine's IOMMUs, if they are known.
    pub iommu: Option<IommuList<'a>>,
    /// `kdump.target`: where the dump goes, to be tried in this order. Empty without the key, and
    /// where no target of the list is usable.
    pub targets: ArrayVec<TargetEntry<'a>, MAX_TARGETS>,
    /// `kdump.view`: contents of the dump.
    pub view: ViewSpec,
    /// `kdump.level`: the dump level, if one was chosen.
    pub level: Option<Level>,
    /// `kdump.final_action`: the action after a complete dump.
    pub final_action: Action,
    /// `kdump.failure_action`: the action after a failed one.
    pub failure_action: Action,
    /// `kdump.backtrace`: whether the functions that each CPU was in are shown and stored.
    pub backtrace: bool,
    /// `kdump.checksum`: whether the content of each chunk on a dump disk gets a checksum.
    pub checksum: bool,
    /// `kdump.compress`: the encoding of the bulk.
    pub compress: Compress,
    /// `kdump.replace=oldest`: whether complete dumps on a dump disk may be given up for a new one.
    pub replace_oldest: bool,
    /// `kdump.timeout`: how long one stage may take, in seconds.
    pub timeout: u32,
    /// `kdump.tsc_khz`: the rate of the time stamp counter in kHz, to be checked before it is used.
    pub tsc_khz: Option<u32>,
    /// `kdump.pm1a`: how this machine is powered off.
    pub poweroff: Option<PowerOff>,
}

/// Contents of the dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewSpec {
    /// `vmcore`: the ELF core file.
    #[default]
    Vmcore,
    /// `oldmem[:START+LENGTH]`: physical memory as it is, all of it or a range.
    OldMem(Option<PhysRange>),
}

/// The encoding of the bulk of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// `auto`: lz4 on a serial line, which is slow; nothing elsewhere.
    #[default]
    Auto,
    /// `none`: memory as it is.
    None,
    /// `lz4`: chunks that become shorter are LZ4 blocks.
    Lz4,
}

/// State of the machine after the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// `poweroff`, by ACPI.
    PowerOff,
    /// `reboot`.
    #[default]
    Reboot,
    /// `halt`: stay where we are.
    Halt,
}

/// `kdump.pm1a=PORT,TYPE`: how to enter ACPI S5 (found by the loader in FADT and DSDT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOff {
    /// I/O port of the PM1a control register (`PM1a_CNT_BLK`).
    pub pm1a_control: u16,
    /// Value for its SLP_TYP field, 0 to 7.
    pub sleep_type: u8,
}

impl<'a> Options<'a> {
    /// The options of a line without a word.
    pub(crate) fn defaults(line: &'a [u8]) -> Self {
        Self {
            line,
            exactmap: false,
            memmap: MemoryRanges::new(),
            elfcorehdr: None,
            virtio_mmio: ArrayVec::new(),
            iommu: None,
            targets: ArrayVec::new(),
            view: ViewSpec::default(),
            level: None,
            final_action: Action::default(),
            failure_action: Action::default(),
            backtrace: true,
            checksum: false,
            compress: Compress::default(),
            replace_oldest: false,
            timeout: DEFAULT_TIMEOUT,
            tsc_khz: None,
            poweroff: None,
        }
    }
}
