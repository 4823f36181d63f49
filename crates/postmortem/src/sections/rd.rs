//! Memory as numbers and text.

use clap::Args;
use serde_json::json;

use super::place;
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel};

/// Bytes of a line.
const LINE: usize = 16;
/// Most bytes of an answer.
const MOST: u64 = 16 << 20;

/// A place and a form.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The address is physical
    #[arg(short = 'p')]
    physical: bool,
    /// Show the symbols that pointers point to
    #[arg(short = 's', conflicts_with_all = ["text", "width"])]
    symbols: bool,
    /// Text only; the count is that of bytes
    #[arg(short = 'a', conflicts_with = "width")]
    text: bool,
    /// Bits of a number: 8, 16, 32 or 64; those of a pointer without it
    #[arg(short = 'w', value_name = "BITS", value_parser = ["8", "16", "32", "64"])]
    width: Option<String>,
    /// Hexadecimal address, symbol, SYMBOL+OFFSET, or SYMBOL:CPU
    #[arg(value_name = "ADDRESS|SYMBOL")]
    at: String,
    /// Number of numbers
    #[arg(value_name = "COUNT", default_value = "1")]
    count: String,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let at = place::address(kernel, &self.at)?;
        let word = kernel.types().word as usize;
        let width = match (&self.width, self.text) {
            (_, true) => 1,
            (Some(bits), _) => bits.parse::<usize>().map_or(word, |bits| bits / 8),
            _ => word,
        };
        let wanted = place::number(&self.count)?.saturating_mul(width as u64);
        if wanted > MOST {
            return Err(Error::Usage(format!("at most {MOST} bytes are shown")));
        }
        let (bytes, missing) = self.read(kernel, at, wanted as usize)?;
        let line = |(number, bytes): (usize, &[u8])| {
            let at = at.wrapping_add((number * LINE) as u64);
            self.line(kernel, at, bytes, width)
        };
        let lines: Vec<_> = bytes.chunks(LINE).enumerate().map(line).collect();
        let numbers: Vec<_> =
            bytes.chunks(width).map(|bytes| format!("{:#x}", of(bytes))).collect();
        let data = json!({ "address": format!("{at:#x}"), "width": width, "values": numbers });
        let answer = Answer::new(format!("Memory at {at:#x}"), &data)?;
        Ok(Answer { missing, ..answer.with(Block::Text(lines.join("\n"))) })
    }
}

impl Arguments {
    /// The bytes up to the first that cannot be read, and the reason.
    fn read(
        &self,
        kernel: &Kernel<'_>,
        at: u64,
        wanted: usize,
    ) -> Result<(Vec<u8>, Vec<String>), Error> {
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            let next = at.wrapping_add(bytes.len() as u64);
            let page = 4096 - (next % 4096) as usize;
            let mut part = vec![0; page.min(wanted - bytes.len())];
            let read = match self.physical {
                true => kernel
                    .dead()
                    .memory
                    .read_physical(next, &mut part)
                    .map_err(|source| Error::Memory { at: next, source }),
                false => kernel.read(next, &mut part),
            };
            match read {
                Ok(()) => bytes.extend(part),
                Err(error) if bytes.is_empty() => return Err(error),
                Err(error) => return Ok((bytes, vec![error.to_string()])),
            }
        }
        Ok((bytes, Vec::new()))
    }

    fn line(&self, kernel: &Kernel<'_>, at: u64, bytes: &[u8], width: usize) -> String {
        let letter = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let text: String = bytes.iter().map(letter).collect();
        let digits = 2 * kernel.types().word as usize;
        if self.text {
            return format!("{at:0digits$x}:  {text}");
        }
        let number = |bytes: &[u8]| match kernel.symbols().find(of(bytes)) {
            Some(symbol) if self.symbols => {
                let offset = of(bytes) - symbol.at;
                let name = if offset == 0 { String::new() } else { format!("+{offset}") };
                format!("{:<1$}", format!("{}{name}", symbol.name), 2 * width)
            }
            _ => format!("{:01$x}", of(bytes), 2 * bytes.len()),
        };
        let numbers: Vec<_> = bytes.chunks(width).map(number).collect();
        let (numbers, all) = (numbers.join(" "), (LINE / width) * (2 * width + 1) - 1);
        match self.symbols {
            true => format!("{at:0digits$x}:  {numbers}"),
            false => format!("{at:0digits$x}:  {numbers:<all$}   {text}"),
        }
    }
}

/// A little-endian number.
fn of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
