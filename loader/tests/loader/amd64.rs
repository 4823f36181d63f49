//! Plans for an x86_64 first kernel: Debian's, in a guest of 512 MiB with two CPUs.

use crate::common::{elf, fixture, plan_for, plan_with, rules, segment};
use goblin::elf::Elf;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use handoff::boot_params::BootParams;
use loader::facts::iomem::MemoryMap;
use loader::{PlanError, PlanOptions, System};
use vmcore::fake::range;
use vmcore::{Class, PhysAddr};
use zerocopy::FromBytes;

/// All of memory at 0xffff892380000000, and once more the kernel's image, as `/proc/kcore` of that
/// boot has them.
#[test]
fn the_core_header_of_an_x86_64_kernel() {
    let system = fixture("amd64-512m");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let elf = Elf::parse(segment(&plan, "elfcorehdr")).expect("goblin reads it");
    assert_eq!((elf.header.e_type, elf.header.e_machine, elf.is_64), (4, 62, true));
    let loads = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let loads: Vec<_> = loads.map(|h| (h.p_offset, h.p_paddr, h.p_memsz, h.p_vaddr)).collect();
    let backup = plan.backup.start().get();
    let expected = [
        (backup + 0x1000, 0x1000, 0x9_ec00, 0xffff_8923_8000_1000),
        (0x10_0000, 0x10_0000, 0xf0_0000, 0xffff_8923_8010_0000),
        (0x300_0000, 0x300_0000, 0x1cfe_0000, 0xffff_8923_8300_0000),
        (0xa40_0000, 0xa40_0000, 0x343_0000, 0xffff_ffff_9fc0_0000),
    ];
    assert_eq!(loads, expected);
    let notes = elf.program_headers.iter().filter(|header| header.p_type == PT_NOTE);
    let notes: Vec<_> = notes.map(|h| (h.p_offset, h.p_filesz)).collect();
    // The last is ours, with the lines for VMCOREINFO.
    assert_eq!(notes[..3], [(0x1f23_a400, 368), (0x1f33_a400, 368), (0x385_4000, 0x1024)]);
    assert_eq!(notes.len(), 4);
}

/// Purgatory's 64-bit entry is at 0x18 in its tiny image, the 32-bit one at 0x10.
#[test]
fn an_x86_64_kernel_enters_purgatory_in_64_bit_mode() {
    let plan = plan_for(&fixture("amd64-512m")).expect("a plan");
    let purgatory = plan.segments.iter().find(|segment| segment.name == "purgatory");
    let base = purgatory.expect("a segment").range.start().get();
    assert_eq!(plan.entry, PhysAddr::new(base + 0x18));
}

#[test]
fn elf32_headers_of_an_x86_64_kernel_are_refused() {
    let options = PlanOptions { class: Some(Class::Elf32), ..PlanOptions::default() };
    let plan = plan_with(&fixture("amd64-512m"), &elf::kernel(), &options);
    assert_eq!(plan, Err(PlanError::Elf32Of64Bit));
}

/// 64 KiB; a page of page tables for each GiB, 5 up to 4.5 GiB; 1 page for each 512 GiB; 2 above.
#[test]
fn there_is_room_for_page_tables_in_the_slot() {
    let mut system = fixture("amd64-512m");
    system.memory.ram.push(range(0x1_0000_0000, 0x1_2000_0000));
    // 12 KiB kernel, 660 KiB parts, 64 KiB + 8 pages of gap.
    let slot = |kib: u64| vec![range(0x100_0000, 0x100_0000 + (kib << 10))];
    system.memory.reservations = slot(12 + 660 + 64 + 32);
    let plan = plan_for(&system).expect("it fits");
    assert_eq!(plan.gap.length(), 96 << 10);
    system.memory.reservations = slot(12 + 660 + 64 + 28);
    assert!(matches!(plan_for(&system), Err(PlanError::SlotTooSmall { missing: 4, .. })));
}

#[test]
fn what_the_kernel_does_not_tell_is_said() {
    type Spoil = fn(&mut System);
    let spoil: [(Spoil, &str, usize); 4] = [
        (|system| system.kcore.page_offset = None, "p_vaddr 0", 4),
        (|system| system.memory.kernel_code = Some(PhysAddr::new(0x900_0000)), "Kernel code", 3),
        (
            |system| {
                let image = system.kcore.image.as_mut().expect("known");
                image.range = range(0xa40_0000, 0x2000_0000);
            },
            "is not in System RAM",
            3,
        ),
        (
            |system| {
                let image = system.kcore.image.as_mut().expect("known");
                image.range = range(0xa40_0000, 0xa40_0000);
            },
            "is not in System RAM",
            3,
        ),
    ];
    for (spoil, word, loads) in spoil {
        let mut system = fixture("amd64-512m");
        spoil(&mut system);
        let plan = plan_for(&system).expect("a plan");
        rules::check(&system, &plan);
        assert_eq!(plan.loads.len(), loads, "{word}");
        let said = plan.warnings.len() == 1 && plan.warnings[0].contains(word);
        assert!(said, "{:?}", plan.warnings);
    }
}

/// The guest with these lines after those of its `/proc/iomem`.
fn with_lines(lines: &str) -> System {
    let text = include_str!("../fixtures/amd64-512m/proc/iomem");
    let mut system = fixture("amd64-512m");
    system.memory = MemoryMap::parse(&format!("{text}{lines}")).expect("a good map");
    system
}

/// 512 MiB of a virtio-mem device at 4 GiB, of which 256 are plugged.
#[test]
fn hot_added_ram_is_in_the_core_header_and_in_the_memory_map() {
    let system = with_lines(
        "100000000-11fffffff : virtio0\n  100000000-10fffffff : System RAM (virtio_mem)\n",
    );
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let loads: Vec<_> = plan.loads.iter().map(|load| (load.paddr, load.filesz)).collect();
    assert!(loads.contains(&(PhysAddr::new(0x1_0000_0000), 0x1000_0000)), "{loads:?}");
    let page = BootParams::read_from_bytes(segment(&plan, "boot-params")).expect("a whole page");
    let entries = page.e820_table[..usize::from(page.e820_entries)].iter();
    let mut entries = entries.map(|e| (e.addr.get(), e.size.get(), e.kind.get()));
    assert!(entries.any(|entry| entry == (0x1_0000_0000, 0x1000_0000, 1)));
}

/// The last program header of the notes, after those of CPUs and VMCOREINFO, names the lines.
#[test]
fn ram_that_is_left_out_is_in_the_warnings_and_in_a_note() {
    let system = with_lines(
        "100000000-13fffffff : System RAM\n  120000000-123ffffff : GART\n\
         140000000-15fffffff : Soft Reserved\n",
    );
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    let warned = |range: &str| plan.warnings.iter().any(|warning| warning.contains(range));
    assert!(warned("0x120000000..0x124000000, which is \"GART\""), "{:?}", plan.warnings);
    assert!(warned("0x140000000..0x160000000, which is \"Soft Reserved\""));
    let loads: Vec<_> = plan.loads.iter().map(|load| (load.paddr.get(), load.filesz)).collect();
    assert!(loads.contains(&(0x1_0000_0000, 0x2000_0000)), "{loads:x?}");
    assert!(loads.contains(&(0x1_2400_0000, 0x1c00_0000)), "{loads:x?}");
    let block = segment(&plan, "elfcorehdr");
    let elf = Elf::parse(block).expect("goblin reads it");
    let mut notes = elf.program_headers.iter().filter(|header| header.p_type == PT_NOTE);
    let last = notes.next_back().expect("a note");
    let start = (last.p_offset - plan.elfcorehdr.start().get()) as usize;
    let note = &block[start..start + last.p_filesz as usize];
    let lines = "LEFTOUT(140000000-160000000)=Soft Reserved\nLEFTOUT(120000000-124000000)=GART\n";
    assert_eq!(&note[12..20], b"KDUMP-RS");
    let text = str::from_utf8(&note[24..]).expect("a text").trim_end_matches('\0');
    assert!(text.ends_with(lines), "{text}");
}
