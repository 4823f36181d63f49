//! Numbers as Linux writes them on its command line.

use vmcore::{PhysAddr, PhysRange};

/// The number at the start of `text`, and the rest: decimal, `0x` hexadecimal or `0` octal, with an
/// optional suffix K, M, G, T, P or E. `None` without a digit, or past 64 bits.
///
/// The rules are those of Linux' `memparse` (`lib/cmdline.c`), which wraps where this refuses.
pub fn memparse(text: &[u8]) -> Option<(u64, &[u8])> {
    let (value, rest) = number(text)?;
    let shift = match rest.first().map(u8::to_ascii_uppercase) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => return Some((value, rest)),
    };
    let scaled = value << shift;
    (scaled >> shift == value).then_some((scaled, &rest[1..]))
}

/// `SIZE@START`, as after `crashkernel=`, with nothing after it.
pub fn size_at(text: &[u8]) -> Option<PhysRange> {
    let (size, rest) = memparse(text)?;
    let (start, rest) = memparse(rest.strip_prefix(b"@")?)?;
    PhysRange::new(PhysAddr::new(start), size).ok().filter(|_| rest.is_empty())
}

/// The number that `text` is, without a suffix and with nothing after it.
pub(crate) fn whole_number(text: &[u8]) -> Option<u64> {
    let (value, rest) = number(text)?;
    rest.is_empty().then_some(value)
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, radix) = match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
            (rest, 16)
        }
        [b'0', ..] => (text, 8),
        _ => (text, 10),
    };
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let length = digits.iter().position(|byte| !is_digit(byte)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(length);
    let first = char::from(*digits.first()?).to_digit(radix)?;
    let value = digits[1..].iter().try_fold(u64::from(first), |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })?;
    Some((value, rest))
}

/// The parts before and after the first `mark`; the second part is empty without one.
pub(crate) fn split_once(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == mark) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_at_a_place() {
        let parse = |text: &str| size_at(text.as_bytes()).map(|r| (r.start().get(), r.length()));
        assert_eq!(parse("32M@16M"), Some((0x100_0000, 0x200_0000)));
        assert_eq!(parse("0x1000@0x2000"), Some((0x2000, 0x1000)));
        for wrong in ["32M", "32M@", "@16M", "32M@16M,", "1@18446744073709551615 "] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    fn check(text: &str, value: u64, rest: &str) {
        assert_eq!(memparse(text.as_bytes()), Some((value, rest.as_bytes())), "{text}");
    }

    #[test]
    fn what_linux_takes() {
        check("48500K", 49_664_000, "");
        check("32M@16M", 33_554_432, "@16M");
        check("0x1000000", 0x100_0000, "");
        check("0X10k", 16384, "");
        check("010", 8, "");
        check("0", 0, "");
        check("0x", 0, "x");
        check("0xg", 0, "xg");
        check("09", 0, "9");
        check("15E", 15 << 60, "");
        check("1G,", 1 << 30, ",");
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "K", "@", "-1", "16E", "18446744073709551616", "0x10000000000000000"] {
            assert_eq!(memparse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_have_nothing_after_them() {
        assert_eq!(whole_number(b"0x604"), Some(0x604));
        assert_eq!(whole_number(b"5K"), None);
        assert_eq!(whole_number(b" 5"), None);
    }
}
