//! Memory that is read a few bytes at a time, a page at a time.

use alloc::vec::Vec;
use core::cell::RefCell;

use handoff::layout::PAGE_SIZE;

use vmcore::zeros;
use vmcore::{Error, PhysAddr, RangeError, ReadPhys};

/// A walk over the kernel's log goes on in three places: descriptors, infos and texts.
const PAGES: usize = 4;
const SIZE: usize = PAGE_SIZE as usize;

/// A reader that keeps the pages that were read last: a read of the capture kernel's window may
/// cost a mapping.
pub(crate) struct PageCache<'a, M> {
    mem: &'a M,
    pages: RefCell<Pages>,
}

#[derive(Default)]
struct Pages {
    /// Physical address of each page, if there is one.
    addresses: [Option<PhysAddr>; PAGES],
    /// The pages one after the other; none if the heap had no room.
    bytes: Vec<u8>,
    /// Which one is replaced next.
    oldest: usize,
}

impl<'a, M: ReadPhys> PageCache<'a, M> {
    pub(crate) fn new(mem: &'a M) -> Self {
        let bytes = zeros(PAGES * SIZE).unwrap_or_default();
        Self { mem, pages: RefCell::new(Pages { bytes, ..Pages::default() }) }
    }

    /// Reads bytes of one page. If the page cannot be read as a whole, the bytes are tried alone.
    fn read_within(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let mut pages = self.pages.borrow_mut();
        let from = (at.get() % PAGE_SIZE) as usize;
        let page = pages.page(at.align_down(PAGE_SIZE), self.mem);
        match page.and_then(|page| page.get(from..from + into.len())) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => self.mem.read_phys(at, into)?,
        }
        Ok(())
    }
}

impl<M: ReadPhys> ReadPhys for PageCache<'_, M> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let wraps = RangeError::Wraps { start: at, length: into.len() as u64 };
        at.checked_add(into.len() as u64).ok_or(wraps)?;
        let mut done = 0;
        while done < into.len() {
            let next = at.checked_add(done as u64).ok_or(wraps)?;
            let room = SIZE - (next.get() % PAGE_SIZE) as usize;
            let count = room.min(into.len() - done);
            self.read_within(next, &mut into[done..done + count])?;
            done += count;
        }
        Ok(())
    }
}

impl Pages {
    /// The page at `address`, from here or from `mem`.
    fn page(&mut self, address: PhysAddr, mem: &impl ReadPhys) -> Option<&[u8]> {
        let known = self.addresses.iter().position(|known| *known == Some(address));
        let index = known.unwrap_or(self.oldest);
        let page = self.bytes.get_mut(index * SIZE..(index + 1) * SIZE)?;
        if known.is_none() {
            self.addresses[index] = None;
            mem.read_phys(address, page).ok()?;
            self.addresses[index] = Some(address);
            self.oldest = (index + 1) % PAGES;
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;
    use vmcore::fake::FakeMemory;

    /// Memory that counts how often it is read.
    struct Counted(FakeMemory, Cell<u32>);

    impl ReadPhys for Counted {
        fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
            self.1.set(self.1.get() + 1);
            self.0.read_phys(at, into)
        }
    }

    fn counted(mem: FakeMemory) -> Counted {
        Counted(mem, Cell::new(0))
    }

    fn pattern() -> Vec<u8> {
        (0..10 * SIZE as u32 + 100).map(|n| (n ^ n >> 8) as u8).collect()
    }

    #[test]
    fn a_page_is_read_once() {
        let mem = counted(FakeMemory::with(0x1000, pattern()));
        let cache = PageCache::new(&mem);
        for at in 0x1000..0x1800 {
            let mut bytes = [0; 8];
            cache.read_phys(PhysAddr::new(at), &mut bytes).expect("memory");
            assert_eq!(bytes, pattern()[at as usize - 0x1000..][..8]);
        }
        assert_eq!(mem.1.get(), 1);
    }

    /// As with a page of which a part is broken.
    #[test]
    fn a_part_of_a_page_can_be_had() {
        let mem = counted(FakeMemory::with(0x1800, *b"abcd"));
        let cache = PageCache::new(&mem);
        let mut bytes = [0; 4];
        assert_eq!(cache.read_phys(PhysAddr::new(0x1800), &mut bytes), Ok(()));
        assert_eq!(&bytes, b"abcd");
        let error = Error::Unreadable { at: PhysAddr::new(0x1804) };
        assert_eq!(cache.read_phys(PhysAddr::new(0x1801), &mut bytes), Err(error));
        assert!(cache.read_phys(PhysAddr::new(u64::MAX), &mut bytes).is_err());
    }

    proptest! {
        #[test]
        fn reads_are_those_of_the_memory(reads in prop::collection::vec((0..0xb100_u64, 0..9000_usize), 1..30)) {
            let mem = FakeMemory::with(0x1000, pattern());
            let cache = PageCache::new(&mem);
            for (at, length) in reads {
                let (mut cached, mut direct) = (alloc::vec![0; length], alloc::vec![0; length]);
                let at = PhysAddr::new(at);
                let outcome = cache.read_phys(at, &mut cached);
                prop_assert_eq!(outcome, mem.read_phys(at, &mut direct));
                prop_assert!(outcome.is_err() || cached == direct);
            }
        }
    }
}
