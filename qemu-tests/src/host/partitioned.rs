//! A disk with a GPT that a program which is not ours has written, and the dump disk on one of its
//! partitions, between two others.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gptman::{GPT, GPTPartitionEntry};
use sha2::{Digest, Sha256};

const SECTOR: u64 = 512;
/// Length of each of the other partitions, and start of the first, in bytes.
const OTHER: u64 = 1 << 20;
/// Number of the partition that is the dump disk.
const OURS: u32 = 2;
/// Bytes that are copied or hashed at once.
const PIECE: usize = 1 << 20;

/// The disk.
#[derive(Debug)]
pub(super) struct Partitioned {
    /// Its image.
    pub(super) image: PathBuf,
    /// Bytes of the dump disk in it.
    place: Range<u64>,
    /// SHA-256 of all others.
    rest: [u8; 32],
}

impl Partitioned {
    /// Makes the disk beside `dump_disk`, an image whose bytes its second partition gets.
    pub(super) fn around(dump_disk: &Path) -> Result<Self> {
        let length = fs::metadata(dump_disk)?.len().next_multiple_of(SECTOR);
        let place = 2 * OTHER..2 * OTHER + length;
        let after = place.end..place.end + OTHER;
        let image = dump_disk.with_extension("image");
        let mut file = File::options().read(true).write(true).create_new(true).open(&image)?;
        file.set_len(after.end + OTHER)?;
        write_table(&mut file, &[OTHER..2 * OTHER, place.clone(), after.clone()])?;
        for other in [OTHER, after.start] {
            file.seek(SeekFrom::Start(other))?;
            let bytes: Vec<_> = (0..OTHER).map(|at| (at / 7 % 251) as u8).collect();
            file.write_all(&bytes)?;
        }
        file.seek(SeekFrom::Start(place.start))?;
        copy(&mut File::open(dump_disk)?, &mut file)?;
        let rest = rest(&mut file, &place)?;
        Ok(Self { image, place, rest })
    }

    /// After the cycle: copies the partition back to `dump_disk`, and checks that all other bytes
    /// are as they were.
    pub(super) fn take_out(&self, dump_disk: &Path) -> Result<String> {
        let mut image = File::open(&self.image)?;
        let mut out = File::options().write(true).truncate(true).open(dump_disk)?;
        image.seek(SeekFrom::Start(self.place.start))?;
        let length = self.place.end - self.place.start;
        copy(&mut (&mut image).take(length), &mut out)?;
        out.set_len(length)?;
        ensure!(rest(&mut image, &self.place)? == self.rest, "bytes around it have changed");
        let others = image.metadata()?.len() - length;
        Ok(format!("the dump is on partition {OURS}; the {others} bytes around it are as before"))
    }
}

/// Writes a GPT with these partitions, and the MBR that protects it.
fn write_table(file: &mut File, places: &[Range<u64>]) -> Result<()> {
    let mut table = GPT::new_from(file, SECTOR, [0x17; 16]).context("a GPT")?;
    for (number, place) in (1..).zip(places) {
        table[number] = GPTPartitionEntry {
            partition_type_guid: LINUX,
            unique_partition_guid: [number as u8; 16],
            starting_lba: place.start / SECTOR,
            ending_lba: place.end / SECTOR - 1,
            attribute_bits: 0,
            partition_name: "kdump".into(),
        };
    }
    table.write_into(file).context("a GPT")?;
    GPT::write_protective_mbr_into(file, SECTOR).context("an MBR")
}

/// The type of data of Linux, 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it is on the disk.
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Copies bytes; zeros become holes.
fn copy(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        if from.take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        match piece.iter().all(|byte| *byte == 0) {
            true => to.seek(SeekFrom::Current(piece.len() as i64)).map(drop)?,
            false => to.write_all(&piece)?,
        }
    }
}

/// SHA-256 of all bytes outside of `place`.
fn rest(file: &mut File, place: &Range<u64>) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    file.rewind()?;
    io::copy(&mut file.take(place.start), &mut digest)?;
    file.seek(SeekFrom::Start(place.end))?;
    io::copy(file, &mut digest)?;
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_around_the_partition_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let dump_disk = folder.path().join("dump-disk");
        let bytes = [[7; 4096].as_slice(), &[0; 1 << 21], &[9; 512]].concat();
        fs::write(&dump_disk, &bytes).expect("a file");
        let disk = Partitioned::around(&dump_disk).expect("a disk");
        fs::write(&dump_disk, b"").expect("a file");
        let said = disk.take_out(&dump_disk).expect("as it was");
        assert!(said.contains("partition 2"), "{said}");
        assert_eq!(fs::read(&dump_disk).expect("a file"), bytes);
        for at in [512, disk.place.start - 1, disk.place.end] {
            let mut image = fs::read(&disk.image).expect("an image");
            image[at as usize] ^= 1;
            let changed = Partitioned { image: folder.path().join("changed"), ..disk_of(&disk) };
            fs::write(&changed.image, image).expect("an image");
            assert!(changed.take_out(&dump_disk).is_err(), "{at}");
        }
    }

    fn disk_of(disk: &Partitioned) -> Partitioned {
        Partitioned { image: disk.image.clone(), place: disk.place.clone(), rest: disk.rest }
    }
}
