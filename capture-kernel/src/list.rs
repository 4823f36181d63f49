//! Lists whose length is known beforehand: the heap may be full.

use crate::driver::Error;
use alloc::vec::Vec;

/// An empty list with room for `count` items.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn with_room<T>(count: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).or(Err(Error::NoMemory))?;
    Ok(list)
}

/// `count` times `value`.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn filled<T: Clone>(count: usize, value: T) -> Result<Vec<T>, Error> {
    let mut list = with_room(count)?;
    list.resize(count, value);
    Ok(list)
}
