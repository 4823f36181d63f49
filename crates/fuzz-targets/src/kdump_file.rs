//! A kdump-compressed file: its headers, bitmaps and page descriptors.

use dumpfile::kdump_file::{
    DESCRIPTOR, HEADERS, KdumpHeader, PageBitmap, PageCodec, PageDescriptor,
};

/// Decodes the bytes as headers; those after the headers as a bitmap and as page descriptors.
///
/// # Panics
/// Panics if a part of an accepted file has no place, or does not decode to the same after it is
/// written again.
pub fn kdump_file(bytes: &[u8]) {
    match KdumpHeader::decode(bytes) {
        Ok(header) => {
            assert!(header.bitmap1() < header.bitmap2());
            assert!(header.bitmap2() + header.bitmap_length() <= header.descriptors());
            assert!(header.notes.size == 0 || header.notes.offset < header.bitmap1());
            assert_eq!(KdumpHeader::decode(&header.encode()), Ok(header));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let rest = bytes.get(HEADERS..).unwrap_or_default();
    for descriptor in rest.as_chunks::<DESCRIPTOR>().0 {
        let Ok(page) = PageDescriptor::decode(descriptor) else { continue };
        assert!((1..=4096).contains(&page.size));
        assert!(page.codec != PageCodec::Raw || page.size == 4096);
        assert_eq!(page.encode()[..16], descriptor[..16]);
    }
    bitmap(rest);
}

/// Ranks and runs count the same pages.
fn bitmap(bytes: &[u8]) {
    let mut bitmap = PageBitmap::default();
    bitmap.extend(bytes).expect("room");
    bitmap.count_pages().expect("room");
    let mut pages = 0;
    for (start, end, is_in) in bitmap.runs(0, bitmap.end()) {
        assert_eq!((bitmap.rank(start), bitmap.contains(start)), (pages, is_in));
        pages += if is_in { end - start } else { 0 };
    }
    assert_eq!(bitmap.len(), pages);
}
