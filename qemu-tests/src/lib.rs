//! Crash-and-capture cycles under QEMU, and the ground truth.
//!
//! ```text
//! first_kernel ─ prepare ─▶ qemu ─ console, gdb ─▶ session ─▶ truth, facts ─▶ checks ─▶ report
//! ```
//!
//! A cycle boots a first kernel, has the capture kernel loaded, crashes the machine and checks the
//! dump that arrives. The judge shares no code with the judged: goblin and gdb read the vmcore,
//! memory is read from the backing file of QEMU's RAM, and the facts of the dead kernel from its
//! own console output. Building images is xtask's work; here they are paths.

pub mod check;
pub mod config;
pub mod console;
pub mod cycle;
pub mod delivery;
pub mod ended;
pub mod event;
pub mod fault;
pub mod first;
pub mod host;
pub mod judge;
pub mod line;
pub mod report;
pub mod session;
pub mod timeline;
pub mod watch;

pub use config::{Config, Crash};
pub use cycle::run;
pub use delivery::{Delivery, Fate, Noise, Pull, Targets, Way};
pub use fault::kind::{Fault, NmiPlace};
pub use first::first_kernel::{FirstKernel, Loading};
pub use first::kexec_tools::KexecTools;
pub use first::saved_pages::{Load, SavedPages};
pub use first::sockets::Sockets;
pub use first::stock_capture::StockCapture;
pub use host::controller::Controller;
pub use host::deadline::Interrupt;
pub use host::guest_dump::GuestDump;
pub use host::machine_type::MachineType;
pub use vmcore::Level;

pub use report::{Banner, Check, CpuStack, Outcome, Report, Verdict};
