//! Areas of the kernel's virtual memory (Linux, `mm/vmalloc.c`), as `/proc/vmallocinfo` has them.

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use crate::{Error, Kernel, Object};

/// Most lists of areas: one a CPU, 128 at most.
const MOST_LISTS: u64 = 8192;
/// Kinds of areas by their flags (Linux, `VM_*` in `include/linux/vmalloc.h`).
const KINDS: [(u64, &str); 5] =
    [(1, "ioremap"), (2, "vmalloc"), (4, "vmap"), (8, "user"), (0x10, "dma-coherent")];

/// All areas.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Areas {
    /// By their addresses.
    pub areas: Vec<Area>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// An area.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Area {
    /// Address of its `struct vmap_area`.
    pub vmap_area: Hex,
    /// Address of its `struct vm_struct`; 0 if it has none (`vm_map_ram`).
    pub vm_struct: Hex,
    /// Its first address.
    pub start: Hex,
    /// The address after it.
    pub end: Hex,
    /// `vmalloc`, `vmap`, `ioremap`; several with spaces.
    pub kind: String,
    /// Pages that are mapped there.
    pub pages: u64,
    /// Physical address of a device's memory.
    pub physical: Hex,
    /// The function that made it.
    pub caller: String,
}

impl Area {
    /// Number of bytes, with the guard page.
    pub const fn size(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
}

/// Reads all areas: of one list, from 6.9 on of several.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::Memory`]: there is no list.
pub fn read(kernel: &Kernel<'_>) -> Result<Areas, Error> {
    let mut heads = Vec::new();
    if kernel.has_symbol("vmap_nodes") {
        let lists = kernel.global("vmap_nodes")?;
        for index in 0..kernel.global("nr_vmap_nodes")?.number()?.min(MOST_LISTS) {
            heads.push(lists.index(index)?.field("busy.head")?);
        }
    } else {
        heads.push(kernel.global("vmap_area_list")?);
    }
    let mut holes = Holes::default();
    let mut areas = Vec::new();
    for head in heads {
        for object in holes.walk("areas", head.list("struct vmap_area", "list")) {
            areas.extend(holes.take("area", area(&object)));
        }
    }
    areas.sort_by_key(|area: &Area| area.start.0);
    Ok(Areas { areas, missing: holes.into_list() })
}

fn area(area: &Object<'_>) -> Result<Area, Error> {
    let mut found = Area {
        vmap_area: Hex(area.address()),
        start: Hex(area.field("va_start")?.number()?),
        end: Hex(area.field("va_end")?.number()?),
        kind: "vm_map_ram".to_owned(),
        ..Area::default()
    };
    let Some(vm) = area.field("vm")?.deref_or_null()? else { return Ok(found) };
    let flags = vm.field("flags")?.number()?;
    let kinds = KINDS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    found.kind = kinds.collect::<Vec<_>>().join(" ");
    found.vm_struct = Hex(vm.address());
    found.pages = vm.field("nr_pages")?.number()?;
    found.physical = Hex(vm.field("phys_addr")?.number()?);
    let caller = vm.field("caller")?.number()?;
    if caller != 0 {
        found.caller = area.kernel().symbolized(caller);
    }
    Ok(found)
}
