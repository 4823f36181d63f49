//! Layout of a module's struct.

use crate::keys::Keys;
use crate::{Error, VirtualMemory};
use vmcore::ReadPhys;

/// Places of `MOD_TEXT` and `MOD_INIT_TEXT` in `module.mem` (Linux, `enum mod_mem_type`).
const TEXTS: [u64; 2] = [0, 4];
/// The largest text of a module, in bytes: the area for modules has no more.
const MOST_TEXT: u64 = 1 << 30;

/// Offsets in `struct module`, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// Length of an address.
    pub(super) word: usize,
    pub(super) list: u64,
    pub(super) name: u64,
    /// Base and size of the text, and of that of the start-up.
    texts: [[u64; 2]; 2],
    pub(super) kallsyms: Option<KallsymsLayout>,
    pub(super) orc: Option<OrcLayout>,
}

/// Places of a module's symbol table: of the pointer in `struct module`, and then in
/// `struct mod_kallsyms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct KallsymsLayout {
    pub(super) pointer: u64,
    pub(super) symtab: u64,
    pub(super) count: u64,
    pub(super) strtab: u64,
}

/// Places of a module's ORC tables in `struct module`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrcLayout {
    pub(super) count: u64,
    pub(super) ip: u64,
    pub(super) entries: u64,
}

impl Layout {
    /// The layout by the lines of VMCOREINFO.
    ///
    /// # Errors
    /// [`Error::NoLine`] or [`Error::BadKey`].
    pub(super) fn parse(vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let keys = Keys::new(vmcoreinfo, |key| Error::NoLine { key });
        let get = |key| keys.offset(key).map(|offset| offset as u64);
        let word = match get("SIZE(list_head)")? {
            8 => 4,
            16 => 8,
            _ => return Err(Error::BadKey { key: "SIZE(list_head)" }),
        };
        Ok(Self {
            word,
            list: get("OFFSET(module.list)")?,
            name: get("OFFSET(module.name)")?,
            texts: texts(&get)?,
            kallsyms: kallsyms(&get).ok(),
            orc: orc(&get).ok(),
        })
    }

    /// The texts of the module at `at`: start and length. A length is zero if there is none.
    ///
    /// # Errors
    /// Memory that cannot be read.
    pub(super) fn text<M: ReadPhys>(
        &self,
        memory: VirtualMemory<'_, M>,
        at: u64,
    ) -> Result<[(u64, u32); 2], Error> {
        let mut texts = [(0, 0); 2];
        for (text, [base, size]) in texts.iter_mut().zip(self.texts) {
            let start = memory.value(at.wrapping_add(base), self.word)?;
            let length = memory.value(at.wrapping_add(size), 4)?;
            if length <= MOST_TEXT && start.checked_add(length).is_some() {
                *text = (start, length as u32);
            }
        }
        Ok(texts)
    }
}

/// The value of a line.
type Get<'g> = &'g dyn Fn(&'static str) -> Result<u64, Error>;

fn texts(get: Get<'_>) -> Result<[[u64; 2]; 2], Error> {
    if let Ok(memory) = get("OFFSET(module.mem)") {
        let length = get("SIZE(module_memory)")?;
        let base = get("OFFSET(module_memory.base)")?;
        let size = get("OFFSET(module_memory.size)")?;
        return Ok(TEXTS.map(|kind| [base, size].map(|field| memory + kind * length + field)));
    }
    let layouts = [get("OFFSET(module.core_layout)")?, get("OFFSET(module.init_layout)")?];
    let base = get("OFFSET(module_layout.base)")?;
    let size = get("OFFSET(module_layout.text_size)")?;
    Ok(layouts.map(|layout| [layout + base, layout + size]))
}

fn kallsyms(get: Get<'_>) -> Result<KallsymsLayout, Error> {
    Ok(KallsymsLayout {
        pointer: get("OFFSET(module.kallsyms)")?,
        symtab: get("OFFSET(mod_kallsyms.symtab)")?,
        count: get("OFFSET(mod_kallsyms.num_symtab)")?,
        strtab: get("OFFSET(mod_kallsyms.strtab)")?,
    })
}

fn orc(get: Get<'_>) -> Result<OrcLayout, Error> {
    let arch = get("OFFSET(module.arch)")?;
    Ok(OrcLayout {
        count: arch + get("OFFSET(mod_arch_specific.num_orcs)")?,
        ip: arch + get("OFFSET(mod_arch_specific.orc_unwind_ip)")?,
        entries: arch + get("OFFSET(mod_arch_specific.orc_unwind)")?,
    })
}
