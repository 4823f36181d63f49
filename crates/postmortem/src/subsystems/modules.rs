//! Modules of the kernel (Linux, `kernel/module/`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use crate::report::{Severity, Warning};
use crate::{Error, Kernel, Object};

/// Most kinds of a module's memory (`MOD_MEM_NUM_TYPES` is 7).
const MOST_KINDS: u64 = 16;
/// Letters of taints by their bits (Linux, `Documentation/admin-guide/tainted-kernels.rst`).
const TAINTS: &str = "PFSRMBUDAWCIOELKXTNJ";

/// All modules.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Modules {
    /// The one that was loaded last comes first.
    pub modules: Vec<Module>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A module, as in `/proc/modules`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Address of its `struct module`.
    pub module: Hex,
    /// Address of its text.
    pub address: Hex,
    /// Bytes of all its memory.
    pub size: u64,
    /// Number of its users. [`None`] if the kernel unloads no modules.
    pub references: Option<i64>,
    /// Names of the modules that use it.
    pub used_by: Vec<String>,
    /// True if it cannot be unloaded.
    pub is_permanent: bool,
    /// `live`, `coming` or `going`.
    pub state: &'static str,
    /// Letters of its taints: `OE`.
    pub taints: String,
    /// Its version, if it has one.
    pub version: Option<String>,
}

/// Reads the list of modules.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::Memory`]: not even the head of the list is there.
pub fn read(kernel: &Kernel<'_>) -> Result<Modules, Error> {
    let mut holes = Holes::default();
    let list = kernel.global("modules")?.list("struct module", "list");
    let found = holes.walk("modules", list);
    let read = |object: &Object<'_>| module(object).transpose();
    let found: Vec<_> = found.iter().filter_map(read).collect();
    let modules = found.into_iter().filter_map(|module| holes.take("module", module)).collect();
    Ok(Modules { modules, missing: holes.into_list() })
}

/// [`None`]: its memory is allocated, but it is not loaded yet.
fn module(module: &Object<'_>) -> Result<Option<Module>, Error> {
    let state = match module.field("state")?.enumerator()?.as_str() {
        "MODULE_STATE_LIVE" => "live",
        "MODULE_STATE_COMING" => "coming",
        "MODULE_STATE_GOING" => "going",
        _ => return Ok(None),
    };
    let (address, size) = memory(module)?;
    let can_go = module.has("source_list");
    let used_by = if can_go { users(module)? } else { Vec::new() };
    let references =
        if can_go { Some(module.field("refcnt")?.signed()?.saturating_sub(1)) } else { None };
    let is_null = |name: &str| Ok::<_, Error>(module.field(name)?.number()? == 0);
    Ok(Some(Module {
        name: module.field("name")?.text()?,
        module: Hex(module.address()),
        address: Hex(address),
        size,
        references,
        used_by,
        is_permanent: can_go && !is_null("init")? && is_null("exit")?,
        state,
        taints: letters(module.field("taints")?.number()?),
        version: module.field("version")?.text().ok(),
    }))
}

/// Address of the text, and bytes of all memory.
fn memory(module: &Object<'_>) -> Result<(u64, u64), Error> {
    if !module.has("mem") {
        let size = |name: &str| match module.has(name) {
            true => module.field(name)?.number(),
            false => Ok(0),
        };
        let sizes = size("core_layout.size")?.saturating_add(size("init_layout.size")?);
        let all = sizes.saturating_add(size("data_layout.size")?);
        return Ok((module.field("core_layout.base")?.number()?, all));
    }
    let parts = module.field("mem")?;
    let mut size = 0_u64;
    for kind in 0..parts.length()?.min(MOST_KINDS) {
        size = size.saturating_add(parts.index(kind)?.field("size")?.number()?);
    }
    let text = module.kernel().types().enumerator("MOD_TEXT")? as u64;
    Ok((parts.index(text)?.field("base")?.number()?, size))
}

fn users(module: &Object<'_>) -> Result<Vec<String>, Error> {
    let uses = module.field("source_list")?.list("struct module_use", "source_list")?;
    uses.map(|used| used?.field("source.name")?.text()).collect()
}

/// Letters of taints, in the order of their bits.
fn letters(taints: u64) -> String {
    let set = (0..).zip(TAINTS.chars()).filter(|(bit, _)| taints >> bit & 1 != 0);
    set.map(|(_, letter)| letter).collect()
}

/// Notes about modules from elsewhere, and about those that are half loaded.
pub fn warnings(modules: &Modules) -> Vec<Warning> {
    let note = |text| Warning { severity: Severity::Note, text, section: "mod -t" };
    let reasons = [
        ('P', "proprietary"),
        ('F', "loaded by force"),
        ('R', "unloaded by force"),
        ('C', "from the staging tree"),
        ('O', "not from the kernel's tree"),
        ('E', "not signed"),
        ('K', "a live patch"),
    ];
    let mut found = Vec::new();
    for module in &modules.modules {
        let set = reasons.iter().filter(|(letter, _)| module.taints.contains(*letter));
        let words: Vec<_> = set.map(|(_, word)| *word).collect();
        if !words.is_empty() {
            found.push(note(format!("module {} is {}", module.name, words.join(", "))));
        }
        if module.state != "live" {
            found.push(note(format!("module {} is {}, not live", module.name, module.state)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of `TAINT_*` in Linux's `include/linux/panic.h`.
    #[test]
    fn taints_have_letters_and_notes() {
        assert_eq!(letters(1 << 12 | 1 << 13), "OE");
        assert_eq!(letters(1 | 1 << 15 | 1 << 63), "PK");
        let module = |state, taints: &str| Module {
            name: "x".to_owned(),
            state,
            taints: taints.to_owned(),
            ..Module::default()
        };
        let modules = vec![module("live", ""), module("live", "OE"), module("going", "N")];
        let found = warnings(&Modules { modules, missing: Vec::new() });
        let texts: Vec<_> = found.iter().map(|warning| warning.text.as_str()).collect();
        let signed = "module x is not from the kernel's tree, not signed";
        assert_eq!(texts, [signed, "module x is going, not live"]);
    }
}
