//! The values of options.

use clap::ValueEnum;
use cmdline::{Action, Compress, memparse, size_at};
use vmcore::{PhysAddr, PhysRange};

/// The longest ELF core header that there is room for, in bytes.
const LONGEST_CORE_HEADER: u64 = 256 << 10;

pub(super) fn slot(text: &str) -> Result<PhysRange, String> {
    size_at(text.as_bytes()).ok_or_else(|| "write it like 32M@16M".to_owned())
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    match memparse(text.as_bytes()) {
        Some((size, b"")) => Ok(size),
        _ => Err("write it like 4096 or 8K".to_owned()),
    }
}

pub(super) fn core_header_size(text: &str) -> Result<u64, String> {
    let allowed = 1..=LONGEST_CORE_HEADER;
    let size = size(text)?;
    allowed.contains(&size).then_some(size).ok_or_else(|| "between 1 byte and 256K".to_owned())
}

/// A final or failure action by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ActionName {
    /// Switch the machine off.
    Poweroff,
    /// Boot again.
    Reboot,
    /// Stop there.
    Halt,
}

/// An encoding, as an option has it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CompressName {
    /// The encoding that suits the target.
    Auto,
    /// Memory as it is: by DMA, uncopied.
    None,
    /// LZ4: the CPU reads all of it. Needs a slot of 4 MiB or more.
    Lz4,
}

impl From<CompressName> for Compress {
    fn from(name: CompressName) -> Self {
        match name {
            CompressName::Auto => Self::Auto,
            CompressName::None => Self::None,
            CompressName::Lz4 => Self::Lz4,
        }
    }
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Poweroff => Self::PowerOff,
            ActionName::Reboot => Self::Reboot,
            ActionName::Halt => Self::Halt,
        }
    }
}

/// An I/O port, written in hexadecimal with 0x or in decimal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port(pub(super) u16);

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

pub(super) fn port(text: &str) -> Result<Port, String> {
    let port = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    port.map(Port).map_err(|error| format!("{error}: give a port such as 0x3f8"))
}

pub(super) fn address(text: &str) -> Result<PhysAddr, String> {
    match memparse(text.as_bytes()) {
        Some((address, b"")) => Ok(PhysAddr::new(address)),
        _ => Err("write it like 0x1000000, 16777216 or 16M".to_owned()),
    }
}
