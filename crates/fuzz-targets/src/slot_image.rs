//! Slot images.

use sha2::{Digest, Sha256};
use slot_image::SlotImage;

/// Length of the header, and the range of its own digest in it, in bytes.
const HEADER: usize = 4096;
const DIGEST: std::ops::Range<usize> = 16..48;

/// Reads the bytes as a slot image, as they are and with the digest that their header should have.
///
/// # Panics
/// Panics if an image is accepted whose segments are outside its slot, or overlap.
pub fn slot_image(bytes: &[u8]) {
    check(bytes);
    let mut signed = bytes.to_vec();
    signed.resize(signed.len().max(HEADER), 0);
    signed[DIGEST].fill(0);
    let digest = Sha256::digest(&signed[..HEADER]);
    signed[DIGEST].copy_from_slice(&digest);
    check(&signed);
}

fn check(bytes: &[u8]) {
    let image = match SlotImage::read(bytes) {
        Ok(image) => image,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let whole = slot_image::parse(bytes);
    assert!(image.length() <= bytes.len().next_multiple_of(HEADER) as u64, "longer than the file");
    let mut taken = vec![image.backup];
    for segment in image.segments() {
        assert!(image.slot.contains_range(segment.place), "{} is outside", segment.place);
        assert!(taken.iter().all(|other| !other.overlaps(segment.place)), "{}", segment.place);
        assert!(segment.bytes.len() as u64 <= segment.place.length(), "more bytes than room");
        assert!(whole.is_err() || segment.check().is_ok(), "a damaged segment was accepted");
        taken.push(segment.place);
    }
}
