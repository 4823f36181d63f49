//! Answers as a page of HTML that stands alone: no script, no file beside it.

use std::io::{self, Write};

use crate::report::{Answer, Block, Severity, Table, Warning};

/// Rows of a table or lines of a text from which on it is folded.
const LONG: usize = 40;

/// Colours are pairs for light and dark; wide tables scroll by themselves.
const STYLE: &str = include_str!("page.css");

/// Writes a page with these answers. The first is always open, the others are folded where they
/// are long; each warning stands at the top, too.
///
/// # Errors
/// The output takes no more.
pub fn html(title: &str, answers: &[Answer], out: &mut dyn Write) -> io::Result<()> {
    let page = escaped(title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{page}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{page}</h1>\n"
    )?;
    warnings(answers, out)?;
    if answers.len() > 1 {
        writeln!(out, "<nav>")?;
        for (number, answer) in answers.iter().enumerate() {
            let name = heading(title, answer);
            writeln!(out, "<a href=\"#part-{number}\">{}</a>", escaped(name))?;
        }
        writeln!(out, "</nav>")?;
    }
    writeln!(out, "<main>")?;
    for (number, answer) in answers.iter().enumerate() {
        section(number, heading(title, answer), answer, out)?;
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

fn warnings(answers: &[Answer], out: &mut dyn Write) -> io::Result<()> {
    let mut all: Vec<&Warning> = answers.iter().flat_map(|answer| &answer.warnings).collect();
    all.sort_by_key(|warning| core::cmp::Reverse(warning.severity));
    all.dedup();
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "<ul class=\"warnings\">")?;
    for Warning { severity, text, section } in all {
        let (class, word) = match severity {
            Severity::Note => ("note", "note"),
            Severity::Warning => ("warning", "warning"),
            Severity::Critical => ("critical", "critical"),
        };
        let (text, section) = (escaped(text), escaped(section));
        writeln!(out, "<li class=\"{class}\"><b>{word}</b> {text} <code>{section}</code></li>")?;
    }
    writeln!(out, "</ul>")
}

/// The title of an answer in the page, which has its own.
fn heading<'a>(page: &str, answer: &'a Answer) -> &'a str {
    if answer.title == page { "First page" } else { &answer.title }
}

fn section(number: usize, heading: &str, answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<section id=\"part-{number}\">\n<h2>{}</h2>", escaped(heading))?;
    answer.blocks.iter().try_for_each(|block| self::block(block, out))?;
    for part in &answer.missing {
        writeln!(out, "<p class=\"missing\">missing: {}</p>", escaped(part))?;
    }
    writeln!(out, "</section>")
}

fn block(block: &Block, out: &mut dyn Write) -> io::Result<()> {
    match block {
        Block::Heading(title) => writeln!(out, "<h3>{}</h3>", escaped(title)),
        Block::Facts(facts) => {
            writeln!(out, "<dl>")?;
            for (name, value) in facts {
                writeln!(out, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value))?;
            }
            writeln!(out, "</dl>")
        }
        Block::Text(text) => {
            let lines = text.lines().count();
            folded(lines, "lines", out, &mut |out| {
                writeln!(out, "<pre tabindex=\"0\">{}</pre>", escaped(text.trim_end_matches('\n')))
            })
        }
        Block::Table(rows) => folded(rows.rows.len(), "rows", out, &mut |out| table(rows, out)),
    }
}

/// Writes the part, folded if it is long.
fn folded(
    count: usize,
    unit: &str,
    out: &mut dyn Write,
    part: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if count < LONG {
        return part(out);
    }
    writeln!(out, "<details><summary>{count} {unit}</summary>")?;
    part(out)?;
    writeln!(out, "</details>")
}

fn table(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let class = |is_number: bool| if is_number { " class=\"number\"" } else { "" };
    writeln!(out, "<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>")?;
    for (name, is_number) in &table.columns {
        writeln!(out, "<th scope=\"col\"{}>{}</th>", class(*is_number), escaped(name))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for row in &table.rows {
        write!(out, "<tr>")?;
        for (cell, (_, is_number)) in row.iter().zip(&table.columns) {
            write!(out, "<td{}>{}</td>", class(*is_number), escaped(cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// Foreign text as HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_no_markup() {
        let hostile = "<script>alert('x')</script>&\"";
        let mut table = Table::new(&["COMM"]);
        table.row([hostile.to_owned()]);
        let blocks = vec![
            Block::Heading(hostile.to_owned()),
            Block::Facts(vec![("name", hostile.to_owned())]),
            Block::Text(hostile.to_owned()),
            Block::Table(table),
        ];
        let warning = Warning { severity: Severity::Note, text: hostile.to_owned(), section: "ps" };
        let (warnings, missing) = (vec![warning], vec![hostile.to_owned()]);
        let answer =
            Answer { title: hostile.to_owned(), blocks, warnings, missing, ..Answer::default() };
        let mut out = Vec::new();
        html(&format!("{hostile}!"), &[answer], &mut out).expect("memory");
        let page = String::from_utf8(out).expect("UTF-8");
        assert!(!page.contains("<script") && !page.contains("alert('"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 9, "{page}");
    }

    #[test]
    fn long_parts_are_folded() {
        let page = |lines: usize| {
            let block = Block::Text("line\n".repeat(lines));
            let mut out = Vec::new();
            html("x", &[Answer { blocks: vec![block], ..Answer::default() }], &mut out)
                .expect("memory");
            String::from_utf8(out).expect("UTF-8").contains("<details><summary>40 lines")
        };
        assert_eq!([page(LONG - 1), page(LONG)], [false, true]);
    }
}
