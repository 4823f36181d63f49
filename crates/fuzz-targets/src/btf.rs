//! BTF of a dead kernel.

use postmortem::BtfTypes;

use crate::types;

/// Reads the bytes as BTF, and asks for all types by their names and numbers.
///
/// # Panics
/// Panics if a struct has more members than there are bytes.
pub fn btf(bytes: &[u8]) {
    if let Ok(source) = BtfTypes::new(bytes.to_vec()) {
        types::ask(Box::new(source), bytes.len(), &[]);
    }
}
