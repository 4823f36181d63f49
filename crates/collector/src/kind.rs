//! Finds the kind of a file from its first bytes. Every command that takes a vmcore or a dump disk
//! uses it. Any other file is named by its kind, with the next step.

use std::fmt;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use dumpfile::disk::MAGIC as DUMP_DISK;

use crate::text::quoted;

/// Number of bytes at the start of a file that tell its kind.
pub(crate) const FRONT: usize = 8192;

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory; true if it contains a file `vmcore`.
    Directory(bool),
    /// A pipe, a socket, a terminal.
    NoFile(&'static str),
    /// An empty file.
    Empty,
    /// One of our dump disks.
    DumpDisk,
    /// An ELF core of an x86 machine or of a program that ran on one.
    Core,
    /// An ELF core of another machine, by its number in the ELF header (`e_machine`).
    OtherCore(u16),
    /// An ELF core of a program, not of a machine.
    ProgramCore,
    /// An ELF file that is not a core: a vmlinux or a program, or (true) a relocatable object.
    Elf(bool),
    /// A cut ELF header.
    CutElf,
    /// A packed file: its name, and the program that unpacks it.
    Packed(&'static str, &'static str),
    /// kdump-compressed, as makedumpfile writes it, or (true) QEMU.
    KdumpCompressed(bool),
    /// diskdump, the format before that.
    DiskDump,
    /// Flattened by makedumpfile or QEMU: pieces of a file, each with its offset. Also the kind of
    /// the whole file, if the first piece tells it.
    Flattened(Option<&'static str>),
    /// A disk image of a virtual machine: its format, and the number of snapshots in its header.
    DiskImage(&'static str, u32),
    /// Saved state of a virtual machine: its name.
    Machine(&'static str),
    /// A slot image.
    SlotImage,
    /// The map of a dump that is being received.
    RangeMap,
    /// A packed kernel.
    BzImage,
    /// Text.
    Text,
    /// Nothing but zeros at its front.
    Zeros,
    /// None of these.
    Unknown,
}

/// Magic bytes of each kind.
const MAGICS: [(&[u8], FileKind); 21] = [
    (&DUMP_DISK, FileKind::DumpDisk),
    (b"KDRSSLOT", FileKind::SlotImage),
    (b"kdump-rs ranges ", FileKind::RangeMap),
    (b"\x1f\x8b", FileKind::Packed("a gzip file", "gzip -dc")),
    (b"\xfd7zXZ\0", FileKind::Packed("an xz file", "xz -dc")),
    (b"\x28\xb5\x2f\xfd", FileKind::Packed("a zstd file", "zstd -dc")),
    (b"\x04\x22\x4d\x18", FileKind::Packed("an lz4 file", "lz4 -dc")),
    (b"\x02\x21\x4c\x18", FileKind::Packed("an lz4 file", "lz4 -dc")),
    (b"BZh", FileKind::Packed("a bzip2 file", "bzip2 -dc")),
    (b"\x89LZO\0\r\n\x1a\n", FileKind::Packed("an lzop file", "lzop -dc")),
    (b"PK\x03\x04", FileKind::Packed("a zip file", "unzip -p")),
    (b"DISKDUMP", FileKind::DiskDump),
    (b"QFI\xfb", FileKind::DiskImage("qcow2", 0)),
    (b"KDMV", FileKind::DiskImage("vmdk", 0)),
    (b"vhdxfile", FileKind::DiskImage("vhdx", 0)),
    (b"QEVM", FileKind::Machine("a migration stream of QEMU")),
    (b"LibvirtQemudSave", FileKind::Machine("a machine that libvirt has saved")),
    (b"\xd0\xbe\xd2\xbe", FileKind::Machine("a machine that VMware has suspended")),
    (b"\xd1\xba\xd1\xba", FileKind::Machine("a machine that VMware has suspended")),
    (b"PAGEDUMP", FileKind::Machine("a dump of Windows")),
    (b"PAGEDU64", FileKind::Machine("a dump of Windows")),
];

/// Magic of kdump-compressed (`KDUMP_SIGNATURE`, makedumpfile's `diskdump_mod.h`).
const KDUMP: &[u8] = b"KDUMP   ";
/// Offset of the system's name in its header (Linux' `utsname`). QEMU fills in the machine only.
const KDUMP_SYSNAME: usize = 12;
/// Magic of the flattened form (`MDF_SIGNATURE`), and the offset of its first piece: offset and
/// length (big-endian), then the bytes.
const FLATTENED: &[u8] = b"makedumpfile\0";
const FLATTENED_PIECE: usize = 4096;
/// Offset of `HdrS` in a bzImage (Linux, `Documentation/arch/x86/boot.rst`).
const HDRS: usize = 0x202;

impl FileKind {
    /// Kind of a file that begins with these bytes. They are the whole file or its first [`FRONT`]
    /// bytes.
    pub(crate) fn of(front: &[u8]) -> Self {
        if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| front.starts_with(magic)) {
            return match kind {
                Self::DiskImage("qcow2", _) => Self::DiskImage("qcow2", qcow2_snapshots(front)),
                kind => *kind,
            };
        }
        match front {
            [] => Self::Empty,
            _ if front.starts_with(b"\x7fELF") => elf(front),
            _ if front.starts_with(KDUMP) => Self::KdumpCompressed(is_qemus(front)),
            _ if front.starts_with(FLATTENED) => Self::Flattened(flattened(front)),
            _ if front.get(HDRS..).is_some_and(|rest| rest.starts_with(b"HdrS")) => Self::BzImage,
            _ if front.get(257..).is_some_and(|rest| rest.starts_with(b"ustar")) => {
                Self::Packed("a tar archive", "tar -xOf")
            }
            _ if front.iter().all(|byte| *byte == 0) => Self::Zeros,
            _ if is_text(front) => Self::Text,
            _ => Self::Unknown,
        }
    }

    /// Kind of an entry that cannot be read as a file, from the type that the system reports.
    pub(crate) fn of_type(kind: FileType, path: &Path) -> Option<Self> {
        match () {
            () if kind.is_dir() => Some(Self::Directory(path.join("vmcore").is_file())),
            () if kind.is_fifo() => Some(Self::NoFile("a pipe")),
            () if kind.is_socket() => Some(Self::NoFile("a socket")),
            () if kind.is_char_device() => Some(Self::NoFile("a character device")),
            () => None,
        }
    }

    /// Next step for the file at `path`. The command wants a dump disk, or (`disk` is false) a
    /// vmcore as well.
    pub(crate) fn next_step(self, path: &Path, disk: bool) -> String {
        let path = quoted(path);
        match self {
            Self::Directory(true) => format!("name {path}/vmcore"),
            Self::Directory(false) => "name a file in it".into(),
            Self::NoFile(_) => {
                "write it to a file first; `kdump-collector receive` takes dumps from lines".into()
            }
            Self::Empty => "was the dump written at all, or was the disk full?".into(),
            Self::Core | Self::CutElf | Self::KdumpCompressed(_) if disk => {
                format!("`kdump-collector info {path}` shows its contents")
            }
            Self::Core | Self::CutElf => "it was copied in part: copy it again".into(),
            Self::OtherCore(_) => "a gdb or drgn for that machine may open it".into(),
            Self::ProgramCore => format!("gdb PROGRAM {path} opens it"),
            Self::Elf(_) => format!("it goes beside the vmcore, as in: gdb {path} vmcore"),
            Self::Packed(_, unpack) => {
                format!("unpack it first, `{unpack} {path} > FILE`, and name FILE")
            }
            Self::DiskDump => format!("crash opens it: crash vmlinux {path}"),
            Self::Flattened(_) => {
                format!("`makedumpfile -R FILE < {path}` puts it together; then name FILE")
            }
            Self::DiskImage(_, 0) => {
                format!("`qemu-img convert -O raw {path} FILE`, and name FILE if it is a dump disk")
            }
            Self::DiskImage(..) => "savevm made them: start the machine with -loadvm NAME, then \
                `dump-guest-memory FILE` in QEMU's monitor, and name FILE"
                .into(),
            Self::Machine(_) => "load it where it was saved and have memory dumped there (QEMU: \
                dump-guest-memory FILE; virsh dump --memory-only)"
                .into(),
            Self::SlotImage => format!("`kdump-loader inspect {path}` shows its contents"),
            Self::RangeMap => {
                "the same `kdump-collector receive` goes on from it; what has come is in the file \
                .partial beside it"
                    .into()
            }
            Self::BzImage => {
                "it is the kernel that crashed, or the loaded one; name the vmcore".into()
            }
            Self::Text => "a log that was saved as text can be read as it is".into(),
            Self::Zeros => {
                "a disk that `kdump-collector format` has not made, or a file whose front never \
                arrived"
                    .into()
            }
            Self::DumpDisk | Self::KdumpCompressed(_) | Self::Unknown => {
                "was it copied or unpacked as a whole, and from its beginning?".into()
            }
        }
    }
}

fn elf(front: &[u8]) -> FileKind {
    let field = |at: usize| front.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let (Some(kind), Some(machine)) = (field(16), field(18)) else { return FileKind::CutElf };
    let is_big_endian = front[5] == 2;
    let [kind, machine] = [kind, machine].map(|value| match is_big_endian {
        true => value.swap_bytes(),
        false => value,
    });
    match (kind, machine) {
        (4, 3 | 62) if !is_big_endian => FileKind::Core,
        (4, machine) => FileKind::OtherCore(machine),
        (kind, _) => FileKind::Elf(kind == 1),
    }
}

/// Number of snapshots of a qcow2 image (`nb_snapshots`).
fn qcow2_snapshots(front: &[u8]) -> u32 {
    front.get(60..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_be_bytes)
}

fn is_qemus(front: &[u8]) -> bool {
    front.get(KDUMP_SYSNAME) == Some(&0)
}

/// Kind of the file in a flattened file, if the first piece is its start.
fn flattened(front: &[u8]) -> Option<&'static str> {
    let piece = front.get(FLATTENED_PIECE..)?;
    match (piece.first_chunk::<8>()?, piece.get(16..)?) {
        ([0, 0, 0, 0, 0, 0, 0, 0], bytes) if bytes.starts_with(KDUMP) => {
            Some("a kdump-compressed dump")
        }
        ([0, 0, 0, 0, 0, 0, 0, 0], bytes) if bytes.starts_with(b"\x7fELF") => Some("an ELF core"),
        _ => None,
    }
}

fn is_text(front: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b);
    // Text that is cut within a letter is text.
    let is_utf8 = match std::str::from_utf8(front) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !front.iter().any(|byte| is_control(byte) || *byte == 0x7f)
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(_) => f.write_str("a directory"),
            Self::NoFile(name) | Self::Packed(name, _) | Self::Machine(name) => f.write_str(name),
            Self::Empty => f.write_str("empty (0 bytes)"),
            Self::DumpDisk => f.write_str("a dump disk"),
            Self::Core => f.write_str("a vmcore"),
            Self::OtherCore(machine) => {
                write!(f, "an ELF core of a machine that is no x86 ({machine})")
            }
            Self::ProgramCore => f.write_str("the core of a program, not of a machine"),
            Self::Elf(false) => f.write_str("a vmlinux or a program (ELF, but no core)"),
            Self::Elf(true) => f.write_str("an object file or a kernel module (ELF, but no core)"),
            Self::CutElf => f.write_str("the front of an ELF file"),
            Self::KdumpCompressed(false) => f.write_str("a kdump-compressed dump (makedumpfile)"),
            Self::KdumpCompressed(true) => f.write_str("a kdump-compressed dump (QEMU)"),
            Self::DiskDump => f.write_str("a diskdump"),
            Self::Flattened(None) => f.write_str("a flattened dump (makedumpfile -F, QEMU)"),
            Self::Flattened(Some(holds)) => {
                write!(f, "a flattened dump (makedumpfile -F, QEMU) that holds {holds}")
            }
            Self::DiskImage(name, 0) => write!(f, "a disk image in {name}"),
            Self::DiskImage(name, count) => {
                write!(f, "a disk image in {name} with snapshots ({count})")
            }
            Self::SlotImage => f.write_str("a slot image"),
            Self::RangeMap => f.write_str("the map of a dump that is being received"),
            Self::BzImage => f.write_str("a kernel image (bzImage)"),
            Self::Text => f.write_str("a text"),
            Self::Zeros => f.write_str("zero as far as was looked (8192 bytes)"),
            Self::Unknown => f.write_str("something that is not known here"),
        }
    }
}
