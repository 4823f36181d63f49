//! The log of rings put together by hand, and of damaged ones.

use super::fake::*;
use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use vmcore::fake::FakeMemory;

impl Page {
    /// The result of `use_log` for the log.
    fn log<T>(&self, use_log: impl FnOnce(Dmesg<'_, FakeMemory>) -> T) -> Result<T, Error> {
        let (mem, segments) = self.memory();
        let memory = KernelMemory::new(&mem, &segments);
        Dmesg::open(memory, self.machine.vmcoreinfo.as_bytes()).map(use_log)
    }

    /// Each record as it is shown, and how many were unfinished and damaged.
    fn shown(&self) -> (Vec<String>, [u64; 2]) {
        self.log(read).expect("a log")
    }
}

fn read(mut log: Dmesg<'_, FakeMemory>) -> (Vec<String>, [u64; 2]) {
    let mut shown = Vec::new();
    while let Some(record) = log.next_record() {
        let (seq, caller) = (record.seq.expect("a number"), record.caller.expect("a caller"));
        shown.push(format!("{seq} {caller} {record}"));
    }
    let Skipped { unfinished, damaged } = log.skipped();
    (shown, [unfinished, damaged])
}

const OLD: [&str; 4] = [
    "6 T1 [    5.000001] sysrq:",
    "7 T1 [    5.000002] Kernel panic - not syncing: x ",
    "8 T1 [    6.000000] ",
    "9 T1 [    7.000000] a\n[    7.000000] b\\x1b[m",
];

#[test]
fn the_log_of_a_young_kernel() {
    for machine in BOTH {
        let lines = ["0 T0 [    0.000000] Linux version 6.1", "1 C1 [    1.234567] hello"];
        assert_eq!(young(machine).shown(), (lines.map(String::from).to_vec(), [0, 0]));
    }
}

#[test]
fn a_kernel_that_has_said_nothing() {
    for machine in BOTH {
        let mut page = Page::new(machine, id(machine, -5), id(machine, -5));
        page.desc(3, state(machine, 3, -5), [1, 1]);
        assert_eq!(page.shown(), (vec![], [0, 0]));
    }
}

#[test]
fn the_log_of_an_old_kernel() {
    for machine in BOTH {
        assert_eq!(old(machine).shown(), (OLD.map(String::from).to_vec(), [0, 0]));
    }
}

/// Since Linux 6.18 a block may end at the end of the ring; before, it was at the front.
#[test]
fn a_block_may_fill_the_ring_to_its_end() {
    for machine in BOTH {
        let mut page = old(machine);
        page.desc(3, state(machine, 2, -1), [-32, 0]);
        page.info(3, 7, 5_000_002_000, 4, 1);
        page.block(96, id(machine, -1), b"fits");
        let (shown, skipped) = page.shown();
        assert_eq!((shown[1].as_str(), skipped), ("7 T1 [    5.000002] fits", [0, 0]));
    }
}

/// All records but the one that `change` spoils, the second one, and the counts.
#[track_caller]
fn assert_skips(skipped: [u64; 2], change: impl Fn(&mut Page, Machine)) {
    for machine in BOTH {
        let mut page = old(machine);
        change(&mut page, machine);
        let rest = [OLD[0], OLD[2], OLD[3]].map(String::from).to_vec();
        assert_eq!(page.shown(), (rest, skipped), "{}-bit", 8 * machine.word);
    }
}

#[test]
fn records_that_the_kernel_did_not_finish_are_counted() {
    assert_skips([1, 0], |page, machine| page.desc(3, state(machine, 0, -1), [-32, 40]));
    // FAILED_LPOS: there was no room for the text.
    assert_skips([1, 0], |page, machine| page.desc(3, state(machine, 2, -1), [1, 1]));
    // One whose place is just being given to another.
    assert_skips([0, 0], |page, machine| page.desc(3, state(machine, 3, -1), [-32, 40]));
}

#[test]
fn damaged_records_are_skipped_and_counted() {
    // The id of another round.
    assert_skips([0, 1], |page, machine| page.desc(3, state(machine, 2, -5), [-32, 40]));
    assert_skips([0, 1], |page, machine| page.block(0, id(machine, -2), b"Kernel panic"));
    assert_skips([0, 1], |page, _| page.info(3, 7, 5_000_002_000, 37, 1));
    assert_skips([0, 1], |page, _| page.info(3, 7, 5_000_002_000, 0xffff, 1));
    let positions =
        [[-31, 40], [-32, -32], [-32, -40], [-32, 168], [-32, 128], [-32, 2], [40, -32]];
    for positions in positions {
        let desc = |page: &mut Page, machine| page.desc(3, state(machine, 2, -1), positions);
        assert_skips([0, 1], desc);
    }
    // Zeroed memory looks like a record of the id 0 that is being written.
    for machine in BOTH {
        let mut page = old(machine);
        let [descs, ..] = machine.ring;
        page.word(RING + descs, machine.vaddr + (PAGE - 4 * machine.desc) as u64);
        assert_eq!(page.shown(), (vec![], [1, 3]), "descriptors that are none");
    }
}

/// All texts together have room in the ring, so blocks that overlap bring no flood.
#[test]
fn there_is_no_more_text_than_the_ring_has_room_for() {
    for machine in BOTH {
        let mut page = Page::new(machine, id(machine, -4), id(machine, -1));
        for index in 0..4 {
            let begin = -128 + 8 * index as i64;
            page.desc(index, state(machine, 2, index as i64 - 4), [begin, 0]);
            page.info(index, 0, 0, 60, 0);
        }
        for index in 0..4 {
            page.word(DATA + 8 * index, id(machine, index as i64 - 4));
        }
        let (shown, skipped) = page.shown();
        assert_eq!((shown.len(), skipped), (2, [0, 2]));
    }
}

#[test]
fn a_tail_that_lies_costs_nothing() {
    for machine in BOTH {
        for tail in [-1000, 2, 77] {
            let mut page = old(machine);
            page.word(RING + machine.ring[3], id(machine, tail));
            assert_eq!(page.shown(), (OLD.map(String::from).to_vec(), [0, 0]), "{tail}");
        }
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let refused = |change: &dyn Fn(&mut Page)| {
        BOTH.map(|machine| {
            let mut page = old(machine);
            change(&mut page);
            page.log(|_| ()).expect_err("a ring that cannot be")
        })
    };
    let [_, _, _, _, size_bits, _] = I386.ring;
    assert_eq!(size_bits, 24);
    let bad = |field, value| [Error::BadLog { field, value }; 2];
    assert_eq!(refused(&|page| page.put(RING, &[27])), bad("count_bits", 27));
    let change = |page: &mut Page| page.put(RING + page.machine.ring[4], &[32, 0, 0, 1]);
    assert_eq!(refused(&change), bad("size_bits", 0x100_0020));
    let unmapped = |change: &dyn Fn(&mut Page)| {
        refused(change).map(|error| matches!(error, Error::Unmapped { .. }))
    };
    assert_eq!(unmapped(&|page| page.word(PRB, 0)), [true; 2]);
    assert_eq!(unmapped(&|page| page.put(RING, &[20])), [true; 2], "more than there is");
    for field in [0, 1, 5] {
        let nowhere = |page: &mut Page| page.word(RING + page.machine.ring[field], u64::MAX);
        assert_eq!(unmapped(&nowhere), [true; 2]);
    }
}

#[test]
fn vmcoreinfo_is_asked_for_everything() {
    let (mem, segments) = old(I386).memory();
    let memory = KernelMemory::new(&mem, &segments);
    let open = |text: &str| Dmesg::open(memory, text.as_bytes()).map(drop);
    let used = I386.vmcoreinfo.lines().filter(|line| {
        let without = I386.vmcoreinfo.replace(line, "");
        open(&without).is_err_and(|error| matches!(error, Error::NoKey { .. }))
    });
    assert_eq!(used.count(), 22);
    let with = |from: &str, to: &str| open(&I386.vmcoreinfo.replace(from, to));
    let word = Err(Error::BadKey { key: "SIZE(atomic_long_t)" });
    assert_eq!(with("SIZE(atomic_long_t)=4", "SIZE(atomic_long_t)=5"), word);
    let prb = Err(Error::BadKey { key: "SYMBOL(prb)" });
    assert_eq!(with("=c5000000", "=-1"), prb);
    let desc = Err(Error::BadKey { key: "SIZE(prb_desc)" });
    assert_eq!(with("SIZE(prb_desc)=12", "SIZE(prb_desc)=99999999999"), desc);
    let none = Err(Error::NoKey { key: "SYMBOL(prb)" });
    assert_eq!(open("SYMBOL(log_buf)=c1234567"), none);
}

/// The kernel's own configuration, in the form of VMCOREINFO. No kernel adds it by itself.
#[test]
fn callers_are_shown_where_the_kernel_shows_them() {
    for machine in BOTH {
        let (mem, segments) = old(machine).memory();
        let open = |more: &str| {
            let text = format!("{}{more}", machine.vmcoreinfo);
            Dmesg::open(KernelMemory::new(&mem, &segments), text.as_bytes()).expect("a log")
        };
        let first = |mut log: Dmesg<'_, FakeMemory>| log.next_record().map(|one| format!("{one}"));
        let plain = Some("[    5.000001] sysrq:".into());
        let with_caller = Some("[    5.000001][    T1] sysrq:".into());
        assert_eq!(first(open("")), plain);
        assert_eq!(first(open("CONFIG_PRINTK_CALLER=n\n")), plain);
        assert_eq!(first(open("CONFIG_PRINTK_CALLER=y\n")), with_caller);
        let mut asked = open("");
        asked.show_callers(true);
        // 2 × (17 + 8) + 6 bytes of text and 2 ends of line, escaped.
        asked.keep_last_bytes(55);
        assert_eq!(first(asked), None);
        let mut asked = open("");
        asked.show_callers(true);
        asked.keep_last_bytes(56);
        let newest = "[    7.000000][    T1] a\n[    7.000000][    T1] b\\x1b[m";
        assert_eq!(newest.len() + 1, 56);
        assert_eq!(first(asked).as_deref(), Some(newest));
    }
}

/// A cut dump or broken memory costs only the records at that place.
#[test]
fn records_that_cannot_be_read_are_counted() {
    for machine in BOTH {
        let page = old(machine);
        let (_, segments) = page.memory();
        // The last of the ring's bytes are missing, including the block of the first record.
        let mem = FakeMemory::with(PADDR, page.bytes[..DATA + 64].to_vec());
        let memory = KernelMemory::new(&mem, &segments);
        let log = Dmesg::open(memory, machine.vmcoreinfo.as_bytes()).expect("a log");
        let rest = [OLD[1], OLD[2], OLD[3]].map(String::from).to_vec();
        assert_eq!(read(log), (rest, [0, 1]));
    }
}

/// The last records of both samples.
#[test]
fn the_newest_can_be_kept_alone() {
    for machine in BOTH {
        let last = |records: u64| {
            let kept = old(machine).log(|mut log| {
                log.keep_last_records(records);
                read(log).0
            });
            kept.expect("a log")
        };
        for count in 0..6 {
            assert_eq!(last(count as u64), OLD[OLD.len() - count.min(4)..]);
        }
        assert_eq!(last(u64::MAX), OLD);
        // 17 + 23 bytes for the last one, 16 for the one before.
        for (bytes, count) in [(0, 0), (39, 0), (40, 1), (55, 1), (56, 2), (1 << 40, 4)] {
            let kept = old(machine).log(|mut log| {
                log.keep_last_bytes(bytes);
                read(log).0
            });
            assert_eq!(kept.expect("a log"), OLD[OLD.len() - count..], "{bytes}");
        }
    }
}

#[test]
fn the_newest_places_can_be_looked_at_alone() {
    for machine in BOTH {
        for count in 0..6 {
            let mut page = old(machine);
            page.desc(0, state(machine, 0, 0), [3, 3]);
            let seen = page.log(|mut log| {
                log.look_at_last(count);
                read(log)
            });
            let records = [OLD[0], OLD[1], OLD[3]].map(String::from);
            let left = [3, 2, 2, 1, 0, 0][count as usize];
            let expected = (records[left..].to_vec(), [u64::from(count > 1), 0]);
            assert_eq!(seen, Ok(expected), "{count}");
        }
    }
}

#[test]
fn records_that_are_skipped_do_not_count_as_kept() {
    for machine in BOTH {
        let mut page = old(machine);
        page.desc(0, state(machine, 0, 0), [3, 3]);
        let kept = page.log(|mut log| {
            log.keep_last_records(2);
            read(log)
        });
        let kept = kept.expect("a log");
        assert_eq!(kept, ([OLD[1], OLD[3]].map(String::from).to_vec(), [1, 0]));
    }
}

proptest! {
    /// For any bytes there: no panic, no endless loop, no flood.
    #[test]
    fn any_memory(
        is_64_bit: bool,
        changes in prop::collection::vec((0..0x480_usize, prop_oneof![0..4_u8, any::<u8>()]), 0..24),
        last in prop::option::of(0..6_u64),
    ) {
        let mut page = old(BOTH[usize::from(is_64_bit)]);
        for (at, byte) in changes {
            page.put(at, &[byte]);
        }
        let seen = page.log(|mut log| {
            if let Some(records) = last {
                log.keep_last_records(records);
            }
            let (mut records, mut bytes) = (0, 0);
            while let Some(record) = log.next_record() {
                (records, bytes) = (records + 1, bytes + record.text.len());
            }
            let Log::Ring(log) = log.log else { panic!("another log") };
            (records, bytes, log.ring.count, log.ring.size())
        });
        if let Ok((records, bytes, most, size)) = seen {
            prop_assert!(records <= last.unwrap_or(most).min(most));
            prop_assert!(bytes as u64 <= size);
        }
    }
}
