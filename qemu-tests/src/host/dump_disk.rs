//! The disk that the dump goes to, whole or with a fault.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use collector::Extracted;
use handoff::Stage;
use serde::Serialize;

use crate::check::core_file::CoreFile;
use crate::host::machine_type::MachineType;
use crate::host::memory::GuestMemory;
use crate::host::nbd::NbdServer;

/// Bytes of the disk's two headers.
const HEADER: usize = 8192;
/// Bytes of the two headers of the disk's first dump, behind them.
const DUMP_HEADER: u64 = 8192;
/// Bytes of a page.
const PAGE: usize = 4096;
/// How much of a disk is looked at at once, in bytes.
const CHUNK: usize = 1 << 20;

/// How QEMU attaches the dump disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// As an ordinary disk.
    #[default]
    Whole,
    /// Not at all.
    Absent,
    /// Write-protected.
    ReadOnly,
    /// A write that touches this sector of 512 bytes ends in an I/O error.
    FailsAt {
        /// The sector's number.
        sector: u64,
    },
    /// The file behind it has no room for a write that touches this sector of 512 bytes, and QEMU
    /// tells the guest: by itself it stops the machine until there is room.
    Full {
        /// The sector's number.
        sector: u64,
    },
    /// Behind a process that stops in the middle of the dump, and is killed when the capture has
    /// failed: QEMU itself would wait for it for ever.
    Stalls,
    /// Behind a process that is killed in the middle of the dump.
    Dies,
    /// So slow that QEMU can be killed in the middle of the dump, and is.
    PowerLoss,
}

impl Attachment {
    fn is_served(self) -> bool {
        matches!(self, Self::Stalls | Self::Dies)
    }
}

/// Bytes in a second that a disk behind a process takes: the end of the dump is seconds off when
/// its first byte is there.
const SERVED_RATE: u64 = 16 << 20;
/// The same of a disk whose machine is killed: many seconds, since the capture kernel notes how far
/// it is once in a second of its own clock.
const SLOW_RATE: u64 = 8 << 20;

/// A formatted dump disk.
#[derive(Debug)]
pub struct DumpDisk {
    path: PathBuf,
    /// The value of `kdump.target=` that names it.
    pub target: String,
    attachment: Attachment,
    header: Vec<u8>,
    server: Option<NbdServer>,
    busy: Option<PathBuf>,
}

/// Bytes of the other disk.
const BUSY_SIZE: u64 = 64 << 20;
/// Bytes in a second that can be read from it.
const BUSY_RATE: u64 = 1 << 20;

/// What a cycle without a dump left on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskAfter {
    /// Why `kdump-collector extract` finds no dump there.
    pub refused: String,
    /// Whether the header was written.
    pub header_written: bool,
    /// Whether anything was written behind the headers of the disk and of its first dump.
    pub data_written: bool,
    /// What could be extracted all the same.
    pub partial: Option<Partial>,
}

/// What there is of a dump that is not whole. All numbers are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partial {
    /// Length of the whole dump.
    pub length: u64,
    /// What is there.
    pub there: u64,
    /// What of it is memory, and was compared.
    pub compared: u64,
    /// What of that is different.
    pub wrong: u64,
}

impl DumpDisk {
    /// Makes and formats a disk of `size` bytes in `folder`. With `has_room` the file has all its
    /// room at once: where files live in memory, to find it while a dump is written takes longer
    /// than the dump itself, and how long depends on the host. Zeros are written, because a host
    /// may also give the memory that a page of the file needs only when it is touched.
    ///
    /// # Errors
    /// When the file cannot be written or served.
    pub fn create(
        folder: &Path,
        size: u64,
        attachment: Attachment,
        has_room: bool,
    ) -> Result<Self> {
        let path = folder.join("dump-disk");
        let mut file =
            File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let sized = match has_room {
            true => io::copy(&mut io::repeat(0).take(size), &mut file).map(drop),
            false => file.set_len(size),
        };
        sized.with_context(|| format!("a dump disk of {} MiB", size >> 20))?;
        collector::format(&path, None, true).context("formatting the dump disk")?;
        Self::open(path, attachment)
    }

    /// Takes a disk that is formatted already.
    ///
    /// # Errors
    /// When it is not, or cannot be served.
    pub fn open(path: PathBuf, attachment: Attachment) -> Result<Self> {
        let id = collector::DumpDisk::open(&path).context("opening the dump disk")?.id();
        let header = header(&path).context("reading the dump disk")?;
        let server = attachment.is_served().then(|| NbdServer::start(&path)).transpose()?;
        Ok(Self {
            path,
            target: format!("virtio-blk:id={id}"),
            attachment,
            header,
            server,
            busy: None,
        })
    }

    /// The file behind it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds another disk behind the dump disk, slow to read, with other bytes in every place, so
    /// that what comes late from it can be told from what came before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_busy(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("busy-disk");
        let bytes: Vec<u8> = (0..BUSY_SIZE / 8).flat_map(u64::to_le_bytes).collect();
        fs::write(&path, bytes).context("writing the busy disk")?;
        self.busy = Some(path);
        Ok(())
    }

    fn busy_arguments(&self) -> Vec<String> {
        let Some(path) = &self.busy else { return Vec::new() };
        let path = path.display().to_string().replace(',', ",,");
        let drive =
            format!("if=none,id=busy,format=raw,file={path},throttling.bps-read={BUSY_RATE}");
        let words = ["-drive", &drive, "-device", "virtio-blk-pci,drive=busy"];
        words.map(str::to_string).to_vec()
    }

    /// QEMU's words for it on a machine of this kind; `properties` are more properties of its
    /// device.
    ///
    /// On PCI a transitional virtio-blk device. Its host cache is `unsafe`: what is lost when the
    /// host dies does not matter here, and a flush costs nothing.
    pub fn arguments(&self, machine: MachineType, properties: &str) -> Vec<String> {
        // A comma in an option's value is doubled.
        let shown = |path: &Path| path.display().to_string().replace(',', ",,");
        let path = shown(&self.path);
        let (file, more) = match self.attachment {
            Attachment::Absent => return Vec::new(),
            Attachment::Whole => (format!("file={path}"), String::new()),
            Attachment::ReadOnly => (format!("file={path}"), ",readonly=on".to_string()),
            Attachment::PowerLoss => {
                (format!("file={path}"), format!(",throttling.bps-write={SLOW_RATE}"))
            }
            Attachment::FailsAt { sector } => failing_writes(&path, sector, EIO),
            Attachment::Full { sector } => {
                let (file, more) = failing_writes(&path, sector, ENOSPC);
                (file, format!("{more},werror=report"))
            }
            Attachment::Stalls | Attachment::Dies => {
                let socket = self.server.as_ref().map(|server| shown(&server.socket()));
                let socket = socket.unwrap_or_default();
                (
                    format!("file.driver=nbd,file.server.type=unix,file.server.path={socket}"),
                    format!(",throttling.bps-write={SERVED_RATE}"),
                )
            }
        };
        let words = [
            "-drive",
            &format!("if=none,id=dump,format=raw,cache=unsafe,{file}{more}"),
            "-device",
            &format!("{},drive=dump,{properties}", machine.disk_device()),
        ];
        words.into_iter().map(str::to_string).chain(self.busy_arguments()).collect()
    }

    /// Has the process behind the disk do what it is there for, when the capture has got that far.
    /// It is gone before the machine is reset: QEMU waits for one that is stopped.
    ///
    /// # Errors
    /// When the process cannot be stopped.
    pub fn follow(&mut self, reached: Stage) -> Result<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        match (self.attachment, reached) {
            (Attachment::Stalls, Stage::FirstByte) => server.stop()?,
            (Attachment::Dies, Stage::FirstByte) | (_, Stage::Failed) => server.kill(),
            (Attachment::Stalls, Stage::Done) => server.kill(),
            _ => {}
        }
        Ok(())
    }

    /// Whether the machine is to be killed now: there is something on the disk, and not everything.
    pub fn kills(&self) -> bool {
        self.attachment == Attachment::PowerLoss && self.has_marks().unwrap_or(false)
    }

    fn has_marks(&self) -> Result<bool, collector::Error> {
        let disk = collector::DumpDisk::open(&self.path)?;
        let Some(dump) = disk.dumps.last() else { return Ok(false) };
        let missing = disk.missing(dump)?.iter().map(|(start, end)| end - start).sum::<u64>();
        Ok(missing < dump.length)
    }

    /// Looks at the disk when there is no whole dump on it. What is extracted all the same goes to
    /// `out`, and is compared with `memory`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn after_failure(&self, out: &Path, memory: &GuestMemory) -> Result<DiskAfter> {
        let header_written = header(&self.path)? != self.header;
        let mut file = File::open(&self.path).context("opening the dump disk")?;
        file.seek(SeekFrom::Start(HEADER as u64 + DUMP_HEADER))?;
        let data_written = has_data(file).context("reading the dump disk")?;
        let (refused, partial) = match collector::extract(&self.path, None, out, &mut |_, _| {}) {
            Ok(extracted) => {
                let partial = partial(&extracted, memory).context("comparing a partial dump")?;
                (extracted.trouble().unwrap_or_default(), partial)
            }
            Err(error) => (error.to_string(), None),
        };
        Ok(DiskAfter { refused, header_written, data_written, partial })
    }
}

/// The disk's headers, or as much of them as the file has.
fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER as u64).read_to_end(&mut header)?;
    Ok(header)
}

/// Compares what is there of a vmcore with the memory that its PT_LOADs describe.
fn partial(extracted: &Extracted, memory: &GuestMemory) -> Result<Option<Partial>> {
    let Some(path) = &extracted.path else { return Ok(None) };
    let core = CoreFile::open(path)?;
    let is_missing = |at: u64| {
        let missing = extracted.missing.iter().chain(&extracted.damaged);
        missing.clone().any(|(start, end)| (*start..*end).contains(&at))
    };
    let (mut compared, mut wrong) = (0, 0);
    for load in &core.loads {
        // Chunks begin and end at pages of the file, and PT_LOADs begin there.
        for at in (0..load.filesz).step_by(PAGE) {
            let length = PAGE.min((load.filesz - at) as usize);
            if is_missing(load.offset + at) {
                continue;
            }
            let (mut there, mut truth) = (vec![0; length], vec![0; length]);
            core.read_at(load.offset + at, &mut there)?;
            memory.read(load.paddr + at, &mut truth)?;
            compared += length as u64;
            wrong +=
                there.iter().zip(&truth).filter(|(there, truth)| there != truth).count() as u64;
        }
    }
    Ok(Some(Partial { length: extracted.length, there: extracted.there(), compared, wrong }))
}

/// Numbers of errors, as Linux has them.
const EIO: u32 = 5;
const ENOSPC: u32 = 28;

/// QEMU's words for the image at `path`, writes to a sector of which end in an error.
fn failing_writes(path: &str, sector: u64, error: u32) -> (String, String) {
    (
        format!("file.driver=blkdebug,file.image.driver=file,file.image.filename={path}"),
        format!(
            ",file.inject-error.0.event=none,file.inject-error.0.iotype=write\
             ,file.inject-error.0.sector={sector},file.inject-error.0.errno={error}"
        ),
    )
}

/// Whether anything but zeros follows. The disk may be larger than the host's memory.
fn has_data(mut rest: impl Read) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match rest.read(&mut chunk)? {
            0 => return Ok(false),
            length if chunk[..length].iter().any(|byte| *byte != 0) => return Ok(true),
            _ => (),
        }
    }
}
