//! The structs of a tree.

use clap::{Args, ValueEnum};

use super::list;
use super::place;
use super::section::{Progress, Section};
use crate::report::Answer;
use crate::{Error, Kernel, Object};

/// Most structs of a tree.
const MOST: usize = 1 << 20;

/// Kind of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// `rb_root` or `rb_root_cached`
    Rbtree,
    /// `radix_tree_root`; an XArray since Linux 4.20
    Radix,
    /// `xarray`
    Xarray,
    /// `idr`
    Idr,
    /// `maple_tree`
    Maple,
}

/// A root and a form.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Kind of the tree
    #[arg(short = 't', value_enum, default_value_t = Kind::Rbtree)]
    kind: Kind,
    /// Place of the rb_node in the structs: a number of bytes, or TYPE.MEMBER
    #[arg(short = 'o', value_name = "OFFSET", default_value = "0")]
    offset: String,
    /// Place of the root at the start: a number of bytes, or TYPE.MEMBER
    #[arg(short = 'r', value_name = "OFFSET", default_value = "0")]
    root: String,
    /// Show each struct, or these members of it
    #[arg(short = 's', value_name = "TYPE[.MEMBER,…]")]
    show: Option<String>,
    /// Hexadecimal address or symbol of the root
    #[arg(value_name = "START")]
    start: String,
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let members = self.show.as_deref().map(|text| place::members(kernel, "struct", text));
        let members = members.transpose()?;
        let start = place::address(kernel, &self.start)?;
        let start = start.wrapping_add(place::offset(kernel, &self.root)?);
        let offset = place::offset(kernel, &self.offset)?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for item in items(kernel, self.kind, start)?.take(MOST) {
            match item {
                Ok(at) => found.push(at.wrapping_sub(offset)),
                Err(error) => missing.push(error.to_string()),
            }
        }
        let answer = list::each(kernel, format!("Tree at {start:#x}"), &found, members.as_ref())?;
        missing.extend(answer.missing);
        Ok(Answer { missing, ..answer })
    }
}

/// The addresses that a tree has.
fn items<'k>(
    kernel: &'k Kernel<'k>,
    kind: Kind,
    at: u64,
) -> Result<Box<dyn Iterator<Item = Result<u64, Error>> + 'k>, Error> {
    kernel.check_types()?;
    let object = |names: &[&str]| -> Result<Object<'k>, Error> {
        let mut found = Err(Error::NoType(names.join(" or ")));
        for name in names {
            found = found.or_else(|_| kernel.object(name, at));
        }
        found
    };
    let names: &[&str] = match kind {
        Kind::Rbtree => return Ok(Box::new(object(&["struct rb_root"])?.rb_nodes()?)),
        Kind::Radix => &["struct radix_tree_root", "struct xarray"],
        Kind::Xarray => &["struct xarray"],
        Kind::Idr => &["struct idr"],
        Kind::Maple => &["struct maple_tree"],
    };
    let entries = object(names)?.entries()?;
    Ok(Box::new(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.pointer().map(Ok),
        Err(error) => Some(Err(error)),
    })))
}
