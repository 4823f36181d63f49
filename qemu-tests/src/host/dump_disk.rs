//! The disk that the dump goes to, whole or with a fault.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use handoff::Stage;

use crate::host::controller::Controller;
use crate::host::machine_type::{MachineType, option_path};
use crate::host::nbd::NbdServer;
use crate::host::partitioned::Partitioned;

/// Bytes of the disk's two headers.
pub(crate) const HEADER: usize = 8192;

/// The attachment of the dump disk to QEMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// As an ordinary disk.
    #[default]
    Whole,
    /// There is no dump disk.
    Absent,
    /// Write-protected.
    ReadOnly,
    /// A write that touches this sector of 512 bytes ends in an I/O error.
    FailsAt {
        /// The sector's number.
        sector: u64,
    },
    /// The backing file has no room for a write that touches this sector of 512 bytes, and QEMU
    /// reports it to the guest: by default QEMU stops the machine until there is room.
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

/// Bytes per second of a disk that a process serves: the end of the dump is seconds off when its
/// first byte is there.
const SERVED_RATE: u64 = 16 << 20;
/// The same for a disk whose machine is killed: many seconds, since the capture kernel records its
/// progress once per second of its own clock.
const SLOW_RATE: u64 = 8 << 20;

/// A formatted dump disk.
#[derive(Debug)]
pub struct DumpDisk {
    path: PathBuf,
    /// The value of `kdump.target=` that names it.
    pub target: String,
    controller: Controller,
    attachment: Attachment,
    header: Vec<u8>,
    server: Option<NbdServer>,
    /// The disk that it is a partition of, if it is one.
    around: Option<Partitioned>,
}

impl DumpDisk {
    /// Makes and formats a disk of `size` bytes in `folder`. With `has_room` the file has all its
    /// room at once: where files live in memory, to find it while a dump is written takes longer
    /// than the dump itself, and how long depends on the host. Zeros are written, because a host
    /// may also give the memory that a page of the file needs only when it is touched.
    ///
    /// # Errors
    /// Fails if the file cannot be written or served.
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
    /// Fails if the disk is not formatted, or cannot be served.
    pub fn open(path: PathBuf, attachment: Attachment) -> Result<Self> {
        let id = collector::DumpDisk::open(&path).context("opening the dump disk")?.id();
        let header = header(&path).context("reading the dump disk")?;
        let server = attachment.is_served().then(|| NbdServer::start(&path)).transpose()?;
        let controller = Controller::default();
        let target = format!("disk:id={id}");
        Ok(Self { path, target, controller, attachment, header, server, around: None })
    }

    /// The same disk, on this controller.
    #[must_use]
    pub fn on(self, controller: Controller) -> Self {
        Self { controller, ..self }
    }

    /// The same, as a partition of a disk. Its file has the dump after [`Self::take_out`].
    ///
    /// # Errors
    /// Fails if the disk's image cannot be written.
    pub fn on_partition(self) -> Result<Self> {
        let around = Partitioned::around(&self.path).context("a disk with partitions")?;
        Ok(Self { around: Some(around), ..self })
    }

    /// After the cycle: puts a partition that is the dump disk into its file; whether the rest of
    /// its disk is as it was. [`None`] for a whole disk.
    pub fn take_out(&self) -> Option<Result<String>> {
        self.around.as_ref().map(|around| around.take_out(&self.path))
    }

    /// The backing file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// QEMU's words for it and its controller on a machine of this kind; `properties` are more
    /// properties of these.
    ///
    /// Its host cache is `unsafe`: data loss at the host's death does not matter here, and a flush
    /// costs nothing.
    pub fn arguments(&self, machine: MachineType, properties: &str) -> Vec<String> {
        let path = self.around.as_ref().map_or(&self.path, |around| &around.image);
        let path = option_path(path);
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
                let socket = self.server.as_ref().map(|server| option_path(&server.socket()));
                let socket = socket.unwrap_or_default();
                (
                    format!("file.driver=nbd,file.server.type=unix,file.server.path={socket}"),
                    format!(",throttling.bps-write={SERVED_RATE}"),
                )
            }
        };
        let drive = format!("if=none,id=dump,format=raw,cache=unsafe,{file}{more}");
        let devices = self.controller.devices(machine, "dump", properties);
        let devices = devices.into_iter().flat_map(|device| ["-device".to_string(), device]);
        ["-drive".to_string(), drive].into_iter().chain(devices).collect()
    }

    /// True if the cycle has changed the disk's headers.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn has_new_header(&self) -> Result<bool> {
        Ok(header(&self.path)? != self.header)
    }

    /// Stops or kills the process that serves the disk, as configured, once the capture has got
    /// that far. It is gone before the machine is reset: QEMU waits for a stopped one.
    ///
    /// # Errors
    /// Fails if the process cannot be stopped.
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

    /// True if the machine is to be killed now: the disk has a part of the dump, and not all of it.
    pub fn kills(&self) -> bool {
        self.attachment == Attachment::PowerLoss && self.has_marks().unwrap_or(false)
    }

    fn has_marks(&self) -> Result<bool, collector::Error> {
        let disk = collector::DumpDisk::open(&self.path)?;
        let Some(dump) = disk.dumps.last() else { return Ok(false) };
        let missing = disk.missing(dump)?.iter().map(|(start, end)| end - start).sum::<u64>();
        Ok(missing < dump.length)
    }
}

/// The disk's headers, or as much of them as the file has.
fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(HEADER as u64).read_to_end(&mut header)?;
    Ok(header)
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
