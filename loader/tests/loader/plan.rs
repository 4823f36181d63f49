//! Plans for saved systems, checked against numbers worked out by hand.

use crate::common::elf::{ET_DYN, ET_EXEC, Load, PARAMS_AT, kernel, kernel_from, kernel_of_type};
use crate::common::{fixture, plan_for, plan_with, rules, segment};
use cmdline::{Action, IommuKind, IommuUnit};
use goblin::elf::Elf;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE, ProgramHeader};
use handoff::Block;
use handoff::boot_params::BootParams;
use handoff::purgatory::PurgatoryParams;
use loader::facts::iomem::MemoryMap;
use loader::facts::iommu::{Iommu, Iommus};
use loader::{Plan, PlanError, PlanOptions, System, UserText};
use sha2::{Digest, Sha256};
use vmcore::fake::range;
use vmcore::{Class, PhysAddr};
use zerocopy::FromBytes;

/// The 512 MiB guest with this line in the place of its reservation.
fn with_slot(line: &str) -> System {
    let text = include_str!("../fixtures/i386-512m/proc/iomem");
    let text = text.replace("  01000000-02ffffff : Crash kernel\n", line);
    let mut system = fixture("i386-512m");
    system.memory = MemoryMap::parse(&text).expect("a good map");
    system
}

fn bounds(plan: &Plan, name: &str) -> (u64, u64) {
    let segment = plan.segments.iter().find(|segment| segment.name == name).expect("a segment");
    (segment.range.start().get(), segment.range.end().get())
}

/// 32M@16M, from the top down: 640 KiB backup, 1 page elfcorehdr (52 + 7 × 32 bytes and a note), 2
/// pages purgatory (0x1800), 1 page each for boot_params and command line; the kernel stays at 16
/// MiB.
#[test]
fn the_slot_of_the_paper() {
    let system = fixture("i386-512m");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    let names: Vec<_> = plan.segments.iter().map(|segment| segment.name.as_str()).collect();
    let expected = [
        "kernel-0",
        "kernel-1",
        "command-line",
        "boot-params",
        "purgatory",
        "elfcorehdr",
        "backup",
    ];
    assert_eq!(names, expected);
    assert_eq!(bounds(&plan, "kernel-0"), (0x100_0000, 0x100_1000));
    assert_eq!(bounds(&plan, "kernel-1"), (0x100_1000, 0x100_3000));
    assert_eq!(bounds(&plan, "command-line"), (0x2f5_b000, 0x2f5_c000));
    assert_eq!(bounds(&plan, "boot-params"), (0x2f5_c000, 0x2f5_d000));
    assert_eq!(bounds(&plan, "purgatory"), (0x2f5_d000, 0x2f5_f000));
    assert_eq!(bounds(&plan, "elfcorehdr"), (0x2f5_f000, 0x2f6_0000));
    assert_eq!(bounds(&plan, "backup"), (0x2f6_0000, 0x300_0000));
    assert_eq!(plan.memory, [range(0x100_0000, 0x2f5_b000)]);
    assert_eq!(plan.gap, range(0x100_3000, 0x2f5_b000));
    assert_eq!((plan.kernel_delta, plan.kernel_entry), (0, PhysAddr::new(0x100_0020)));
    assert_eq!(plan.entry, PhysAddr::new(0x2f5_d010));
    assert_eq!(
        plan.command_line,
        "kdump.pm1a=0x604,0 memmap=exactmap memmap=32108K@16384K elfcorehdr=4K@48508K"
    );
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

/// The bytes of a segment start where its page starts, not where the PT_LOAD does.
#[test]
fn a_load_in_the_middle_of_a_page() {
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
    let bytes = segment(&plan, "kernel-1");
    assert_eq!((bytes.len(), &bytes[..16], &bytes[16..]), (21, &[0; 16][..], &b"12345"[..]));
    assert!(segment(&plan, "backup").is_empty(), "the first kernel fills it with zeros");
}

#[test]
fn another_slot_moves_the_kernel_as_a_whole() {
    let system = with_slot("  04000000-05ffffff : Crash kernel\n");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert_eq!((plan.kernel_delta, plan.kernel_base), (48 << 20, PhysAddr::new(0x400_0000)));
    assert_eq!(plan.kernel_entry, PhysAddr::new(0x400_0020));
    assert_eq!(bounds(&plan, "kernel-1"), (0x400_1000, 0x400_3000));
    assert_eq!(params(&plan).entry, 0x400_0020);
    assert_eq!(params(&plan).regions[1].start, 0x400_1010);
    assert!(plan.command_line.ends_with("memmap=32108K@65536K elfcorehdr=4K@97660K"));
}

/// Below 16 MiB there is room for the gap, so the kernel stays where it is linked.
#[test]
fn a_slot_that_begins_below_the_kernel_keeps_it_in_place() {
    let system = with_slot("  00800000-027fffff : Crash kernel\n");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert_eq!(plan.kernel_delta, 0);
    assert_eq!(plan.memory, [range(0x80_0000, 0x275_b000)]);
}

/// The kernel at 16 MiB would leave no gap: 16M + 1 MiB is the end of this slot.
#[test]
fn a_movable_kernel_moves_when_it_does_not_fit_in_place() {
    let system = with_slot("  00800000-010fffff : Crash kernel\n");
    let plan = plan_for(&system).expect("a plan");
    assert_eq!(plan.kernel_delta, 0, "8 MiB below it are gap enough");
    let system = with_slot("  00800000-0107ffff : Crash kernel\n");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert_eq!(plan.kernel_delta, -(8 << 20));
    let fixed = plan_with(&system, &kernel_of_type(ET_EXEC), &PlanOptions::default());
    let slot = range(0x80_0000, 0x108_0000);
    // The five parts take 660 KiB, the kernel 12 KiB; 512 KiB are there.
    assert_eq!(fixed, Err(PlanError::SlotTooSmall { slot, missing: 660 + 12 - 512 }));
}

#[test]
fn a_fixed_kernel_stays_or_fails() {
    let plan = plan_with(&fixture("i386-512m"), &kernel_of_type(ET_EXEC), &PlanOptions::default());
    assert_eq!(plan.expect("it is linked for this slot").kernel_delta, 0);
    let elsewhere = with_slot("  04000000-05ffffff : Crash kernel\n");
    let error = plan_with(&elsewhere, &kernel_of_type(ET_EXEC), &PlanOptions::default());
    let error = error.expect_err("linked for 16 MiB");
    let segment = range(0x100_0000, 0x100_3000);
    let slot = range(0x400_0000, 0x600_0000);
    assert_eq!(error, PlanError::SegmentOutsideSlot { segment, slot });
    assert!(
        error.to_string().contains("0x1000000..0x1003000") && error.to_string().contains("ET_DYN")
    );
}

/// A kernel that is linked 1 MiB after a 2 MiB boundary keeps this distance.
#[test]
fn a_moved_kernel_keeps_its_alignment() {
    let system = with_slot("  04000000-05ffffff : Crash kernel\n");
    let load = Load { addr: 0x110_0000, bytes: vec![0x90; 64], memsz: 4096 };
    let image = kernel_from(ET_DYN, 0x110_0000, &[load]);
    let plan = plan_with(&system, &image, &PlanOptions::default()).expect("a plan");
    assert_eq!(plan.kernel_base, PhysAddr::new(0x410_0000));
    assert_eq!(plan.gap.end(), plan.memory[0].end());
}

/// 1536 KiB kernel + 660 KiB parts + 64 KiB gap = 2260 KiB, 212 more than 2 MiB.
#[test]
fn a_small_slot_says_by_how_much() {
    let system = with_slot("  01000000-011fffff : Crash kernel\n");
    assert!(plan_for(&system).is_ok(), "the tiny kernel fits 2 MiB");
    let load = Load { addr: 0x100_0000, bytes: vec![0x90; 64], memsz: 1536 << 10 };
    let image = kernel_from(ET_DYN, 0x100_0000, &[load]);
    let error = plan_with(&system, &image, &PlanOptions::default()).expect_err("too small");
    let slot = range(0x100_0000, 0x120_0000);
    assert_eq!(error, PlanError::SlotTooSmall { slot, missing: 212 });
    assert!(error.to_string().contains("by 212 KiB: boot with crashkernel=3M"), "{error}");
}

/// 12 KiB kernel + 660 KiB parts + 64 KiB gap = 736 KiB.
#[test]
fn the_gap_is_part_of_what_must_fit() {
    let fits = with_slot("  01000000-010b7fff : Crash kernel\n");
    let plan = plan_for(&fits).expect("736 KiB are enough");
    assert_eq!(plan.gap.length(), 64 << 10);
    let one_page_less = with_slot("  01000000-010b6fff : Crash kernel\n");
    let error = plan_for(&one_page_less).expect_err("4 KiB too small");
    assert!(matches!(error, PlanError::SlotTooSmall { missing: 4, .. }), "{error}");
    let nothing = with_slot("  01000000-01000fff : Crash kernel\n");
    let error = plan_for(&nothing).expect_err("one page");
    assert!(matches!(error, PlanError::SlotTooSmall { missing: 732, .. }), "{error}");
}

#[test]
fn slots_that_cannot_be_used() {
    let none = with_slot("");
    let failed = plan_for(&none).expect_err("crashkernel= is on the line");
    assert!(failed.to_string().starts_with("crashkernel=32M@16M is on the kernel command line"));
    let mut not_asked = none;
    not_asked.command_line = "quiet".to_owned();
    assert_eq!(plan_for(&not_asked), Err(PlanError::NoReservation));
    let high = with_slot("  140000000-147ffffff : Crash kernel\n");
    assert!(matches!(plan_for(&high), Err(PlanError::SlotAbove4G { .. })));
    let odd = with_slot("  01100000-02ffffff : Crash kernel\n");
    assert!(matches!(plan_for(&odd), Err(PlanError::SlotUnaligned { .. })));
    let zero = with_slot("  00000000-02ffffff : Crash kernel\n");
    assert!(matches!(plan_for(&zero), Err(PlanError::SlotUnaligned { .. })));
}

/// `crashkernel=64M,high crashkernel=64M,low`: the kernel takes segments in the upper one only.
#[test]
fn of_two_reservations_the_upper_one_counts_and_neither_is_dumped() {
    let mut system = fixture("i386-512m");
    system.memory.reservations.push(range(0x800_0000, 0xa00_0000));
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert_eq!(plan.slot, range(0x800_0000, 0xa00_0000));
    assert!(plan.loads.iter().any(|load| load.paddr.get() == 0x300_0000));
    let mut system = fixture("amd64-512m");
    system.memory.reservations.push(range(0x1_4000_0000, 0x1_4400_0000));
    let error = plan_for(&system).expect_err("above 4 GiB");
    assert!(matches!(error, PlanError::SlotAbove4G { .. }), "{error}");
    assert!(error.to_string().contains("boot with crashkernel=32M (without ,high"), "{error}");
}

/// `crashkernel=32M@1G` and `@880M` on a 2 GiB guest: lowmem ends at 0x36ffe000.
#[test]
fn an_i386_kernel_needs_its_slot_in_lowmem() {
    let mut system = fixture("i386-2g");
    let mut with = |start, lowmem_end| {
        system.memory.reservations = vec![range(start, start + 0x200_0000)];
        system.lowmem_end = lowmem_end;
        plan_for(&system)
    };
    let known = Some(PhysAddr::new(0x36ff_e000));
    for start in [0x4000_0000, 0x3700_0000, 0x3600_0000] {
        let error = with(start, known).expect_err("above lowmem").to_string();
        assert!(error.contains("maps up to 0x36ffe000"), "{error}");
        assert!(error.contains("boot with crashkernel=32M (without @ADDRESS)"), "{error}");
    }
    assert!(with(0x3000_0000, known).is_ok());
    assert!(matches!(with(0x3000_0000, None), Err(PlanError::SlotAboveLowmem { .. })));
    assert!(with(0x1e00_0000, None).is_ok(), "where the kernel itself reserves");
    system = fixture("amd64-512m");
    system.memory.ram.push(range(0x4000_0000, 0x8000_0000));
    system.memory.reservations = vec![range(0x4000_0000, 0x4200_0000)];
    assert!(plan_for(&system).is_ok(), "x86_64 maps all of RAM");
}

fn headers(plan: &Plan) -> Vec<ProgramHeader> {
    let elf = Elf::parse(segment(plan, "elfcorehdr")).expect("goblin reads it");
    assert_eq!((elf.header.e_type, elf.header.e_machine), (4, 3), "ET_CORE, EM_386");
    elf.program_headers
}

fn loads(headers: &[ProgramHeader]) -> Vec<(u64, u64, u64, u64)> {
    let loads = headers.iter().filter(|header| header.p_type == PT_LOAD);
    loads.map(|h| (h.p_offset, h.p_paddr, h.p_memsz, h.p_vaddr)).collect()
}

fn notes(headers: &[ProgramHeader]) -> Vec<(u64, u64)> {
    let notes = headers.iter().filter(|header| header.p_type == PT_NOTE);
    notes.map(|h| (h.p_offset, h.p_filesz)).collect()
}

/// All of a 512 MiB guest is low memory: every PT_LOAD has its virtual address, the low 640 KiB
/// too, and these are read from the backup region.
#[test]
fn the_core_header_of_a_small_guest() {
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
    let headers = headers(&plan);
    let expected = [
        (0x2f6_1000, 0x1000, 0x9_ec00, 0xc000_1000),
        (0x10_0000, 0x10_0000, 0xf0_0000, 0xc010_0000),
        (0x300_0000, 0x300_0000, 0x1cfe_0000, 0xc300_0000),
    ];
    assert_eq!(loads(&headers), expected);
    // Our note follows the headers, at 52 + 7 × 32: 12 bytes, 12 for the name, the lines, padding.
    let length = (24 + added(&plan).len() as u64).next_multiple_of(4);
    let ours = (0x2f5_f114, length);
    let areas = [(0x1fac_ae00, 176), (0x1fad_de00, 176), (0x318_2000, 0x1024), ours];
    assert_eq!(notes(&headers), areas);
    assert!(headers[..4].iter().all(|header| header.p_type == PT_NOTE), "notes come first");
    assert!(headers.iter().all(|header| header.p_filesz == header.p_memsz));
}

/// 2 GiB: RAM is cut where the linear mapping ends, at 0x36ffe000; above it p_vaddr is zero.
#[test]
fn the_core_header_of_a_guest_with_highmem() {
    let system = fixture("i386-2g");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    let headers = headers(&plan);
    let expected = [
        (0x2f6_1000, 0x1000, 0x9_ec00, 0xc000_1000),
        (0x10_0000, 0x10_0000, 0xf0_0000, 0xc010_0000),
        (0x300_0000, 0x300_0000, 0x33ff_e000, 0xc300_0000),
        (0x36ff_e000, 0x36ff_e000, 0x48fe_2000, 0),
    ];
    assert_eq!(loads(&headers), expected);
    assert_eq!(notes(&headers).len(), 6, "four CPUs, VMCOREINFO, and what is added to it");
}

/// Memory above 4 GiB needs ELF64, on an i386 kernel with PAE too.
#[test]
fn the_core_header_above_4_gib() {
    let system = fixture("i386-5g");
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    assert!(Elf::parse(segment(&plan, "elfcorehdr")).expect("goblin reads it").is_64);
    let expected = [
        (0x2f6_1000, 0x1000, 0x9_ec00, 0xc000_1000),
        (0x10_0000, 0x10_0000, 0xf0_0000, 0xc010_0000),
        (0x300_0000, 0x300_0000, 0x33ff_e000, 0xc300_0000),
        (0x36ff_e000, 0x36ff_e000, 0x88fe_2000, 0),
        (0x1_0000_0000, 0x1_0000_0000, 0x8000_0000, 0),
    ];
    assert_eq!(loads(&headers(&plan)), expected);
}

fn with_class(system: &System, class: Class) -> Result<Plan, PlanError> {
    let options = PlanOptions { class: Some(class), ..PlanOptions::default() };
    plan_with(system, &kernel(), &options)
}

/// The same segments in fields of either width: 52 + 7 × 32 bytes, or 64 + 7 × 56; our note
/// follows.
#[test]
fn the_width_of_the_core_header_can_be_chosen() {
    let system = fixture("i386-512m");
    let by_itself = plan_for(&system).expect("a plan");
    assert_eq!(with_class(&system, Class::Elf32), Ok(by_itself.clone()));
    let wide = with_class(&system, Class::Elf64).expect("a plan");
    rules::check(&system, &wide);
    let [narrow_elf, wide_elf] = [&by_itself, &wide]
        .map(|plan| Elf::parse(segment(plan, "elfcorehdr")).expect("goblin reads it"));
    assert_eq!((narrow_elf.is_64, wide_elf.is_64), (false, true));
    assert_eq!((narrow_elf.header.e_phentsize, wide_elf.header.e_phentsize), (32, 56));
    assert_eq!(wide_elf.header.e_machine, narrow_elf.header.e_machine);
    let [narrow_headers, wide_headers] = [narrow_elf, wide_elf].map(|elf| elf.program_headers);
    let own = |headers: &[ProgramHeader]| headers[3].p_offset - by_itself.elfcorehdr.start().get();
    assert_eq!((own(&narrow_headers), own(&wide_headers)), (52 + 7 * 32, 64 + 7 * 56));
    assert_eq!(
        (&wide_headers[..3], &wide_headers[4..]),
        (&narrow_headers[..3], &narrow_headers[4..])
    );
}

#[test]
fn elf32_headers_for_memory_above_4_gib_are_refused() {
    let system = fixture("i386-5g");
    assert_eq!(with_class(&system, Class::Elf64), plan_for(&system));
    let error = with_class(&system, Class::Elf32).expect_err("ELF32 ends there").to_string();
    assert!(error.contains("memory above 4 GiB (up to 0x180000000)"), "{error}");
}

/// RAM from 0 on, without the hole at 640 KiB: page 0 as iomem says, and a cut where the backup
/// region ends.
#[test]
fn ram_across_the_end_of_the_backup_region_is_cut() {
    let mut system = fixture("i386-512m");
    system.memory.ram = vec![range(0, 0x1ffe_0000)];
    let plan = plan_for(&system).expect("a plan");
    rules::check(&system, &plan);
    let expected = [
        (0x2f6_0000, 0, 0xa_0000, 0xc000_0000),
        (0xa_0000, 0xa_0000, 0xf6_0000, 0xc00a_0000),
        (0x300_0000, 0x300_0000, 0x1cfe_0000, 0xc300_0000),
    ];
    assert_eq!(loads(&headers(&plan)), expected);
}

#[test]
fn unknown_virtual_addresses_are_zero_and_said() {
    type Spoil = fn(&mut System);
    let spoil: [(Spoil, &str); 4] = [
        (|system| system.text = None, "_text"),
        (|system| system.lowmem_end = None, "zone Normal"),
        (|system| system.memory.kernel_code = None, "Kernel code"),
        (|system| system.text = Some(0xd300_1000), "_text is not in"),
    ];
    for (spoil, word) in spoil {
        let mut system = fixture("i386-512m");
        spoil(&mut system);
        let plan = plan_for(&system).expect("a plan");
        assert!(plan.loads.iter().all(|load| load.vaddr == 0));
        let others = plan.warnings.iter().filter(|warning| !warning.contains("KERNELOFFSET"));
        assert!(others.count() == 1 && plan.warnings[0].contains(word), "{:?}", plan.warnings);
    }
}

/// With the user's half at 0x40000000 as with 0xc0000000: the kernel says where it is.
#[test]
fn other_splits_of_the_address_space() {
    let mut system = fixture("i386-2g");
    system.text = Some(0x4a00_0000);
    system.lowmem_end = Some(PhysAddr::new(0x7ffe_0000));
    let plan = plan_for(&system).expect("a plan");
    let last = plan.loads.last().expect("a PT_LOAD");
    assert_eq!((last.paddr.get(), last.vaddr), (0x300_0000, 0x4300_0000));
}

/// Above 0xffffffff there is no virtual address: 4 GiB - 0xc0000000 is 1 GiB.
#[test]
fn virtual_addresses_end_at_4_gib() {
    let mut system = fixture("i386-2g");
    system.lowmem_end = Some(PhysAddr::new(0x7ffe_0000));
    let plan = plan_for(&system).expect("a plan");
    let last = plan.loads.last().expect("a PT_LOAD");
    assert_eq!((last.paddr.get(), last.vaddr), (0x4000_0000, 0));
}

#[test]
fn a_cpu_without_notes_is_named() {
    let mut system = fixture("i386-2g");
    system.cpus[2].area = None;
    assert_eq!(plan_for(&system), Err(PlanError::NotesMissing { cpu: 2 }));
    let mut system = fixture("i386-2g");
    system.cpus[3].area = Some(range(0x1_0000_0000, 0x1_0000_00b0));
    let error = plan_for(&system).expect_err("there is no RAM");
    assert!(error.to_string().contains("of CPU 3 is outside"), "{error}");
    system.cpus.clear();
    assert_eq!(plan_for(&system), Err(PlanError::NoCpus));
    let mut system = fixture("i386-2g");
    system.vmcoreinfo = None;
    let plan = plan_for(&system).expect("a plan");
    assert!(plan.warnings[0].contains("VMCOREINFO"));
    assert_eq!(notes(&headers(&plan)).len(), 4);
}

/// The lines that the loader adds to VMCOREINFO.
fn added(plan: &Plan) -> String {
    let block = segment(plan, "elfcorehdr");
    let name = block.windows(9).position(|name| name == b"KDUMP-RS\0").expect("a note");
    let length = u32::from_le_bytes(block[name - 8..name - 4].try_into().expect("four bytes"));
    let text = &block[name + 12..][..length as usize];
    String::from_utf8(text.to_vec()).expect("a text")
}

/// _text runs at 0x13000000 and is linked for 0x1000000 (physical); /proc/iomem has data and bss.
#[test]
fn what_is_added_to_vmcoreinfo() {
    let system = fixture("i386-512m");
    let plan = plan_for(&system).expect("a plan");
    let data = "SYMBOL(_sdata)=d3d00000\nSYMBOL(_edata)=d3eff600\n\
                SYMBOL(__bss_start)=d3f6c000\nSYMBOL(__bss_stop)=d400c000\n";
    assert_eq!(added(&plan), ["KERNELOFFSET=12000000\n", data].concat());
    let mut silent = system;
    silent.linked_at = None;
    let plan = plan_for(&silent).expect("a plan");
    assert!(plan.warnings.len() == 1 && plan.warnings[0].contains("told KERNELOFFSET"));
    assert_eq!(added(&plan), data);
    silent.text = None;
    let plan = plan_for(&silent).expect("a plan");
    assert_eq!(notes(&headers(&plan)).len(), 3, "no mapping, no lines");
    // The image's text is mapped at ffffffff9fc00000, and /proc/iomem has it at a400000.
    let amd64 = plan_for(&fixture("amd64-512m")).expect("a plan");
    let data = "SYMBOL(_sdata)=ffffffffa1600000\nSYMBOL(_edata)=ffffffffa18489c0\n\
                SYMBOL(__bss_start)=ffffffffa1f0d000\nSYMBOL(__bss_stop)=ffffffffa3000000\n";
    assert_eq!(added(&amd64), data);
}

#[test]
fn who_is_not_root_is_told_so() {
    let mut system = fixture("i386-512m");
    system.memory = MemoryMap { hidden: true, ..MemoryMap::default() };
    assert_eq!(plan_for(&system), Err(PlanError::AddressesHidden));
    system.memory =
        MemoryMap { reservations: vec![range(0x100_0000, 0x300_0000)], ..MemoryMap::default() };
    assert_eq!(plan_for(&system), Err(PlanError::NoRam));
}

fn params(plan: &Plan) -> PurgatoryParams {
    let bytes = &segment(plan, "purgatory")[PARAMS_AT..];
    PurgatoryParams::read_from_prefix(bytes).expect("a whole block").0
}

/// SHA-256 of 4096 zero bytes, by sha256sum.
const ZERO_PAGE: &str = "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn purgatory_is_told_everything() {
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
    let params = params(&plan);
    let block = params.block;
    assert_eq!((&block.magic, block.version.get(), block.size.get()), (b"KDRSPURG", 1, 1120));
    assert_eq!((params.entry, params.boot_params), (0x100_0020, 0x2f5_c000));
    assert_eq!((params.console_port, params.on_mismatch), (0x3f8, 1));
    let backup = params.backup;
    assert_eq!((backup.source, backup.destination, backup.length), (0, 0x2f6_0000, 0xa_0000));
    let regions: Vec<_> = params.regions[..params.region_count as usize]
        .iter()
        .map(|region| (region.name().to_owned(), region.start, region.length))
        .collect();
    let expected = [
        ("kernel", 0x100_0000, 4096),
        ("kernel", 0x100_1010, 5),
        ("boot_params", 0x2f5_c000, 4096),
        ("command line", 0x2f5_b000, 4096),
        ("elfcorehdr", 0x2f5_f000, 4096),
        ("purgatory", 0x2f5_d000, 0x100),
    ];
    assert_eq!(regions, expected.map(|(name, start, length)| (name.to_owned(), start, length)));
}

/// Every digest is that of the bytes that are in the region once the segments are placed.
#[test]
fn digests_are_of_what_lies_in_the_slot() {
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
    let params = params(&plan);
    assert_eq!(hex(&params.regions[0].digest), ZERO_PAGE);
    let mut slot = vec![0; plan.slot.length() as usize];
    for segment in &plan.segments {
        let at = (segment.range.start().get() - plan.slot.start().get()) as usize;
        slot[at..at + segment.bytes.len()].copy_from_slice(&segment.bytes);
    }
    for region in &params.regions[..params.region_count as usize] {
        let at = (region.start - plan.slot.start().get()) as usize;
        let bytes = &slot[at..at + region.length as usize];
        assert_eq!(region.digest[..], Sha256::digest(bytes)[..], "{}", region.name());
    }
    assert_eq!(params.regions[6..], PurgatoryParams::new().regions[6..], "the rest is empty");
}

/// The block's own digest is taken while bytes 16 to 48 are zero.
#[test]
fn the_parameter_block_covers_itself() {
    let plan = plan_for(&fixture("i386-512m")).expect("a plan");
    let mut block = segment(&plan, "purgatory")[PARAMS_AT..][..1120].to_vec();
    let digest = block[16..48].to_vec();
    block[16..48].fill(0);
    assert_eq!(digest, Sha256::digest(&block)[..]);
}

#[test]
fn the_failure_action_decides_for_purgatory() {
    let system = fixture("i386-512m");
    let on_mismatch = |options: &PlanOptions| {
        params(&plan_with(&system, &kernel(), options).expect("a plan")).on_mismatch
    };
    let action = |failure_action| PlanOptions { failure_action, ..PlanOptions::default() };
    assert_eq!(on_mismatch(&action(Some(Action::Halt))), 0);
    assert_eq!(on_mismatch(&action(Some(Action::Reboot))), 1);
    assert_eq!(on_mismatch(&action(Some(Action::PowerOff))), 1);
    let text = UserText::Append("kdump.failure_action=halt".to_owned());
    let mut options = PlanOptions { text, ..action(Some(Action::Reboot)) };
    assert_eq!(on_mismatch(&options), 0, "the last one counts, as for the capture kernel");
    options.console_port = 0;
    let plan = plan_with(&system, &kernel(), &options).expect("a plan");
    assert_eq!(params(&plan).console_port, 0);
}

#[test]
fn boot_params_name_the_line_and_the_memory() {
    let options = PlanOptions { low_memory: true, ..PlanOptions::default() };
    let plan = plan_with(&fixture("i386-512m"), &kernel(), &options).expect("a plan");
    let page = BootParams::read_from_bytes(segment(&plan, "boot-params")).expect("a whole page");
    assert_eq!((page.hdr.cmd_line_ptr.get(), page.hdr.cmdline_size.get()), (0x2f5_b000, 2047));
    assert_eq!((page.hdr.boot_flag.get(), page.hdr.header), (0xaa55, *b"HdrS"));
    let entries = page.e820_table[..usize::from(page.e820_entries)].iter();
    let entries: Vec<_> = entries.map(|e| (e.addr.get(), e.size.get(), e.kind.get())).collect();
    // All that /proc/iomem calls RAM or reserved.
    let expected = [
        (0, 0x1000, 2),
        (0x1000, 0x9_ec00, 1),
        (0x9_fc00, 0x400, 2),
        (0xf_0000, 0x1_0000, 2),
        (0x10_0000, 0x1fee_0000, 1),
        (0x1ffe_0000, 0x2_0000, 2),
        (0xfffc_0000, 0x4_0000, 2),
    ];
    assert_eq!(entries, expected);
    let line = segment(&plan, "command-line");
    assert_eq!(line.len(), 4096);
    assert_eq!(&line[..plan.command_line.len()], plan.command_line.as_bytes());
    assert!(line[plan.command_line.len()..].iter().all(|byte| *byte == 0));
    let expected = "memmap=exactmap memmap=632K@4K memmap=32108K@16384K";
    assert!(plan.command_line.contains(expected), "{}", plan.command_line);
}

/// Low memory is given in whole pages, and 32 ranges are all that the capture kernel can note: with
/// the slot's own, the largest 31 of low memory.
#[test]
fn odd_low_memory() {
    let options = PlanOptions { low_memory: true, ..PlanOptions::default() };
    let mut system = fixture("i386-512m");
    system.memory.ram[0] = range(0x1200, 0x9_fc00);
    let plan = plan_with(&system, &kernel(), &options).expect("a plan");
    assert_eq!(plan.memory[0], range(0x2000, 0x9_f000));
    system.memory.ram.extend((0..40).map(|page| range(page * 0x2000, page * 0x2000 + 0x1000)));
    system.memory.ram.remove(0);
    system.memory.ram.push(range(0x9_0000, 0x9_2000));
    let plan = plan_with(&system, &kernel(), &options).expect("a plan");
    assert_eq!((plan.memory.len(), plan.memory[30]), (32, range(0x9_0000, 0x9_2000)));
    let said = "--low-memory: the smallest 10 ranges are not used";
    assert!(plan.warnings.iter().any(|warning| warning.contains(said)), "{:?}", plan.warnings);
}

fn line(options: &PlanOptions) -> Result<String, PlanError> {
    plan_with(&fixture("i386-512m"), &kernel(), options).map(|plan| plan.command_line)
}

const ADDED: &str = "memmap=exactmap memmap=32108K@16384K elfcorehdr=4K@48508K";
const DISK: &str = "disk:id=00112233445566778899aabbccddeeff";

#[test]
fn the_command_line_in_order() {
    let options = PlanOptions {
        text: UserText::Append("  kdump.timeout=5 ".to_owned()),
        target: Some(DISK.to_owned()),
        final_action: Some(Action::PowerOff),
        failure_action: Some(Action::Halt),
        ..PlanOptions::default()
    };
    let expected = format!(
        "kdump.target={DISK} kdump.final_action=poweroff kdump.failure_action=halt \
         kdump.pm1a=0x604,0 kdump.timeout=5 {ADDED}"
    );
    assert_eq!(line(&options), Ok(expected));
    let whole = UserText::Whole("nr_cpus=1 irqpoll".to_owned());
    let whole = PlanOptions { text: whole, ..PlanOptions::default() };
    assert_eq!(line(&whole), Ok(format!("nr_cpus=1 irqpoll {ADDED}")));
}

/// So the user's own value counts, and a Linux as capture kernel gets none.
#[test]
fn a_rate_that_was_measured_stands_before_the_users_words() {
    let system = System { tsc_khz: Some(2_596_366), ..fixture("i386-512m") };
    let line = |options| plan_with(&system, &kernel(), &options).expect("a plan").command_line;
    let expected = format!("kdump.pm1a=0x604,0 kdump.tsc_khz=2596366 kdump.timeout=5 {ADDED}");
    assert_eq!(line(append("kdump.timeout=5")), expected);
    let whole = PlanOptions { text: UserText::Whole("irqpoll".to_owned()), ..append("") };
    assert_eq!(line(whole), format!("irqpoll {ADDED}"));
    assert_eq!(fixture("i386-512m").tsc_khz, None, "a saved system is not measured");
}

/// So does the place of an IOMMU, and the plan shows it.
#[test]
fn iommus_stand_before_the_users_words() {
    let unit = IommuUnit { kind: IommuKind::Vtd, registers: PhysAddr::new(0xfed9_0000) };
    let unit = Iommu { unit, segment: 0, devices: Vec::new(), is_graphics: false };
    let system = System { iommus: Iommus::Known(vec![unit]), ..fixture("i386-512m") };
    let plan = |options| plan_with(&system, &kernel(), &options).expect("a plan");
    let ours = plan(append("kdump.iommu=none"));
    let expected =
        format!("kdump.pm1a=0x604,0 kdump.iommu=vtd@0xfed90000 kdump.iommu=none {ADDED}");
    assert_eq!(ours.command_line, expected);
    let json = serde_json::to_value(&ours).expect("JSON");
    assert_eq!(json["iommus"], "VT-d at 0xfed90000");
    assert!(ours.to_string().contains("\nIOMMUs         VT-d at 0xfed90000\n"), "{ours}");
    let whole = PlanOptions { text: UserText::Whole("irqpoll".to_owned()), ..append("") };
    assert_eq!(plan(whole).command_line, format!("irqpoll {ADDED}"), "a Linux finds them itself");
}

fn append(text: &str) -> PlanOptions {
    PlanOptions { text: UserText::Append(text.to_owned()), ..PlanOptions::default() }
}

#[test]
fn nothing_undoes_what_the_loader_adds() {
    let user = "memmap=exactmap memmap=1G@0 elfcorehdr=0x1000";
    let expected = format!("kdump.pm1a=0x604,0 {user} {ADDED}");
    assert_eq!(line(&append(user)), Ok(expected), "it comes first, so it does not count");
    assert_eq!(
        line(&append("memmap=1M$16M")),
        Ok(format!("kdump.pm1a=0x604,0 memmap=1M$16M {ADDED}"))
    );
    let hidden = line(&append("x=\"open quote")).expect_err("it goes on to the end");
    assert!(hidden.to_string().ends_with("is not closed"), "{hidden}");
    assert_eq!(line(&append("two\nlines")), Err(PlanError::CommandLineBytes { at: 3 }));
    assert_eq!(line(&append("nul\0")), Err(PlanError::CommandLineBytes { at: 3 }));
}

/// 2047 bytes and a NUL are the limit of Linux/x86.
#[test]
fn a_long_command_line_says_by_how_much() {
    let own = format!("kdump.pm1a=0x604,0  {ADDED}").len();
    assert_eq!(line(&append(&"x".repeat(2047 - own))).map(|line| line.len()), Ok(2047));
    let error = line(&append(&"x".repeat(2047 - own + 3))).expect_err("3 bytes too long");
    assert_eq!(error, PlanError::CommandLineTooLong { excess: 3, limit: 2047 });
    assert!(line(&append(&"x".repeat(2047 - own + 1))).is_err());
}

#[test]
fn mistakes_are_said_before_the_crash() {
    let target =
        |target: &str| PlanOptions { target: Some(target.to_owned()), ..PlanOptions::default() };
    let wrong = ["tape", "disk:id=0", "none kdump.timeout=1", "\"none\"", "serial:baud=1000"];
    for wrong in wrong {
        let error = line(&target(wrong)).expect_err(wrong);
        assert!(matches!(error, PlanError::BadTarget { .. }), "{wrong}: {error}");
    }
    let list = "virtio-console:name=kdump+serial:port=1,baud=9600,none";
    let expected = format!("kdump.target={list} kdump.pm1a=0x604,0 {ADDED}");
    assert_eq!(line(&target(list)), Ok(expected));
    let system = fixture("i386-512m");
    let plan = plan_with(&system, &kernel(), &append("kdump.speed=11")).expect("a plan");
    assert_eq!(plan.warnings, ["kdump.speed=11: no such option, ignored"]);
    let off = PlanOptions { final_action: Some(Action::PowerOff), ..PlanOptions::default() };
    let silent = fixture("i386-96m");
    assert!(silent.power_off.is_none(), "this machine has no ACPI tables");
    let plan = plan_with(&silent, &kernel(), &off).expect("a plan");
    assert!(plan.warnings.len() == 1 && plan.warnings[0].contains("will reboot instead"));
    rules::check(&silent, &plan);
}

/// A capture kernel that is a Linux cannot find the tables of EFI firmware by itself.
#[test]
fn the_acpi_root_pointer_of_efi_firmware_is_passed_on() {
    let mut system = fixture("i386-512m");
    let line = |system: &System| plan_for(system).expect("a plan").command_line;
    assert!(!line(&system).contains("acpi_rsdp"));
    system.acpi_rsdp = Some(PhysAddr::new(0x7f77_e014));
    let line = line(&system);
    assert_eq!(line.matches("acpi_rsdp=0x7f77e014 memmap=exactmap").count(), 1, "{line}");
}

/// On a microVM nothing else says where its disks are. With `--command-line` it is the user's to
/// say.
#[test]
fn the_places_of_virtio_devices_are_passed_on() {
    let mut system = fixture("i386-512m");
    system.command_line = "virtio_mmio.device=512@0xfeb00000:5 quiet".to_owned();
    let line = |options: &PlanOptions| {
        plan_with(&system, &kernel(), options).map(|plan| plan.command_line)
    };
    let appended = "kdump.pm1a=0x604,0 virtio_mmio.device=512@0xfeb00000:5 x";
    assert_eq!(line(&append("x")), Ok(format!("{appended} {ADDED}")));
    let whole = PlanOptions { text: UserText::Whole("x".to_owned()), ..PlanOptions::default() };
    assert_eq!(line(&whole), Ok(format!("x {ADDED}")));
}

#[test]
fn a_confidential_guest_is_refused_in_words() {
    let mut system = fixture("i386-512m");
    system.confidential = Some("SEV");
    let refused = plan_for(&system).expect_err("encrypted memory");
    assert_eq!(refused, PlanError::ConfidentialGuest { kind: "SEV" });
    assert!(refused.to_string().contains("confidential guest (SEV): its memory is encrypted"));
}

#[test]
fn memory_that_the_kernel_encrypts_is_refused_by_name() {
    let mut system = fixture("amd64-512m");
    system.encrypts_memory = true;
    let refused = plan_for(&system).expect_err("encrypted memory");
    assert_eq!(refused, PlanError::EncryptedMemory);
    assert!(refused.to_string().contains("AMD SME: NUMBER(sme_mask) in VMCOREINFO is not 0"));
}
