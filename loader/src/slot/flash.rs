//! Writing a slot image to a device or a file, and looking whether it arrived.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, major, minor};

use crate::slot::in_use::user;

/// Size of one write and one read, in bytes.
const CHUNK: usize = 64 << 10;
/// No offset in a file is larger (`off_t`), in bytes.
const LONGEST_FILE: u64 = i64::MAX as u64;

/// The reason why an image is not on its device.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The image itself.
    #[error("nothing was written: {0}")]
    Image(#[from] slot_image::Error),
    /// The target cannot be opened or looked at.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The target.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Neither block device nor file.
    #[error(
        "{} is neither a block device nor a file; nothing was written (raw flash chips have tools \
         of their own)",
        path.display()
    )]
    NotAFile {
        /// The target.
        path: PathBuf,
    },
    /// Somebody uses the device.
    #[error("{} is in use ({by}); nothing was written", path.display())]
    InUse {
        /// The target.
        path: PathBuf,
        /// The user of the device, and the kind of use.
        by: String,
    },
    /// The image would end after the end of the device.
    #[error(
        "{} is too small: {size} bytes, and the image ends at {needed}; nothing was written",
        path.display()
    )]
    TooSmall {
        /// The target.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// End of the image, in bytes.
        needed: u64,
    },
    /// Reading or writing failed.
    #[error("{} {}: {source}: the image is not complete there", doing, path.display())]
    Io {
        /// The target.
        path: PathBuf,
        /// "writing" or "reading back".
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Something else was read than written.
    #[error(
        "{} differs from the image at byte {at}; replace the device",
        path.display()
    )]
    Differs {
        /// The target.
        path: PathBuf,
        /// Its first wrong byte, counted from the target's start.
        at: u64,
    },
}

/// Writes `image` to the block device or file `path` at `offset` bytes, waits until it is stored,
/// reads it back and compares. A file that does not exist is created. Calls `progress` several
/// times with the number of bytes written.
///
/// # Errors
/// The first thing that went wrong. Nothing is written to a device that is too small or in use, nor
/// when the image is damaged.
pub fn flash(
    image: &[u8],
    path: &Path,
    offset: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<(), FlashError> {
    slot_image::parse(image)?;
    let needed = offset.saturating_add(image.len() as u64);
    let check = |size| match needed > size {
        true => Err(FlashError::TooSmall { path: path.into(), size, needed }),
        false => Ok(()),
    };
    check(LONGEST_FILE)?;
    let file = open(path)?;
    check(room(&file).map_err(|source| FlashError::Open { path: path.into(), source })?)?;
    let writing = |source| FlashError::Io { path: path.into(), doing: "writing", source };
    for (index, chunk) in image.chunks(CHUNK).enumerate() {
        file.write_all_at(chunk, offset + (index * CHUNK) as u64).map_err(writing)?;
        progress((index * CHUNK) + chunk.len());
    }
    file.sync_all().map_err(writing)?;
    // The system's cache would say nothing about the device. If the cache cannot be dropped, the
    // comparison is still right.
    let _ = fadvise(&file, offset, None, Advice::DontNeed);
    compare(&file, path, image, offset)
}

/// Opens a target that has no other user.
fn open(path: &Path) -> Result<File, FlashError> {
    let failed = |source| FlashError::Open { path: path.into(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return options.create_new(true).open(path).map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        return options.open(path).map_err(failed);
    }
    if !kind.is_block_device() {
        return Err(FlashError::NotAFile { path: path.into() });
    }
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    let in_use = |by| FlashError::InUse { path: path.into(), by };
    if let Some(by) = user(Path::new("/"), device).map_err(failed)? {
        return Err(in_use(by));
    }
    // Of a block device, O_EXCL asks for a claim that file systems, swap and the like hold, too.
    options.custom_flags(libc::O_EXCL).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => in_use("the kernel says so".to_owned()),
        _ => failed(error),
    })
}

/// Limit of the target in bytes; a file grows.
fn room(mut file: &File) -> io::Result<u64> {
    if file.metadata()?.is_file() { Ok(LONGEST_FILE) } else { file.seek(SeekFrom::End(0)) }
}

fn compare(file: &File, path: &Path, image: &[u8], offset: u64) -> Result<(), FlashError> {
    let mut found = [0; CHUNK];
    for (index, chunk) in image.chunks(CHUNK).enumerate() {
        let at = offset + (index * CHUNK) as u64;
        let found = &mut found[..chunk.len()];
        file.read_exact_at(found, at).map_err(|source| FlashError::Io {
            path: path.into(),
            doing: "reading back",
            source,
        })?;
        if let Some(wrong) = found.iter().zip(chunk).position(|(found, wrote)| found != wrote) {
            return Err(FlashError::Differs { path: path.into(), at: at + wrong as u64 });
        }
    }
    Ok(())
}
