//! Foreign text for a terminal, and paths.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The text without control characters, which a terminal would obey.
pub(crate) fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter })
}

/// A path quoted for a shell, with control characters replaced.
pub(crate) fn quoted(path: &Path) -> String {
    let text: String = printable(&path.display().to_string()).collect();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@%".contains(letter);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// `path` with something at the end of its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
