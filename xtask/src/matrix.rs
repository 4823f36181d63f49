//! A matrix of combinations that work: for people, and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

/// Result of one combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// It works: the result, and remarks about it.
    Passed(String, Option<&'static str>),
    /// It should work and does not, for this reason.
    Failed(String),
    /// It cannot exist, for this reason.
    Impossible(&'static str),
}

impl Cell {
    /// From the result, with a remark for a cell that works.
    pub(crate) fn new(found: anyhow::Result<String>, remark: Option<&'static str>) -> Self {
        match found {
            Ok(detail) => Self::Passed(detail, remark),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }

    /// True when it should work and does not.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The word in the table, and the text of its note.
    fn shown(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Passed(_, remark) => ("ok", *remark),
            Self::Failed(reason) => ("FAIL", Some(reason)),
            Self::Impossible(reason) => ("-", Some(reason)),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Passed(detail, remark) => {
                json!({"result": "pass", "detail": detail, "remark": remark})
            }
            Self::Failed(reason) => json!({"result": "fail", "detail": reason}),
            Self::Impossible(reason) => json!({"result": "impossible", "detail": reason}),
        }
    }
}

/// Loader, capture kernel and first kernel, and a cell for each column.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The three names.
    pub names: [&'static str; 3],
    /// The cells, in the columns' order.
    pub cells: Vec<Cell>,
}

impl Row {
    /// For programs.
    pub(crate) fn json(&self, columns: &[&str]) -> Value {
        let [loader, capture, first] = self.names;
        let cells =
            columns.iter().map(|name| name.to_string()).zip(self.cells.iter().map(Cell::json));
        let cells: serde_json::Map<_, _> = cells.collect();
        json!({"loader": loader, "capture_kernel": capture, "first_kernel": first, "cells": cells})
    }
}

/// A Markdown table, followed by the notes that its cells refer to.
pub(crate) fn table(columns: &[&str], rows: &[Row]) -> String {
    let mut notes = Vec::new();
    let head = ["loader", "capture kernel", "first kernel"].iter().chain(columns);
    let mut lines = vec![head.map(|name| name.to_string()).collect::<Vec<_>>()];
    for row in rows {
        let names = row.names.iter().map(|name| name.to_string());
        let cells = row.cells.iter().map(|cell| shown(cell, &mut notes));
        lines.push(names.chain(cells).collect());
    }
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
    lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    }
    for (number, note) in notes.iter().enumerate() {
        let _ = write!(text, "\n{}. {note}", number + 1);
    }
    text.push('\n');
    text
}

/// The cell's word and the number of its note, which cells may share.
fn shown(cell: &Cell, notes: &mut Vec<String>) -> String {
    let (word, Some(note)) = cell.shown() else { return cell.shown().0.to_string() };
    let note = note.split_whitespace().collect::<Vec<_>>().join(" ");
    let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    format!("{word} ({})", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_do_not_simply_pass_share_notes() {
        let rows = [
            Row {
                names: ["a", "b", "c"],
                cells: vec![Cell::Passed("x".into(), None), Cell::Failed("it broke\nhere".into())],
            },
            Row { names: ["long", "b", "c"], cells: vec![Cell::Impossible("no call"); 2] },
        ];
        let expected = "\
| loader | capture kernel | first kernel | one   | two      |
| ------ | -------------- | ------------ | ----- | -------- |
| a      | b              | c            | ok    | FAIL (1) |
| long   | b              | c            | - (2) | - (2)    |

1. it broke here
2. no call
";
        assert_eq!(table(&["one", "two"], &rows), expected);
        let failures: Vec<_> = rows[0].cells.iter().map(Cell::is_failure).collect();
        assert_eq!(failures, [false, true]);
    }

    #[test]
    fn programs_get_every_detail() {
        let cells = vec![Cell::new(Ok("3 checks".into()), Some("but"))];
        let row = Row { names: ["a", "b", "c"], cells }.json(&["cycle"]);
        assert_eq!(row["cells"]["cycle"]["result"], "pass");
        assert_eq!(row["cells"]["cycle"]["detail"], "3 checks");
        assert_eq!(row["cells"]["cycle"]["remark"], "but");
        assert_eq!(row["capture_kernel"], "b");
    }
}
