//! Answers for a terminal.

use std::io::{self, Write};

use crate::report::{Answer, Block, Severity, Table, Warning};

/// Writes an answer; its warnings come first.
///
/// # Errors
/// The output takes no more.
pub fn text(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    answer.warnings.iter().try_for_each(|warning| warn(warning, out))?;
    let mut first = answer.warnings.is_empty();
    for block in &answer.blocks {
        let is_first = core::mem::replace(&mut first, false);
        match block {
            Block::Facts(facts) => self::facts(facts, out)?,
            Block::Table(table) => self::table(table, out)?,
            Block::Text(text) => writeln!(out, "{}", text.trim_end_matches('\n'))?,
            Block::Heading(title) => {
                let space = if is_first { "" } else { "\n" };
                writeln!(out, "{space}{title}")?;
            }
        }
    }
    answer.missing.iter().try_for_each(|part| writeln!(out, "missing: {part}"))
}

fn warn(warning: &Warning, out: &mut dyn Write) -> io::Result<()> {
    let word = match warning.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Critical => "CRITICAL",
    };
    writeln!(out, "{word}: {} (see: {})", warning.text, warning.section)
}

fn facts(facts: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().try_for_each(|(name, value)| writeln!(out, "{name:>width$}: {value}"))
}

fn table(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<_> = table.columns.iter().map(|(name, _)| length(name)).collect();
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, width), (_, is_number)) in cells.zip(&widths).zip(&table.columns) {
            let space = if line.is_empty() { "" } else { "  " };
            match is_number {
                true => line += &format!("{space}{cell:>width$}"),
                false => line += &format!("{space}{cell:<width$}"),
            }
        }
        line
    };
    let names = line(&mut table.columns.iter().map(|(name, _)| *name));
    writeln!(out, "{}", names.trim_end())?;
    table.rows.iter().try_for_each(|row| {
        writeln!(out, "{}", line(&mut row.iter().map(String::as_str)).trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_facts_are_aligned() {
        let mut table = Table::new(&[">PID", "COMM", ">RSS"]);
        table.row(["1".to_owned(), "init".to_owned(), "412".to_owned()]);
        table.row(["1024".to_owned(), "a é".to_owned(), "7".to_owned()]);
        let facts = Block::Facts(vec![("CPUs", "2".to_owned()), ("release", "6.1".to_owned())]);
        let warning =
            Warning { severity: Severity::Critical, text: "no memory".to_owned(), section: "kmem" };
        let answer = Answer {
            blocks: vec![Block::Heading("All".to_owned()), facts, Block::Table(table)],
            warnings: vec![warning],
            missing: vec!["swap".to_owned()],
            ..Answer::default()
        };
        let mut out = Vec::new();
        text(&answer, &mut out).expect("memory");
        let expected = "CRITICAL: no memory (see: kmem)\n\nAll\n   CPUs: 2\nrelease: 6.1\n\
                        \u{20}PID  COMM  RSS\n   1  init  412\n1024  a é     7\nmissing: swap\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
