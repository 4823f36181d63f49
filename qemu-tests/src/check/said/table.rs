//! Tables of what a kernel says and of what a program reads from its dump, and their comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Result, ensure};

/// Most differences that a message shows.
const MOST_SHOWN: usize = 12;

/// The fields of a row, by name.
pub type Row = BTreeMap<String, String>;

/// Rows by their key.
pub type Table = BTreeMap<String, Row>;

/// Distance that a field may have from the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Not at all.
    Same,
    /// A counter that only grows, by so much at most until the crash.
    Grows(u64),
    /// So much, up or down.
    Near(u64),
    /// Not at all, or one of both is this.
    Or(&'static str),
    /// The kernel's word is not compared.
    Free,
}

impl Rule {
    fn holds(self, told: &str, read: &str) -> bool {
        let numbers = || Some((told.parse::<u64>().ok()?, read.parse::<u64>().ok()?));
        match self {
            Self::Same => told == read,
            Self::Free => true,
            Self::Or(other) => told == read || [told, read].contains(&other),
            Self::Grows(most) => numbers().is_some_and(|(told, read)| {
                read.checked_sub(told).is_some_and(|more| more <= most)
            }),
            Self::Near(most) => numbers().is_some_and(|(told, read)| told.abs_diff(read) <= most),
        }
    }
}

/// True for a row, by its key and its fields, that only one of both may have.
pub type MayLack = fn(&str, &Row) -> bool;

/// The rules of a table.
#[derive(Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Fields that need not be the same: name, or `KEY.NAME` for that of a row.
    pub fields: &'a [(&'a str, Rule)],
    /// Rows that only one of both may have.
    pub may_lack: Option<MayLack>,
}

impl Rules<'_> {
    fn of(&self, key: &str, name: &str) -> Rule {
        let whole = format!("{key}.{name}");
        let found = self.fields.iter().find(|(field, _)| *field == whole);
        let found = found.or_else(|| self.fields.iter().find(|(field, _)| *field == name));
        found.map_or(Rule::Same, |(_, rule)| *rule)
    }
}

/// Checks that `read` says what the kernel has `told`: the same rows, and the fields of each that
/// both have.
///
/// # Errors
/// A row or a field differs by more than its rule allows, or a field of the kernel's word is in no
/// row that was read.
pub fn compare(told: &Table, read: &Table, rules: Rules<'_>) -> Result<String> {
    let (mut wrong, mut fields, mut far) = (Vec::new(), 0, 0);
    let may_lack = |key, row| rules.may_lack.is_some_and(|may| may(key, row));
    for (key, row) in told {
        let Some(found) = read.get(key) else {
            if !may_lack(key, row) {
                wrong.push(format!("{key}: only the kernel has it ({row:?})"));
            }
            continue;
        };
        for (name, value) in row {
            let Some(seen) = found.get(name) else { continue };
            fields += 1;
            far += usize::from(value != seen);
            if !rules.of(key, name).holds(value, seen) {
                wrong.push(format!("{key}.{name}: the kernel said {value}, the dump has {seen}"));
            }
        }
    }
    for (key, row) in read {
        if !told.contains_key(key) && !may_lack(key, row) {
            wrong.push(format!("{key}: only the dump has it ({row:?})"));
        }
    }
    for name in names(told).difference(&names(read)) {
        wrong.push(format!("no row of the dump has the field {name}"));
    }
    ensure!(wrong.is_empty(), "{} differences: {}", wrong.len(), listed(&wrong));
    ensure!(fields > 0 || told.is_empty(), "nothing to compare");
    Ok(format!("{} rows, {fields} fields, {far} of them in their bounds", told.len()))
}

fn names(table: &Table) -> BTreeSet<&String> {
    table.values().flat_map(Row::keys).collect()
}

fn listed(wrong: &[String]) -> String {
    let mut text = wrong.iter().take(MOST_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if wrong.len() > MOST_SHOWN {
        let _ = write!(text, "; and {} more", wrong.len() - MOST_SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two columns: a row is `KEY SIZE COUNT`, or `KEY SIZE`.
    fn table(rows: &str) -> Table {
        let line = |row: &str| {
            let (key, values) = row.split_once(' ').unwrap_or((row, ""));
            let fields = ["size", "count"].into_iter().zip(values.split_whitespace());
            (key.to_string(), fields.map(|(name, value)| (name.into(), value.into())).collect())
        };
        rows.split(", ").map(line).collect()
    }

    fn judge(read: &str) -> Result<String, String> {
        let fields = [("count", Rule::Grows(10)), ("b.size", Rule::Near(1))];
        let rules = Rules { fields: &fields, may_lack: Some(|key, _| key == "c") };
        compare(&table("a 7 100, b 8 5"), &table(read), rules).map_err(|error| error.to_string())
    }

    #[test]
    fn each_field_has_its_rule() {
        let said = judge("a 7 110, b 7 5").unwrap();
        assert_eq!(said, "2 rows, 4 fields, 2 of them in their bounds");
        assert!(judge("a 7 110, b 7 5, c").is_ok());
        for (read, said) in [
            ("a 7 110", "b: only the kernel has it"),
            ("a 7 110, b 7 5, d", "d: only the dump has it"),
            ("a 8 100, b 8 5", "a.size: the kernel said 7"),
            ("a 7 99, b 8 5", "a.count: the kernel said 100"),
            ("a 7 111, b 8 5", "the dump has 111"),
            ("a 7 100, b 6 5", "b.size: the kernel said 8"),
            ("a 7, b 8", "has the field count"),
        ] {
            let error = judge(read).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
