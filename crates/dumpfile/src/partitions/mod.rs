//! Partitions of a disk, any of which may be a dump disk: GPT (UEFI 2.10, chapter 5), and MBR with
//! logical partitions.
//!
//! A partition table is foreign bytes. It only names places where a header may be: a dump goes to
//! one whose header carries the id that was asked for. The rules are those of Linux, so that a
//! partition has the number that its user knows. Beyond them, a partition is left alone if it
//! overlaps another one or a table.

mod disk;
mod gpt;
mod mbr;
#[cfg(test)]
mod tests;

pub use disk::{Disk, Fault, MOST, Partition, Read};

use alloc::vec;
use alloc::vec::Vec;
use disk::PIECE;

/// True if the first sector of a disk has a partition table, with entries that make sense or none.
pub fn is_partition_table(sector: &[u8]) -> bool {
    mbr::entries(sector).is_some()
}

impl<E> Disk<'_, E> {
    /// The partitions, in the order of their numbers; those that cannot be used are given to
    /// `complain`.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn partitions(&mut self, complain: &mut dyn FnMut(Fault)) -> Result<Vec<Partition>, E> {
        let is_known = self.sector.is_power_of_two() && (512..=PIECE as u32).contains(&self.sector);
        if !is_known || self.size < u64::from(self.sector) {
            return Ok(Vec::new());
        }
        let mut piece = vec![0; PIECE];
        let front = &mut piece[..self.sector as usize];
        (self.read)(0, front)?;
        let Some(entries) = mbr::entries(front) else { return Ok(Vec::new()) };
        let found = match entries.iter().any(mbr::Entry::is_protective) {
            true => gpt::find(self, &mut piece, complain)?,
            false => mbr::find(self, &entries, &mut piece, complain)?,
        };
        Ok(found.usable(complain))
    }
}
