//! A command as virtio-scsi carries it, and the answer (virtio 1.2, section 5.6.6.1).

use super::super::requests::Requests;
use crate::driver::scsi::{CDB, Command, Failure, SENSE, Sense};
use zerocopy::{Immutable, IntoBytes};

/// Bytes of the answer: `sense_len`, `residual`, status and response, then the sense data.
pub(super) const ANSWER: usize = 12 + SENSE_SIZE as usize;
/// Bytes of a command, and of sense data: the values that a device has after its reset.
pub(super) const CDB_SIZE: u32 = 32;
pub(super) const SENSE_SIZE: u32 = 96;

/// Offsets in the answer.
const RESIDUAL: usize = 4;
const STATUS: usize = 10;
const RESPONSE: usize = 11;
const SENSE_DATA: usize = 12;

/// SAM-5 status codes.
const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

/// The place of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) target: u8,
    /// At most 14 bits.
    pub(super) lun: u16,
}

/// `struct virtio_scsi_req_cmd` up to the data.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Head {
    lun: [u8; 8],
    tag: [u8; 8],
    attributes: [u8; 3],
    cdb: [u8; CDB_SIZE as usize],
}

impl Head {
    /// `tag` is another one for each command in flight.
    pub(super) fn new(to: Address, tag: u16, command: Command) -> Self {
        let [high, low] = to.lun.to_be_bytes();
        let mut cdb = [0; CDB_SIZE as usize];
        cdb[..CDB].copy_from_slice(&command.bytes());
        Self {
            lun: [1, to.target, high | 0x40, low, 0, 0, 0, 0],
            tag: u64::from(tag).to_le_bytes(),
            attributes: [0; 3],
            cdb,
        }
    }
}

/// The answer to a command.
pub(super) enum Answer {
    /// It was done, but for so many bytes.
    Done(u32),
    /// It was not, and the disk tells the reason.
    Sense(Sense, u32),
    /// The disk or the controller is busy with other commands.
    Busy(Failure),
    /// It was thrown away before the disk had it.
    Dropped(Failure),
    /// It has failed.
    Failed(Failure),
}

impl Answer {
    /// Reads the answer in a slot.
    pub(super) fn read(requests: &Requests, slot: u16) -> Self {
        let residual = u32::from_le_bytes(requests.reply(slot, RESIDUAL));
        let response: u8 = requests.reply(slot, RESPONSE);
        match response {
            // The second is OVERRUN: more data than there is room for. We never have less.
            0 | 1 => {}
            2 => return Self::Dropped(Failure::Undelivered("it was aborted")),
            3 => return Self::Failed(Failure::Undelivered("it was removed, or never was there")),
            4 => return Self::Dropped(Failure::Undelivered("the bus was reset")),
            5 => return Self::Busy(Failure::Undelivered("the controller is busy")),
            6 => return Self::Failed(Failure::Undelivered("the way to it has failed")),
            7 => return Self::Failed(Failure::Undelivered("the target has failed")),
            8 => return Self::Failed(Failure::Undelivered("the way to it is closed")),
            _ => return Self::Failed(Failure::Undelivered("the controller has failed")),
        }
        let status = requests.reply(slot, STATUS);
        match status {
            GOOD => Self::Done(residual),
            CHECK_CONDITION => {
                let data: [u8; SENSE] = requests.reply(slot, SENSE_DATA);
                let length = u32::from_le_bytes(requests.reply(slot, 0));
                match Sense::parse(&data[..SENSE.min(length as usize)]) {
                    Some(sense) => Self::Sense(sense, residual),
                    None => Self::Failed(Failure::Status(status)),
                }
            }
            // Busy, or its queue is full.
            8 | 0x28 => Self::Busy(Failure::Status(status)),
            _ => Self::Failed(Failure::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_laid_out_as_the_standard_says() {
        let head = Head::new(Address { target: 3, lun: 0x102 }, 7, Command::Flush);
        let bytes = head.as_bytes();
        assert_eq!(bytes.len(), 51);
        assert_eq!(bytes[..8], [1, 3, 0x41, 2, 0, 0, 0, 0]);
        assert_eq!(bytes[8..19], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bytes[19], &bytes[20..]), (0x35, &[0; 31][..]));
    }
}
