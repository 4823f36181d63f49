//! The name of a dump disk.

use core::fmt;
use core::str::FromStr;

/// 16 bytes by which the capture kernel knows the one disk that it may write to. Written as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub [u8; 16]);

/// A text that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a disk id is 32 hexadecimal digits and nothing else")]
pub struct DiskIdError;

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskId({self})")
    }
}

impl FromStr for DiskId {
    type Err = DiskIdError;

    fn from_str(text: &str) -> Result<Self, DiskIdError> {
        let whole = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| whole).ok_or(DiskIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_and_back() {
        let text = "00112233445566778899aabbccddeeff";
        let id: DiskId = text.parse().expect("32 digits");
        assert_eq!(id.0[..3], [0x00, 0x11, 0x22]);
        assert_eq!(id.0[15], 0xff);
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn anything_else_is_refused() {
        let text = "00112233445566778899aabbccddeeff";
        let long = std::format!("{text}0");
        for bad in ["", &text[1..], &long, &text.replace('f', "g"), &text.replace("00", "+0")] {
            assert_eq!(bad.parse::<DiskId>(), Err(DiskIdError), "{bad}");
        }
        assert_eq!("é123456789abcdef0123456789abcdef".parse::<DiskId>(), Err(DiskIdError));
    }
}
