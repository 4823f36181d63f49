//! A view or a part of one, in memory.

use dumpfile::wire::{Held, Range, Receiver, Write};
use sha2::{Digest, Sha256};

use super::Store;
use crate::Error;

/// A view or a part of one, in memory.
#[derive(Debug)]
pub(crate) struct Part {
    view: Option<u16>,
    offset: u64,
    bytes: Vec<u8>,
    /// Most bytes of a view that is wanted whole: its length is not known before it comes.
    most: Option<usize>,
}

impl Part {
    /// Room for `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self { view: None, offset: 0, bytes: vec![0; length], most: None }
    }

    /// Room for all of a view, or for its first `most` bytes.
    pub(crate) const fn whole(most: usize) -> Self {
        Self { view: None, offset: 0, bytes: Vec::new(), most: Some(most) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the place of a range, as far as it is wanted, and the length of the range before it.
    fn place(&mut self, offset: u64, length: u64) -> (&mut [u8], usize) {
        let end = self.offset + self.bytes.len() as u64;
        let from = offset.clamp(self.offset, end);
        let to = offset.saturating_add(length).clamp(from, end);
        let (start, stop) = ((from - self.offset) as usize, (to - self.offset) as usize);
        (&mut self.bytes[start..stop], from.saturating_sub(offset).min(length) as usize)
    }
}

impl Store for Part {
    fn prepare(&mut self, receiver: &Receiver) -> Result<(), Error> {
        for (number, view) in receiver.views() {
            if let Some((start, end)) = view.wanted {
                (self.view, self.offset) = (Some(number), start);
                if let Some(most) = self.most {
                    let length = usize::try_from(end - start).unwrap_or(most);
                    self.bytes.resize(length.min(most), 0);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &Write<'_>) -> Result<(), Error> {
        let Write { view, offset, bytes } = write;
        if self.view == Some(*view) {
            let (place, skip) = self.place(*offset, bytes.len() as u64);
            let length = place.len();
            place.copy_from_slice(&bytes[skip..][..length]);
        }
        Ok(())
    }

    fn clear(&mut self, range: Range) -> Result<(), Error> {
        if self.view == Some(range.view()) {
            self.place(range.offset(), range.length()).0.fill(0);
        }
        Ok(())
    }

    fn hash(&mut self, range: Range) -> Result<[u8; 32], Error> {
        Ok(Sha256::digest(self.place(range.offset(), range.length()).0).into())
    }

    fn save(&mut self, _: &Held) -> Result<u64, Error> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// A sender may send more than it was asked for.
    #[test]
    fn a_part_takes_what_lies_in_it() {
        let bytes = vec![0xff; 10];
        let mut part = Part { view: Some(0), offset: 100, bytes, most: None };
        let bytes: Vec<u8> = (0..20).collect();
        for (view, offset) in [(1, 100), (0, 50), (0, 110), (0, 95)] {
            part.write(&Write { view, offset, bytes: Cow::Borrowed(&bytes) }).expect("memory");
        }
        assert_eq!(part.bytes, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        let zeros = Range::new(0, 0, 103).expect("a range");
        part.clear(zeros).expect("memory");
        assert_eq!(part.bytes, [0, 0, 0, 8, 9, 10, 11, 12, 13, 14]);
    }
}
