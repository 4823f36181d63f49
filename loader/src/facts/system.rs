//! The facts about the first kernel that a plan is made from.

use cmdline::PowerOff;
use vmcore::{PhysAddr, PhysRange};

use crate::facts::dump_disks::DumpDisks;
use crate::facts::iomem::MemoryMap;
use crate::facts::iommu::Iommus;
use crate::facts::kcore::Kcore;
use crate::facts::name_lines::Names;
use crate::facts::pages::LivePages;

/// Width of the first kernel's registers and pointers: 32 or 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// i386, with or without PAE.
    I386,
    /// x86_64.
    X86_64,
}

/// Place in which a CPU leaves its registers when the first kernel dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuNotes {
    /// The CPU's number.
    pub cpu: u32,
    /// Its note area in physical memory; `None` when the kernel does not name one.
    pub area: Option<PhysRange>,
}

/// True if this kernel lets us load anything; `None` if it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KexecState {
    /// Size of the reservation in bytes, `/sys/kernel/kexec/crash_size` (before Linux 6.19
    /// `/sys/kernel/kexec_crash_size`).
    pub crash_size: Option<u64>,
    /// True if a capture kernel is loaded, `/sys/kernel/kexec/crash_loaded` (before
    /// `/sys/kernel/kexec_crash_loaded`).
    pub crash_loaded: Option<bool>,
    /// Memory that `crashkernel=SIZE,cma` has reserved: no place for a capture kernel, and RAM like
    /// any other to one that does not use it, such as ours.
    pub cma: Vec<PhysRange>,
    /// True if the kernel was built to load a capture kernel.
    pub supported: Option<bool>,
    /// True if loading is switched off until the next boot, `kernel.kexec_load_disabled`.
    pub disabled: Option<bool>,
    /// The lockdown mode, `/sys/kernel/security/lockdown`: `none` lets us load.
    pub lockdown: Option<String>,
    /// True if this process has CAP_SYS_BOOT.
    pub capable: Option<bool>,
}

/// Everything about the first kernel and its machine, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The architecture of the first kernel.
    pub machine: Option<Machine>,
    /// Its physical memory.
    pub memory: MemoryMap,
    /// The virtual address of `_text`, from `/proc/kallsyms`.
    pub text: Option<u64>,
    /// The physical address that the kernel is linked for, from its boot header.
    pub linked_at: Option<PhysAddr>,
    /// One past the last physical byte of i386's linear mapping, from `/proc/zoneinfo`.
    pub lowmem_end: Option<PhysAddr>,
    /// The mappings of an x86_64 kernel, from `/proc/kcore`.
    pub kcore: Kcore,
    /// The note area of every CPU that is present.
    pub cpus: Vec<CpuNotes>,
    /// The note area that holds VMCOREINFO.
    pub vmcoreinfo: Option<PhysRange>,
    /// The first kernel's command line.
    pub command_line: String,
    /// Power-off of the machine.
    pub power_off: Option<PowerOff>,
    /// The machine's IOMMUs.
    pub iommus: Iommus,
    /// True if the rate of the time stamp counter does not change.
    pub has_steady_tsc: bool,
    /// That rate in kHz, where it was measured ([`crate::tsc_khz`]); [`System::read`] leaves it
    /// out.
    pub tsc_khz: Option<u32>,
    /// Address of the ACPI tables, on a machine with EFI firmware.
    pub acpi_rsdp: Option<PhysAddr>,
    /// Encryption of this guest's memory, if there is any.
    pub confidential: Option<&'static str>,
    /// True if the kernel encrypts its own memory (AMD SME).
    pub encrypts_memory: bool,
    /// Its pages by class, or the reason that they were not counted; [`System::read`] leaves it
    /// out.
    pub pages: Option<Result<LivePages, String>>,
    /// Lines for backtraces; [`System::read`] leaves them out.
    pub names: Option<Names>,
    /// The dump disks.
    pub dump_disks: DumpDisks,
    /// The id of this boot.
    pub boot_id: Option<String>,
    /// True if loading is possible at all.
    pub kexec: KexecState,
}
