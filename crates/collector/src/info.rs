//! Summary of a vmcore or a dump disk.

mod kdump;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use dumpfile::disk::PageCounts;
use dumpfile::{Contents, DiskState};
use handoff::Stage;
use serde::{Serialize, Serializer};
use vmcore::{Class, PageClass, PhysAddr, Prstatus, SegmentKind, vmcoreinfo_get};

pub use kdump::KdumpInfo;

use crate::backtrace::crashed_in;
use crate::dump_disk::{DumpDisk, StoredDump};
use crate::hex::Hex;
use crate::left_out::LeftByClass;
use crate::range_map::DOUBT;
use crate::readers::Readers;
use crate::text::printable;
use crate::{Error, VmcoreFile};

/// The output of `kdump-collector info`.
#[derive(Debug, Serialize)]
pub struct Info {
    /// Version of the JSON.
    version: u32,
    /// The headers, when it is a dump disk.
    pub disk: Option<DiskInfo>,
    /// The dump. A dump disk may have none.
    pub vmcore: Option<VmcoreInfo>,
    /// Parts that the sender has left out, when the dump has come over a line.
    pub received: Option<LeftByClass>,
}

/// The headers of a dump disk. State, stage and length are those of the dump that is shown.
#[derive(Debug, Serialize)]
pub struct DiskInfo {
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// Version of the disk's layout.
    pub layout: u32,
    /// `empty`, `in progress`, `complete`, `partial`, `failed`, or the number of an unknown state.
    pub state: String,
    /// The last stage that the capture reached.
    pub stage: Option<String>,
    /// Length of the dump in bytes.
    pub length: u64,
    /// Number of the dump.
    pub dump: Option<u64>,
    /// All dumps, oldest first.
    pub dumps: Vec<DumpInfo>,
    /// Captures since the last dump that found no room.
    pub refused: u32,
    /// Bytes that the last of them needed.
    pub needed: u64,
}

/// A dump on a disk.
#[derive(Debug, Serialize)]
pub struct DumpInfo {
    /// Its number.
    pub number: u64,
    /// As for the disk.
    pub state: String,
    /// The last stage that the capture reached.
    pub stage: Option<String>,
    /// `vmcore`, `oldmem`, or the number of something unknown.
    pub view: String,
    /// The physical address of the first byte of oldmem.
    pub start: Option<Hex>,
    /// Length in bytes.
    pub length: u64,
    /// Bytes of it that are known to be there.
    pub there: u64,
    /// True if its chunks have checksums.
    pub checksums: bool,
    /// The codec: `none` or `lz4`.
    pub codec: Option<&'static str>,
    /// The dump level: the classes of pages that are left out.
    pub level: Option<u8>,
    /// True if no level was asked for, and the disk had no room for all memory.
    pub level_raised: bool,
    /// True if the capture ended because the disk had no more room.
    pub no_room: bool,
    /// Pages by class, the kept ones as `kept`; classes without pages are left out.
    pub pages: BTreeMap<&'static str, u64>,
    /// The small views.
    pub views: Vec<ViewInfo>,
    /// Reason that nothing more is known.
    pub problem: Option<String>,
}

/// A small view.
#[derive(Debug, Serialize)]
pub struct ViewInfo {
    /// Its name.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
    /// The address of its first byte, where it has one.
    pub start: Option<Hex>,
}

/// The headers and notes of a vmcore.
#[derive(Debug, Serialize)]
pub struct VmcoreInfo {
    /// `ELF` or `kdump-compressed`.
    pub format: &'static str,
    /// True if it is in a flattened file.
    pub flattened: bool,
    /// The parts that are left out, if it is kdump-compressed.
    pub kdump: Option<KdumpInfo>,
    /// `ELF32` or `ELF64`; of a kdump-compressed file, the class of the ELF core made of it.
    pub class: &'static str,
    /// `i386` or `x86_64`.
    pub machine: &'static str,
    /// Length in bytes.
    pub length: u64,
    /// The missing part, if the file is cut.
    pub cut: Option<Cut>,
    /// `qemu` if QEMU's dump-guest-memory wrote it.
    pub origin: Option<&'static str>,
    /// True if there is a VMCOREINFO note.
    pub vmcoreinfo: bool,
    /// Release of the dead kernel (VMCOREINFO).
    pub osrelease: Option<String>,
    /// Its page size in bytes (VMCOREINFO).
    pub page_size: Option<u64>,
    /// By how much it was moved from where it was linked (VMCOREINFO), in bytes.
    pub kernel_offset: Option<Hex>,
    /// Time of the crash, in seconds since 1970 by its clock (VMCOREINFO).
    pub crash_time: Option<u64>,
    /// Memory that is not in the dump, from the `LEFTOUT` lines of VMCOREINFO.
    pub left_out: Vec<LeftOut>,
    /// The functions that the CPU which crashed was in, innermost first, if they are found at once.
    pub crashed_in: Option<Vec<String>>,
    /// Commands that open the dump.
    pub readers: Readers,
    /// The PT_LOADs.
    pub loads: Vec<Load>,
    /// The PRSTATUS notes, in their order.
    pub cpus: Vec<Cpu>,
}

/// Memory that is not in the dump.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// First physical address; `None` for ranges that are only counted.
    pub start: Option<Hex>,
    /// One past the last address.
    pub end: Option<Hex>,
    /// The reason.
    pub reason: String,
}

/// Missing part of a cut file.
#[derive(Debug, Serialize)]
pub struct Cut {
    /// Length of the whole vmcore in bytes.
    pub whole: u64,
    /// Number of missing bytes.
    pub missing: u64,
    /// Physical memory that is missing: start and end, end exclusive.
    pub memory: Vec<(Hex, Hex)>,
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

/// State that one CPU saved.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// The process that ran there.
    pub pid: u32,
    /// Registers by name, in the note's order.
    #[serde(serialize_with = "as_object")]
    pub registers: Vec<(&'static str, Hex)>,
}

/// Returns a summary of a vmcore or a dump disk; for a disk, also of the vmcore with this number
/// (else as for [`DumpDisk::choose`]). A dump disk without a complete dump is no error; its headers
/// report that.
///
/// # Errors
/// As for [`VmcoreFile::open_dump`].
pub fn info(path: &Path, number: Option<u64>) -> Result<Info, Error> {
    let Ok(disk) = DumpDisk::open_if_ours(path, false)? else {
        let vmcore = VmcoreInfo::of(&VmcoreFile::open_dump(path, number)?, path);
        let received = LeftByClass::of(path, vmcore.length);
        return Ok(Info { version: 1, disk: None, vmcore: Some(vmcore), received });
    };
    let chosen = match disk.choose(number) {
        Err(Error::NoDump { .. }) => None,
        chosen => Some(chosen?),
    };
    let has_vmcore =
        chosen.is_some_and(|dump| dump.is_complete() && dump.contents == Contents::Vmcore);
    let vmcore = has_vmcore.then(|| VmcoreFile::open_dump(path, number)).transpose()?;
    let vmcore = vmcore.as_ref().map(|vmcore| VmcoreInfo::of(vmcore, path));
    let disk = Some(DiskInfo::of(&disk, chosen)?);
    Ok(Info { version: 1, disk, vmcore, received: None })
}

impl DiskInfo {
    fn of(disk: &DumpDisk, chosen: Option<&StoredDump>) -> Result<Self, Error> {
        let dumps = disk.dumps.iter().map(|dump| DumpInfo::of(disk, dump));
        let refused = disk.refused();
        Ok(Self {
            id: disk.id().to_string(),
            layout: disk.version(),
            state: state_name(chosen.map_or(DiskState::EMPTY, |dump| dump.state)),
            stage: chosen.and_then(|dump| stage_name(dump.stage)),
            length: chosen.map_or(0, |dump| dump.length),
            dump: chosen.map(|dump| dump.number),
            dumps: dumps.collect::<Result<_, _>>()?,
            refused: refused.captures,
            needed: refused.need,
        })
    }
}

impl DumpInfo {
    fn of(disk: &DumpDisk, dump: &StoredDump) -> Result<Self, Error> {
        let (view, start) = match dump.contents {
            Contents::Vmcore => ("vmcore".to_owned(), None),
            Contents::OldMem { start } => ("oldmem".to_owned(), Some(Hex(start))),
            Contents::Unknown(number) => (format!("unknown {number}"), None),
        };
        let missing = disk.missing(dump)?.iter().map(|(start, end)| end - start).sum::<u64>();
        let views = dump.views().iter();
        let header = dump.header;
        Ok(Self {
            number: dump.number,
            state: state_name(dump.state),
            stage: stage_name(dump.stage),
            view,
            start,
            length: dump.length,
            there: dump.length.saturating_sub(missing),
            checksums: header.is_ok_and(|header| header.checksums),
            codec: header.ok().map(|header| header.codec.name()),
            level: header.ok().map(|header| header.level),
            level_raised: header.is_ok_and(|header| header.level_raised),
            no_room: dump.had_no_room(),
            pages: header.map(|header| page_counts(&header.pages)).unwrap_or_default(),
            views: views
                .map(|view| ViewInfo {
                    name: view.name.as_str().to_owned(),
                    length: view.length,
                    start: (view.start > 0).then_some(Hex(view.start)),
                })
                .collect(),
            problem: header.err().map(|error| error.to_string()),
        })
    }
}

pub(crate) fn state_name(state: DiskState) -> String {
    match state {
        DiskState::EMPTY => "empty".to_owned(),
        DiskState::IN_PROGRESS => "in progress".to_owned(),
        DiskState::COMPLETE => "complete".to_owned(),
        DiskState::FAILED => "failed".to_owned(),
        DiskState::PARTIAL => "partial".to_owned(),
        DiskState(other) => other.to_string(),
    }
}

/// Numbers of pages with the names of their classes, `kept` for those that are there, `in-doubt`
/// for those of the whole dump that are kept because their class is in doubt (they are also counted
/// by what became of them). Classes without pages are left out.
pub fn page_counts(pages: &PageCounts) -> BTreeMap<&'static str, u64> {
    let left = PageClass::ALL.map(|class| (class.name(), pages.of(class)));
    let all = left.into_iter().chain([("kept", pages.kept()), (DOUBT, pages.in_doubt())]);
    all.filter(|(_, count)| *count > 0).collect()
}

pub(crate) fn stage_name(code: u32) -> Option<String> {
    Stage::from_code(code).map(|stage| stage.to_string())
}

impl VmcoreInfo {
    fn of(vmcore: &VmcoreFile, path: &Path) -> Self {
        // Without the note, none of its keys is there.
        let text = vmcore.vmcoreinfo().unwrap_or_default();
        let decimal = |key| vmcoreinfo_get(text, key)?.parse().ok();
        let offset = || u64::from_str_radix(vmcoreinfo_get(text, "KERNELOFFSET")?, 16).ok();
        let kdump = vmcore.pages().map(KdumpInfo::of);
        Self {
            format: if kdump.is_some() { "kdump-compressed" } else { "ELF" },
            flattened: vmcore.is_flattened(),
            kdump,
            class: match vmcore.class {
                Class::Elf32 => "ELF32",
                Class::Elf64 => "ELF64",
            },
            machine: vmcore.machine_name(),
            length: vmcore.length(),
            cut: vmcore.missing().map(|missing| Cut {
                whole: missing.whole,
                missing: missing.whole - vmcore.length(),
                memory: missing
                    .memory
                    .iter()
                    .map(|range| (Hex(range.start().get()), Hex(range.end().get())))
                    .collect(),
            }),
            origin: vmcore.is_qemus().then_some("qemu"),
            vmcoreinfo: vmcore.vmcoreinfo().is_ok(),
            osrelease: vmcoreinfo_get(text, "OSRELEASE").map(|name| printable(name).collect()),
            page_size: decimal("PAGESIZE"),
            kernel_offset: offset().map(Hex),
            crash_time: decimal("CRASHTIME"),
            left_out: left_out(text),
            crashed_in: crashed_in(vmcore),
            readers: Readers::of(vmcore, path),
            loads: loads(vmcore),
            cpus: cpus(vmcore),
        }
    }
}

/// Memory that is not in the dump: each `LEFTOUT(START-END)` range, then the counts of further
/// ranges that the loader and the capture kernel wrote.
fn left_out(text: &[u8]) -> Vec<LeftOut> {
    let hex = |address: PhysAddr| Some(Hex(address.get()));
    let ranges = vmcore::left_out(text).map(|left| LeftOut {
        start: hex(left.range.start()),
        end: hex(left.range.end()),
        reason: printable(left.reason).collect(),
    });
    let counted = ["LEFTOUT(more)", "LEFTOUT(more-at-crash)"];
    let more = counted.into_iter().filter_map(|key| vmcoreinfo_get(text, key));
    let more = more.map(|more| format!("{} more", printable(more).collect::<String>()));
    ranges.chain(more.map(|reason| LeftOut { start: None, end: None, reason })).collect()
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
    let parsed = saved.filter_map(|note| Prstatus::parse(vmcore.machine, note.desc).ok());
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
