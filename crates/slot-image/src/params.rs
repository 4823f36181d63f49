//! Purgatory's parameter block: its own digest, those of its regions, and the seal.

use crate::Error;
use handoff::purgatory::{MAX_REGIONS, STATE_SEALED};
use handoff::{Block, PurgatoryParams};
use sha2::{Digest, Sha256};
use vmcore::PhysRange;

/// Zeros to digest, in bytes at a time.
const ZEROS: [u8; 256] = [0; 256];

/// Takes the block's own digest anew: the last thing after every change.
pub fn sign(params: &mut PurgatoryParams) {
    params.block.digest = block_digest(params);
}

/// Checks the block as purgatory will.
///
/// # Errors
/// [`Error::ParamsDamaged`].
pub fn verify_params(params: &PurgatoryParams) -> Result<(), Error> {
    let is_whole = params.block.is_of::<PurgatoryParams>()
        && params.region_count as usize <= MAX_REGIONS
        && params.block.digest == block_digest(params);
    if is_whole { Ok(()) } else { Err(Error::ParamsDamaged) }
}

/// Has purgatory find `bytes`, followed by zeros, in the region that is exactly `range`.
///
/// # Errors
/// [`Error::NoRegion`] when it checks no such region.
pub fn set_region_digest(
    params: &mut PurgatoryParams,
    range: PhysRange,
    bytes: &[u8],
) -> Result<(), Error> {
    let count = (params.region_count as usize).min(MAX_REGIONS);
    let mut regions = params.regions[..count].iter_mut();
    let wanted = (range.start().get(), range.length());
    let region = regions.find(|region| (region.start, region.length) == wanted);
    region.ok_or(Error::NoRegion { range })?.digest = padded_digest(bytes, range.length());
    sign(params);
    Ok(())
}

/// Seals a slot whose ELF core header is `header`: its digest over the whole of `elfcorehdr`, with
/// zeros at the end, the state, and the block's own digest. The caller puts `header` and the zeros
/// into their place, and the block back into its segment.
///
/// # Errors
/// The block does not verify, the header is too long, or purgatory does not check its place; the
/// block is then as it was.
pub fn seal(
    params: &mut PurgatoryParams,
    elfcorehdr: PhysRange,
    header: &[u8],
) -> Result<(), Error> {
    verify_params(params)?;
    let room = elfcorehdr.length();
    if header.len() as u64 > room {
        return Err(Error::CoreHeaderTooLong { length: header.len(), room });
    }
    set_region_digest(params, elfcorehdr, header)?;
    params.state = STATE_SEALED;
    sign(params);
    Ok(())
}

/// The digest that the block should have.
pub(crate) fn block_digest(block: &impl Block) -> [u8; 32] {
    let parts = block.digested().into_iter();
    parts.fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// SHA-256 of `bytes` and zeros up to `length` bytes.
fn padded_digest(bytes: &[u8], length: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    let mut rest = length.saturating_sub(bytes.len() as u64);
    while rest > 0 {
        let piece = rest.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..piece as usize]);
        rest -= piece;
    }
    hash.finalize().into()
}
