//! Disks and HBAs that cannot be used, and errors of requests.

use super::*;

/// All that makes a disk or an HBA useless from the start, and the words for it.
const REFUSED: [(Change, Error); 22] = [
    (|hba| hba.never_resets = true, Error::Timeout("reset")),
    (|hba| hba.is_removed = true, Error::Removed),
    (|hba| hba.length = 0x100, Error::Unsupported("an HBA without ports")),
    (|hba| hba.ports[0].disk = None, Error::NoDisk),
    (|hba| hba.ports[0].link = Some(1), Error::NoLink),
    (|hba| hba.ports[0].link = Some(4), Error::NoLink),
    (|hba| hba.ports[0].stays_busy = true, Error::Timeout("become ready")),
    (|hba| hba.ports[0].signature = Some(0xeb14_0101), Error::Unsupported("an ATAPI drive")),
    (|hba| hba.ports[0].signature = Some(0x9669_0101), Error::Unsupported("a port multiplier")),
    (|hba| hba.ports[0].signature = Some(0xc33c_0101), Error::Unsupported("an enclosure")),
    (
        |hba| hba.ports[0].signature = Some(0xabcd_0101),
        Error::Unsupported("a device with an unknown signature"),
    ),
    (|hba| hba.disk(0).bad_checksum = true, Error::BadIdentity),
    (|hba| hba.disk(0).words = vec![(83, 0)], Error::BadIdentity),
    (|hba| hba.disk(0).words = vec![(83, u16::MAX)], Error::BadIdentity),
    (
        |hba| hba.disk(0).words = vec![(83, 1 << 14)],
        Error::Unsupported("a disk without 48-bit addresses"),
    ),
    (
        |hba| hba.disk(0).words = vec![(128, 0b111)],
        Error::Unsupported("a disk that is locked by a password"),
    ),
    (|hba| hba.disk(0).words = vec![(106, 0x5000), (117, 260)], Error::BlockSize(520)),
    (|hba| hba.disk(0).words = vec![(106, 0x5000), (117, 4096)], Error::BlockSize(8192)),
    (
        |hba| hba.disk(0).words = vec![(106, 0x5000), (117, u16::MAX), (118, u16::MAX)],
        Error::BlockSize(0xffff_ffff),
    ),
    (|hba| hba.disk(0).short_by = 2, Error::Short { wanted: 512, got: 510 }),
    (|hba| hba.disk(0).fails = 1, Error::Io(0x51)),
    (|hba| hba.disk(0).stalls_after = Some(0), UNFINISHED),
];

#[test]
fn an_hba_or_a_disk_that_cannot_be_used_is_an_error_and_not_a_hang() {
    for (change, expected) in REFUSED {
        let (hba, clock) = (Fake::new(vec![disk(2)]), FakeClock::default());
        change(&mut hba.borrow_mut());
        assert_eq!(open(&hba, &clock).err(), Some(expected));
    }
}

/// Each of two writes of a page, then a flush: the first error, the offset below which all is
/// there, and how often the link was reset.
fn fate(change: impl FnOnce(&mut Fake)) -> (Option<Error>, u64, usize) {
    let (hba, clock) = (Fake::new(vec![disk(4)]), FakeClock::default());
    let page = [7_u8; PAGE];
    let mut ahci = open(&hba, &clock).expect("starts");
    change(&mut hba.borrow_mut());
    let (tried, said) = logged(|| {
        ahci.write(0, pieces([old(&page)]))?;
        ahci.write(PAGE as u64, pieces([old(&page)]))?;
        ahci.flush()
    });
    let _ = ahci.settle();
    let resets = said.iter().filter(|line| line.contains("link reset")).count();
    (tried.err(), ahci.written_below(), resets)
}

#[test]
fn errors_of_requests_are_reported_and_end() {
    let all = u64::MAX;
    for like_qemu in [false, true] {
        let fate = |change: Change| {
            fate(|hba| {
                hba.like_qemu = like_qemu;
                change(hba);
            })
        };
        assert_eq!(fate(|_| ()), (None, all, 0));
        // Another try helps.
        assert_eq!(fate(|hba| hba.disk(0).fails = 1), (None, all, 1));
        // The second page cannot be written, wherever the error comes.
        let bad = fate(|hba| hba.disk(0).bad = 5000..5001);
        assert_eq!((bad.0, bad.1), (Some(Error::Io(0x51)), PAGE as u64));
        let protected = fate(|hba| hba.disk(0).is_protected = true);
        assert_eq!((protected.0, protected.1), (Some(Error::Io(0x51)), 0));
        assert_eq!(fate(|hba| hba.disk(0).bad_flush = true), (Some(Error::Io(0x51)), 0, 1));
        assert_eq!(fate(|hba| hba.disk(0).stalls_after = Some(0)), (Some(UNFINISHED), 0, 0));
        assert_eq!(fate(|hba| hba.is_removed = true), (Some(Error::Removed), 0, 0));
    }
}

/// An error of a queued command ends all of them: each gets another try, and one fails.
#[test]
fn only_the_write_that_failed_is_lost() {
    for (like_qemu, order) in [(false, 0), (false, 2), (true, 0), (true, 3), (true, 5)] {
        let (hba, clock) = (Fake::new(vec![disk(8)]), FakeClock::default());
        let pages: Vec<[u8; PAGE]> = (0..6).map(|page| [page + 1; PAGE]).collect();
        let mut ahci = open(&hba, &clock).expect("starts");
        {
            let mut hba = hba.borrow_mut();
            hba.like_qemu = like_qemu;
            (hba.disk(0).lags, hba.disk(0).bad) = (true, 3 * PAGE..3 * PAGE + 1);
        }
        for (at, page) in (0..).step_by(PAGE).zip(&pages) {
            ahci.write(at, pieces([old(page)])).expect("is taken");
        }
        // Some come before it, and one comes after it.
        for _ in 0..order.min(3) {
            hba.borrow_mut().answer(0, 0);
        }
        hba.borrow_mut().answer(0, 3 - order.min(3));
        if order > 3 {
            hba.borrow_mut().answer(0, 0);
        }
        hba.borrow_mut().disk(0).lags = false;
        assert_eq!(ahci.drain(), Err(Error::Io(0x51)), "{like_qemu} {order}");
        ahci.settle().expect("the others are back");
        assert_eq!(ahci.written_below(), 3 * PAGE as u64);
        assert_eq!(hba.borrow_mut().disk(0).writes, 5, "each once");
        let mut all = [0; 8 * PAGE];
        hba.borrow_mut().disk(0).bad = 0..0;
        ahci.read(0, &mut all).expect("the port is back");
        let expected = |page: usize| if page == 3 || page > 5 { 9 } else { page as u8 + 1 };
        let is_right = |(at, byte): (usize, &u8)| *byte == expected(at / PAGE);
        assert!(all.iter().enumerate().all(is_right), "{like_qemu} {order}");
        ahci.stop().expect("nothing is in flight");
    }
}
