//! Memory in thousands of pieces, as of a guest that has given much of it back to its host.

use crate::common::elf::kernel;
use crate::common::{fixture, plan_for, plan_with, segment};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use loader::{Images, Plan, PlanError, PlanOptions, System};
use vmcore::{
    CoreHeader, ElfCoreHdr, Error, Extent, Holes, PhysAddr, PhysRange, ReadPhys, Segment,
    SegmentKind,
};

/// Start of the pieces: above all other memory of the fixture.
const FIRST: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;

/// The 512 MiB guest with `count` more pieces of RAM, each a page long and each third two pages,
/// with at least a page between them.
fn in_pieces(count: u64) -> (System, Vec<(u64, u64)>) {
    let mut system = fixture("i386-512m");
    let piece = |n: u64| (FIRST + n * 3 * PAGE, if n.is_multiple_of(3) { 2 * PAGE } else { PAGE });
    let pieces: Vec<_> = (0..count).map(piece).collect();
    let ranges = pieces.iter().map(|(at, length)| PhysRange::new(PhysAddr::new(*at), *length));
    system.memory.ram.extend(ranges.map(|range| range.expect("below 4 GiB")));
    (system, pieces)
}

/// The capture kernel's view of memory: the planned ELF core header, and zeros elsewhere.
struct Memory<'a>(&'a Plan);

impl ReadPhys for Memory<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let header = segment(self.0, "elfcorehdr");
        into.fill(0);
        if let Some(from) = at.get().checked_sub(self.0.elfcorehdr.start().get()) {
            let rest = header.get(from as usize..).unwrap_or_default();
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
        }
        Ok(())
    }
}

fn core_header(plan: &Plan) -> CoreHeader {
    let block = ElfCoreHdr { addr: plan.elfcorehdr.start(), size: Some(plan.elfcorehdr.length()) };
    CoreHeader::read(&Memory(plan), block).expect("a header that the capture kernel takes")
}

/// Physical address and length of each of the pieces among the PT_LOADs.
fn pieces_of(loads: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    loads.filter(|(at, _)| *at >= FIRST).collect()
}

/// Each error has its cause once, either as a part of the text or after it.
#[test]
fn a_cause_is_named_once() {
    let memory = vmcore::Error::NoMemory;
    let text = loader::in_words(&PlanError::from(memory));
    assert_eq!(text.matches(&memory.to_string()).count(), 1, "{text}");
    let plan = loader::plan(
        &fixture("i386-512m"),
        &Images { capture_kernel: b"", purgatory: b"" },
        &PlanOptions::default(),
    );
    let text = loader::in_words(&plan.expect_err("no image"));
    assert_eq!(text.matches("ELF").count(), 1, "{text}");
    let missing = System::read(std::path::Path::new("/nonexistent")).expect_err("nothing there");
    let text = loader::in_words(&missing);
    assert_eq!(text.matches("os error 2").count(), 1, "{text}");
    assert!(std::error::Error::source(&missing).is_some(), "{text}");
}

#[test]
fn five_thousand_ranges_go_from_the_plan_into_the_dump() {
    let (system, pieces) = in_pieces(5000);
    let plan = plan_for(&system).expect("a plan");
    assert!(plan.warnings.iter().all(|warning| !warning.contains("lack")), "{:?}", plan.warnings);
    let header = core_header(&plan);
    let found: Result<Vec<Segment>, _> = header.segments(&Memory(&plan)).collect();
    let found = found.expect("all can be read").into_iter();
    let loads = found.filter(|segment| segment.kind == SegmentKind::Load);
    assert_eq!(pieces_of(loads.map(|load| (load.paddr.get(), load.memsz))), pieces);
    // The capture kernel's result, read by another reader of ELF files.
    let vmcore = vmcore::vmcore(&header, &Memory(&plan), 1 << 36, &Holes::new(), &mut |_| ())
        .expect("a vmcore");
    let Some(Extent::Bytes(head)) = vmcore.view.extents().first() else { panic!("no head") };
    let elf = Elf::parse(head).expect("an ELF file");
    let loads = elf.program_headers.iter().filter(|entry| entry.p_type == PT_LOAD);
    assert_eq!(pieces_of(loads.map(|load| (load.p_paddr, load.p_memsz))), pieces);
}

/// The pieces that are left out, as the warning and the lines for VMCOREINFO have them.
fn left_out(plan: &Plan) -> (String, String) {
    let mut warnings = plan.warnings.iter().filter(|warning| warning.contains("the smallest"));
    let warning = warnings.next().expect("a warning").clone();
    assert_eq!(warnings.next(), None);
    let text = String::from_utf8_lossy(segment(plan, "elfcorehdr")).into_owned();
    let lines = text.split('\n').filter(|line| line.contains("LEFTOUT("));
    (warning, lines.collect::<Vec<_>>().join("\n"))
}

/// `e_phnum` has 16 bits, and 0xffff has another meaning. Besides the pieces there are two PT_NOTEs
/// of CPUs, two more for VMCOREINFO, four PT_LOADs, and a place or two for cut ranges.
#[test]
fn of_seventy_thousand_ranges_the_smallest_are_left_out_and_counted() {
    let (mut system, pieces) = in_pieces(70_000);
    system.memory.reservations =
        vec![PhysRange::new(PhysAddr::new(0x800_0000), 64 << 20).expect("a slot")];
    let plan = plan_for(&system).expect("a plan");
    let loads = plan.loads.iter().map(|load| (load.paddr.get(), load.memsz));
    let kept = pieces_of(loads);
    assert!((65_500..65_530).contains(&kept.len()), "{}", kept.len());
    let larger = |pieces: &[(u64, u64)]| pieces.iter().filter(|(_, length)| *length > PAGE).count();
    assert_eq!(larger(&kept), larger(&pieces), "what is larger is there");
    let count = pieces.len() - kept.len();
    let (warning, lines) = left_out(&plan);
    assert!(warning.contains(&format!("the smallest {count} of 70003")), "{warning}");
    let named = lines.lines().filter(|line| line.contains("=too many ranges")).count();
    let (more, bytes) = (count - named, (count - named) as u64 * PAGE);
    assert!(lines.ends_with(&format!("LEFTOUT(more)={more} ranges, {bytes} bytes")), "{lines}");
    assert!(core_header(&plan).segments(&Memory(&plan)).all(|segment| segment.is_ok()));
}

/// 4 MiB have room for the headers of some thousand ranges, and for the capture kernel's data about
/// each; the rest stays as before.
#[test]
fn of_more_ranges_than_a_small_slot_has_room_for_the_smallest_are_left_out() {
    let (mut system, pieces) = in_pieces(20_000);
    system.memory.reservations =
        vec![PhysRange::new(PhysAddr::new(0x100_0000), 4 << 20).expect("a slot")];
    let plan = plan_for(&system).expect("a plan");
    let kept = pieces_of(plan.loads.iter().map(|load| (load.paddr.get(), load.memsz)));
    assert!(kept.len() > 2000 && kept.len() < pieces.len(), "{}", kept.len());
    let heap = plan.gap.length() - (1 << 20);
    assert!(heap >= kept.len() as u64 * vmcore::HEAP_PER_LOAD, "{heap} bytes");
    assert!(left_out(&plan).0.contains("crashkernel="));
    // And the least there is takes some.
    system.memory.reservations =
        vec![PhysRange::new(PhysAddr::new(0x100_0000), 1 << 20).expect("a slot")];
    let plan = plan_with(&system, &kernel(), &PlanOptions::default()).expect("a plan");
    assert_eq!(plan.loads.len(), 64);
}
