//! Whatever comes in, there is a plan that keeps the rules, or an error; never a panic.

use crate::common::{elf, fixture, plan_for, rules};
use loader::facts::iomem::MemoryMap;
use loader::{Images, PlanOptions, plan};
use proptest::prelude::*;
use vmcore::{PhysAddr, PhysRange};

const IOMEM: &str = include_str!("../fixtures/i386-5g/proc/iomem");

/// Changes of single bytes: the place (as a share of the length), and the new value.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, value) in changes {
        let at = index.index(bytes.len());
        bytes[at] = *value;
    }
    bytes
}

fn page_range(start: u64, pages: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start * 4096), pages * 4096).expect("far below the end")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_memory_maps(digits in prop::collection::vec((any::<prop::sample::Index>(), "[0-9a-f]"), 0..4)) {
        let mut text = IOMEM.as_bytes().to_vec();
        for (index, digit) in digits {
            let places: Vec<usize> =
                (0..text.len()).filter(|at| text[*at].is_ascii_hexdigit()).collect();
            text[places[index.index(places.len())]] = digit.as_bytes()[0];
        }
        let mut system = fixture("i386-5g");
        if let Ok(memory) = MemoryMap::parse(&String::from_utf8_lossy(&text)) {
            system.memory = memory;
            if let Ok(plan) = plan_for(&system) {
                rules::check(&system, &plan);
            }
        }
    }

    #[test]
    fn arbitrary_memory(
        ram in prop::collection::vec((0u64..0x20_0000, 1u64..0x4_0000), 0..12),
        slots in prop::collection::vec((0u64..0x1000, 0u64..0x4000), 1..3),
        lowmem in 0u64..0x10_0000,
        low_memory: bool,
    ) {
        let mut system = fixture("i386-5g");
        system.memory.ram.extend(ram.into_iter().map(|(start, pages)| page_range(start, pages)));
        system.memory.reservations =
            slots.into_iter().map(|(start, pages)| page_range(start * 512, pages)).collect();
        system.lowmem_end = Some(PhysAddr::new(lowmem * 4096));
        let (kernel, purgatory) = (elf::kernel(), elf::purgatory());
        let images = Images { capture_kernel: &kernel, purgatory: &purgatory };
        let options = PlanOptions { low_memory, ..PlanOptions::default() };
        if let Ok(plan) = plan(&system, &images, &options) {
            rules::check(&system, &plan);
        }
    }

    #[test]
    fn mutated_images(kernel in changes(), purgatory in changes()) {
        let system = fixture("i386-512m");
        let headers = |image: &[u8]| image.len().min(400);
        // Most of the kernel is contents; the fields that matter are at its start.
        let image = elf::kernel();
        let (head, tail) = image.split_at(headers(&image));
        let kernel = [&changed(head, &kernel), tail].concat();
        let purgatory = changed(&elf::purgatory(), &purgatory);
        let images = Images { capture_kernel: &kernel, purgatory: &purgatory };
        if let Ok(plan) = plan(&system, &images, &PlanOptions::default()) {
            rules::check(&system, &plan);
        }
    }
}
