//! oldmem: physical memory as it is, one byte of the dump for each address (paper, section 4.5.2).

use alloc::vec::Vec;

use handoff::layout::PAGE_SIZE;

use crate::view::{Extent, Extents};
use crate::{Error, PhysAddr, PhysRange, RangeSet};

/// The raw linear view of `range`, or of everything up to the end of `ram`: offset 0 is the first
/// address. It ignores the backup region. Addresses that are not RAM read as zeros and are never
/// touched, because a read of a device's registers may change the device. The last bytes that fill
/// up a page are zeros as well.
///
/// # Errors
/// [`Error::NoMemory`], or [`Error::TooLong`] when the length has no room in 64 bits.
pub fn oldmem(ram: &RangeSet, range: Option<PhysRange>) -> Result<Extents, Error> {
    let zero = PhysAddr::new(0);
    let all = PhysRange::from_bounds(zero, ram.iter().last().map_or(zero, PhysRange::end))?;
    let range = range.unwrap_or(all);
    let mut extents = Vec::new();
    extents.try_reserve_exact(2 * ram.iter().len() + 2).map_err(|_| Error::NoMemory)?;
    let mut at = range.start();
    for part in ram.iter().filter_map(|part| part.intersect(range)) {
        extents.push(Extent::Zero(part.start().get() - at.get()));
        extents.push(Extent::Phys(part));
        at = part.end();
    }
    extents.push(Extent::Zero(range.end().get() - at.get()));
    let whole = range.length().checked_next_multiple_of(PAGE_SIZE).ok_or(Error::TooLong)?;
    extents.push(Extent::Zero(whole - range.length()));
    Extents::new(extents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::View;
    use crate::fake::range;
    use alloc::vec;

    fn ram() -> RangeSet {
        RangeSet::union([range(0x1000, 0x9_fc00), range(0x10_0000, 0x100_0000)]).expect("room")
    }

    fn extents(wanted: Option<PhysRange>) -> Vec<Extent> {
        let view = oldmem(&ram(), wanted).expect("small");
        assert!(view.len().is_multiple_of(PAGE_SIZE));
        view.extents().to_vec()
    }

    #[test]
    fn everything_from_address_zero_with_holes_as_zeros() {
        let expected = [
            Extent::Zero(0x1000),
            Extent::Phys(range(0x1000, 0x9_fc00)),
            Extent::Zero(0x6_0400),
            Extent::Phys(range(0x10_0000, 0x100_0000)),
        ];
        assert_eq!(extents(None), expected);
    }

    #[test]
    fn a_range_begins_where_it_is_asked_to_and_fills_its_last_page() {
        let expected = [
            Extent::Phys(range(0x9_f123, 0x9_fc00)),
            Extent::Zero(0x400),
            Extent::Zero(0x1000 - 0xedd),
        ];
        let wanted = extents(Some(range(0x9_f123, 0xa_0000)));
        assert_eq!(wanted.iter().map(Extent::len).sum::<u64>(), 0x1000);
        assert_eq!(wanted, expected);
    }

    #[test]
    fn what_is_not_ram_is_never_read() {
        assert_eq!(extents(Some(range(0xa_0000, 0x10_0000))), vec![Extent::Zero(0x6_0000)]);
        assert_eq!(extents(Some(range(0x1000_0000, 0x1000_1000))), vec![Extent::Zero(0x1000)]);
        let view = oldmem(&RangeSet::new(), None).expect("small");
        assert!(view.is_empty());
    }
}
