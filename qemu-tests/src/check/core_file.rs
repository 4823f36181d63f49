//! A vmcore as goblin reads it. Our own reader is not used, because this code judges our writer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use goblin::container::Ctx;
use goblin::elf::header::{EM_386, EM_X86_64, ET_CORE};
use goblin::elf::note::{NT_PRSTATUS, NoteDataIterator};
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, ProgramHeader};

/// ELF headers of both classes fit in this, in bytes.
const HEADER: u64 = 64;
/// More notes than this, in bytes, no kernel leaves.
const MOST_NOTES: u64 = 16 << 20;

/// One PT_LOAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Offset of its bytes in the file.
    pub offset: u64,
    /// Its first physical address.
    pub paddr: u64,
    /// Its first virtual address.
    pub vaddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its name, without the NUL.
    pub name: String,
    /// Its type.
    pub kind: u32,
    /// Its content.
    pub desc: Vec<u8>,
    /// Header, name and description as they are in the file, with their padding.
    pub raw: Vec<u8>,
}

/// Instruction and stack pointer of a CPU when it stopped (virtual addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// eip or rip.
    pub ip: u64,
    /// esp or rsp.
    pub sp: u64,
    /// True if the CPU ran a program: the lowest two bits of cs are 3.
    pub in_user_mode: bool,
    /// Bytes of a machine word: 4 or 8.
    pub word: usize,
}

impl Note {
    /// True for the register note of a CPU.
    pub fn is_prstatus(&self) -> bool {
        self.name == "CORE" && self.kind == NT_PRSTATUS
    }

    /// The registers in a PRSTATUS note (`struct elf_prstatus`, i386: 144 bytes, registers at 72;
    /// x86_64: 336 bytes, registers at 112).
    pub fn registers(&self) -> Option<Registers> {
        match self.desc.len() {
            144 => Some(Registers {
                ip: u32::from_le_bytes(self.desc[120..124].try_into().ok()?).into(),
                sp: u32::from_le_bytes(self.desc[132..136].try_into().ok()?).into(),
                in_user_mode: self.desc[124] & 3 == 3,
                word: 4,
            }),
            336 => Some(Registers {
                ip: u64::from_le_bytes(self.desc[240..248].try_into().ok()?),
                sp: u64::from_le_bytes(self.desc[264..272].try_into().ok()?),
                in_user_mode: self.desc[248] & 3 == 3,
                word: 8,
            }),
            _ => None,
        }
    }
}

/// The general registers of i386 but for ESP, in the order of a PRSTATUS note, where they come
/// first of all registers.
pub const GENERAL_REGISTERS: [&str; 7] = ["ebx", "ecx", "edx", "esi", "edi", "ebp", "eax"];

impl Note {
    /// The values of [`GENERAL_REGISTERS`] in an i386 PRSTATUS note.
    pub fn general_registers(&self) -> Option<[u32; GENERAL_REGISTERS.len()]> {
        let words = self.desc.get(72..100).filter(|_| self.desc.len() == 144)?;
        let mut words = words.chunks_exact(4).filter_map(|word| word.try_into().ok());
        let mut registers = [0; GENERAL_REGISTERS.len()];
        for register in &mut registers {
            *register = u32::from_le_bytes(words.next()?);
        }
        Some(registers)
    }
}

/// An open vmcore.
#[derive(Debug)]
pub struct CoreFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// Its PT_LOADs in the file's order.
    pub loads: Vec<Load>,
    /// Its notes in the file's order.
    pub notes: Vec<Note>,
}

impl CoreFile {
    /// Opens a vmcore and reads its tables.
    ///
    /// # Errors
    /// Fails if the file is no ELF core of an x86, or a table or segment leaves the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let length = file.metadata()?.len();
        let path = path.to_path_buf();
        let mut core = Self { path, file, length, loads: Vec::new(), notes: Vec::new() };
        let (headers, context) = core.program_headers()?;
        for header in headers {
            core.take(&header, context)?;
        }
        Ok(core)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn program_headers(&self) -> Result<(Vec<ProgramHeader>, Ctx)> {
        let bytes = self.bytes(0, HEADER)?;
        let header = Elf::parse_header(&bytes).context("the vmcore's ELF header")?;
        if header.e_type != ET_CORE || ![EM_386, EM_X86_64].contains(&header.e_machine) {
            bail!("no x86 core: type {}, machine {}", header.e_type, header.e_machine);
        }
        let context = Ctx::new(header.container()?, header.endianness()?);
        let count = usize::from(header.e_phnum);
        let size = count as u64 * u64::from(header.e_phentsize);
        let table = self.bytes(header.e_phoff, size)?;
        let headers = ProgramHeader::parse(&table, 0, count, context);
        Ok((headers.context("the vmcore's program headers")?, context))
    }

    fn take(&mut self, header: &ProgramHeader, context: Ctx) -> Result<()> {
        let end = header.p_offset.checked_add(header.p_filesz);
        if end.is_none_or(|end| end > self.length) {
            bail!("a segment at {:#x} leaves the vmcore's {} bytes", header.p_offset, self.length);
        }
        match header.p_type {
            PT_LOAD => self.loads.push(Load {
                offset: header.p_offset,
                paddr: header.p_paddr,
                vaddr: header.p_vaddr,
                filesz: header.p_filesz,
                memsz: header.p_memsz,
            }),
            PT_NOTE if header.p_filesz <= MOST_NOTES => {
                let data = self.bytes(header.p_offset, header.p_filesz)?;
                self.notes.extend(notes(&data, context)?);
            }
            other => bail!("a program header of type {other} and {} bytes", header.p_filesz),
        }
        Ok(())
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        if !inside {
            bail!("{length} bytes at {offset:#x}: the vmcore has only {} bytes", self.length);
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads at a file offset.
    ///
    /// # Errors
    /// Fails if the file ends too early.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(into, offset);
        read.with_context(|| format!("reading the vmcore at {offset:#x}"))
    }

    /// Reads at a physical address, from one PT_LOAD.
    ///
    /// # Errors
    /// Fails if no PT_LOAD has all of the bytes.
    pub fn read_physical(&self, address: u64, into: &mut [u8]) -> Result<()> {
        let found = self.loads.iter().find_map(|load| {
            let at = address.checked_sub(load.paddr)?;
            (at.checked_add(into.len() as u64)? <= load.filesz).then_some(load.offset + at)
        });
        let offset = found.with_context(|| format!("no PT_LOAD has {address:#x} of memory"))?;
        self.read_at(offset, into)
    }
}

fn notes(data: &[u8], context: Ctx) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    let mut walk = NoteDataIterator { data, size: data.len(), offset: 0, ctx: (4, context) };
    loop {
        let start = walk.offset;
        let Some(note) = walk.next() else { return Ok(notes) };
        let note = note.with_context(|| format!("the vmcore's note at {start:#x}"))?;
        notes.push(Note {
            name: note.name.to_string(),
            kind: note.n_type,
            desc: note.desc.to_vec(),
            raw: data.get(start..walk.offset.min(data.len())).unwrap_or_default().to_vec(),
        });
    }
}
