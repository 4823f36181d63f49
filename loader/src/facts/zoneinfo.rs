//! End of the kernel's linear mapping, from `/proc/zoneinfo`.

use handoff::layout::PAGE_SIZE;
use vmcore::PhysAddr;

/// One past the highest physical address of the zones that are mapped linearly (DMA, DMA32 and
/// Normal, of every node); everything above is HighMem. `None` when the text names no such zone.
///
/// Source: Linux `mm/vmstat.c`, `zoneinfo_show_print`.
pub(crate) fn lowmem_end(zoneinfo: &str) -> Option<PhysAddr> {
    zoneinfo
        .split("Node ")
        .filter(|zone| is_linearly_mapped(zone))
        .filter_map(zone_end)
        .max()
        .map(PhysAddr::new)
}

/// True if the block `0, zone   Normal …` is about a zone in the linear mapping.
fn is_linearly_mapped(zone: &str) -> bool {
    let mut words = zone.split_whitespace().skip_while(|word| *word != "zone").skip(1);
    matches!(words.next(), Some("DMA" | "DMA32" | "Normal"))
}

/// One past the zone's last byte.
fn zone_end(zone: &str) -> Option<u64> {
    let start = number_after(zone, "start_pfn:")?;
    let spanned = number_after(zone, "spanned")?;
    (spanned != 0).then_some(())?;
    start.checked_add(spanned)?.checked_mul(PAGE_SIZE)
}

/// The number in the first line whose first word is `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(key)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2 GiB guest: DMA 0x1..0x1000, Normal 0x1000..0x36ffe, HighMem 0x36ffe..0x7ffe0.
    const TWO_GIB: &str = include_str!("../../tests/fixtures/i386-2g/proc/zoneinfo");

    #[test]
    fn the_end_of_zone_normal() {
        assert_eq!(lowmem_end(TWO_GIB), Some(PhysAddr::new(0x36ff_e000)));
    }

    #[test]
    fn the_highest_node_counts() {
        let text = "Node 0, zone   Normal\n        spanned  16\n  start_pfn:           4096\n\
                    Node 1, zone   Normal\n        spanned  32\n  start_pfn:           8192\n";
        assert_eq!(lowmem_end(text), Some(PhysAddr::new((8192 + 32) * 4096)));
    }

    #[test]
    fn nonsense_is_unknown() {
        assert_eq!(lowmem_end(""), None);
        assert_eq!(lowmem_end("Node 0, zone HighMem\n spanned 5\n start_pfn: 5\n"), None);
        assert_eq!(lowmem_end("Node 0, zone Normal\n spanned x\n start_pfn: 5\n"), None);
        let top = u64::MAX;
        assert_eq!(
            lowmem_end(&format!("Node 0, zone Normal\n spanned {top}\n start_pfn: 5\n")),
            None
        );
    }
}
