//! Tables that other programs write, and damage to them.

extern crate std;

use super::{Disk, Fault, MOST, Partition};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use gptman::{GPT, GPTPartitionEntry};
use mbrman::{BOOT_INACTIVE, CHS, LogicalPartition, MBR, MBRPartitionEntry};
use proptest::prelude::*;
use std::io::Cursor;

const MIB: usize = 1 << 20;

/// The partitions by number and sectors, and the faults.
fn read(disk: &[u8], sector: u32) -> (Vec<(u32, Range<u64>)>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut read = |at: u64, into: &mut [u8]| {
        assert!(at.is_multiple_of(sector.into()) && into.len().is_multiple_of(sector as usize));
        let here = &disk[at as usize..][..into.len()];
        into.copy_from_slice(here);
        Ok::<_, ()>(())
    };
    let mut all = Disk { size: disk.len() as u64, sector, read: &mut read };
    let found = all.partitions(&mut |fault| faults.push(fault)).expect("memory");
    let unit = u64::from(sector);
    let in_sectors = |place: Range<u64>| place.start / unit..place.end / unit;
    let found = found.into_iter().map(|Partition { number, place }| (number, in_sectors(place)));
    (found.collect(), faults)
}

/// A disk with the GPT that `gptman` writes: partitions 1, 2 and 4.
fn gpt(sector: u64, size: usize) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size]);
    let mut table = GPT::new_from(&mut disk, sector, [7; 16]).expect("room");
    for (number, starting_lba, ending_lba) in [(1, 64, 127), (2, 200, 200), (4, 128, 199)] {
        table[number] = GPTPartitionEntry {
            partition_type_guid: [0x0f; 16],
            unique_partition_guid: [number as u8; 16],
            starting_lba,
            ending_lba,
            attribute_bits: 0,
            partition_name: "kdump".into(),
        };
    }
    table.write_into(&mut disk).expect("room");
    GPT::write_protective_mbr_into(&mut disk, sector).expect("room");
    disk.into_inner()
}

fn gpt_partitions() -> Vec<(u32, Range<u64>)> {
    vec![(1, 64..128), (2, 200..201), (4, 128..200)]
}

#[test]
fn a_gpt_with_sectors_of_any_size() {
    for sector in [512, 1024, 4096] {
        let disk = gpt(sector.into(), 2 * MIB);
        assert_eq!(read(&disk, sector), (gpt_partitions(), vec![]), "{sector}");
    }
}

#[test]
fn any_damage_to_one_gpt_is_repaired_by_the_other() {
    for sector in [512_usize, 4096] {
        let (disk, backup) = (gpt(sector as u64, 2 * MIB), 2 * MIB - sector);
        // Signature, length, checksum, place, entries' place and number, first and last entry.
        for at in [0, 12, 16, 24, 72, 80, 88]
            .map(|at| sector + at)
            .into_iter()
            .chain([2 * sector, 2 * sector + 127 * 128])
        {
            let mut damaged = disk.clone();
            damaged[at] ^= 1;
            let one = read(&damaged, sector as u32);
            assert_eq!(one, (gpt_partitions(), vec![Fault::FirstGpt]), "{at}");
            damaged[backup + 88] ^= 1;
            assert_eq!(read(&damaged, sector as u32), (vec![], vec![Fault::BothGpts]), "{at}");
        }
    }
}

/// The GPT of `disk` with the last sector of partition 1 and the last sector for partitions.
fn with_last(mut disk: Vec<u8>, partition: u64, usable: Option<u64>) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    disk[1024 + 40..][..8].copy_from_slice(&partition.to_le_bytes());
    if let Some(usable) = usable {
        disk[512 + 48..][..8].copy_from_slice(&usable.to_le_bytes());
    }
    let entries = crc.checksum(&disk[1024..][..128 * 128]);
    disk[512 + 88..][..4].copy_from_slice(&entries.to_le_bytes());
    disk[512 + 16..][..4].fill(0);
    let header = crc.checksum(&disk[512..][..92]);
    disk[512 + 16..][..4].copy_from_slice(&header.to_le_bytes());
    disk
}

#[test]
fn partitions_that_cannot_be_are_named_and_left_alone() {
    let sectors = 2 * MIB as u64 / 512;
    let without_1 = gpt_partitions()[1..].to_vec();
    for (last, usable, fault) in [
        (63, None, Fault::Outside(1)),
        (u64::MAX, None, Fault::Outside(1)),
        (u64::MAX, Some(u64::MAX), Fault::Outside(1)),
        (sectors, Some(sectors), Fault::Outside(1)),
    ] {
        let disk = with_last(gpt(512, 2 * MIB), last, usable);
        assert_eq!(read(&disk, 512), (without_1.clone(), vec![fault]), "{last}");
    }
    let (found, faults) = read(&with_last(gpt(512, 2 * MIB), 200, None), 512);
    assert_eq!((found, faults), (vec![], vec![Fault::Overlap(1, 2), Fault::Overlap(1, 4)]));
    let (found, faults) = read(&with_last(gpt(512, 2 * MIB), sectors - 1, Some(sectors)), 512);
    assert_eq!(found, []);
    assert_eq!(faults[0], Fault::OverlapsTable(1));
}

#[test]
fn without_the_protective_entry_a_gpt_is_a_remnant() {
    let mut disk = gpt(512, 2 * MIB);
    disk[446 + 4] = 0x83;
    let (found, faults) = read(&disk, 512);
    assert_eq!((found.len(), faults), (1, vec![]), "the MBR's own");
    disk[511] = 0;
    assert_eq!(read(&disk, 512), (vec![], vec![]));
}

#[test]
fn no_more_than_a_table_with_names() {
    let mut disk = gpt(512, 2 * MIB);
    disk.resize(2 * MIB, 0);
    let table: Vec<u8> = (0..300_u64)
        .flat_map(|index| {
            let mut entry = [0; 128];
            entry[0] = 1;
            for at in [32, 40] {
                entry[at..][..8].copy_from_slice(&(1000 + index).to_le_bytes());
            }
            entry
        })
        .collect();
    let at = 2000 * 512;
    disk[at..][..table.len()].copy_from_slice(&table);
    disk[512 + 72..][..8].copy_from_slice(&2000_u64.to_le_bytes());
    disk[512 + 80..][..4].copy_from_slice(&300_u32.to_le_bytes());
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    disk[512 + 88..][..4].copy_from_slice(&crc.checksum(&table).to_le_bytes());
    disk[512 + 16..][..4].fill(0);
    let header = crc.checksum(&disk[512..][..92]);
    disk[512 + 16..][..4].copy_from_slice(&header.to_le_bytes());
    let (found, faults) = read(&disk, 512);
    assert_eq!((found.len(), faults), (MOST, vec![Fault::TooMany]));
    assert_eq!(found[MOST - 1], (256, 1255..1256));
}

/// A disk with the MBR that `mbrman` writes: a primary partition, and two logical ones.
fn mbr(sector: u32) -> Vec<u8> {
    let size = 1 << 11;
    let mut disk = Cursor::new(vec![0; size * sector as usize]);
    let mut table = MBR::new_from(&mut disk, sector, [1, 2, 3, 4]).expect("room");
    let entry = |sys, starting_lba, sectors| MBRPartitionEntry {
        boot: BOOT_INACTIVE,
        first_chs: CHS::empty(),
        sys,
        last_chs: CHS::empty(),
        starting_lba,
        sectors,
    };
    table[1] = entry(0x83, 1, 62);
    table[3] = entry(0x0f, 100, 1000);
    table.logical_partitions = [(101, 103, 50), (200, 263, 837)]
        .map(|(link, start, sectors)| LogicalPartition {
            partition: entry(0x83, start, sectors),
            absolute_ebr_lba: link,
            ebr_sectors: None,
            ebr_first_chs: CHS::empty(),
            ebr_last_chs: Some(CHS::empty()),
            bootstrap_code: [0; 446],
        })
        .to_vec();
    table.logical_partitions[0].absolute_ebr_lba = 100;
    table.logical_partitions[1].ebr_sectors = Some(900);
    table.write_into(&mut disk).expect("room");
    disk.into_inner()
}

#[test]
fn an_mbr_with_logical_partitions() {
    for sector in [512, 4096] {
        let expected = vec![(1, 1..63), (5, 103..153), (6, 263..1100)];
        assert_eq!(read(&mbr(sector), sector), (expected, vec![]), "{sector}");
    }
}

#[test]
fn a_list_of_logical_partitions_ends() {
    let (list, first) = (100 * 512, vec![(1, 1..63), (5, 103..153)]);
    // The next link is to itself, before its place, after it, and to a sector that is no table.
    for (next, kind) in [(0_u32, 5), (u32::MAX, 5), (1000, 0xf), (101, 0x85)] {
        let mut disk = mbr(512);
        disk[list + 446 + 16 + 4] = kind;
        disk[list + 446 + 16 + 8..][..4].copy_from_slice(&next.to_le_bytes());
        assert_eq!(read(&disk, 512), (first.clone(), vec![Fault::Logical(5)]), "{next}");
    }
}

#[test]
fn logical_partitions_stay_inside_of_the_extended_one() {
    let mut disk = mbr(512);
    disk[200 * 512 + 446 + 12..][..4].copy_from_slice(&838_u32.to_le_bytes());
    let (found, faults) = read(&disk, 512);
    assert_eq!((found.len(), faults), (2, vec![Fault::Outside(6)]));
    // A logical partition with the place of the next link in it.
    let mut disk = mbr(512);
    disk[100 * 512 + 446 + 12..][..4].copy_from_slice(&98_u32.to_le_bytes());
    let (found, faults) = read(&disk, 512);
    assert_eq!((found.len(), faults), (2, vec![Fault::OverlapsTable(5)]));
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error() {
    let bytes = gpt(512, 2 * MIB);
    for bad in [0, 512, 2 * MIB as u64 - 512] {
        let mut read = |at: u64, into: &mut [u8]| {
            into.copy_from_slice(&bytes[at as usize..][..into.len()]);
            if at == bad || bad != 0 && at == 512 { Err(at) } else { Ok(()) }
        };
        let mut disk = Disk { size: bytes.len() as u64, sector: 512, read: &mut read };
        let mut faults = Vec::new();
        let found = disk.partitions(&mut |fault| faults.push(fault));
        match bad {
            512 => assert_eq!((found.map(|all| all.len()), faults), (Ok(3), vec![Fault::FirstGpt])),
            _ => assert_eq!(found, Err(bad)),
        }
    }
}

proptest! {
    /// Whatever the bytes: partitions are apart, inside of the disk, and not over its first sector.
    #[test]
    fn partitions_are_apart(
        is_gpt: bool,
        changes in prop::collection::vec((0_usize..4096, any::<u8>()), 0..40),
        links in prop::collection::vec((0_usize..512, any::<u8>()), 0..20),
    ) {
        let mut disk = if is_gpt { gpt(512, 2 * MIB) } else { mbr(512) };
        changes.into_iter().for_each(|(at, byte)| disk[at] = byte);
        links.into_iter().for_each(|(at, byte)| disk[100 * 512 + at] = byte);
        let sectors = disk.len() as u64 / 512;
        let (mut found, _) = read(&disk, 512);
        found.sort_by_key(|(_, place)| place.start);
        let mut end = 1;
        for (_, place) in found {
            prop_assert!(end <= place.start && place.start <= place.end && place.end <= sectors);
            end = place.end;
        }
    }
}
