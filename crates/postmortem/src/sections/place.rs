//! Addresses, types and members on the command line, as crash(8) takes them.

use crate::types::TypeId;
use crate::{Error, Kernel, Object};

/// A virtual address: hexadecimal digits, a symbol, or both, with `+OFFSET` or, of a per-CPU
/// variable, `:CPU` after it.
///
/// # Errors
/// [`Error::Usage`], [`Error::NoSymbol`], [`Error::Missing`] for a CPU that there is not.
pub(super) fn address(kernel: &Kernel<'_>, text: &str) -> Result<u64, Error> {
    let wrong = |text: &str| {
        Error::Usage(format!("{text} is neither a symbol of this kernel nor a hexadecimal address"))
    };
    if let Some((name, cpu)) = text.split_once(':') {
        let cpu = cpu.parse().map_err(|_| Error::Usage(format!("{cpu} is no number of a CPU")))?;
        return kernel.per_cpu_at(address(kernel, name)?, cpu);
    }
    let (name, offset) = text.split_once('+').unwrap_or((text, "0"));
    let start = match name.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| wrong(text))?,
        None => match kernel.symbol(name) {
            Ok(at) => at,
            Err(_) => u64::from_str_radix(name, 16).map_err(|_| wrong(name))?,
        },
    };
    Ok(start.wrapping_add(number(offset)?))
}

/// A number: decimal, or hexadecimal with `0x`.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn number(text: &str) -> Result<u64, Error> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| Error::Usage(format!("{text} is no number")))
}

/// A type by its name; the tag may be left out, or is `tag`.
///
/// # Errors
/// [`Error::NoTypes`], [`Error::NoType`].
pub(super) fn find_type(kernel: &Kernel<'_>, tag: &str, name: &str) -> Result<TypeId, Error> {
    kernel.check_types()?;
    let types = kernel.types();
    let bare = name.strip_prefix(tag).map_or(name, str::trim_start);
    types.find(&format!("{tag} {bare}")).or_else(|_| types.find(name))
}

/// A type and the paths of members: `task_struct.pid,comm`.
#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    pub(super) of: TypeId,
    pub(super) paths: Vec<&'a str>,
}

/// Takes `TYPE` or `TYPE.MEMBER,MEMBER`; each member must be there.
///
/// # Errors
/// [`Error::NoTypes`], [`Error::NoType`], [`Error::NoMember`].
pub(super) fn members<'a>(
    kernel: &Kernel<'_>,
    tag: &str,
    text: &'a str,
) -> Result<Members<'a>, Error> {
    let (name, paths) =
        text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let of = find_type(kernel, tag, name)?;
    let paths: Vec<_> = paths.map(|paths| paths.split(',').collect()).unwrap_or_default();
    for path in &paths {
        kernel.types().field(of, path)?;
    }
    Ok(Members { of, paths })
}

/// An offset in bytes: a number, or `TYPE.MEMBER`.
///
/// # Errors
/// [`Error::Usage`], [`Error::NoType`], [`Error::NoMember`].
pub(super) fn offset(kernel: &Kernel<'_>, text: &str) -> Result<u64, Error> {
    match text.split_once('.') {
        Some((name, path)) => {
            let of = find_type(kernel, "struct", name)?;
            Ok(kernel.types().field(of, path)?.bits / 8)
        }
        None => number(text),
    }
}

impl Members<'_> {
    /// The values of an object as lines of text, and as JSON.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub(super) fn show(
        &self,
        kernel: &Kernel<'_>,
        at: u64,
    ) -> Result<(String, serde_json::Value), Error> {
        let object = Object::new(kernel, self.of, at);
        if self.paths.is_empty() {
            let shown = object.shown();
            let name = kernel.types().name(self.of);
            return Ok((format!("{name} {shown}"), json(&shown)?));
        }
        let (mut lines, mut data) = (Vec::new(), serde_json::Map::new());
        for path in &self.paths {
            let shown = object.field(path)?.shown();
            let text = shown.to_string().replace('\n', "\n  ");
            lines.push(format!("  {path} = {text}"));
            data.insert((*path).to_owned(), json(&shown)?);
        }
        Ok((lines.join("\n"), data.into()))
    }
}

fn json(shown: &crate::Shown) -> Result<serde_json::Value, Error> {
    Ok(serde_json::to_value(shown).map_err(std::io::Error::from)?)
}
