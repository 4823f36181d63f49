//! Places of the tables.

use crate::Error;
use vmcore::vmcoreinfo_get;

/// Virtual addresses of the tables, each a variable of the dead kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KallsymsTables {
    /// `kallsyms_names`: for each symbol a length and the tokens of its name.
    pub names: u64,
    /// `kallsyms_num_syms`: number of symbols.
    pub num_syms: u64,
    /// `kallsyms_token_table`: 256 strings, each with a NUL.
    pub token_table: u64,
    /// `kallsyms_token_index`: for each string, its offset in the token table (u16).
    pub token_index: u64,
    /// `kallsyms_offsets`: for each symbol, its address as 32 bits.
    pub offsets: u64,
    /// `kallsyms_relative_base`: what the offsets are added to (before 7.0).
    pub relative_base: Option<u64>,
}

impl KallsymsTables {
    /// The tables that VMCOREINFO names: since Linux 6.0 all, before where the loader added them.
    ///
    /// # Errors
    /// [`Error::NoLine`] for a line that is missing, [`Error::BadKey`] for one that is no
    /// address.
    pub fn of(vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let get = |key| address(vmcoreinfo, key);
        let base = "SYMBOL(kallsyms_relative_base)";
        Ok(Self {
            names: get("SYMBOL(kallsyms_names)")?,
            num_syms: get("SYMBOL(kallsyms_num_syms)")?,
            token_table: get("SYMBOL(kallsyms_token_table)")?,
            token_index: get("SYMBOL(kallsyms_token_index)")?,
            offsets: get("SYMBOL(kallsyms_offsets)")?,
            relative_base: vmcoreinfo_get(vmcoreinfo, base).map(|_| get(base)).transpose()?,
        })
    }

    /// The variables' names and addresses, for lines of VMCOREINFO.
    pub fn symbols(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let symbols = [
            ("kallsyms_names", Some(self.names)),
            ("kallsyms_num_syms", Some(self.num_syms)),
            ("kallsyms_token_table", Some(self.token_table)),
            ("kallsyms_token_index", Some(self.token_index)),
            ("kallsyms_offsets", Some(self.offsets)),
            ("kallsyms_relative_base", self.relative_base),
        ];
        symbols.into_iter().filter_map(|(name, address)| Some((name, address?)))
    }
}

/// The address in a line of VMCOREINFO.
fn address(vmcoreinfo: &[u8], key: &'static str) -> Result<u64, Error> {
    let value = vmcoreinfo_get(vmcoreinfo, key).ok_or(Error::NoLine { key })?;
    u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key })
}

/// Address of the kernel's text.
pub(super) fn text(vmcoreinfo: &[u8]) -> Result<u64, Error> {
    address(vmcoreinfo, "SYMBOL(_stext)")
}

/// Length of an address in bytes. A list head has two.
pub(super) fn word(vmcoreinfo: &[u8]) -> Result<usize, Error> {
    let key = "SIZE(list_head)";
    match vmcoreinfo_get(vmcoreinfo, key).ok_or(Error::NoLine { key })? {
        "8" => Ok(4),
        "16" => Ok(8),
        _ => Err(Error::BadKey { key }),
    }
}
