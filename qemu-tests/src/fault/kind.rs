//! Every fault that the harness can put in, by name. A file beside this one says what each does.

use crate::host::controller::Controller;
use crate::host::dump_disk::Attachment;

/// A fault that the harness puts in, so that a kernel or a check can be seen to notice it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// One byte of old memory changes between T0 and T1, as by a capture stage that strays.
    StrayWrite,
    /// One byte of the extracted vmcore changes.
    CorruptVmcore,
    /// The test guest's RAM is described to its loader with this many holes, each a page long.
    Holes(u64),
    /// The handler of the sysrq that crashes a Linux begins with an instruction that is none: an
    /// oops.
    Oops,
    /// The same, but it reads from address zero.
    NullDereference,
    /// The same, but it reads from an address that is none (x86_64).
    GeneralProtection,
    /// The same, but it calls itself without end.
    StackOverflow,
    /// The handler of that sysrq loops without end, with interrupts on.
    EndlessLoop,
    /// The kallsyms output of a Linux is lost, as of a kernel without it.
    NoSymbols,
    /// The names in the symbol table of a Linux are noise. VMCOREINFO has to name the table (6.0
    /// and later).
    DamagedSymbols,
    /// A CPU of the test guest, not the first, never answers the NMI that stops it in a crash.
    DeafCpu(u32),
    /// The machine has one CPU less than reported to the test guest.
    MissingCpu,
    /// One byte of a segment of the slot changes before the test guest starts.
    DamagedSegment {
        /// The segment's name in the loader's plan.
        name: &'static str,
        /// Which byte of it.
        offset: usize,
    },
    /// A segment of the slot is wrong, and was so when the test guest's loader took its digest.
    WrongSegment {
        /// The segment's name in the loader's plan.
        name: &'static str,
        /// The change that makes its bytes wrong; it does not move their end.
        change: fn(&mut [u8]),
    },
    /// The slot image is wrong. The function that changes it gets the whole file.
    WrongSlotImage(fn(&mut Vec<u8>)),
    /// The test guest has reserved this slot, and the slot image is for another.
    OtherReservation(&'static str),
    /// The test guest does not seal the slot image.
    Unsealed,
    /// There is no dump disk, or it has a fault.
    Disk(Attachment),
    /// The dump disk has this many bytes.
    DiskSize(u64),
    /// QEMU itself dies of a signal when the capture kernel is entered.
    QemuDies,
    /// An NMI arrives at T1, in the middle of the capture; needs the truth's gdb.
    Nmi,
    /// Somebody presses a button that sends an NMI when a Linux first kernel reports `button`.
    NmiButton,
    /// Linux reads from and writes to a second, slow disk on such a controller when it dies:
    /// requests are in flight, and their buffers are old memory.
    BusyDisk(Controller),
    /// A machine check comes while the capture kernel reads the note of the test guest's second
    /// CPU.
    MachineCheckInNote,
    /// A machine check comes while the capture kernel looks for zeros in old memory. A second look
    /// gets no machine check, and its result is right.
    MachineCheckInLook {
        /// True if that memory is seen through a large page.
        large: bool,
    },
    /// A machine check comes at T1; needs the truth's gdb.
    MachineCheck {
        /// True if the bank reports that the state of the CPU is damaged.
        context_corrupt: bool,
    },
    /// The capture kernel hangs at T1; needs the truth's gdb.
    Hang,
    /// Memory is added while a Linux first kernel runs (Debian's x86_64 only).
    Hotplug {
        /// Size in bytes.
        size: u64,
        /// Bytes that are to be left of it at the crash, when some is to be taken away after the
        /// load.
        left: Option<u64>,
    },
    /// A balloon takes so many bytes of memory away from a Linux first kernel.
    Balloon(u64),
    /// An NMI arrives at an instruction of the test guest, or of code that runs after it; needs the
    /// truth's gdb.
    NmiAt(NmiPlace),
}

/// Place at which an NMI arrives, to the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiPlace {
    /// In the test guest, which waits for one: `ignore-nmi` or `die=nmi`.
    FirstKernel,
    /// In purgatory, while it hashes the capture kernel.
    Hashing,
    /// At the capture kernel's first instruction, with purgatory's descriptor tables.
    CaptureEntry,
}
