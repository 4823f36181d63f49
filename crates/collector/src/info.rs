//! What a vmcore or a dump disk is, in short.

use std::fmt;
use std::path::Path;

use dumpfile::disk::v1::DiskHeader;
use dumpfile::{DiskError, DiskState};
use handoff::Stage;
use serde::{Serialize, Serializer};
use vmcore::{Class, Prstatus, SegmentKind, vmcoreinfo_get};

use crate::{Error, VmcoreFile, disk, utc};

/// What `collector info` shows.
#[derive(Debug, Serialize)]
pub struct Info {
    /// Version of the JSON.
    version: u32,
    /// The header, when it is a dump disk.
    pub disk: Option<DiskInfo>,
    /// The dump. A dump disk may have none.
    pub vmcore: Option<VmcoreInfo>,
}

/// The header of a dump disk.
#[derive(Debug, Serialize)]
pub struct DiskInfo {
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// `empty`, `in progress`, `complete`, `failed`, or the number of an unknown state.
    pub state: String,
    /// The last stage that the capture reached.
    pub stage: Option<String>,
    /// Length of the dump in bytes.
    pub length: u64,
}

/// The headers and notes of a vmcore.
#[derive(Debug, Serialize)]
pub struct VmcoreInfo {
    /// `ELF32` or `ELF64`.
    pub class: &'static str,
    /// `i386` or `x86_64`.
    pub machine: &'static str,
    /// Length in bytes.
    pub length: u64,
    /// Release of the dead kernel (VMCOREINFO).
    pub osrelease: Option<String>,
    /// Its page size in bytes (VMCOREINFO).
    pub page_size: Option<u64>,
    /// By how much it was moved from where it was linked (VMCOREINFO), in bytes.
    pub kernel_offset: Option<Hex>,
    /// When it crashed, in seconds since 1970 by its clock (VMCOREINFO).
    pub crash_time: Option<u64>,
    /// The PT_LOADs.
    pub loads: Vec<Load>,
    /// The PRSTATUS notes, in their order.
    pub cpus: Vec<Cpu>,
}

/// A PT_LOAD.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Offset in the vmcore, in bytes.
    pub offset: Hex,
    /// Physical address.
    pub paddr: Hex,
    /// Virtual address.
    pub vaddr: Hex,
    /// Bytes in the vmcore.
    pub filesz: Hex,
    /// Bytes in memory.
    pub memsz: Hex,
}

/// What one CPU saved.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// The process that ran there.
    pub pid: u32,
    /// Registers by name, in the note's order.
    #[serde(serialize_with = "as_object")]
    pub registers: Vec<(&'static str, Hex)>,
}

/// A number that is shown in hexadecimal; in JSON as text, because 64 bits are too many for JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

/// What there is to say about a vmcore or a dump disk. A dump disk without a complete dump is no
/// error; its header says so.
///
/// # Errors
/// As for [`VmcoreFile::open`].
pub fn info(path: &Path) -> Result<Info, Error> {
    let block = disk::first_block(&mut disk::open(path)?, path)?;
    let header = match DiskHeader::decode(&block) {
        Ok(header) => Some(header),
        Err(DiskError::NotOurs | DiskError::TooShort(_)) => None,
        Err(source) => return Err(Error::Header { path: path.to_owned(), source }),
    };
    let has_vmcore = header.is_none_or(|header| header.state == DiskState::COMPLETE);
    let vmcore = if has_vmcore { Some(VmcoreInfo::of(&VmcoreFile::open(path)?)) } else { None };
    Ok(Info { version: 1, disk: header.as_ref().map(DiskInfo::of), vmcore })
}

impl DiskInfo {
    fn of(header: &DiskHeader) -> Self {
        let state = match header.state {
            DiskState::EMPTY => "empty".to_owned(),
            DiskState::IN_PROGRESS => "in progress".to_owned(),
            DiskState::COMPLETE => "complete".to_owned(),
            DiskState::FAILED => "failed".to_owned(),
            DiskState(other) => other.to_string(),
        };
        let stage = Stage::from_code(header.stage).map(|stage| stage.to_string());
        Self { id: header.id.to_string(), state, stage, length: header.length }
    }
}

impl VmcoreInfo {
    fn of(vmcore: &VmcoreFile) -> Self {
        // Without the note, none of its keys is there.
        let text = vmcore.vmcoreinfo().unwrap_or_default();
        let decimal = |key| vmcoreinfo_get(text, key)?.parse().ok();
        let offset = || u64::from_str_radix(vmcoreinfo_get(text, "KERNELOFFSET")?, 16).ok();
        Self {
            class: match vmcore.header.class {
                Class::Elf32 => "ELF32",
                Class::Elf64 => "ELF64",
            },
            machine: vmcore.header.machine_name(),
            length: vmcore.length(),
            osrelease: vmcoreinfo_get(text, "OSRELEASE").map(|name| printable(name).collect()),
            page_size: decimal("PAGESIZE"),
            kernel_offset: offset().map(Hex),
            crash_time: decimal("CRASHTIME"),
            loads: loads(vmcore),
            cpus: cpus(vmcore),
        }
    }
}

/// The text without what a terminal would take for an order.
fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter })
}

fn loads(vmcore: &VmcoreFile) -> Vec<Load> {
    let loads = vmcore.segments.iter().filter(|segment| segment.kind == SegmentKind::Load);
    loads
        .map(|load| Load {
            offset: Hex(load.source.get()),
            paddr: Hex(load.paddr.get()),
            vaddr: Hex(load.vaddr),
            filesz: Hex(load.filesz),
            memsz: Hex(load.memsz),
        })
        .collect()
}

fn cpus(vmcore: &VmcoreFile) -> Vec<Cpu> {
    let saved = vmcore.notes().filter(|note| note.is_prstatus());
    let parsed = saved.filter_map(|note| Prstatus::parse(vmcore.header.machine, note.desc).ok());
    parsed
        .map(|status| Cpu {
            pid: status.pid,
            registers: status.registers().map(|(name, value)| (name, Hex(value))).collect(),
        })
        .collect()
}

fn as_object<S: Serializer>(
    registers: &[(&'static str, Hex)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(registers.iter().copied())
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(disk) = &self.disk {
            write!(f, "{disk}")?;
        }
        self.vmcore.as_ref().map_or(Ok(()), |vmcore| write!(f, "{vmcore}"))
    }
}

impl fmt::Display for DiskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, state, stage, length } = self;
        let stage = stage.as_deref().unwrap_or("none");
        writeln!(f, "dump disk    id {id}, {state}, last stage {stage}, dump of {length} bytes")
    }
}

impl fmt::Display for VmcoreInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: Option<String>| {
            writeln!(f, "{name:13}{}", value.as_deref().unwrap_or("not known"))
        };
        writeln!(f, "vmcore       {}, {}, {} bytes", self.class, self.machine, self.length)?;
        line(f, "kernel", self.osrelease.clone())?;
        line(f, "crash time", self.crash_time.map(utc::date))?;
        line(f, "page size", self.page_size.map(|size| size.to_string()))?;
        line(f, "offset", self.kernel_offset.map(|offset| offset.to_string()))?;
        let [offset, paddr, vaddr] = ["offset", "physical", "virtual"];
        writeln!(f, "\n{offset:>14} {paddr:>14} {vaddr:>18} {:>14} {:>14}", "filesz", "memsz")?;
        for Load { offset, paddr, vaddr, filesz, memsz } in &self.loads {
            writeln!(f, "{offset:>14} {paddr:>14} {vaddr:>18} {filesz:>14} {memsz:>14}")?;
        }
        self.cpus.iter().enumerate().try_for_each(|(index, cpu)| {
            writeln!(f, "\nregisters {index}, pid {}", cpu.pid)?;
            write!(f, "{cpu}")
        })
    }
}

/// Four registers on a line.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registers.chunks(4).try_for_each(|row| {
            for (name, value) in row {
                write!(f, "{name:>9} {value:<18}")?;
            }
            writeln!(f)
        })
    }
}
