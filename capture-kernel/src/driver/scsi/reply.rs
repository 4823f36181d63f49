//! The data that disks answer with (SPC-4, SBC-3). Bytes that are not there are no answer.

/// Size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of blocks, not zero.
    pub blocks: u64,
    /// Bytes of a block, whatever the disk says.
    pub block_size: u32,
}

/// Parts of MODE SENSE's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// The disk cannot be written.
    pub is_read_only: bool,
    /// The disk has a cache that keeps writes back, if it tells.
    pub has_cache: Option<bool>,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The peripheral device type of standard INQUIRY data; [`None`] where no device is connected.
pub fn device_type(inquiry: &[u8]) -> Option<u8> {
    let first = inquiry.first()?;
    (first >> 5 == 0).then_some(first & 0x1f)
}

/// READ CAPACITY (10). A disk with more blocks than it can say has 2^32 here.
pub fn capacity_10(bytes: &[u8]) -> Option<Capacity> {
    let last = u32::from_be_bytes(array(bytes, 0)?);
    let block_size = u32::from_be_bytes(array(bytes, 4)?);
    Some(Capacity { blocks: u64::from(last) + 1, block_size })
}

/// READ CAPACITY (16).
pub fn capacity_16(bytes: &[u8]) -> Option<Capacity> {
    let last = u64::from_be_bytes(array(bytes, 0)?);
    let block_size = u32::from_be_bytes(array(bytes, 8)?);
    Some(Capacity { blocks: last.checked_add(1)?, block_size })
}

/// The most blocks of one transfer by the page "block limits"; [`None`] where there is no limit.
pub fn block_limits(bytes: &[u8]) -> Option<u32> {
    let [_, page, ..] = *bytes else { return None };
    let most = u32::from_be_bytes(array(bytes, 8)?);
    (page == 0xb0 && most > 0).then_some(most)
}

/// MODE SENSE (6), any pages.
pub fn mode(bytes: &[u8]) -> Option<Mode> {
    let [length, _, specific, descriptors, ..] = *bytes else { return None };
    let end = bytes.len().min(usize::from(length) + 1);
    let mut pages = bytes.get(..end)?.get(4 + usize::from(descriptors)..).unwrap_or(&[]);
    let mut has_cache = None;
    while let [code, length, rest @ ..] = pages {
        let page = rest.get(..usize::from(*length)).unwrap_or(rest);
        if code & 0x7f == 8 {
            has_cache = page.first().map(|flags| flags & 4 != 0);
            break;
        }
        pages = &rest[page.len()..];
    }
    Some(Mode { is_read_only: specific & 0x80 != 0, has_cache })
}

/// The numbers of REPORT LUNS, of one level. Well-known units and those behind bridges are left
/// out.
pub fn luns(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let length = array(bytes, 0).map_or(0, u32::from_be_bytes);
    let list = bytes.get(8..).unwrap_or(&[]);
    let entries = list.as_chunks::<8>().0.iter().take(length as usize / 8);
    entries.filter_map(|entry| match *entry {
        [0, lun, 0, 0, 0, 0, 0, 0] => Some(lun.into()),
        [high @ 0x40..0x80, low, 0, 0, 0, 0, 0, 0] => Some(u16::from_be_bytes([high & 0x3f, low])),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn types_of_devices() {
        assert_eq!(device_type(&[0, 0, 5, 2]), Some(0));
        assert_eq!(device_type(&[5]), Some(5));
        // Nothing is connected there, or can be.
        assert_eq!(device_type(&[0x20]), None);
        assert_eq!(device_type(&[0x7f]), None);
        assert_eq!(device_type(&[]), None);
    }

    #[test]
    fn capacities() {
        let found = Capacity { blocks: 0x1000, block_size: 512 };
        assert_eq!(capacity_10(&[0, 0, 0xf, 0xff, 0, 0, 2, 0]), Some(found));
        let large = capacity_10(&[0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
        assert_eq!(large.map(|capacity| capacity.blocks), Some(1 << 32));
        assert_eq!(capacity_10(&[0; 7]), None);
        let found = Capacity { blocks: 0x1_0000_0001, block_size: 4096 };
        assert_eq!(capacity_16(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 16, 0, 9]), Some(found));
        assert_eq!(capacity_16(&[0xff; 32]), None);
        assert_eq!(capacity_16(&[0; 11]), None);
    }

    #[test]
    fn limits() {
        let mut page = [0; 64];
        (page[1], page[3], page[11]) = (0xb0, 60, 9);
        assert_eq!(block_limits(&page), Some(9));
        assert_eq!(block_limits(&page[..11]), None);
        page[11] = 0;
        assert_eq!(block_limits(&page), None);
        (page[1], page[11]) = (0, 9);
        assert_eq!(block_limits(&page), None, "another page");
    }

    #[test]
    fn modes() {
        let found = |bytes: &[u8]| mode(bytes).map(|mode| (mode.is_read_only, mode.has_cache));
        assert_eq!(found(&[3, 0, 0x10, 0]), Some((false, None)));
        assert_eq!(found(&[3, 0, 0x90, 0]), Some((true, None)));
        // One block descriptor of 8 bytes, another page, and that of the cache.
        let mut bytes = std::vec![19, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 2, 9, 9, 0x88, 2, 4, 0];
        assert_eq!(found(&bytes), Some((false, Some(true))));
        bytes[18] = 0xfb;
        assert_eq!(found(&bytes), Some((false, Some(false))));
        // The list ends before the page, at its length and at the end of the bytes.
        bytes[0] = 15;
        assert_eq!(found(&bytes), Some((false, None)));
        assert_eq!(found(&[0xff, 0, 0, 0xff, 8, 2, 4]), Some((false, None)));
        assert_eq!(found(&[0xff, 0, 0, 0, 8, 200, 4]), Some((false, Some(true))));
        assert_eq!(found(&[0xff, 0, 0]), None);
    }

    #[test]
    fn units() {
        let mut bytes = std::vec![0, 0, 0, 40, 0, 0, 0, 0];
        let entries: [[u8; 8]; 6] = [
            [0, 3, 0, 0, 0, 0, 0, 0],
            [0x41, 2, 0, 0, 0, 0, 0, 0],
            // REPORT LUNS' own unit; behind a bridge; on another bus.
            [0xc1, 1, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0, 0, 0],
            [0, 9, 0, 0, 0, 0, 0, 0],
        ];
        bytes.extend(entries.as_flattened());
        let found = |bytes: &[u8]| luns(bytes).collect::<Vec<_>>();
        assert_eq!(found(&bytes), [3, 0x102]);
        bytes[..4].fill(0xff);
        assert_eq!(found(&bytes), [3, 0x102, 9]);
        assert_eq!(found(&bytes[..17]), [3]);
        assert_eq!(found(&[0xff; 7]), []);
    }
}
