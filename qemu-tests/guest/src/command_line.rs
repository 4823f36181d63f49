//! The guest's command line.

use core::ops::Range;

/// What the guest was told.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// `kdump.entry=ADDR`: purgatory's entry (physical), when the host has filled the slot. Else there
    /// is a slot image.
    pub(crate) entry: Option<u32>,
    /// `seal=no`: the slot image is left unsealed.
    pub(crate) seal: bool,
    /// `crashkernel=SIZE@BASE`: memory that is not the guest's (physical).
    pub(crate) slot: Range<u64>,
    /// `cpus=N`: how many there are; one when nothing is said.
    pub(crate) cpus: u32,
    /// `deaf=N`: a CPU, not the first, that is to answer no NMI.
    pub(crate) deaf: Option<u32>,
}

impl CommandLine {
    /// Finds the words that the guest needs in `text`, or says which one is missing or no good.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let value = |key: &str| {
            text.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        let entry = value("kdump.entry");
        let address = entry.and_then(number).and_then(|entry| u32::try_from(entry).ok());
        if entry.is_some() && address.is_none() {
            return Err("kdump.entry=ADDR: not an address below 4 GiB");
        }
        let slot = value("crashkernel").and_then(|slot| {
            let (size, base) = slot.split_once('@')?;
            let base = number(base)?;
            Some(base..base.checked_add(number(size)?)?)
        });
        let cpus = value("cpus").map_or(Some(1), |cpus| cpus.parse().ok());
        Ok(Self {
            entry: address,
            seal: value("seal") != Some("no"),
            slot: slot.ok_or("crashkernel=SIZE@BASE: no memory to spare")?,
            cpus: cpus.ok_or("cpus=N: not a number")?,
            deaf: value("deaf").and_then(|cpu| cpu.parse().ok()),
        })
    }
}

/// A number, decimal or with `0x`, with K, M or G (binary) behind it or not.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    number.checked_mul(1 << shift)
}
