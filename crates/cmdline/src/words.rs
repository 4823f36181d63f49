//! The words of a line, as Linux splits it.

use crate::number::split_once;

/// To Linux (`parameq`), `-` and `_` are the same in a key.
pub(crate) fn same_key(key: &[u8], name: &str) -> bool {
    let plain = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    key.iter().map(plain).eq(name.bytes())
}

/// The words of a line, each split at its first `=`; the value is empty without one.
///
/// As in Linux (`next_arg`), white space between double quotes does not end a word, and quotes
/// around the whole word or around its value are taken off.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut quoted = false;
    line.split(move |byte| {
        quoted ^= *byte == b'"';
        !quoted && byte.is_ascii_whitespace()
    })
    .filter(|word| !word.is_empty())
    .map(|word| {
        let (key, value) = split_once(word, b'=');
        match key.strip_prefix(b"\"") {
            Some(key) => (key, value.strip_suffix(b"\"").unwrap_or(value)),
            None => (key, unquote(value)),
        }
    })
}

fn unquote(value: &[u8]) -> &[u8] {
    let Some(inner) = value.strip_prefix(b"\"") else { return value };
    inner.strip_suffix(b"\"").unwrap_or(inner)
}
