//! The pages of a chunk that are known without a look at memory.

use vmcore::{DumpOffset, PageClass, Piece, View, What};

use super::{CHUNK, Left, PAGE, pages_of};

/// The pages of chunk `chunk` that `view` leaves out, or that are zeros: pages without a byte that
/// is kept. A page with parts of several classes has the first one that is not [`PageClass::Zero`].
pub fn left_of(view: &dyn View, chunk: u32) -> Left {
    let mut left = Left::default();
    for page in 0..pages_of(chunk, view.len()) {
        let at = u64::from(chunk) * CHUNK + page as u64 * PAGE;
        if let Some(class) = class_of(view, at, PAGE.min(view.len() - at)) {
            left.set(page, class);
        }
    }
    left
}

/// The class of a page of `length` bytes at `at`, unless some of it is kept.
fn class_of(view: &dyn View, mut at: u64, length: u64) -> Option<PageClass> {
    let (end, mut first) = (at + length, None);
    while let Some(piece) = view.piece(DumpOffset::new(at), end - at) {
        match piece.what {
            What::Bytes(_) | What::Phys(_) => return None,
            What::Zero => first = first.or(Some(PageClass::Zero)),
            What::Left(class) => {
                first = first.filter(|first| *first != PageClass::Zero).or(Some(class));
            }
        }
        at = piece.end().get();
    }
    first
}

/// Number of whole chunks after chunk `chunk`, at most `most`, that are like it: all of it and of
/// these is memory at consecutive addresses, or zeros, or left out for one reason. Zero if nothing
/// is known.
pub fn repeats(view: &dyn View, chunk: u32, most: u32) -> u32 {
    let bytes = (u64::from(most) + 1) * CHUNK;
    let piece = view.piece(DumpOffset::new(u64::from(chunk) * CHUNK), bytes);
    let Some(piece) = piece.filter(|piece| !matches!(piece.what, What::Bytes(_))) else { return 0 };
    // At most `most`, which fits.
    ((piece.len / CHUNK).saturating_sub(1)) as u32
}

/// Number of pages of `view` by the code of the class that they are left out for, as it was
/// selected: index 0 counts the kept pages. Looks at pieces, not at memory.
pub fn totals(view: &dyn View) -> [u64; 16] {
    let (mut totals, mut at) = ([0; 16], 0);
    while at < view.len() {
        // From the start of a page on: many whole pages of one piece, or one page of several.
        let piece = view.piece(DumpOffset::new(at), u64::MAX);
        let Some(Piece { what, len, .. }) = piece else { break };
        let left = match what {
            What::Bytes(_) | What::Phys(_) => None,
            What::Zero => Some(PageClass::Zero),
            What::Left(class) => Some(class),
        };
        let is_last = at + len == view.len();
        let (class, pages) = match if is_last { len.div_ceil(PAGE) } else { len / PAGE } {
            0 => (class_of(view, at, PAGE.min(view.len() - at)), 1),
            pages => (left, pages),
        };
        totals[class.map_or(0, |class| usize::from(class.code()))] += pages;
        at += pages * PAGE;
    }
    totals
}
