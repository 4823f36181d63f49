//! Kinds of crashes, by the words of the kernel's log.

use serde::Serialize;

/// A kind of crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A user asked for it (`sysrq c`).
    Sysrq,
    /// An access near address zero.
    NullDereference,
    /// An access to memory that is not mapped, or not so.
    PageFault,
    /// `BUG()`: code found that something cannot be.
    Bug,
    /// An instruction that the CPU does not know.
    InvalidOpcode,
    /// An address, a segment or an instruction that the CPU refused.
    GeneralProtection,
    /// Another exception, such as a division by zero.
    Exception,
    /// The stack had no more room, or was overwritten.
    StackOverflow,
    /// A task slept for too long.
    HungTask,
    /// A CPU ran kernel code for too long.
    SoftLockup,
    /// The same with interrupts off.
    HardLockup,
    /// A CPU or task held up read-copy-update.
    RcuStall,
    /// No memory, and nothing to kill.
    OutOfMemory,
    /// The first process ended.
    InitKilled,
    /// A non-maskable interrupt: a button, a management controller, a hypervisor.
    Nmi,
    /// The hardware reported an error.
    MachineCheck,
    /// A warning, with `panic_on_warn`.
    Warning,
    /// `panic()` with other words.
    Panic,
    /// The log does not show it.
    #[default]
    Unknown,
}

/// Words of `panic()`, in lower case; the first that is found decides.
const PANICS: [(&str, Kind); 22] = [
    ("sysrq triggered crash", Kind::Sysrq),
    ("hung_task: blocked tasks", Kind::HungTask),
    ("softlockup: hung tasks", Kind::SoftLockup),
    ("hard lockup", Kind::HardLockup),
    ("rcu stall", Kind::RcuStall),
    ("out of memory", Kind::OutOfMemory),
    ("deadlocked on memory", Kind::OutOfMemory),
    ("attempted to kill init", Kind::InitKilled),
    ("machine check", Kind::MachineCheck),
    ("fatal hardware error", Kind::MachineCheck),
    ("not all cpus entered broadcast", Kind::MachineCheck),
    ("double fault", Kind::StackOverflow),
    ("stack overflow", Kind::StackOverflow),
    ("stack guard page", Kind::StackOverflow),
    ("corrupted stack end", Kind::StackOverflow),
    ("stack is corrupted", Kind::StackOverflow),
    ("panic_on_warn", Kind::Warning),
    ("nmi: not continuing", Kind::Nmi),
    ("nmi iock error", Kind::Nmi),
    ("nmi for unknown reason", Kind::Nmi),
    ("an nmi occurred", Kind::Nmi),
    ("nmi button", Kind::Nmi),
];
/// Words of the first line of an oops, in lower case.
const OOPSES: [(&str, Kind); 12] = [
    ("null pointer dereference", Kind::NullDereference),
    ("bug: unable to handle", Kind::PageFault),
    ("stack guard page", Kind::StackOverflow),
    ("double fault", Kind::StackOverflow),
    ("kernel bug at", Kind::Bug),
    ("invalid opcode", Kind::InvalidOpcode),
    ("general protection fault", Kind::GeneralProtection),
    ("machine check", Kind::MachineCheck),
    ("divide error", Kind::Exception),
    ("int3", Kind::Exception),
    ("stack segment", Kind::Exception),
    ("bounds", Kind::Exception),
];
/// `panic()` at the end of an oops.
const FATAL: &str = "fatal exception";

impl Kind {
    /// The kind of a crash with these words of `panic()` and of an oops before it.
    pub(super) fn of(panic: Option<&str>, oops: Option<&str>) -> Self {
        let lower = |text: Option<&str>| text.map(str::to_ascii_lowercase);
        let (panic, oops) = (lower(panic), lower(oops));
        let by_oops = || oops.as_deref().map(|oops| find(&OOPSES, oops).unwrap_or(Self::Exception));
        match panic.as_deref() {
            Some(panic) if panic.contains(FATAL) => by_oops().unwrap_or(Self::Panic),
            Some(panic) => find(&PANICS, panic).unwrap_or(Self::Panic),
            None => by_oops().unwrap_or_default(),
        }
    }

    /// Its name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sysrq => "sysrq",
            Self::NullDereference => "null-dereference",
            Self::PageFault => "page-fault",
            Self::Bug => "bug",
            Self::InvalidOpcode => "invalid-opcode",
            Self::GeneralProtection => "general-protection",
            Self::Exception => "exception",
            Self::StackOverflow => "stack-overflow",
            Self::HungTask => "hung-task",
            Self::SoftLockup => "soft-lockup",
            Self::HardLockup => "hard-lockup",
            Self::RcuStall => "rcu-stall",
            Self::OutOfMemory => "out-of-memory",
            Self::InitKilled => "init-killed",
            Self::Nmi => "nmi",
            Self::MachineCheck => "machine-check",
            Self::Warning => "warning",
            Self::Panic => "panic",
            Self::Unknown => "unknown",
        }
    }

    /// True if the crash came from an interrupt whose own functions are not to blame, but those
    /// that it interrupted.
    pub(super) const fn is_of_interrupted(self) -> bool {
        matches!(self, Self::SoftLockup | Self::HardLockup | Self::RcuStall)
    }

    /// True if no function of the CPU that crashed is to blame.
    pub(super) const fn is_from_outside(self) -> bool {
        matches!(self, Self::Nmi | Self::MachineCheck)
    }
}

fn find(words: &[(&str, Kind)], text: &str) -> Option<Kind> {
    words.iter().find(|(word, _)| text.contains(word)).map(|(_, kind)| *kind)
}
