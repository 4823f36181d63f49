//! Answers of SCSI targets and disks.

use capture_kernel::driver::Error;
use capture_kernel::driver::scsi::{self, Ask, Command, Failure, Sense};

/// The most commands of one search or one look at a disk.
const MOST_COMMANDS: usize = 16;

/// A controller whose answers are the input's bytes: each has a kind, a length, and so many bytes.
struct Answers<'a> {
    rest: &'a [u8],
    commands: usize,
}

impl Answers<'_> {
    /// The next answer's kind and bytes; in the end nothing but refusals.
    fn next(&mut self) -> (u8, &[u8]) {
        let [kind, length, rest @ ..] = self.rest else { return (3, &[]) };
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        self.rest = rest;
        (*kind, bytes)
    }
}

impl Ask for Answers<'_> {
    fn ask(&mut self, _: u16, _: Command, into: &mut [u8]) -> Result<usize, Error> {
        self.commands += 1;
        assert!(self.commands <= MOST_COMMANDS, "an end to all questions");
        let (kind, bytes) = self.next();
        match kind % 4 {
            0 => {
                let length = bytes.len().min(into.len());
                into[..length].copy_from_slice(&bytes[..length]);
                Ok(length)
            }
            1 => match Sense::parse(bytes) {
                Some(sense) => Err(Error::Scsi(Failure::Sense(sense))),
                None => Err(Error::Scsi(Failure::Status(2))),
            },
            // More than there is room for, which no length of ours may trust.
            2 => Ok(usize::MAX),
            _ => Err(Error::Scsi(Failure::Undelivered("the end of the input"))),
        }
    }
}

/// Looks for units, and at a disk, with these answers.
///
/// # Panics
/// Panics if there is no end to the questions, or a disk has no size that can be used.
pub fn scsi(bytes: &[u8]) {
    if let Some(sense) = Sense::parse(bytes) {
        assert!(sense.key < 16 && !sense.to_string().is_empty());
        let _ = sense.next();
    }
    for most in [0, 5, 0x3fff] {
        let mut answers = Answers { rest: bytes, commands: 0 };
        let mut found = 0;
        let _ = scsi::find_units(&mut answers, most, &mut [0; 8192], &mut |lun| {
            assert!(lun <= most, "LUN {lun}");
            found += 1;
        });
        assert!(found <= 8192 / 8);
    }
    let mut answers = Answers { rest: bytes, commands: 0 };
    if let Ok(unit) = scsi::identify(&mut answers, 0) {
        let size = unit.capacity.block_size;
        assert!(size == 512 || size == 4096, "blocks of {size} bytes");
        assert!(
            unit.capacity.blocks > 0 && unit.capacity.blocks.checked_mul(size.into()).is_some()
        );
        assert_ne!(unit.most_blocks, Some(0));
    }
}
