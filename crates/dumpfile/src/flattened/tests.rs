extern crate std;

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Reads a stream as a program would.
fn scan(stream: &[u8]) -> Result<Pieces, FlattenedError> {
    check_header(stream)?;
    let mut scan = Scan::new(stream.len() as u64);
    while let Some(at) = scan.place() {
        scan.record(stream.get(at as usize..).unwrap_or_default())?;
    }
    scan.finish()
}

/// The whole file.
fn file(stream: &[u8], pieces: &Pieces) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some(found) = pieces.find(file.len() as u64) {
        match found {
            Found::Stored(at, length) => {
                file.extend_from_slice(&stream[at as usize..(at + length) as usize]);
            }
            Found::Gap(length) => file.resize(file.len() + length as usize, 0),
        }
    }
    assert_eq!(file.len() as u64, pieces.length());
    file
}

fn stream(records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut stream = header().to_vec();
    for (offset, bytes) in records {
        stream.extend_from_slice(&record(*offset, bytes.len() as u64));
        stream.extend_from_slice(bytes);
    }
    stream.extend_from_slice(&END);
    stream
}

/// makedumpfile's `makedumpfile_header` and `makedumpfile_data_header`, big-endian.
#[test]
fn the_layout_is_makedumpfiles() {
    let bytes = stream(&[(0x102, b"abc".to_vec())]);
    assert_eq!(bytes[..32], *b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01");
    assert!(bytes[32..4096].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[4096..4115], *b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03abc");
    assert_eq!(bytes[4115..], [0xff; 16]);
}

#[test]
fn damaged_streams_are_refused() {
    let good = stream(&[(0, b"abc".to_vec()), (10, b"defg".to_vec())]);
    for length in 0..good.len() {
        let expected = match length {
            0..32 => FlattenedError::NotOurs,
            _ => FlattenedError::Cut(length as u64),
        };
        assert_eq!(scan(&good[..length]).err(), Some(expected), "{length}");
    }
    let mut other = good.clone();
    other[31] = 2;
    assert_eq!(scan(&other), Err(FlattenedError::Version(1, 2)));
    let mut bad = good;
    bad[4096] = 0x80;
    assert_eq!(scan(&bad), Err(FlattenedError::Record { at: 4096 }));
}

proptest! {
    /// Compares with a file that each record is written to in turn.
    #[test]
    fn later_records_replace_earlier_ones(
        records in prop::collection::vec(
            (0_u64..60, prop::collection::vec(any::<u8>(), 0..20)), 0..20),
    ) {
        let bytes = stream(&records);
        let pieces = scan(&bytes).expect("a good stream");
        let mut expected = Vec::new();
        for (offset, bytes) in &records {
            let end = *offset as usize + bytes.len();
            if !bytes.is_empty() {
                expected.resize(expected.len().max(end), 0);
                expected[*offset as usize..end].copy_from_slice(bytes);
            }
        }
        prop_assert_eq!(file(&bytes, &pieces), expected);
    }

    #[test]
    fn foreign_streams_do_no_harm(
        records in prop::collection::vec((0_u64..60, prop::collection::vec(any::<u8>(), 0..9)), 0..9),
        changes in prop::collection::vec((0_usize..200, any::<u8>()), 0..6),
        cut in 0_usize..200,
    ) {
        let mut bytes = stream(&records);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(HEADER + at) {
                *place = byte;
            }
        }
        bytes.truncate(HEADER + cut);
        if let Ok(pieces) = scan(&bytes) {
            let mut at = 0;
            while let Some(found) = pieces.find(at) {
                let length = match found {
                    Found::Stored(place, length) => {
                        prop_assert!(place + length <= bytes.len() as u64);
                        length
                    }
                    Found::Gap(length) => length,
                };
                prop_assert!(length > 0);
                at += length;
            }
        }
    }
}
