//! The guest's command line.

use crate::machine::death::Death;
use crate::machine::role::Roles;
use core::ops::Range;

/// As many times as `edu=` may be said.
const MAX_TRANSFERS: usize = 2;

/// The guest's options.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// `kdump.entry=ADDR`: purgatory's entry (physical), when the host has filled the slot. Else
    /// there is a slot image.
    pub(crate) entry: Option<u32>,
    /// `seal=no`: the slot image is left unsealed.
    pub(crate) seal: bool,
    /// `crashkernel=SIZE@BASE`: memory that is not the guest's (physical).
    pub(crate) slot: Range<u64>,
    /// `cpus=N`: the number of CPUs; one by default.
    pub(crate) cpus: u32,
    /// `crash_cpu=N`, or `all`: the CPU that crashes; the first by default. `spin=N`: one that does
    /// not sleep. `deaf=N`: one that answers no NMI.
    pub(crate) roles: Roles,
    /// `die=WORD`: how it crashes.
    pub(crate) death: Death,
    /// `ignore-nmi`: an NMI is waited for, and ignored, before the crash.
    pub(crate) ignore_nmi: bool,
    /// `edu=ADDR`: page of memory (physical) into which DMA is started right before the crash.
    pub(crate) edu: [Option<u32>; MAX_TRANSFERS],
}

impl CommandLine {
    /// Finds the words that the guest needs in `text`, or says which one is missing or no good.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let words = || text.split_ascii_whitespace();
        let value = |key: &str| words().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let entry = value("kdump.entry").map(address);
        if entry == Some(None) {
            return Err("kdump.entry=ADDR: not an address below 4 GiB");
        }
        let slot = value("crashkernel").and_then(|slot| {
            let (size, base) = slot.split_once('@')?;
            let base = number(base)?;
            Some(base..base.checked_add(number(size)?)?)
        });
        let mut edu = [None; MAX_TRANSFERS];
        for (place, text) in
            edu.iter_mut().zip(words().filter_map(|word| word.strip_prefix("edu=")))
        {
            *place = Some(address(text).ok_or("edu=ADDR: no address below 4 GiB")?);
        }
        let cpus = value("cpus").map_or(Some(1), |cpus| cpus.parse().ok());
        Ok(Self {
            entry: entry.flatten(),
            seal: value("seal") != Some("no"),
            slot: slot.ok_or("crashkernel=SIZE@BASE: no memory to spare")?,
            cpus: cpus.ok_or("cpus=N: not a number")?,
            roles: Roles::parse(value)?,
            death: match value("die") {
                None => Death::PANIC,
                Some(word) => Death::parse(word).ok_or("die=WORD: no such way to die")?,
            },
            ignore_nmi: words().any(|word| word == "ignore-nmi"),
            edu,
        })
    }
}

/// An address below 4 GiB.
fn address(text: &str) -> Option<u32> {
    number(text).and_then(|address| u32::try_from(address).ok())
}

/// A number, decimal or with `0x`, with or without K, M or G (binary) after it.
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
