//! Symbols by name and by address.

use clap::Args;
use serde::Serialize;

use super::place;
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel, NamedSymbol};

/// Names and addresses.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Show all symbols
    #[arg(short = 'l', long, conflicts_with = "what")]
    list: bool,
    /// Show the symbols whose names have this text
    #[arg(short = 'q', long, value_name = "TEXT")]
    query: Option<String>,
    /// Symbols and hexadecimal addresses
    #[arg(value_name = "SYMBOL|ADDRESS", required_unless_present_any = ["list", "query"])]
    what: Vec<String>,
}

/// A symbol, and a distance from it.
#[derive(Debug, Serialize)]
struct Found {
    address: String,
    kind: char,
    name: String,
    offset: u64,
    size: u64,
}

impl Found {
    fn new(symbol: NamedSymbol<'_>, at: u64) -> Self {
        let NamedSymbol { name, at: start, size, kind } = symbol;
        let (address, offset) = (format!("{at:x}"), at.wrapping_sub(start));
        Self { address, kind, name: name.to_owned(), offset, size }
    }

    fn line(&self) -> String {
        let Self { address, kind, name, offset, .. } = self;
        match offset {
            0 => format!("{address} ({kind}) {name}"),
            _ => format!("{address} ({kind}) {name}+{offset:#x}"),
        }
    }
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let all = kernel.symbols().iter();
        match &self.query {
            Some(text) => found.extend(
                all.filter(|symbol| symbol.name.contains(text)).map(|s| Found::new(s, s.at)),
            ),
            None if self.list => found.extend(all.map(|symbol| Found::new(symbol, symbol.at))),
            None => {}
        }
        for text in &self.what {
            let some = of(kernel, text);
            if some.is_empty() {
                missing.push(format!("{text} is no symbol and no address in one"));
            }
            found.extend(some);
        }
        let lines: Vec<_> = found.iter().map(Found::line).collect();
        match (lines.is_empty(), missing.first()) {
            (true, Some(why)) => return Err(Error::Usage(why.clone())),
            (true, None) => return Err(Error::NoSymbol(self.query.clone().unwrap_or_default())),
            _ => {}
        }
        let answer = Answer::new("Symbols", &found)?.with(Block::Text(lines.join("\n")));
        Ok(Answer { missing, ..answer })
    }
}

/// All symbols of a name; else the one that an address is in.
fn of(kernel: &Kernel<'_>, text: &str) -> Vec<Found> {
    let named = kernel.symbols().iter().filter(|symbol| symbol.name == text);
    let mut found: Vec<_> = named.map(|symbol| Found::new(symbol, symbol.at)).collect();
    if let (true, Ok(at)) = (found.is_empty(), kernel.symbol(text)) {
        let symbol = NamedSymbol { name: text, at, size: 0, kind: '?' };
        found.push(Found::new(symbol, at));
    }
    if let (true, Ok(at)) = (found.is_empty(), place::address(kernel, text)) {
        // Per-CPU variables have no range.
        let exact = || kernel.symbols().iter().find(|symbol| symbol.at == at);
        let symbol = kernel.symbols().find(at).or_else(exact);
        found.extend(symbol.map(|symbol| Found::new(symbol, at)));
    }
    found
}
