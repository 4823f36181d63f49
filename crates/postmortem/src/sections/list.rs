//! The structs of a list.

use std::collections::HashSet;

use clap::{ArgAction, Args};
use serde_json::json;

use super::place::{self, Members};
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel};

/// Most structs of a list.
const MOST: usize = 1 << 20;

/// A start and a form.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Print help; -h is crash(8)'s
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The start is a list_head in the first struct
    #[arg(short = 'h', conflicts_with = "head")]
    embedded: bool,
    /// The start is a list_head of its own, which is no part of a struct
    #[arg(short = 'H')]
    head: bool,
    /// Place of the pointer to the next struct: a number of bytes, or TYPE.MEMBER
    #[arg(short = 'o', value_name = "OFFSET", default_value = "0")]
    offset: String,
    /// Show each struct, or these members of it
    #[arg(short = 's', value_name = "TYPE[.MEMBER,…]")]
    show: Option<String>,
    /// The last one; without it the list ends at a NULL or at its start
    #[arg(short = 'e', value_name = "ADDRESS")]
    end: Option<String>,
    /// Hexadecimal address or symbol
    #[arg(value_name = "START")]
    start: String,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let members = self.show.as_deref().map(|text| place::members(kernel, "struct", text));
        let members = members.transpose()?;
        let (found, missing) = self.walk(kernel)?;
        let answer = each(kernel, format!("List from {}", self.start), &found, members.as_ref())?;
        Ok(Answer { missing, ..answer })
    }
}

impl Arguments {
    /// Addresses of the structs, and the reason for an early end.
    fn walk(&self, kernel: &Kernel<'_>) -> Result<(Vec<u64>, Vec<String>), Error> {
        let offset = place::offset(kernel, &self.offset)?;
        let start = place::address(kernel, &self.start)?;
        let end = self.end.as_deref().map(|end| place::address(kernel, end)).transpose()?;
        // Pointers of a list_head point to a list_head, others to a struct.
        let (distance, inner) = if self.embedded || self.head { (offset, 0) } else { (0, offset) };
        let mut next = if self.head { kernel.word(start)? } else { start };
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        while next != 0 && !(self.head && next == start) && found.len() < MOST {
            let own = next.wrapping_sub(distance);
            if !seen.insert(next) {
                let why = format!("the list leads back to {own:x}, which is not its start");
                return Ok((found, if next == start { Vec::new() } else { vec![why] }));
            }
            found.push(own);
            if end == Some(own) {
                break;
            }
            match kernel.word(next.wrapping_add(inner)) {
                Ok(word) => next = word,
                Err(error) => return Ok((found, vec![error.to_string()])),
            }
        }
        Ok((found, Vec::new()))
    }
}

/// An answer with each of these structs.
///
/// # Errors
/// [`Error::Output`].
pub(super) fn each(
    kernel: &Kernel<'_>,
    title: String,
    found: &[u64],
    members: Option<&Members<'_>>,
) -> Result<Answer, Error> {
    let (mut lines, mut list, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for at in found {
        lines.push(format!("{at:x}"));
        let Some(members) = members else {
            list.push(json!({ "address": format!("{at:#x}") }));
            continue;
        };
        match members.show(kernel, *at) {
            Ok((text, data)) => {
                lines.push(text);
                list.push(json!({ "address": format!("{at:#x}"), "value": data }));
            }
            Err(error) => missing.push(format!("{at:x}: {error}")),
        }
    }
    let text = if found.is_empty() { "(empty)".to_owned() } else { lines.join("\n") };
    Ok(Answer { missing, ..Answer::new(title, &list)?.with(Block::Text(text)) })
}
