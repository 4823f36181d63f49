//! The address space of a process (Linux, `mm/mmap.c`, `fs/proc/task_mmu.c`).

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::paths;
use crate::{Error, Kernel, Object};

/// Most areas of a process: more than any `vm.max_map_count` in use.
const MOST: usize = 1 << 20;
/// Flags of an area (Linux, `VM_*`), as the letters of `/proc/PID/maps`.
const LETTERS: [(u64, char); 3] = [(1, 'r'), (2, 'w'), (4, 'x')];
const MAY_SHARE: u64 = 0x80;

/// The address space of a process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AddressSpace {
    /// Address of its `struct mm_struct`.
    pub mm: Hex,
    /// Address of its page tables, as the kernel sees them.
    pub pgd: Hex,
    /// Bytes of all areas, by the kernel's own count.
    pub total_bytes: u64,
    /// Its areas, by address.
    pub areas: Vec<Area>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Area {
    /// Address of its `struct vm_area_struct`.
    pub area: Hex,
    /// Its first address.
    pub start: Hex,
    /// The address after it.
    pub end: Hex,
    /// `rwxp`: readable, writable, executable, private or shared.
    pub mode: String,
    /// The kernel's flags.
    pub flags: Hex,
    /// Offset in the file.
    pub offset: u64,
    /// The file, or `[heap]`, `[stack]`, `[vdso]`.
    pub name: String,
}

/// Reads the address space of the task whose `task_struct` is at an address.
///
/// # Errors
/// [`Error::Missing`] for a thread of the kernel, which has none; [`Error::NoTypes`].
pub fn read(kernel: &Kernel<'_>, task: u64) -> Result<AddressSpace, Error> {
    let task = kernel.object("struct task_struct", task)?;
    let none = || Error::Missing("a thread of the kernel has no address space".to_owned());
    let mm = task.field("mm")?.deref_or_null()?.ok_or_else(none)?;
    let mut holes = Holes::default();
    let mut areas = Vec::new();
    for object in objects(&mm, &mut holes) {
        areas.extend(holes.take("area", area(&object, &mm)));
    }
    Ok(AddressSpace {
        mm: Hex(mm.address()),
        pgd: Hex(mm.field("pgd")?.number()?),
        total_bytes: mm.field("total_vm")?.number()?.saturating_mul(super::page_size(kernel)),
        areas,
        missing: holes.into_list(),
    })
}

/// The areas: of a list, from 6.1 on of a maple tree.
fn objects<'k>(mm: &Object<'k>, holes: &mut Holes) -> Vec<Object<'k>> {
    let mut found = Vec::new();
    if mm.has("mm_mt") {
        let tree = mm.field("mm_mt").and_then(|tree| tree.indexed("struct vm_area_struct"));
        for entry in holes.take("areas", tree).into_iter().flatten().take(MOST) {
            found.extend(holes.take("area", entry).map(|(_, area)| area));
        }
        return found;
    }
    let mut next = mm.field("mmap").and_then(|first| first.deref_or_null());
    while let Some(area) = holes.take("areas", next).flatten().filter(|_| found.len() < MOST) {
        found.push(area);
        next = area.field("vm_next").and_then(|next| next.deref_or_null());
    }
    found
}

fn area(area: &Object<'_>, mm: &Object<'_>) -> Result<Area, Error> {
    let number = |path: &str| area.field(path)?.number();
    let flags = number("vm_flags")?;
    let (start, end) = (number("vm_start")?, number("vm_end")?);
    let letter = |(bit, letter): &(u64, char)| if flags & bit != 0 { *letter } else { '-' };
    let mut mode: String = LETTERS.iter().map(letter).collect();
    mode.push(if flags & MAY_SHARE != 0 { 's' } else { 'p' });
    let file = area.field("vm_file")?.deref_or_null()?;
    let offset = if file.is_some() { number("vm_pgoff")? } else { 0 };
    let name = match file {
        Some(file) => paths::of_file(&file)?,
        None => match own_name(area) {
            Some(name) => name,
            None => special(mm, start, end)?.to_owned(),
        },
    };
    Ok(Area {
        area: Hex(area.address()),
        start: Hex(start),
        end: Hex(end),
        mode,
        flags: Hex(flags),
        offset: offset.saturating_mul(super::page_size(area.kernel())),
        name,
    })
}

/// The name that the kernel gave an area of its own: `[vdso]`, `[vvar]`.
fn own_name(area: &Object<'_>) -> Option<String> {
    let operations = area.kernel().symbol("special_mapping_vmops").ok()?;
    let own = area.field("vm_ops").ok()?.number().ok()? == operations;
    let at = area.field("vm_private_data").ok()?.number().ok().filter(|_| own)?;
    let mapping = area.kernel().object("struct vm_special_mapping", at).ok()?;
    mapping.field("name").ok()?.text().ok()
}

/// The name of an area without a file.
fn special(mm: &Object<'_>, start: u64, end: u64) -> Result<&'static str, Error> {
    let number = |path: &str| mm.field(path)?.number();
    let stack = number("start_stack")?;
    Ok(if start <= number("brk")? && end >= number("start_brk")? {
        "[heap]"
    } else if (start..=end).contains(&stack) {
        "[stack]"
    } else {
        ""
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// Two areas in a list, as before 6.1: text of which nothing is known, and the heap.
    #[test]
    fn the_areas_of_a_list_have_modes_and_names() {
        let mut fake = Fake::amd64();
        fake.structure("task_struct", 8, &[("mm", "struct mm_struct *", 0)]);
        let members = [
            ("mmap", "struct vm_area_struct *", 0),
            ("pgd", "void *", 8),
            ("total_vm", "unsigned long", 16),
            ("start_stack", "unsigned long", 24),
            ("start_brk", "unsigned long", 32),
            ("brk", "unsigned long", 40),
        ];
        fake.structure("mm_struct", 48, &members);
        let members = [
            ("vm_start", "unsigned long", 0),
            ("vm_end", "unsigned long", 8),
            ("vm_next", "struct vm_area_struct *", 16),
            ("vm_flags", "unsigned long", 24),
            ("vm_pgoff", "unsigned long", 32),
            ("vm_file", "struct file *", 40),
        ];
        fake.structure("vm_area_struct", 48, &members);
        fake.structure("file", 8, &[("f_mode", "int", 0)]);
        let heap = fake.place_words(&[0x60_0000, 0x60_3000, 0, 3, 0, 0]);
        let text = fake.place_words(&[0x40_0000, 0x40_1000, heap, 1 | 4 | 0x80, 7, 0]);
        let mm = fake.place_words(&[text, 0xabc, 4, 0x7fff_0000, 0x60_0010, 0x60_2ff0]);
        let (task, thread) = (fake.place_words(&[mm]), fake.place_words(&[0]));
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let found = read(&kernel, task).expect("an address space");
        let seen = |area: &Area| (area.start.0, area.mode.clone(), area.name.clone());
        let expected = [(0x40_0000, "r-xs", ""), (0x60_0000, "rw-p", "[heap]")];
        let expected = expected.map(|(at, mode, name)| (at, mode.to_owned(), name.to_owned()));
        assert_eq!(found.areas.iter().map(seen).collect::<Vec<_>>(), expected);
        assert_eq!((found.total_bytes, found.pgd.0, found.areas[0].offset), (16384, 0xabc, 0));
        assert!(matches!(read(&kernel, thread), Err(Error::Missing(_))));
    }
}
