//! Memory that an HBA with addresses of 32 bits cannot reach.

use super::*;
use crate::gather::{Added, Copies, Gather};
use vmcore::{DumpOffset, PhysAddr, PhysRange, Piece, ReadPhys, What};

/// Old memory below and above 4 GiB, the same bytes that the HBA sees.
struct OldMemory(Shared);

impl ReadPhys for OldMemory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), vmcore::Error> {
        let hba = self.0.borrow();
        let found = hba.old.iter().find_map(|(start, bytes)| {
            let first = usize::try_from(at.get().checked_sub(*start)?).ok()?;
            bytes.get(first..first + into.len())
        });
        into.copy_from_slice(found.ok_or(vmcore::Error::Unreadable { at })?);
        Ok(())
    }
}

/// Writes all of `view` from the start of the disk on, as a target does.
fn send(ahci: &mut Ahci<'_>, view: &[What<'_>], copies: Copies<'_>) {
    let mut gather = Gather::new(copies, ahci.limits(), PAGE as u64);
    let mut sent = 0;
    for (index, what) in (0..).zip(view) {
        let at = DumpOffset::new(index * PAGE as u64);
        let mut done = 0;
        while done < PAGE as u64 {
            let len = PAGE as u64 - done;
            let what = match *what {
                What::Phys(range) => {
                    let start = PhysAddr::new(range.start().get() + done);
                    What::Phys(PhysRange::new(start, len).expect("no wrap"))
                }
                What::Bytes(bytes) => What::Bytes(&bytes[done as usize..]),
                other => other,
            };
            match gather.add(Piece { at, len, what }).expect("memory can be read") {
                Added::Taken(taken) => done += taken,
                Added::Full | Added::NoBuffer => {
                    let (pieces, length) = gather.take().expect("a whole unit");
                    ahci.write(sent, pieces).expect("is taken");
                    sent += length;
                }
            }
        }
    }
    let (pieces, _) = gather.take().expect("a whole unit");
    ahci.write(sent, pieces).and_then(|()| ahci.flush()).expect("arrives");
}

/// A guest with memory above 4 GiB: it is copied for an HBA of 32 bits, and for no other one.
#[test]
fn memory_out_of_reach_is_copied() {
    const LOW: u64 = 0xe000_0000;
    const HIGH: u64 = 5 << 30;
    let page = |start: u64, number: u64| {
        let start = PhysAddr::new(start + number * PAGE as u64);
        What::Phys(PhysRange::new(start, PAGE as u64).expect("no wrap"))
    };
    // The slot's memory, which is the test's, is below 4 GiB for the HBA.
    let near = vec![0_u8; 8 * PAGE];
    let address = (near.as_ptr() as usize).saturating_sub(1 << 30) / PAGE * PAGE;
    let start = PhysAddr::new(1 << 28);
    let memory = SlotMemory { address, start, length: 1 << 31, ..slot() };
    let bytes = |byte| (0..4 * PAGE).map(|at| byte + (at / PAGE) as u8).collect::<Vec<u8>>();
    for bits in [32, 64] {
        let (hba, clock) = (Fake::new(vec![disk(16)]), FakeClock::default());
        {
            let mut hba = hba.borrow_mut();
            hba.cap = hba.cap & !(1 << 31) | if bits == 64 { 1 << 31 } else { 0 };
            hba.offset = (address as u64).wrapping_sub(1 << 28);
            hba.old = vec![(LOW, bytes(10)), (HIGH, bytes(20))];
        }
        let mut ahci = start_in(&hba, &clock, memory).expect("starts");
        ahci.select(0).expect("is ready");
        assert_eq!(ahci.limits().address_bits, bits);
        let pool = Pool::new(memory, 4, 2 * PAGE).expect("memory");
        let old = OldMemory(hba.clone());
        let own = [30; PAGE];
        let view: Vec<_> = (0..4)
            .flat_map(|number| [page(LOW, number), page(HIGH, number)])
            .chain([What::Zero, What::Bytes(&own), page(LOW + 4095, 0)])
            .collect();
        hba.borrow_mut().parts.clear();
        send(&mut ahci, &view, Copies { pool: &pool, memory: &old });
        let parts = hba.borrow().parts.clone();
        let in_place =
            |from: u64| parts.iter().filter(move |at| (from..from + (4 << 12)).contains(*at));
        assert_eq!(in_place(LOW).count(), 4, "and none at an odd address");
        assert_eq!(in_place(HIGH).count(), if bits == 64 { 4 } else { 0 });
        let pages = [10_u8, 20, 11, 21, 12, 22, 13, 23, 0, 30, 11];
        let mut expected = pages.map(|byte| [byte; PAGE]).concat();
        expected[10 * PAGE] = 10;
        assert!(hba.borrow_mut().disk(0).bytes.starts_with(&expected), "{bits}");
    }
}

/// The slot is below 4 GiB on every machine; if not, no address is cut.
#[test]
fn a_slot_out_of_reach_is_refused() {
    let (hba, clock) = (Fake::new(vec![disk(2)]), FakeClock::default());
    hba.borrow_mut().cap &= !(1 << 31);
    let memory = SlotMemory { start: PhysAddr::new(1 << 32), ..slot() };
    let refused = start_in(&hba, &clock, memory).err();
    assert!(matches!(refused, Some(Error::OutOfReach(at)) if at.get() >> 32 != 0), "{refused:?}");
}
