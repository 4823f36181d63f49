//! SHA-256 over the parameter block and over every region of the slot.

use crate::machine::jump::physical;
use boot_stub::console::{print, println};
use handoff::purgatory::{MAX_REGIONS, Region};
use handoff::{Block, PurgatoryParams};
use sha2::{Digest, Sha256};

/// True if the block is ours, of our version, and has its digest.
pub(crate) fn block(params: &PurgatoryParams) -> bool {
    let mut hash = Sha256::new();
    params.digested().iter().for_each(|part| hash.update(part));
    params.block.is_of::<PurgatoryParams>()
        && params.region_count as usize <= MAX_REGIONS
        && <[u8; 32]>::from(hash.finalize()) == params.block.digest
}

/// True if every region has its digest; damaged ones are named, with both digests.
pub(crate) fn regions(params: &PurgatoryParams) -> bool {
    let used = &params.regions[..params.region_count as usize];
    used.iter().filter(|region| !matches(region)).count() == 0
}

fn matches(region: &Region) -> bool {
    let found: [u8; 32] = Sha256::digest(physical(region.start, region.length)).into();
    if found == region.digest {
        return true;
    }
    println!(
        "kdump: purgatory: region '{}' {:#x}+{:#x} was overwritten after it was loaded",
        region.name(),
        region.start,
        region.length
    );
    say_digest("expected", &region.digest);
    say_digest("found   ", &found);
    false
}

fn say_digest(what: &str, digest: &[u8; 32]) {
    print!("kdump: purgatory:   {what} ");
    for byte in digest {
        print!("{byte:02x}");
    }
    println!("");
}
