//! Strings of the dead kernel.

use alloc::vec::Vec;

use crate::virtual_memory::Run;
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// The string at `at`, up to its NUL, at most `most` bytes. A byte that is not printable ends it.
pub(super) fn string<M: ReadPhys>(
    memory: VirtualMemory<'_, M>,
    at: u64,
    most: usize,
) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    text.try_reserve_exact(most).map_err(|_| Error::NO_MEMORY)?;
    let mut run = Run::default();
    for offset in 0..most as u64 - 1 {
        let (at, mut byte) = (at.wrapping_add(offset), [0]);
        if !memory.read_run(&mut run, at, &mut byte)? {
            return Err(Error::Unmapped { at });
        }
        match byte {
            [byte @ b'!'..=b'~'] => text.push(byte),
            _ => break,
        }
    }
    Ok(text)
}
