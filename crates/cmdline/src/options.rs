//! The one parser of the capture kernel's command line.
//!
//! Linux' own words (`memmap=`, `elfcorehdr=`) mean what they mean to Linux; `kdump.*` is ours. A
//! word that cannot be understood is reported and the rest stands: a capture with a default is
//! better than none.

mod target;

use core::fmt;

use arrayvec::ArrayVec;

use crate::number::{memparse, split_once, whole_number};
use vmcore::{ElfCoreHdr, Error, MemoryRanges, PhysAddr, PhysRange};

pub use self::target::{SerialPort, TargetEntry, TargetSpec};

/// How many `memmap=` ranges there is room for.
pub const MAX_MEMMAP: usize = 32;
/// How many targets there is room for.
pub const MAX_TARGETS: usize = 4;
/// How many virtio devices with registers in memory there is room for. QEMU's microvm has 24.
pub const MAX_VIRTIO_MMIO: usize = 32;
/// `kdump.timeout` where it is not given, in seconds.
pub const DEFAULT_TIMEOUT: u32 = 30;

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// The command line itself, up to its NUL.
    pub line: &'a [u8],
    /// `memmap=exactmap`: the memory is `memmap`, whatever the firmware says.
    pub exactmap: bool,
    /// The RAM of `memmap=SIZE@START`, less what another `memmap=` reserves.
    pub memmap: MemoryRanges<MAX_MEMMAP>,
    /// `elfcorehdr=`: where the ELF core header lies.
    pub elfcorehdr: Option<ElfCoreHdr>,
    /// `virtio_mmio.device=SIZE@BASE:IRQ[:ID]`: where virtio devices have their registers
    /// (physical), in the order given, each once.
    pub virtio_mmio: ArrayVec<PhysRange, MAX_VIRTIO_MMIO>,
    /// `kdump.target`: where the dump goes, to be tried in this order. Empty without the key, and
    /// where no target of the list is usable.
    pub targets: ArrayVec<TargetEntry<'a>, MAX_TARGETS>,
    /// `kdump.view`: what is dumped.
    pub view: ViewSpec,
    /// `kdump.final_action`: what follows a complete dump.
    pub final_action: Action,
    /// `kdump.failure_action`: what follows a failed one.
    pub failure_action: Action,
    /// `kdump.checksum`: whether the content of each chunk on a dump disk gets a checksum.
    pub checksum: bool,
    /// `kdump.compress`: the encoding of the bulk.
    pub compress: Compress,
    /// `kdump.replace=oldest`: whether complete dumps on a dump disk may be given up for a new one.
    pub replace_oldest: bool,
    /// `kdump.timeout`: how long one stage may take, in seconds.
    pub timeout: u32,
    /// `kdump.tsc_khz`: the rate of the time stamp counter in kHz, to be checked before it is used.
    pub tsc_khz: Option<u32>,
    /// `kdump.pm1a`: how this machine is powered off.
    pub poweroff: Option<PowerOff>,
}

/// What is dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewSpec {
    /// `vmcore`: the ELF core file.
    #[default]
    Vmcore,
    /// `oldmem[:START+LENGTH]`: physical memory as it is, all of it or a range.
    OldMem(Option<PhysRange>),
}

/// The encoding of the bulk of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// `auto`: lz4 on a serial line, whose bytes are dear; nothing elsewhere.
    #[default]
    Auto,
    /// `none`: memory as it is.
    None,
    /// `lz4`: chunks that become shorter are LZ4 blocks.
    Lz4,
}

/// What the machine does when the capture is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// `poweroff`, by ACPI.
    PowerOff,
    /// `reboot`.
    #[default]
    Reboot,
    /// `halt`: stay where we are.
    Halt,
}

/// `kdump.pm1a=PORT,TYPE`: how to enter ACPI S5 (found by the loader in FADT and DSDT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOff {
    /// I/O port of the PM1a control register (`PM1a_CNT_BLK`).
    pub pm1a_control: u16,
    /// What goes into its SLP_TYP field, 0 to 7.
    pub sleep_type: u8,
}

/// A word of the command line that could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    /// What stands before the `=`.
    pub key: &'a [u8],
    /// What stands after it, or that part of it which is meant.
    pub value: &'a [u8],
    /// What is wrong with it.
    pub trouble: Trouble,
}

/// What is wrong with a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such `kdump.` key.
    UnknownKey,
    /// The value means nothing; this would be right.
    BadValue(&'static str),
    /// The value has a meaning, but not to this kernel yet; this would work.
    NotYet(&'static str),
    /// The list is longer than this.
    TooMany(usize),
    /// There are more devices than this.
    TooManyDevices(usize),
    /// The memory it names cannot be noted.
    Memory(Error),
}

const ACTIONS: &str = "poweroff, reboot or halt";
const MEMMAP: &str = "exactmap or SIZE[KMG]@START[KMG]";
const ELFCOREHDR: &str = "[SIZE[KMG]@]ADDRESS[KMG]";
const VIRTIO_MMIO: &str = "SIZE[KMG]@BASE:IRQ[:ID]";
const VIEW: &str = "vmcore or oldmem[:START+LENGTH]";
const CHECKSUM: &str = "0 or 1";
const COMPRESS: &str = "auto, none or lz4";
const REPLACE: &str = "none or oldest";
const TIMEOUT: &str = "a number of seconds above 0";
const TSC_KHZ: &str = "a number of kHz above 0";
const PM1A: &str = "PORT,TYPE with a port up to 0xffff and a type up to 7";
/// Keys that later kernels know: they may be given, but only with their default.
const LATER: [(&str, &str); 1] = [("kdump.level", "0")];

/// The key by which Linux is told where a virtio device has its registers.
const VIRTIO_MMIO_KEY: &str = "virtio_mmio.device";

type Complain<'c, 'a> = dyn FnMut(Problem<'a>) + 'c;

impl<'a> Options<'a> {
    /// Reads a command line, up to a NUL byte if there is one. Words that mean nothing to us are
    /// passed over; each one that is ours and cannot be followed goes to `complain`.
    ///
    /// A key that is given twice counts as given last, as in Linux.
    pub fn parse(line: &'a [u8], complain: &mut Complain<'_, 'a>) -> Self {
        let end = line.iter().position(|byte| *byte == 0).unwrap_or(line.len());
        let mut options = Self::defaults(&line[..end]);
        for (key, value) in words(options.line) {
            let key_is = |name| same_key(key, name);
            let mut report = |value, trouble| complain(Problem { key, value, trouble });
            let result = if key_is("memmap") {
                check_memmap(value)
            } else if key_is("elfcorehdr") {
                set(parse_elfcorehdr(value).map(Some), &mut options.elfcorehdr, ELFCOREHDR)
            } else if key_is(VIRTIO_MMIO_KEY) {
                options.add_virtio_mmio(value)
            } else if key_is("kdump.target") {
                options.set_targets(value, &mut report);
                Ok(())
            } else if key_is("kdump.final_action") {
                set(parse_action(value), &mut options.final_action, ACTIONS)
            } else if key_is("kdump.failure_action") {
                set(parse_action(value), &mut options.failure_action, ACTIONS)
            } else if key_is("kdump.view") {
                set(parse_view(value), &mut options.view, VIEW)
            } else if key_is("kdump.checksum") {
                set(parse_word(value, b"0", b"1"), &mut options.checksum, CHECKSUM)
            } else if key_is("kdump.compress") {
                set(parse_compress(value), &mut options.compress, COMPRESS)
            } else if key_is("kdump.replace") {
                set(parse_word(value, b"none", b"oldest"), &mut options.replace_oldest, REPLACE)
            } else if key_is("kdump.timeout") {
                set(parse_above_zero(value), &mut options.timeout, TIMEOUT)
            } else if key_is("kdump.tsc_khz") {
                set(parse_above_zero(value).map(Some), &mut options.tsc_khz, TSC_KHZ)
            } else if key_is("kdump.pm1a") {
                set(parse_pm1a(value).map(Some), &mut options.poweroff, PM1A)
            } else {
                check_other(key, value)
            };
            if let Err(trouble) = result {
                report(value, trouble);
            }
        }
        options.read_memmap(complain);
        options
    }

    fn defaults(line: &'a [u8]) -> Self {
        Self {
            line,
            exactmap: false,
            memmap: MemoryRanges::new(),
            elfcorehdr: None,
            virtio_mmio: ArrayVec::new(),
            targets: ArrayVec::new(),
            view: ViewSpec::default(),
            final_action: Action::default(),
            failure_action: Action::default(),
            checksum: false,
            compress: Compress::default(),
            replace_oldest: false,
            timeout: DEFAULT_TIMEOUT,
            tsc_khz: None,
            poweroff: None,
        }
    }

    /// Gathers the RAM of all `memmap=` (Linux, `arch/x86/kernel/e820.c`): `exactmap` forgets what
    /// stands before it, and a reservation beats RAM whatever their order.
    fn read_memmap(&mut self, complain: &mut Complain<'_, 'a>) {
        let line = self.line;
        let start = memmap_items(line)
            .enumerate()
            .filter(|(_, (.., item))| matches!(item, Some(Memmap::Exactmap)))
            .last();
        self.exactmap = start.is_some();
        let skip = start.map_or(0, |(index, _)| index);
        for reserving in [false, true] {
            for (key, value, item) in memmap_items(line).skip(skip) {
                let noted = match item {
                    Some(Memmap::Ram(range)) if !reserving => self.memmap.insert(range),
                    Some(Memmap::NotRam(range)) if reserving => self.memmap.exclude(range),
                    _ => continue,
                };
                if let Err(error) = noted {
                    complain(Problem { key, value, trouble: Trouble::Memory(error) });
                }
            }
        }
    }

    fn add_virtio_mmio(&mut self, value: &[u8]) -> Result<(), Trouble> {
        let registers = parse_virtio_mmio(value).ok_or(Trouble::BadValue(VIRTIO_MMIO))?;
        if self.virtio_mmio.contains(&registers) {
            return Ok(());
        }
        self.virtio_mmio.try_push(registers).map_err(|_| Trouble::TooManyDevices(MAX_VIRTIO_MMIO))
    }

    fn set_targets(&mut self, value: &'a [u8], report: &mut dyn FnMut(&'a [u8], Trouble)) {
        self.targets.clear();
        for (also, item) in target::items(value) {
            let target = target::parse(item).map_err(Trouble::BadValue);
            let pushed = target.and_then(|target| {
                let entry = TargetEntry { target, also };
                self.targets.try_push(entry).map_err(|_| Trouble::TooMany(MAX_TARGETS))
            });
            if let Err(trouble) = pushed {
                report(item, trouble);
            }
        }
    }
}

/// Stores a parsed value, or says what would have been right.
fn set<T>(parsed: Option<T>, into: &mut T, right: &'static str) -> Result<(), Trouble> {
    *into = parsed.ok_or(Trouble::BadValue(right))?;
    Ok(())
}

/// One item of a `memmap=` list.
enum Memmap {
    Exactmap,
    Ram(PhysRange),
    NotRam(PhysRange),
    /// Understood, and without a meaning for us.
    Other,
}

/// Every item of every `memmap=` with its key, its text and its meaning.
fn memmap_items(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], Option<Memmap>)> {
    words(line).filter(|(key, _)| same_key(key, "memmap")).flat_map(|(key, value)| {
        value.split(|byte| *byte == b',').map(move |item| (key, item, parse_memmap(item)))
    })
}

fn check_memmap(value: &[u8]) -> Result<(), Trouble> {
    let understood = value.split(|byte| *byte == b',').all(|item| parse_memmap(item).is_some());
    if understood { Ok(()) } else { Err(Trouble::BadValue(MEMMAP)) }
}

/// `exactmap`, `SIZE@START` (RAM), `SIZE#START` (ACPI), `SIZE$START` (reserved), `SIZE!START`
/// (persistent), `SIZE%START-OLD+NEW` (type changed) or a bare `SIZE`, above which nothing is RAM.
fn parse_memmap(item: &[u8]) -> Option<Memmap> {
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

fn parse_elfcorehdr(value: &[u8]) -> Option<ElfCoreHdr> {
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
fn parse_virtio_mmio(value: &[u8]) -> Option<PhysRange> {
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

fn parse_view(value: &[u8]) -> Option<ViewSpec> {
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

fn parse_action(value: &[u8]) -> Option<Action> {
    match value {
        b"poweroff" => Some(Action::PowerOff),
        b"reboot" => Some(Action::Reboot),
        b"halt" => Some(Action::Halt),
        _ => None,
    }
}

/// Whether it is `yes`, where it is one of the two.
fn parse_word(value: &[u8], no: &[u8], yes: &[u8]) -> Option<bool> {
    (value == no || value == yes).then_some(value == yes)
}

fn parse_above_zero(value: &[u8]) -> Option<u32> {
    u32::try_from(whole_number(value)?).ok().filter(|number| *number > 0)
}

fn parse_compress(value: &[u8]) -> Option<Compress> {
    match value {
        b"auto" => Some(Compress::Auto),
        b"none" => Some(Compress::None),
        b"lz4" => Some(Compress::Lz4),
        _ => None,
    }
}

fn parse_pm1a(value: &[u8]) -> Option<PowerOff> {
    let (port, sleep_type) = split_once(value, b',');
    let pm1a_control = u16::try_from(whole_number(port)?).ok().filter(|port| *port > 0)?;
    let sleep_type = u8::try_from(whole_number(sleep_type)?).ok().filter(|kind| *kind <= 7)?;
    Some(PowerOff { pm1a_control, sleep_type })
}

/// A word that this kernel does nothing with: Linux' (fine), a later kernel's, or a mistake.
fn check_other(key: &[u8], value: &[u8]) -> Result<(), Trouble> {
    if !key.starts_with(b"kdump.") {
        return Ok(());
    }
    match LATER.iter().find(|(name, _)| same_key(key, name)) {
        Some((_, default)) if value == default.as_bytes() => Ok(()),
        Some((_, default)) => Err(Trouble::NotYet(default)),
        None => Err(Trouble::UnknownKey),
    }
}

/// To Linux (`parameq`), `-` and `_` are the same in a key.
fn same_key(key: &[u8], name: &str) -> bool {
    let plain = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    key.iter().map(plain).eq(name.bytes())
}

/// The words of a line, each split at its first `=`; the value is empty without one.
///
/// As in Linux (`next_arg`), white space between double quotes does not end a word, and quotes
/// around the whole word or around its value are taken off.
fn words(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
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

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, self.key)?;
        f.write_str("=")?;
        write_text(f, self.value)?;
        match self.trouble {
            Trouble::UnknownKey => f.write_str(": no such option, ignored"),
            Trouble::BadValue(right) => write!(f, ": not understood, ignored; right is {right}"),
            Trouble::NotYet(right) => {
                write!(f, ": not supported by this kernel yet, ignored; it knows {right}")
            }
            Trouble::TooMany(limit) => write!(f, ": more than {limit} targets, ignored"),
            Trouble::TooManyDevices(limit) => write!(f, ": more than {limit} devices, ignored"),
            Trouble::Memory(error) => write!(f, ": ignored: {error}"),
        }
    }
}

/// Writes what may be anything as one short piece of a line.
fn write_text(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    const LONGEST: usize = 80;
    use fmt::Write;
    for byte in text.iter().take(LONGEST) {
        let printable = byte.is_ascii_graphic() || *byte == b' ';
        f.write_char(if printable { char::from(*byte) } else { '?' })?;
    }
    if text.len() > LONGEST { f.write_str("...") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use vmcore::fake::range;

    fn parse(line: &str) -> (Options<'_>, Vec<String>) {
        let mut problems = Vec::new();
        let options =
            Options::parse(line.as_bytes(), &mut |problem| problems.push(problem.to_string()));
        (options, problems)
    }

    /// The options of a line that nothing is wrong with.
    fn good(line: &str) -> Options<'_> {
        let (options, problems) = parse(line);
        assert_eq!(problems, [""; 0], "{line}");
        options
    }

    /// The one problem of a line.
    fn problem(line: &str) -> String {
        let (_, problems) = parse(line);
        let [problem] = &problems[..] else { panic!("{line}: {problems:?}") };
        problem.clone()
    }

    fn memory(line: &str) -> Vec<PhysRange> {
        good(line).memmap.iter().collect()
    }

    #[test]
    fn defaults() {
        let options = good("");
        assert!(!options.exactmap && options.memmap.is_empty() && options.elfcorehdr.is_none());
        assert!(options.targets.is_empty());
        assert_eq!(options.final_action, Action::Reboot);
        assert_eq!(options.failure_action, Action::Reboot);
        assert_eq!((options.timeout, options.poweroff), (30, None));
    }

    /// What `kexec -p --pass-memmap-cmdline` appends to a first kernel's line.
    #[test]
    fn line_of_kexec_tools() {
        let options = good(
            "root=/dev/sda1 ro console=ttyS0 memmap=exactmap memmap=640K@0K memmap=32016K@17024K \
             elfcorehdr=49040K",
        );
        assert!(options.exactmap);
        let expected = [range(0, 0xa_0000), range(0x10a_0000, 0x2fe_4000)];
        assert_eq!(options.memmap.iter().collect::<Vec<_>>(), expected);
        let addr = PhysAddr::new(0x2fe_4000);
        assert_eq!(options.elfcorehdr, Some(ElfCoreHdr { addr, size: None }));
    }

    #[test]
    fn every_key_of_ours() {
        let options = good(
            "elfcorehdr=0x1000@0x2000000 kdump.target=virtio-blk:id=00112233445566778899AABBccddeeff,none \
             kdump.final_action=poweroff kdump.failure-action=halt kdump.timeout=5 \
             kdump.pm1a=0x604,0 kdump.view=vmcore kdump.level=0 kdump.checksum=1 kdump.replace=oldest kdump.compress=none \
             kdump.tsc_khz=2596366",
        );
        let elfcorehdr = ElfCoreHdr { addr: PhysAddr::new(32 << 20), size: Some(4096) };
        assert_eq!(options.elfcorehdr, Some(elfcorehdr));
        let id = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        let targets = [TargetSpec::VirtioBlk { id }, TargetSpec::None];
        assert_eq!(options.targets[..], targets.map(|target| TargetEntry { target, also: false }));
        assert_eq!(options.final_action, Action::PowerOff);
        assert_eq!(options.failure_action, Action::Halt);
        assert_eq!(options.timeout, 5);
        assert_eq!((options.checksum, options.replace_oldest), (true, true));
        let poweroff = PowerOff { pm1a_control: 0x604, sleep_type: 0 };
        assert_eq!(options.poweroff, Some(poweroff));
        assert_eq!(options.compress, Compress::None);
        let options = good("kdump.checksum=0 kdump.replace=none kdump.compress=lz4");
        assert_eq!((options.checksum, options.replace_oldest), (false, false));
        assert_eq!(options.compress, Compress::Lz4);
        assert_eq!(good("kdump.compress=lz4 kdump.compress=auto").compress, Compress::Auto);
    }

    #[test]
    fn memmap_means_what_it_means_to_linux() {
        assert_eq!(memory("memmap=1M@16M,1M@17M"), [range(16 << 20, 18 << 20)]);
        let holes = [range(16 << 20, 18 << 20), range(19 << 20, 20 << 20)];
        assert_eq!(memory("memmap=1M$18M memmap=4M@16M"), holes);
        assert_eq!(memory("memmap=4M@16M memmap=1M#18M"), holes);
        assert_eq!(memory("memmap=4M@16M memmap=18M"), holes[..1]);
        assert_eq!(memory("memmap=4M@16M memmap=512M%16M-2+1"), [range(16 << 20, 20 << 20)]);
        let last = "memmap=1G@1G memmap=8M$16M memmap=exactmap memmap=4M@16M";
        assert_eq!(memory(last), [range(16 << 20, 20 << 20)], "exactmap forgets");
    }

    /// As QEMU's microvm adds it, and the example in Linux' own description.
    #[test]
    fn virtio_devices_with_registers_in_memory() {
        let registers = |line| good(line).virtio_mmio.to_vec();
        let line = "virtio_mmio.device=512@0xfeb02e00:12 virtio-mmio.device=1K@0x1001e000:74:-1";
        let expected = [range(0xfeb0_2e00, 0xfeb0_3000), range(0x1001_e000, 0x1001_e400)];
        assert_eq!(registers(line), expected);
        assert_eq!(
            registers("virtio_mmio.device=0x100@0x100000000:5:7"),
            [range(1 << 32, (1 << 32) + 256)]
        );
        let twice = "virtio_mmio.device=512@4096:5 virtio_mmio.device=0x200@0x1000:6";
        assert_eq!(registers(twice), [range(4096, 4608)], "the same registers");
    }

    #[test]
    fn quotes_and_white_space_as_in_linux() {
        let line =
            "dyndbg=\"file a.c +p\" \tkdump.timeout=\"7\"\n\"kdump.final_action=halt\" init=x";
        let options = good(line);
        assert_eq!((options.timeout, options.final_action), (7, Action::Halt));
        assert_eq!(good("kdump.timeout=9\0kdump.timeout=x").timeout, 9);
        assert_eq!(good("kdump.timeout=9 kdump.timeout=10").timeout, 10);
        assert_eq!(good("x=\"a kdump.timeout=9").timeout, DEFAULT_TIMEOUT);
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        good("quiet memmapx=1 elfcorehdrs=x kdump=1 crashkernel=32M@16M -- init");
    }

    #[test]
    fn problems_name_key_value_and_what_is_right() {
        assert_eq!(
            problem("kdump.final_action=explode"),
            "kdump.final_action=explode: not understood, ignored; right is poweroff, reboot or halt"
        );
        assert_eq!(problem("kdump.speed=11"), "kdump.speed=11: no such option, ignored");
        assert_eq!(
            problem("kdump.level=31"),
            "kdump.level=31: not supported by this kernel yet, ignored; it knows 0"
        );
        assert!(problem("kdump.level=31").contains("not supported by this kernel yet"));
        let zstd = "kdump.compress=zstd: not understood, ignored; right is auto, none or lz4";
        assert_eq!(problem("kdump.compress=zstd"), zstd);
        assert!(problem("kdump.view=oldmem:4K").contains("oldmem[:START+LENGTH]"));
        assert!(problem("kdump.view=oldmem:0x1000+0").contains("oldmem[:START+LENGTH]"));
        assert!(problem("kdump.target=tape").contains("right is virtio-blk"));
        assert!(problem("elfcorehdr=\u{1b}[2J").starts_with("elfcorehdr=?[2J: not understood"));
    }

    #[test]
    fn bad_values() {
        let words = [
            "memmap=",
            "memmap",
            "memmap=16M@",
            "memmap=0@16M",
            "memmap=1M@16Mx",
            "memmap=1M?16M",
            "memmap=2@0xffffffffffffffff",
            "elfcorehdr=",
            "elfcorehdr=4K@",
            "elfcorehdr=4K@16M,",
            "virtio_mmio.device",
            "virtio_mmio.device=",
            "virtio_mmio.device=512",
            "virtio_mmio.device=512@",
            "virtio_mmio.device=@0xfeb00000:5",
            "virtio_mmio.device=512@0xfeb00000",
            "virtio_mmio.device=512@0xfeb00000:",
            "virtio_mmio.device=512@0xfeb00000:x",
            "virtio_mmio.device=512@0xfeb00000:5:",
            "virtio_mmio.device=512@0xfeb00000:5:-",
            "virtio_mmio.device=512@0xfeb00000:5:1:2",
            "virtio_mmio.device=512@4K:5",
            "virtio_mmio.device=0@0xfeb00000:5",
            "virtio_mmio.device=512@0xffffffffffffff00:5",
            "kdump.checksum=2",
            "kdump.checksum=",
            "kdump.replace=all",
            "kdump.timeout=0",
            "kdump.timeout=4294967296",
            "kdump.timeout=5s",
            "kdump.tsc_khz=0",
            "kdump.tsc_khz=4294967296",
            "kdump.tsc_khz=2.5",
            "kdump.pm1a=0x10000,0",
            "kdump.pm1a=0x604,8",
            "kdump.pm1a=0x604",
        ];
        for word in words {
            assert!(problem(word).contains("not understood"), "{word}");
        }
    }

    #[test]
    fn a_bad_value_leaves_the_rest_alone() {
        let (options, problems) = parse("memmap=4M@16M memmap=x kdump.timeout=4 kdump.timeout=y");
        assert_eq!(problems.len(), 2);
        assert_eq!((options.memmap.total(), options.timeout), (4 << 20, 4));
        let (options, problems) = parse("kdump.target=tape");
        assert!(options.targets.is_empty() && problems.len() == 1);
    }

    #[test]
    fn long_lists_are_cut_and_said() {
        assert!(problem("kdump.target=none,none,none,none,none").contains("more than 4 targets"));
        let line: String = (0..33).map(|n| alloc::format!(" memmap=4K@{}M", n + 16)).collect();
        assert!(problem(&line).contains("more than 32 separate memory ranges"));
        assert_eq!(parse(&line).0.memmap.iter().len(), 32);
        let line: String =
            (1..34).map(|n| alloc::format!(" virtio_mmio.device=512@{n}:1")).collect();
        assert!(problem(&line).contains("=512@33:1: more than 32 devices"));
        assert!(problem(&alloc::format!("kdump.{}", "x".repeat(500))).len() < 200);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut texts = 0;
            Options::parse(&line, &mut |problem| texts += problem.to_string().len());
        }

        #[test]
        fn arbitrary_words_do_no_harm(line in "((memmap|elfcorehdr|virtio_mmio\\.device|kdump\\.(target|timeout|pm1a|level))=[0-9a-zA-Z@$,+%\"=:x]{0,20} ?){0,8}") {
            let mut texts = 0;
            let options = Options::parse(line.as_bytes(), &mut |problem| texts += problem.to_string().len());
            prop_assert!(options.memmap.iter().all(|range| !range.is_empty()));
        }
    }
}
