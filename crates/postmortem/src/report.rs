//! Answers of sections: data for programs, and blocks for people.

use serde::Serialize;
use serde_json::Value;

use crate::Error;

/// The answer to a question about a kernel. As JSON it has `title`, `warnings`, `missing` and
/// `data`.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// One line.
    pub title: String,
    /// The text, in its order.
    #[serde(skip)]
    pub blocks: Vec<Block>,
    /// Conclusions that a support engineer should see first.
    pub warnings: Vec<Warning>,
    /// Parts that the dump does not have, with the reasons.
    pub missing: Vec<String>,
    /// The same for programs.
    pub data: Value,
}

/// A part of an answer.
#[derive(Debug)]
pub enum Block {
    /// Names and values, one a line.
    Facts(Vec<(&'static str, String)>),
    /// Rows of cells.
    Table(Table),
    /// Lines as they are.
    Text(String),
    /// A title of the blocks after it.
    Heading(String),
}

/// Rows of cells under the names of their columns.
#[derive(Debug, Default)]
pub struct Table {
    /// Names of the columns, and true for numbers, which are aligned to the right.
    pub columns: Vec<(&'static str, bool)>,
    /// Cells, as many as columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. A name that begins with `>` is that of a column of numbers.
    pub fn new(columns: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => (name, true),
            None => (*name, false),
        };
        Self { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// The weight of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing: a taint, a module from elsewhere.
    Note,
    /// Likely a part of the problem: fragmented memory, a high load.
    Warning,
    /// Very likely the problem: hung tasks, lock-ups, no memory.
    Critical,
}

/// A conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Its weight.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub text: String,
    /// The section that shows more: `ps`, `kmem -z`.
    pub section: &'static str,
}

impl Answer {
    /// An answer with this data.
    ///
    /// # Errors
    /// [`Error::Output`]: the data has no form in JSON.
    pub fn new(title: impl Into<String>, data: &impl Serialize) -> Result<Self, Error> {
        let data = serde_json::to_value(data).map_err(std::io::Error::from)?;
        Ok(Self { title: title.into(), data, ..Self::default() })
    }

    /// With another block.
    #[must_use]
    pub fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }
}

/// Number of bytes as people read it: `23.4 MiB`.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A time as people read it: `3 d 04:05:06`, `04:05:06`, `5.2 s`.
pub fn duration(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (seconds / 86400, seconds) {
        (0, 0..60) => format!("{:.1} s", nanoseconds as f64 / 1e9),
        (0, _) => clock,
        (days, _) => format!("{days} d {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([bytes(0), bytes(1023), bytes(1 << 20)], ["0 B", "1023 B", "1.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(duration(5_250_000_000), "5.2 s");
        assert_eq!(duration(3_661_000_000_000), "01:01:01");
        assert_eq!(duration(90_061_000_000_000), "1 d 01:01:01");
    }
}
