//! Descriptions of a kernel's structures for the crate `linux`, from the kernel's types.

use std::collections::HashMap;

use linux::{Modules, Symbol, TaskLayout, VirtualMemory};
use vmcore::{ReadPhys, vmcoreinfo_get};

use crate::Error;
use crate::types::{BtfTypes, Types};

/// Most bytes of a BTF: Linux 7.2 of Debian has 5.4 MB.
const MOST_BTF: u64 = 64 << 20;

/// The BTF between these addresses.
///
/// # Errors
/// [`Error::NoTypes`].
pub(super) fn btf<M: ReadPhys>(
    memory: VirtualMemory<'_, M>,
    start: Option<u64>,
    end: Option<u64>,
) -> Result<BtfTypes, Error> {
    let none = |why: &str| Error::NoTypes(why.to_owned());
    let (start, end) = start.zip(end).ok_or_else(|| none("the kernel has no BTF"))?;
    let length = end.checked_sub(start).filter(|length| (1..=MOST_BTF).contains(length));
    let length = length.ok_or_else(|| none("the symbols of the kernel's BTF are wrong"))?;
    let mut bytes = vec![0; length as usize];
    let read = memory.read(start, &mut bytes);
    read.map_err(|error| none(&format!("the kernel's BTF is not in the dump ({error})")))?;
    BtfTypes::new(bytes)
}

/// The lines `SYMBOL(name)=address` of VMCOREINFO.
pub(super) fn symbol_lines(vmcoreinfo: &[u8]) -> HashMap<String, u64> {
    let text = String::from_utf8_lossy(vmcoreinfo);
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("SYMBOL(")?.split_once(")=")?;
        Some((name.to_owned(), u64::from_str_radix(value.trim(), 16).ok()?))
    };
    // This one is no address but a value: see makedumpfile's notes on sparse memory.
    text.lines().filter_map(line).filter(|(name, _)| name != "mem_section").collect()
}

/// VMCOREINFO with the lines that our loader would have added, where they are missing.
pub(super) fn lines(
    vmcoreinfo: &[u8],
    types: &Types,
    symbol: &dyn Fn(&'static str) -> Option<u64>,
) -> Vec<u8> {
    let mut text = vmcoreinfo.trim_ascii_end().to_vec();
    text.push(b'\n');
    let mut add = |key: &str, value: String| {
        if vmcoreinfo_get(vmcoreinfo, key).is_none() {
            text.extend(format!("{key}={value}\n").bytes());
        }
    };
    for name in Symbol::ALL.map(Symbol::name) {
        if let Some(at) = symbol(name) {
            add(&format!("SYMBOL({name})"), format!("{at:x}"));
        }
    }
    for key in TaskLayout::KEYS.iter().chain(&Modules::KEYS) {
        if let Some(value) = value(types, key) {
            add(key, value.to_string());
        }
    }
    text
}

/// The value of a key: `OFFSET(STRUCT.FIELD)` or `SIZE(STRUCT)`, in bytes.
fn value(types: &Types, key: &str) -> Option<u64> {
    let (kind, name) = key.strip_suffix(')')?.split_once('(')?;
    match (kind, name.split_once('.')) {
        ("SIZE", None) => types.size(types.find(&format!("struct {name}")).ok()?).ok(),
        ("OFFSET", Some((of, path))) => types.offset(&format!("struct {of}"), path).ok(),
        _ => None,
    }
}
