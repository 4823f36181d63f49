//! The commands that a disk needs, as bytes (SPC-4, SBC-3).

/// Bytes of the longest command.
pub const CDB: usize = 16;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// START STOP UNIT: start, and answer when it is ready.
    Start,
    /// INQUIRY, the standard data, into so many bytes.
    Inquiry(u8),
    /// INQUIRY, the page "block limits", into so many bytes.
    BlockLimits(u8),
    /// READ CAPACITY (10): 8 bytes.
    Capacity10,
    /// READ CAPACITY (16), into so many bytes.
    Capacity16(u8),
    /// MODE SENSE (6) of this page, into so many bytes.
    ModeSense(u8, u8),
    /// REPORT LUNS, into so many bytes.
    ReportLuns(u32),
    /// Reads so many blocks from this one on.
    Read(u64, u32),
    /// Writes so many blocks from this one on.
    Write(u64, u32),
    /// SYNCHRONIZE CACHE (10): all blocks.
    Flush,
}

impl Command {
    /// Its bytes; those after a shorter command are zero.
    pub fn bytes(self) -> [u8; CDB] {
        let mut cdb = [0; CDB];
        match self {
            Self::TestUnitReady => {}
            Self::Start => (cdb[0], cdb[4]) = (0x1b, 1),
            Self::Inquiry(length) => (cdb[0], cdb[4]) = (0x12, length),
            Self::BlockLimits(length) => {
                (cdb[0], cdb[1], cdb[2], cdb[4]) = (0x12, 1, 0xb0, length);
            }
            Self::Capacity10 => cdb[0] = 0x25,
            Self::Capacity16(length) => (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, length),
            Self::ModeSense(page, length) => (cdb[0], cdb[2], cdb[4]) = (0x1a, page, length),
            Self::ReportLuns(length) => {
                cdb[0] = 0xa0;
                cdb[6..10].copy_from_slice(&length.to_be_bytes());
            }
            Self::Read(block, count) => transfer(&mut cdb, [0x28, 0x88], block, count),
            Self::Write(block, count) => transfer(&mut cdb, [0x2a, 0x8a], block, count),
            Self::Flush => cdb[0] = 0x35,
        }
        cdb
    }
}

/// A read or a write, by 10 bytes where they suffice: every disk knows those.
fn transfer(cdb: &mut [u8; CDB], [short, long]: [u8; 2], block: u64, count: u32) {
    let last = block.checked_add(count.into());
    match (u32::try_from(block), u16::try_from(count)) {
        (Ok(block), Ok(count)) if last.is_some_and(|last| last <= 1 << 32) => {
            cdb[0] = short;
            cdb[2..6].copy_from_slice(&block.to_be_bytes());
            cdb[7..9].copy_from_slice(&count.to_be_bytes());
        }
        _ => {
            cdb[0] = long;
            cdb[2..10].copy_from_slice(&block.to_be_bytes());
            cdb[10..14].copy_from_slice(&count.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of each command, as the tables of SPC-4 and SBC-3 have them.
    #[test]
    fn bytes_are_those_of_the_standard() {
        let table: [(Command, &[u8]); 14] = [
            (Command::TestUnitReady, &[0, 0, 0, 0, 0, 0]),
            (Command::Start, &[0x1b, 0, 0, 0, 1, 0]),
            (Command::Inquiry(36), &[0x12, 0, 0, 0, 36, 0]),
            (Command::BlockLimits(64), &[0x12, 1, 0xb0, 0, 64, 0]),
            (Command::Capacity10, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Command::Capacity16(32), &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]),
            (Command::ModeSense(8, 192), &[0x1a, 0, 8, 0, 192, 0]),
            (Command::ReportLuns(8192), &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0]),
            (Command::Flush, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Command::Read(0x1234_5678, 16), &[0x28, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 16, 0]),
            (Command::Write(1, 0xffff), &[0x2a, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0]),
            (Command::Write(0, 0x1_0000), &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
            // The last block that 32 bits can name, and one after it.
            (Command::Write(0xffff_ffff, 1), &[0x2a, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0]),
            (
                Command::Read(0xffff_ffff, 2),
                &[0x88, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 0],
            ),
        ];
        for (command, expected) in table {
            let bytes = command.bytes();
            assert_eq!(&bytes[..expected.len()], expected, "{command:?}");
            assert!(bytes[expected.len()..].iter().all(|byte| *byte == 0), "{command:?}");
        }
    }
}
