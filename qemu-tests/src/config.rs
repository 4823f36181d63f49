//! Configuration of one cycle.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use vmcore::{Class, Level};

use crate::check::crashinfo::Crashinfo;
use crate::delivery::Delivery;
use crate::fault::kind::Fault;
use crate::first::first_kernel::FirstKernel;
use crate::first::kexec_tools::KexecTools;
use crate::first::saved_pages::SavedPages;
use crate::first::sockets::Sockets;
use crate::first::stock_capture::StockCapture;
use crate::host::deadline::Interrupt;
use crate::host::machine_type::MachineType;

/// One cycle.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kernel that dies.
    pub first_kernel: FirstKernel,
    /// The capture kernel's ELF file as it is loaded.
    pub capture_kernel: PathBuf,
    /// The same with its symbols.
    pub capture_kernel_symbols: PathBuf,
    /// Purgatory's ELF file.
    pub purgatory: PathBuf,
    /// The kind of machine. On a microvm the guest has less than 3 GiB.
    pub machine: MachineType,
    /// Guest memory in bytes.
    pub memory: u64,
    /// CPUs of the guest.
    pub cpus: u32,
    /// Value of `crashkernel=`.
    pub slot: String,
    /// The folder for vmcore, console.log and report.json.
    pub out: PathBuf,
    /// More words for the capture kernel's command line.
    pub append: String,
    /// The dump level that the dump is to have; `append` must ask for it.
    pub level: Level,
    /// The cause of the first kernel's crash; the test guest has its own.
    pub crash: Crash,
    /// One's own initramfs for a Linux first kernel: its program runs once the capture kernel is
    /// loaded.
    pub initrd: Option<PathBuf>,
    /// More words for the first kernel's command line.
    pub first_append: String,
    /// Shell commands of a Linux first kernel after loading and before the crash; see `init.sh`.
    pub before_crash: String,
    /// Modules of a Debian kernel that are loaded before the capture kernel is: paths below its
    /// package's folder of modules, each with its parameters. Missing ones are left out.
    pub modules: Vec<&'static str>,
    /// A Linux first kernel saves its own word on every page right before the harness crashes it,
    /// and the page filter is checked with it.
    pub saved_pages: Option<SavedPages>,
    /// A Linux first kernel prints the stacks of its CPUs and tasks right before the harness
    /// crashes it, with tasks that wait in modules, and backtraces are checked with them.
    pub shown_stacks: bool,
    /// A Linux first kernel in which much goes on saves what its /proc says right before it is
    /// crashed, to the folder `said` beside the vmcore.
    pub said: bool,
    /// Sockets, routes and neighbours of such a kernel, and the programs that list them.
    pub sockets: Option<Sockets>,
    /// The program that reads what the kernel has said from the dump as well; it is judged by that.
    pub crashinfo: Option<Crashinfo>,
    /// True if the VM is stopped for page digests at T0, T1 and T2.
    pub truth: bool,
    /// True if QEMU dumps the guest's memory as well, right before the crash (with a stock Linux as
    /// capture kernel only).
    pub guest_dump: bool,
    /// True if the dump is extracted and checked. Without, a cycle passes when the capture says
    /// that its dump is complete.
    pub examine: bool,
    /// Class of the ELF core header, if the loader gets an option for it.
    pub core_headers: Option<Class>,
    /// Stock kexec-tools load the capture kernel, and not our loader (Linux only).
    pub kexec_tools: Option<KexecTools>,
    /// A stock Linux is the capture kernel, and not ours (Linux first kernels only).
    pub stock_capture: Option<StockCapture>,
    /// Physical range of the oldmem that the dump is, and not a vmcore; `append` must ask for it.
    pub oldmem: Option<Range<u64>>,
    /// The way of the dump out of the guest.
    pub delivery: Delivery,
    /// A fault to put in.
    pub fault: Option<Fault>,
    /// A dump disk that is formatted already, and stays; else there is a new one each time.
    pub dump_disk: Option<PathBuf>,
    /// More properties of the dump disk's device, as QEMU spells them.
    pub disk_properties: String,
    /// More arguments for QEMU, such as `-device` and its value.
    pub devices: Vec<String>,
    /// Ends the cycle early.
    pub interrupt: Interrupt,
}

impl Config {
    /// The cycle that changes nothing: 256 MiB, two CPUs, the paper's slot, our loader and capture
    /// kernel. The programs are the capture kernel, the same with symbols, and purgatory.
    pub fn new(first_kernel: FirstKernel, programs: [PathBuf; 3], out: PathBuf) -> Self {
        let [capture_kernel, capture_kernel_symbols, purgatory] = programs;
        Self {
            first_kernel,
            capture_kernel,
            capture_kernel_symbols,
            purgatory,
            machine: MachineType::Pc,
            memory: 256 << 20,
            cpus: 2,
            slot: "32M@16M".into(),
            out,
            append: String::new(),
            level: Level::ALL,
            crash: Crash::Asked,
            initrd: None,
            first_append: String::new(),
            before_crash: String::new(),
            modules: Vec::new(),
            saved_pages: None,
            shown_stacks: false,
            said: false,
            sockets: None,
            crashinfo: None,
            truth: true,
            guest_dump: false,
            examine: true,
            core_headers: None,
            kexec_tools: None,
            stock_capture: None,
            oldmem: None,
            delivery: Delivery::default(),
            fault: None,
            dump_disk: None,
            disk_properties: String::new(),
            devices: Vec::new(),
            interrupt: Interrupt::default(),
        }
    }

    /// All memory of the guest, in bytes.
    pub fn all_memory(&self) -> u64 {
        self.memory + self.hot_memory()
    }

    /// Bytes of memory that are added while the first kernel runs.
    pub fn hot_memory(&self) -> u64 {
        match self.fault {
            Some(Fault::Hotplug { size, .. }) => size,
            _ => 0,
        }
    }
}

/// The cause of the first kernel's crash, once the capture kernel is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crash {
    /// The harness, by sysrq, at once.
    #[default]
    Asked,
    /// The harness, by sysrq, when one's own userland has run for this long (whole seconds).
    AskedAfter(Duration),
    /// The kernel itself, within this time (whole seconds).
    Expected(Duration),
}

impl Crash {
    /// Returns the command for the first kernel's `/init`, as a line.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Asked => "crash\n".to_string(),
            Self::AskedAfter(time) => format!("crash {}\n", time.as_secs()),
            Self::Expected(time) => format!("wait {}\n", time.as_secs()),
        }
    }

    /// Time that the first kernel may live after that.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::Asked => Duration::ZERO,
            Self::AskedAfter(time) | Self::Expected(time) => time,
        }
    }
}
