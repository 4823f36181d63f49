//! The values of the options. Each function returns [`None`] for a value that means nothing.

use vmcore::{ElfCoreHdr, Level, PhysAddr, PhysRange};

use crate::number::{memparse, split_once, whole_number};
use crate::options::{Action, Compress, PowerOff, ViewSpec};

/// One item of a `memmap=` list.
pub(crate) enum Memmap {
    Exactmap,
    Ram(PhysRange),
    NotRam(PhysRange),
    /// Understood, and without a meaning for us.
    Other,
}

/// `exactmap`, `SIZE@START` (RAM), `SIZE#START` (ACPI), `SIZE$START` (reserved), `SIZE!START`
/// (persistent), `SIZE%START-OLD+NEW` (type changed) or a bare `SIZE`, above which nothing is RAM.
pub(crate) fn memmap(item: &[u8]) -> Option<Memmap> {
    if item == b"exactmap" {
        return Some(Memmap::Exactmap);
    }
    let (size, rest) = memparse(item)?;
    let Some((form, start)) = rest.split_first() else {
        let top = PhysAddr::new(u64::MAX);
        return PhysRange::from_bounds(PhysAddr::new(size), top).ok().map(Memmap::NotRam);
    };
    let (start, rest) = memparse(start)?;
    let range = PhysRange::new(PhysAddr::new(start), size).ok()?;
    match form {
        b'@' if rest.is_empty() && size > 0 => Some(Memmap::Ram(range)),
        b'#' | b'$' | b'!' if rest.is_empty() => Some(Memmap::NotRam(range)),
        b'%' => Some(Memmap::Other),
        _ => None,
    }
}

pub(crate) fn elfcorehdr(value: &[u8]) -> Option<ElfCoreHdr> {
    let (first, rest) = memparse(value)?;
    let (addr, size, rest) = match rest.split_first() {
        Some((b'@', addr)) => {
            let (addr, rest) = memparse(addr)?;
            (addr, Some(first), rest)
        }
        _ => (first, None, rest),
    };
    rest.is_empty().then_some(ElfCoreHdr { addr: PhysAddr::new(addr), size })
}

/// The registers of `SIZE@BASE:IRQ[:ID]`, as Linux reads it (`drivers/virtio/virtio_mmio.c`,
/// `vm_cmdline_set`): only SIZE takes a suffix, IRQ is decimal, ID decimal and perhaps negative.
/// Neither IRQ nor ID means anything to a kernel that polls.
pub(crate) fn virtio_mmio(value: &[u8]) -> Option<PhysRange> {
    let (size, rest) = memparse(value)?;
    let (base, rest) = split_once(rest.strip_prefix(b"@")?, b':');
    let (irq, id) = match rest.iter().position(|byte| *byte == b':') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let is_id = |id: &[u8]| is_number(id.strip_prefix(b"-").unwrap_or(id));
    let registers = PhysRange::new(PhysAddr::new(whole_number(base)?), size).ok()?;
    (size > 0 && is_number(irq) && id.is_none_or(is_id)).then_some(registers)
}

pub(crate) fn view(value: &[u8]) -> Option<ViewSpec> {
    if value == b"vmcore" {
        return Some(ViewSpec::Vmcore);
    }
    let rest = value.strip_prefix(b"oldmem")?;
    if rest.is_empty() {
        return Some(ViewSpec::OldMem(None));
    }
    let (start, rest) = memparse(rest.strip_prefix(b":")?)?;
    let (length, rest) = memparse(rest.strip_prefix(b"+")?)?;
    let range = PhysRange::new(PhysAddr::new(start), length).ok()?;
    (rest.is_empty() && length > 0).then_some(ViewSpec::OldMem(Some(range)))
}

pub(crate) fn action(value: &[u8]) -> Option<Action> {
    match value {
        b"poweroff" => Some(Action::PowerOff),
        b"reboot" => Some(Action::Reboot),
        b"halt" => Some(Action::Halt),
        _ => None,
    }
}

/// True if it is `yes`, if it is one of the two.
pub(crate) fn word(value: &[u8], no: &[u8], yes: &[u8]) -> Option<bool> {
    (value == no || value == yes).then_some(value == yes)
}

pub(crate) fn above_zero(value: &[u8]) -> Option<u32> {
    u32::try_from(whole_number(value)?).ok().filter(|number| *number > 0)
}

pub(crate) fn level(value: &[u8]) -> Option<Level> {
    Level::new(u8::try_from(whole_number(value)?).ok()?)
}

pub(crate) fn compress(value: &[u8]) -> Option<Compress> {
    match value {
        b"auto" => Some(Compress::Auto),
        b"none" => Some(Compress::None),
        b"lz4" => Some(Compress::Lz4),
        _ => None,
    }
}

pub(crate) fn pm1a(value: &[u8]) -> Option<PowerOff> {
    let (port, sleep_type) = split_once(value, b',');
    let pm1a_control = u16::try_from(whole_number(port)?).ok().filter(|port| *port > 0)?;
    let sleep_type = u8::try_from(whole_number(sleep_type)?).ok().filter(|kind| *kind <= 7)?;
    Some(PowerOff { pm1a_control, sleep_type })
}
