//! The gather: parts of a view as the pieces of one request, within the device's limits.
//!
//! Old memory goes as it is if the device can reach it. Our own bytes, and old memory that a device
//! cannot take in place, are copied to a buffer of the pool.

use crate::driver::Error;
use crate::driver::dma::{DmaPiece, Lease, Limits, MAX_PIECES, Pieces, Pool, ZEROS};
use core::mem;
use vmcore::{PhysRange, Piece, ReadPhys, What};

/// The means to copy.
#[derive(Clone, Copy)]
pub struct Copies<'c> {
    /// Buffers of at least 4096 bytes, four or more of them.
    pub pool: &'c Pool,
    /// Old memory.
    pub memory: &'c dyn ReadPhys,
}

/// The result of [`Gather::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// So many bytes are part of the request, at least one.
    Taken(u64),
    /// The request takes no more: [`Gather::take`] it.
    Full,
    /// There is no buffer: [`Gather::take`] the request, or wait until a device has answered one.
    NoBuffer,
}

/// A request in the making.
pub struct Gather<'c> {
    copies: Copies<'c>,
    limits: Limits,
    /// A request is a multiple of so many bytes; a power of two, at least the device's alignment.
    unit: u64,
    /// The buffer that is being filled.
    lease: Option<Lease>,
    pieces: Pieces,
    bytes: u64,
}

impl<'c> Gather<'c> {
    /// Requests within `limits`, each a multiple of `unit` bytes.
    pub fn new(copies: Copies<'c>, limits: Limits, unit: u64) -> Self {
        let limits = Limits { pieces: limits.pieces.clamp(1, MAX_PIECES), ..limits };
        Self { copies, limits, unit, lease: None, pieces: Pieces::new(), bytes: 0 }
    }

    /// Number of bytes in the request.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the beginning of a piece of the view. Parts that are left out go as zeros.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for old memory that has to be copied, [`Error::NoMemory`].
    pub fn add(&mut self, piece: Piece<'_>) -> Result<Added, Error> {
        let part = first(piece, self.limits.bytes - self.bytes);
        let is_done = self.room() == 0 && self.bytes.is_multiple_of(self.unit);
        if is_done || part.len == 0 {
            return Ok(Added::Full);
        }
        self.pieces.try_reserve(1).or(Err(Error::NoMemory))?;
        let length = self.uncopied(&part);
        let piece = match part.what {
            What::Phys(range) if length > 0 => DmaPiece::Old(range).split(length).0,
            What::Zero | What::Left(_) if length > 0 => DmaPiece::Zeros(length as u32),
            _ => return self.copy(part),
        };
        match (self.pieces.last_mut(), &piece) {
            // Neighbours in memory are one piece.
            (Some(DmaPiece::Old(last)), DmaPiece::Old(next))
                if last.end() == next.start() && last.length() + length <= self.limits.piece =>
            {
                *last = PhysRange::from_bounds(last.start(), next.end()).expect("they follow");
            }
            _ => self.pieces.push(piece),
        }
        self.bytes += length;
        Ok(Added::Taken(length))
    }

    /// Number of free pieces.
    fn room(&self) -> usize {
        self.limits.pieces - self.pieces.len()
    }

    /// True if the device can take it in place, as far as its address counts.
    fn is_reached(&self, part: &Piece<'_>) -> bool {
        match part.what {
            What::Bytes(_) => false,
            What::Zero | What::Left(_) => true,
            What::Phys(range) => {
                range.start().is_aligned(self.limits.align.into()) && self.limits.reaches(range)
            }
        }
    }

    /// Number of its first bytes that can be a piece in place. The last piece ends a unit.
    fn uncopied(&self, part: &Piece<'_>) -> u64 {
        let align = u64::from(self.limits.align);
        if !self.is_reached(part) || !self.bytes.is_multiple_of(align) {
            return 0;
        }
        let most = if let What::Phys(_) = part.what { u64::MAX } else { ZEROS.into() };
        let length = part.len.min(self.limits.piece).min(most) / align * align;
        match self.room() {
            0 => 0,
            1 => ((self.bytes + length) / self.unit * self.unit).saturating_sub(self.bytes),
            _ => length,
        }
    }

    /// Copies the beginning of `part`: all of it, or up to the next place from which the rest can
    /// go without a copy.
    fn copy(&mut self, part: Piece<'_>) -> Result<Added, Error> {
        let to_end_of = |step: u64| step - self.bytes % step;
        let most = match self.is_reached(&part) {
            true if self.room() > 1 => to_end_of(self.limits.align.into()),
            true => to_end_of(self.unit),
            false => part.len,
        };
        let Some(join) = self.prepare(to_end_of(self.unit)) else {
            return Ok(if self.room() == 0 { Added::Full } else { Added::NoBuffer });
        };
        let joined = self.pieces.last().filter(|_| join).map_or(0, DmaPiece::length);
        let is_last = self.room() == usize::from(!join);
        let Some(lease) = &mut self.lease else { return Ok(Added::NoBuffer) };
        let mut fits = (self.limits.piece - joined).min(lease.len() as u64);
        if is_last && self.bytes + fits >= self.bytes.next_multiple_of(self.unit) {
            fits -= (self.bytes + fits) % self.unit;
        }
        let part = first(part, most.min(fits));
        let length = part.len as usize;
        match part.what {
            What::Bytes(bytes) => lease[..length].copy_from_slice(bytes),
            What::Zero | What::Left(_) => lease[..length].fill(0),
            What::Phys(range) => {
                let read = self.copies.memory.read_phys(range.start(), &mut lease[..length]);
                read.or(Err(Error::Unreadable(range.start())))?;
            }
        }
        let next = lease.cut(length);
        match self.pieces.last_mut() {
            Some(DmaPiece::Frozen(last, part)) if join => {
                *last = last.joined(&next).expect("the lease follows it");
                part.end += length;
            }
            _ => self.pieces.push(DmaPiece::Frozen(next, 0..length)),
        }
        self.bytes += length as u64;
        Ok(Added::Taken(length as u64))
    }

    /// Has a buffer ready; true if bytes that are copied there join the last piece. [`None`] if
    /// there is no room for a piece, or no buffer. The last piece must have room up to the end of
    /// the unit: `left` bytes.
    fn prepare(&mut self, left: u64) -> Option<bool> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| !lease.is_empty()) {
            let is_open = |frozen, part: &core::ops::Range<usize>| {
                lease.follows(frozen) && (part.len() as u64) < self.limits.piece
            };
            if let Some(DmaPiece::Frozen(frozen, part)) = self.pieces.last()
                && is_open(frozen, part)
            {
                return Some(true);
            }
            if self.room() > 1 || self.room() == 1 && lease.len() as u64 >= left {
                return Some(false);
            }
        }
        if self.room() > 0 {
            self.lease = None;
            self.lease = self.copies.pool.lease();
        }
        (self.room() > 0 && self.lease.is_some()).then_some(false)
    }

    /// The pieces of all whole units, and their number of bytes; the rest stays for the next
    /// request.
    ///
    /// # Errors
    /// [`Error::Fragmented`] when the request is full, and has no whole unit; [`Error::NoMemory`].
    pub fn take(&mut self) -> Result<(Pieces, u64), Error> {
        let whole = self.bytes / self.unit * self.unit;
        if whole == self.bytes {
            self.bytes = 0;
            return Ok((mem::take(&mut self.pieces), whole));
        }
        if whole == 0 {
            return Err(Error::Fragmented);
        }
        let (mut send, mut left) = (Pieces::new(), whole);
        send.try_reserve_exact(self.pieces.len()).or(Err(Error::NoMemory))?;
        for piece in mem::take(&mut self.pieces) {
            let (now, later) = piece.split(left);
            left -= now.length();
            send.extend((now.length() > 0).then_some(now));
            self.pieces.extend((later.length() > 0).then_some(later));
        }
        self.bytes -= whole;
        Ok((send, whole))
    }
}

/// The first `most` bytes of a piece, or all.
fn first(piece: Piece<'_>, most: u64) -> Piece<'_> {
    let len = piece.len.min(most);
    let what = match piece.what {
        What::Bytes(bytes) => What::Bytes(&bytes[..len as usize]),
        What::Phys(range) => {
            What::Phys(PhysRange::new(range.start(), len).expect("shorter than before"))
        }
        other => other,
    };
    Piece { at: piece.at, len, what }
}
