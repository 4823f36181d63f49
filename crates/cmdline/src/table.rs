//! The table of options: what the parser walks, and what the documentation shows.

use core::fmt;

use crate::iommu::{self, IommuList};
use crate::options::{MAX_TARGETS, MAX_VIRTIO_MMIO, Options};
use crate::problem::Trouble;
use crate::target::{self, TargetEntry};
use crate::value;

/// Takes a part of a value, and what is wrong with it.
type Report<'r, 'a> = dyn FnMut(&'a [u8], Trouble) + 'r;

/// The parser of one key's value. The capture kernel has these in its image.
pub(crate) struct Parser {
    /// The key, with `_` for `-`.
    pub(crate) key: &'static str,
    /// The values that are right, as an error names them.
    pub(crate) right: &'static str,
    /// Stores a value; [`None`] if it means nothing.
    pub(crate) parse: for<'a> fn(&mut Options<'a>, &'a [u8], &mut Report<'_, 'a>) -> Option<()>,
}

/// An option and its description, in Markdown.
struct Entry {
    parser: Parser,
    /// The values and what they do.
    help: &'static str,
    /// The meaning of a command line without the option.
    default: &'static str,
}

/// Every option. The texts of this constant are in no image: only [`PARSERS`] is.
const TABLE: [Entry; 16] = [
    Entry {
        parser: Parser {
            key: "memmap",
            right: "exactmap or SIZE[KMG]@START[KMG]",
            parse: |_, text, _| {
                let mut items = text.split(|byte| *byte == b',');
                items.all(|item| value::memmap(item).is_some()).then_some(())
            },
        },
        help: "`exactmap`, `SIZE@START`: the memory it may use (added by the loader)",
        default: "the e820 RAM around its image, less what the ELF core header names; without a \
                  good header, what lies between the image and boot_params and command line",
    },
    Entry {
        parser: Parser {
            key: "elfcorehdr",
            right: "[SIZE[KMG]@]ADDRESS[KMG]",
            parse: |options, text, _| {
                set(value::elfcorehdr(text).map(Some), &mut options.elfcorehdr)
            },
        },
        help: "`[SIZE@]ADDRESS` of the ELF core header (added by the loader)",
        default: "none: vmcore has length zero",
    },
    Entry {
        // The key that gives Linux the place of a virtio device's registers.
        parser: Parser {
            key: "virtio_mmio.device",
            right: "SIZE[KMG]@BASE:IRQ[:ID]",
            parse: add_virtio_mmio,
        },
        help: "`SIZE@BASE:IRQ[:ID]`, as on Linux' own command line, up to 32 of them: where virtio \
               devices have their registers on a machine without PCI, such as a microVM (copied by \
               the loader from the first kernel's command line; not with `--command-line`)",
        default: "none",
    },
    Entry {
        parser: Parser {
            key: "kdump.iommu",
            right: iommu::RIGHT,
            parse: |options, text, _| set(IommuList::parse(text).map(Some), &mut options.iommu),
        },
        help: "`none`, or a list of `vtd@ADDRESS` and `amd@ADDRESS`: the machine's IOMMUs (Intel \
               VT-d, AMD-Vi) by the physical addresses of their registers; their translation is \
               turned off (added by the loader from the ACPI tables)",
        default: "not known: no IOMMU is touched, and virtio devices behind one \
                  (F_ACCESS_PLATFORM) are refused",
    },
    Entry {
        parser: Parser { key: "kdump.target", right: target::ANY, parse: set_targets },
        help: "a list of the targets below: with a comma the next is tried when the one before it \
               failed, with a `+` it gets the dump as well, whatever became of the one before it",
        default: "the kernel serves read requests on COM1 until `kdump.timeout` is over",
    },
    Entry {
        parser: Parser {
            key: "kdump.view",
            right: "vmcore or oldmem[:START+LENGTH]",
            parse: |options, text, _| set(value::view(text), &mut options.view),
        },
        help: "`vmcore`; `oldmem[:START+LENGTH]`: physical memory as it is, holes as zeros, \
               without the backup region",
        default: "`vmcore`",
    },
    Entry {
        parser: Parser {
            key: "kdump.level",
            right: "a number from 0 (all memory) to 31 (kernel pages only)",
            parse: |options, text, _| set(value::level(text).map(Some), &mut options.level),
        },
        help: "`0` to `31`: the classes of pages that are left out, as the bits of makedumpfile's \
               `-d`: 1 zeros, 2 page cache without private data, 4 all page cache, 8 user \
               processes, 16 free memory. `kdump-loader load --level`",
        default: "0; on a dump disk without room for all memory 31",
    },
    Entry {
        parser: Parser {
            key: "kdump.backtrace",
            right: "0 or 1",
            parse: |options, text, _| set(value::word(text, b"0", b"1"), &mut options.backtrace),
        },
        help: "`1`: the functions that each CPU was in, as lines on the console and as the small \
               view `backtrace`. `0`: neither",
        default: "`1`",
    },
    Entry {
        parser: Parser {
            key: "kdump.checksum",
            right: "0 or 1",
            parse: |options, text, _| set(value::word(text, b"0", b"1"), &mut options.checksum),
        },
        help: "`1`: each chunk on a dump disk gets a CRC-32C of its content, and what a console \
               carries is compared: the CPU reads all of it, which is slow",
        default: "`0`",
    },
    Entry {
        parser: Parser {
            key: "kdump.compress",
            right: "auto, none or lz4",
            parse: |options, text, _| set(value::compress(text), &mut options.compress),
        },
        help: "`lz4`: chunks of 64 KiB that become shorter leave as LZ4 blocks; the CPU reads all \
               memory, and the slot needs 4 MiB. `none`: memory as it is. `auto`: `lz4` on a \
               serial line, `none` elsewhere. `kdump-loader load --compress`",
        default: "`auto`",
    },
    Entry {
        parser: Parser {
            key: "kdump.replace",
            right: "none or oldest",
            parse: |options, text, _| {
                set(value::word(text, b"none", b"oldest"), &mut options.replace_oldest)
            },
        },
        help: "`oldest`: a full dump disk gives up its oldest complete dumps for a new one",
        default: "`none`",
    },
    Entry {
        parser: Parser {
            key: "kdump.final_action",
            right: ACTIONS,
            parse: |options, text, _| set(value::action(text), &mut options.final_action),
        },
        help: "after a complete dump: `poweroff`, `reboot`, `halt`",
        default: "`reboot`",
    },
    Entry {
        parser: Parser {
            key: "kdump.failure_action",
            right: ACTIONS,
            parse: |options, text, _| set(value::action(text), &mut options.failure_action),
        },
        help: "otherwise: `poweroff`, `reboot`, `halt`",
        default: "`reboot`",
    },
    Entry {
        parser: Parser {
            key: "kdump.timeout",
            right: "a number of seconds above 0",
            parse: |options, text, _| set(value::above_zero(text), &mut options.timeout),
        },
        help: "seconds that any one request may take; after twice that and 5 s without any \
               progress the watchdog brings the failure action",
        default: "30",
    },
    Entry {
        parser: Parser {
            key: "kdump.tsc_khz",
            right: "a number of kHz above 0",
            parse: |options, text, _| set(value::above_zero(text).map(Some), &mut options.tsc_khz),
        },
        help: "rate of the time stamp counter in kHz (added by `kdump-loader load`, which measures \
               it where it does not change). It is compared with the PIT for 1 ms; where it is off \
               by more than an eighth it counts for nothing, and the console says so; the same \
               where no PIT answers",
        default: "measured against the PIT, in 5 ms",
    },
    Entry {
        parser: Parser {
            key: "kdump.pm1a",
            right: "PORT,TYPE with a port up to 0xffff and a type up to 7",
            parse: |options, text, _| set(value::pm1a(text).map(Some), &mut options.poweroff),
        },
        help: "`PORT,TYPE`: how to power off (added by the loader from the ACPI tables)",
        default: "none: reboot instead",
    },
];

const ACTIONS: &str = "poweroff, reboot or halt";

/// The parsers of [`TABLE`].
pub(crate) static PARSERS: [Parser; TABLE.len()] = {
    let mut parsers = [const { Parser { key: "", right: "", parse: |_, _, _| None } }; TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        let Parser { key, right, parse } = TABLE[index].parser;
        parsers[index] = Parser { key, right, parse };
        index += 1;
    }
    parsers
};

/// The table of options in Markdown, as `docs/reference.md` shows it.
pub fn table() -> impl fmt::Display {
    fmt::from_fn(|f| {
        f.write_str("| key | value | default |\n|---|---|---|\n")?;
        TABLE.iter().try_for_each(|Entry { parser, help, default }| {
            writeln!(f, "| `{}` | {help} | {default} |", parser.key)
        })
    })
}

fn set<T>(parsed: Option<T>, into: &mut T) -> Option<()> {
    *into = parsed?;
    Some(())
}

fn add_virtio_mmio<'a>(
    options: &mut Options<'a>,
    text: &'a [u8],
    report: &mut Report<'_, 'a>,
) -> Option<()> {
    let registers = value::virtio_mmio(text)?;
    let is_known = options.virtio_mmio.contains(&registers);
    if !is_known && options.virtio_mmio.try_push(registers).is_err() {
        report(text, Trouble::TooManyDevices(MAX_VIRTIO_MMIO));
    }
    Some(())
}

fn set_targets<'a>(
    options: &mut Options<'a>,
    text: &'a [u8],
    report: &mut Report<'_, 'a>,
) -> Option<()> {
    options.targets.clear();
    for (also, item) in target::items(text) {
        let target = target::parse(item).map_err(Trouble::BadValue);
        let pushed = target.and_then(|target| {
            let entry = TargetEntry { target, also };
            options.targets.try_push(entry).map_err(|_| Trouble::TooMany(MAX_TARGETS))
        });
        if let Err(trouble) = pushed {
            report(item, trouble);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_an_empty_line() {
        let mut checked = 0;
        for Entry { parser, default, .. } in &TABLE {
            let word = default.trim_matches('`');
            if word.len() + 2 != default.len() && word.parse::<u32>().is_err() {
                continue;
            }
            let line = alloc::format!("{}={word}", parser.key);
            let options = Options::parse(line.as_bytes(), &mut |problem| panic!("{problem}"));
            assert_eq!(
                Options { line: b"", ..options },
                Options::parse(b"", &mut |_| ()),
                "{line}"
            );
            checked += 1;
        }
        assert_eq!(checked, 8);
    }
}
