//! The one parser of the capture kernel's command line.
//!
//! Linux's own words (`memmap=`, `elfcorehdr=`) have their meaning in Linux; `kdump.*` is ours. A
//! word that cannot be understood is reported and the others hold: a capture with a default is
//! better than none.

use crate::options::Options;
use crate::problem::{Problem, Trouble};
use crate::table::PARSERS;
use crate::value::{self, Memmap};
use crate::words::{same_key, words};

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
            let mut report = |value, trouble| complain(Problem { key, value, trouble });
            match PARSERS.iter().find(|parser| same_key(key, parser.key)) {
                Some(parser) if (parser.parse)(&mut options, value, &mut report).is_none() => {
                    report(value, Trouble::BadValue(parser.right));
                }
                None if key.starts_with(b"kdump.") => report(value, Trouble::UnknownKey),
                // Linux has words of its own.
                Some(_) | None => {}
            }
        }
        options.read_memmap(complain);
        options
    }

    /// Gathers the RAM of all `memmap=` (Linux, `arch/x86/kernel/e820.c`): `exactmap` drops the
    /// earlier words, and a reservation beats RAM in any order.
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
}

/// Every item of every `memmap=` with its key, its text and its meaning.
fn memmap_items(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], Option<Memmap>)> {
    words(line).filter(|(key, _)| same_key(key, "memmap")).flat_map(|(key, value)| {
        value.split(|byte| *byte == b',').map(move |item| (key, item, value::memmap(item)))
    })
}

#[cfg(test)]
mod tests;
