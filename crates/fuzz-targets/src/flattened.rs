//! A flattened file: the places of its records.

use dumpfile::flattened::{Found, Scan, check_header};

/// Takes the bytes for a stream, and for the records of one.
///
/// # Panics
/// Panics if a piece of the file is not in the stream.
pub fn flattened(bytes: &[u8]) {
    if let Err(error) = check_header(bytes) {
        assert!(!error.to_string().is_empty());
    }
    // Records begin after the header, which has nothing else in it.
    let skip = dumpfile::flattened::HEADER as u64;
    let length = skip + bytes.len() as u64;
    let mut scan = Scan::new(length);
    while let Some(at) = scan.place() {
        let rest = bytes.get((at - skip) as usize..).unwrap_or_default();
        if let Err(error) = scan.record(rest) {
            assert!(!error.to_string().is_empty());
            return;
        }
    }
    let pieces = scan.finish().expect("room");
    let mut at = 0;
    while let Some(found) = pieces.find(at) {
        at += match found {
            Found::Stored(place, count) => {
                assert!(place >= skip && place + count <= length && count > 0);
                count
            }
            Found::Gap(count) => count.max(1),
        };
    }
    assert_eq!(at, pieces.length());
}
