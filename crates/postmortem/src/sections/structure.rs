//! Structs and unions: their declarations, and their values in memory.

use clap::Args;
use serde_json::json;

use super::place::{self, Members};
use super::section::{Progress, Section};
use crate::report::{Answer, Block};
use crate::{Error, Kernel, declaration, declared};

/// Most structs of one answer.
const MOST: u64 = 4096;

/// Of a struct.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    what: What,
}

/// Of a union.
#[derive(Args, Clone, Debug)]
pub struct OfUnion {
    #[command(flatten)]
    what: What,
}

/// A type, and a place.
#[derive(Args, Clone, Debug)]
struct What {
    /// Show the offsets of the members in bytes; with an address, their addresses
    #[arg(short)]
    offsets: bool,
    /// The address is that of this member, a number of bytes or TYPE.MEMBER
    #[arg(short = 'l', value_name = "OFFSET")]
    embedded: Option<String>,
    /// The type's name, with members if only these are wanted
    #[arg(value_name = "TYPE[.MEMBER,…]")]
    of: String,
    /// Hexadecimal address, symbol, SYMBOL+OFFSET, or SYMBOL:CPU
    #[arg(value_name = "ADDRESS|SYMBOL")]
    at: Option<String>,
    /// Number of structs, one after the other
    #[arg(value_name = "COUNT", default_value_t = 1)]
    count: u64,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        self.what.answer(kernel, "struct")
    }
}

impl Section for OfUnion {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        self.what.answer(kernel, "union")
    }
}

impl What {
    fn answer(&self, kernel: &Kernel<'_>, tag: &str) -> Result<Answer, Error> {
        let members = place::members(kernel, tag, &self.of)?;
        match &self.at {
            None => self.declare(kernel, &members),
            Some(at) => self.show(kernel, &members, place::address(kernel, at)?),
        }
    }

    fn declare(&self, kernel: &Kernel<'_>, members: &Members<'_>) -> Result<Answer, Error> {
        let types = kernel.types();
        let name = types.name(members.of);
        let text = match &*members.paths {
            [] => declaration(types, members.of, self.offsets)?,
            paths => {
                let line = |path: &&str| {
                    let field = types.field(members.of, path)?;
                    Ok(format!("   [{}] {};", field.bits / 8, declared(types, field.of, path)))
                };
                let lines: Result<Vec<_>, Error> = paths.iter().map(line).collect();
                format!("{name} {{\n{}\n}}\nSIZE: {}", lines?.join("\n"), types.size(members.of)?)
            }
        };
        let compound = types.compound(members.of);
        let list: Vec<_> = compound.iter().flat_map(|found| &found.members).collect();
        let member = |member: &&crate::Member| {
            json!({
                "name": member.name,
                "type": types.name(member.of),
                "offset": member.bits / 8,
                "bit": member.bit_size.map(|_| member.bits % 8),
                "bits": member.bit_size,
            })
        };
        let list: Vec<_> = list.iter().map(member).collect();
        let size = types.size(members.of)?;
        let answer = Answer::new(&*name, &json!({ "type": name, "size": size, "members": list }))?;
        Ok(answer.with(Block::Text(text)))
    }

    fn show(&self, kernel: &Kernel<'_>, members: &Members<'_>, at: u64) -> Result<Answer, Error> {
        let types = kernel.types();
        let (name, size) = (types.name(members.of), types.size(members.of)?);
        let inner = self.embedded.as_deref().map(|text| place::offset(kernel, text)).transpose()?;
        let start = at.wrapping_sub(inner.unwrap_or(0));
        if self.offsets {
            let compound = types.compound(members.of)?;
            let line = |member: &crate::Member| {
                let at = start.wrapping_add(member.bits / 8);
                format!("  [{at:x}] {};", declared(types, member.of, &member.name))
            };
            let lines: Vec<_> = compound.members.iter().map(line).collect();
            let text = format!("{name} {{\n{}\n}}\nSIZE: {size}", lines.join("\n"));
            return Ok(Answer::new(name, &lines)?.with(Block::Text(text)));
        }
        let (mut texts, mut list) = (Vec::new(), Vec::new());
        for number in 0..self.count.min(MOST) {
            let at = start.wrapping_add(size.wrapping_mul(number));
            let (text, data) = members.show(kernel, at)?;
            list.push(json!({ "address": format!("{at:#x}"), "value": data }));
            texts.push(text);
        }
        let answer = Answer::new(format!("{name} at {start:#x}"), &list)?;
        Ok(answer.with(Block::Text(texts.join("\n"))))
    }
}
