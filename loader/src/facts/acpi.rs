//! Power-off of this machine: the PM1a control port and the sleep type of S5.
//!
//! Source: ACPI specification 6.4, 5.2.9 (FADT), 7.4.2 (`\_Sx`), 20.2 (AML encoding).

use cmdline::PowerOff;

/// Offset of `PM1a_CNT_BLK` (an I/O port, 32 bits) in the FADT.
const PM1A_CNT_BLK: usize = 64;
/// `SLP_TYP` is three bits wide.
const SLEEP_TYPE_MAX: u8 = 7;

const AML_ZERO: u8 = 0x00;
const AML_ONE: u8 = 0x01;
const AML_NAME: u8 = 0x08;
const AML_BYTE_PREFIX: u8 = 0x0a;
const AML_PACKAGE: u8 = 0x12;
const AML_ROOT: u8 = b'\\';
const S5: &[u8] = b"_S5_";

/// Finds the values of `kdump.pm1a=` in the FADT and the DSDT; `None` if one of the two does not
/// have them.
///
/// The tables come from firmware: they are searched, never interpreted.
pub(crate) fn power_off(fadt: &[u8], dsdt: &[u8]) -> Option<PowerOff> {
    let pm1a_control = pm1a_control(fadt)?;
    let sleep_type = sleep_type(dsdt)?;
    Some(PowerOff { pm1a_control, sleep_type })
}

/// The PM1a control port. A port of zero means that the machine has none.
fn pm1a_control(fadt: &[u8]) -> Option<u16> {
    if !fadt.starts_with(b"FACP") {
        return None;
    }
    let field = fadt.get(PM1A_CNT_BLK..)?.first_chunk::<4>()?;
    u16::try_from(u32::from_le_bytes(*field)).ok().filter(|port| *port != 0)
}

/// The first element of the first package with the name `_S5_`: `SLP_TYPa`.
fn sleep_type(dsdt: &[u8]) -> Option<u8> {
    let body = dsdt.strip_prefix(b"DSDT")?;
    let named = |at: usize| matches!(body[..at], [.., AML_NAME] | [.., AML_NAME, AML_ROOT]);
    body.windows(S5.len())
        .enumerate()
        .filter(|(at, name)| *name == S5 && named(*at))
        .find_map(|(at, _)| first_element(&body[at + S5.len()..]))
}

/// The first element of the package that `aml` begins with, where that is a small constant.
fn first_element(aml: &[u8]) -> Option<u8> {
    let [AML_PACKAGE, length_lead, rest @ ..] = aml else { return None };
    // The two high bits of PkgLength's lead byte say how many bytes follow it.
    let elements = rest.get(usize::from(length_lead >> 6)..)?;
    let value = match elements {
        [0, ..] => return None,
        [_count, AML_ZERO, ..] => 0,
        [_count, AML_ONE, ..] => 1,
        [_count, AML_BYTE_PREFIX, value, ..] => *value,
        _ => return None,
    };
    (value <= SLEEP_TYPE_MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fadt(port: u32) -> Vec<u8> {
        let mut table = b"FACP".to_vec();
        table.resize(116, 0);
        table[64..68].copy_from_slice(&port.to_le_bytes());
        table
    }

    fn dsdt(aml: &[u8]) -> Vec<u8> {
        let mut table = b"DSDT".to_vec();
        table.resize(36, 0);
        table.extend_from_slice(aml);
        table
    }

    /// The `_S5_` package of QEMU's i440fx: `Name (_S5, Package (4) {0, 0, 0, 0})`.
    const QEMU_S5: &[u8] = &[0x08, b'_', b'S', b'5', b'_', 0x12, 0x06, 0x04, 0, 0, 0, 0];
    /// As many boards have it: `Name (\_S5, Package (4) {7, 7, 0, 0})`.
    const BOARD_S5: &[u8] =
        &[0x08, b'\\', b'_', b'S', b'5', b'_', 0x12, 0x08, 0x04, 0x0a, 7, 0x0a, 7, 0, 0];

    #[test]
    fn qemu_and_a_board() {
        let qemu = power_off(&fadt(0x604), &dsdt(QEMU_S5)).expect("found");
        assert_eq!((qemu.pm1a_control, qemu.sleep_type), (0x604, 0));
        let board = power_off(&fadt(0x1804), &dsdt(BOARD_S5)).expect("found");
        assert_eq!((board.pm1a_control, board.sleep_type), (0x1804, 7));
    }

    #[test]
    fn a_long_package_length_is_skipped() {
        let aml = [0x08, b'_', b'S', b'5', b'_', 0x12, 0x46, 0x00, 0x02, 0x01, 0x01];
        assert_eq!(sleep_type(&dsdt(&aml)), Some(1));
    }

    #[test]
    fn what_is_not_there_is_not_guessed() {
        assert_eq!(power_off(&fadt(0), &dsdt(QEMU_S5)), None, "hardware-reduced ACPI has no PM1a");
        assert_eq!(power_off(&fadt(0x1_0604), &dsdt(QEMU_S5)), None, "no I/O port is that high");
        assert_eq!(power_off(&fadt(0x604), &dsdt(b"_S5_ in a comment")), None);
        assert_eq!(sleep_type(&dsdt(&[QEMU_S5, &[]].concat()[..6])), None);
        let wide = [0x08, b'_', b'S', b'5', b'_', 0x12, 0x06, 0x01, 0x0a, 8];
        assert_eq!(sleep_type(&dsdt(&wide)), None, "SLP_TYP has three bits");
    }

    #[test]
    fn every_cut_of_the_tables_is_survived() {
        let (fadt, dsdt) = (fadt(0x604), dsdt(BOARD_S5));
        for end in 0..fadt.len() {
            let _ = power_off(&fadt[..end], &dsdt);
        }
        for end in 0..dsdt.len() {
            let _ = power_off(&fadt, &dsdt[..end]);
        }
    }
}
