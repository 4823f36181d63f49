//! Sizes and slots as people and kernels write them: `512M`, `32M@16M`.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// Default base of the test guest's slot: 16 MiB.
const DEFAULT_BASE: u64 = 16 << 20;

/// Returns the bytes of a number with an optional suffix K, M or G (binary).
///
/// # Errors
/// Fails if the text is no such number, or the number does not fit.
pub fn parse_size(text: &str) -> Result<u64> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.with_context(|| format!("\"{text}\" is no size: write it like 512M or 2G"))
}

/// The physical addresses of `SIZE@BASE`, or of `SIZE` at 16 MiB.
///
/// # Errors
/// Fails if the text has another form, or the slot is empty or does not end below 4 GiB.
pub fn parse_slot(text: &str) -> Result<Range<u64>> {
    let (size, base) = match text.split_once('@') {
        Some((size, base)) => (parse_size(size)?, parse_size(base)?),
        None => (parse_size(text)?, DEFAULT_BASE),
    };
    let end = base.checked_add(size).filter(|end| *end <= 1 << 32);
    let end = end.with_context(|| format!("slot {text}: it must end below 4 GiB"))?;
    ensure!(size > 0, "slot {text}: it is empty");
    Ok(base..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512M").unwrap(), 512 << 20);
        assert_eq!(parse_size("2G").unwrap(), 2 << 30);
        assert_eq!(parse_size("640k").unwrap(), 640 << 10);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        for wrong in ["", "M", "-1M", "1T", "99999999999G", "1.5G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn slots() {
        assert_eq!(parse_slot("32M@16M").unwrap(), 0x100_0000..0x300_0000);
        assert_eq!(parse_slot("32M@64M").unwrap(), 0x400_0000..0x600_0000);
        assert_eq!(parse_slot("8M").unwrap(), 0x100_0000..0x180_0000);
        for wrong in ["0@16M", "32M@4G", "4G@16M", "32M@", "@16M"] {
            assert!(parse_slot(wrong).is_err(), "{wrong}");
        }
    }
}
