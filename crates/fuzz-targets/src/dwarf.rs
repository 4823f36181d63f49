//! DWARF of a debug vmlinux.

use postmortem::DwarfTypes;

use crate::types;

/// The bytes are the lengths of `.debug_info` and `.debug_abbrev` (16 bits each) and the sections
/// one after the other; the rest is `.debug_str`. Asks for all types by their names and numbers.
///
/// # Panics
/// Panics if a struct has more members than there are bytes.
pub fn dwarf(bytes: &[u8]) {
    let Some(([a, b, c, d], rest)) = bytes.split_first_chunk() else { return };
    let length = |low: &u8, high: &u8| usize::from(u16::from_le_bytes([*low, *high]));
    let (info, rest) = rest.split_at(length(a, b).min(rest.len()));
    let (abbreviations, strings) = rest.split_at(length(c, d).min(rest.len()));
    let source = DwarfTypes::of_sections([info, abbreviations, strings].map(<[u8]>::to_vec));
    types::ask(Box::new(source), bytes.len(), &[]);
}
