//! Reasons why there is no plan, with the likely cause and the next step.

use dumpfile::DiskId;
use vmcore::{PhysAddr, PhysRange};

use crate::facts::dump_disks::DumpDisks;
use crate::images::error::ImageError;

/// The reason why the capture kernel cannot be loaded on this system. The text contains the cause:
/// no variant has a `source`, which would be printed once more after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Somebody without privileges asks.
    #[error("the kernel hides the addresses in /proc/iomem (all are zero): run this as root")]
    AddressesHidden,
    /// The memory map has no RAM.
    #[error("/proc/iomem names no System RAM: is this a saved copy that was cut short?")]
    NoRam,
    /// The first kernel runs in a guest whose memory is encrypted.
    #[error(
        "this is a confidential guest ({kind}): its memory is encrypted, and neither a second \
         kernel nor a device that writes a dump can read it; dump an ordinary guest, or let this \
         kernel write what it knows itself (pstore, netconsole)"
    )]
    ConfidentialGuest {
        /// The technique.
        kind: &'static str,
    },
    /// The first kernel encrypts its own memory.
    #[error(
        "this kernel encrypts its memory (AMD SME: NUMBER(sme_mask) in VMCOREINFO is not 0): a \
         dump would be ciphertext; boot with mem_encrypt=off"
    )]
    EncryptedMemory,
    /// `crashkernel=` is not on the first kernel's command line.
    #[error(
        "no memory is reserved for a capture kernel: add crashkernel=32M to the kernel command \
         line and boot again"
    )]
    NoReservation,
    /// `crashkernel=` is there and was not obeyed.
    #[error("{word} is on the kernel command line, but nothing is reserved: {why}")]
    ReservationFailed {
        /// The word on the command line.
        word: String,
        /// The reason and the next step.
        why: String,
    },
    /// Only 64-bit code could run there.
    #[error(
        "the kernel loads into the reservation {slot} only, which ends above 4 GiB, where 32-bit \
         code cannot run: boot with crashkernel=32M (without ,high and ,low)"
    )]
    SlotAbove4G {
        /// The reservation.
        slot: PhysRange,
    },
    /// An i386 kernel writes to its control pages when it dies, and has only lowmem mapped then.
    #[error(
        "the reservation {slot} ends above lowmem, which this i386 kernel maps up to {lowmem_end}: \
         it would die once more before it jumps into the slot; boot with crashkernel=32M (without \
         @ADDRESS)"
    )]
    SlotAboveLowmem {
        /// The reservation.
        slot: PhysRange,
        /// One past the last byte that is mapped, or that surely is.
        lowmem_end: PhysAddr,
    },
    /// The capture kernel maps itself with 2 MiB pages.
    #[error(
        "the reservation {slot} does not begin at a multiple of 2 MiB above 0: boot with \
         crashkernel=32M"
    )]
    SlotUnaligned {
        /// The reservation.
        slot: PhysRange,
    },
    /// `--mem-min` and `--mem-max` leave nothing.
    #[error(
        "--mem-min and --mem-max leave nothing of the reservation {slot}, where all that is loaded \
         must lie (from a multiple of 2 MiB on): leave them out, or choose them inside of it"
    )]
    BoundsOutsideSlot {
        /// The reservation.
        slot: PhysRange,
    },
    /// Something does not fit.
    #[error(
        "the reservation {slot} is too small by {missing} KiB: boot with crashkernel={}M or more",
        suggested_megabytes(*slot, *missing)
    )]
    SlotTooSmall {
        /// The reservation.
        slot: PhysRange,
        /// Memory that is missing, in KiB.
        missing: u64,
    },
    /// The image was linked for another place and cannot be moved.
    #[error(
        "the capture kernel's memory {segment} is outside the reservation {slot}, and the image \
         (ET_EXEC) runs nowhere else: boot with a crashkernel=SIZE@ADDRESS that covers it, or \
         build it as ET_DYN"
    )]
    SegmentOutsideSlot {
        /// The memory that the image takes, as linked.
        segment: PhysRange,
        /// The reservation.
        slot: PhysRange,
    },
    /// The capture kernel's file.
    #[error("the capture kernel cannot be used: {0}")]
    CaptureKernel(ImageError),
    /// Purgatory's file.
    #[error("purgatory cannot be used: {0}")]
    Purgatory(ImageError),
    /// The kernel names no CPU at all.
    #[error(
        "no CPU has a crash_notes file under /sys/devices/system/cpu: the first kernel was built \
         without CONFIG_KEXEC, or this is a saved copy without them"
    )]
    NoCpus,
    /// A CPU could not leave its registers.
    #[error(
        "CPU {cpu} has no crash notes (/sys/devices/system/cpu/cpu{cpu}/crash_notes): run this as \
         root, under a kernel with CONFIG_KEXEC"
    )]
    NotesMissing {
        /// The CPU's number.
        cpu: u32,
    },
    /// A note area where the dead kernel has no memory.
    #[error("the note area {area} of {owner} is outside the first kernel's RAM: damaged copy?")]
    NotesOutsideRam {
        /// Owner of the notes: a CPU or VMCOREINFO.
        owner: String,
        /// The area.
        area: PhysRange,
    },
    /// The capture kernel would not see the end of its command line.
    #[error(
        "the command line is too long by {excess} bytes ({limit} at most, with what the loader \
         adds): shorten --append or --command-line"
    )]
    CommandLineTooLong {
        /// Number of bytes beyond the limit.
        excess: usize,
        /// The limit.
        limit: usize,
    },
    /// A byte that ends the line early or another that no command line has.
    #[error("the command line has a control character at byte {at}: take it out")]
    CommandLineBytes {
        /// Its offset in the user's text, in bytes.
        at: usize,
    },
    /// The user's words hide words of the loader from the capture kernel.
    #[error(
        "the capture kernel would not see the memmap= and elfcorehdr= that the loader adds: {why}"
    )]
    CommandLineHides {
        /// The words that hide them.
        why: String,
    },
    /// The value of `--target` or of `kdump.target=` in the user's text.
    #[error("the target cannot be used: {problem}")]
    BadTarget {
        /// Message of the capture kernel's parser.
        problem: String,
    },
    /// A disk that would get the dump is not there.
    #[error(
        "no disk of this machine carries the id {id} that kdump.target= names: {there}; name one \
         that is there, or, for a disk that is still to come, load with --force"
    )]
    UnknownDisk {
        /// The id.
        id: DiskId,
        /// The disks that were found instead.
        there: String,
    },
    /// Nobody says where the dump goes, and there are several places.
    #[error(
        "no --target, and this machine has several dump disks: {disks}; name one of them with \
         --target"
    )]
    SeveralDumpDisks {
        /// Devices and ids.
        disks: String,
    },
    /// ELF32 headers are asked for, and cannot name all of RAM.
    #[error(
        "--elf32-core-headers: memory above 4 GiB (up to {end}) has no place in ELF32 headers: use \
         --elf64-core-headers, or leave the choice to the loader"
    )]
    MemoryAboveElf32 {
        /// One past the last byte of RAM.
        end: PhysAddr,
    },
    /// An option that only makes sense when the first kernel is known.
    #[error(
        "{option} needs the first kernel's memory map: give a copy of its files with --system DIR"
    )]
    NeedsSystem {
        /// The option.
        option: &'static str,
    },
    /// ELF32 headers are asked for, of an x86_64 kernel.
    #[error(
        "--elf32-core-headers: the virtual addresses of an x86_64 kernel have no place in ELF32 \
         headers: leave the option out"
    )]
    Elf32Of64Bit,
    /// Ranges that cannot be noted, or an ELF core header that cannot be built.
    #[error("the first kernel's memory cannot be described: {0}")]
    Vmcore(#[from] vmcore::Error),
}

impl From<vmcore::RangeError> for PlanError {
    fn from(error: vmcore::RangeError) -> Self {
        Self::Vmcore(error.into())
    }
}

impl PlanError {
    /// The error that no disk carries this id, with the ids that there are.
    pub(crate) fn unknown_disk(id: DiskId, disks: &DumpDisks) -> Self {
        let none = disks.found.is_empty();
        let number = disks.seen.unwrap_or_default();
        let there = match none {
            true => format!(
                "none of its {number} disks that the capture kernel can drive is a dump disk \
                 (`kdump-collector format` makes one, also of a partition)"
            ),
            false => format!("its dump disks are {}", disks.list()),
        };
        let there = match disks.list_out_of_reach() {
            Some(others) => format!("{there}; of no use: {others}"),
            None => there,
        };
        Self::UnknownDisk { id, there }
    }
}

/// The next full MiB that has room for everything.
fn suggested_megabytes(slot: PhysRange, missing: u64) -> u64 {
    (slot.length() / 1024).saturating_add(missing).div_ceil(1024)
}
