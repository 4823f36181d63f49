//! Rings put together by hand, from the structures of Linux 6.1.

use super::*;
use crate::fake::FakeMemory;
use crate::{PhysAddr, Segment, SegmentKind};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

/// Where the page with the ring lies.
const PADDR: u64 = 0x500_0000;

// What lies where in that page.
const PRB: usize = 0x000;
const RING: usize = 0x040;
const DESCS: usize = 0x100;
const INFOS: usize = 0x200;
const DATA: usize = 0x400;
const PAGE: usize = 0x1000;

/// Four descriptors, 128 bytes of text.
const COUNT_BITS: u64 = 2;
const SIZE_BITS: u64 = 7;

/// A machine, with what differs between the two.
#[derive(Clone, Copy)]
struct Machine {
    /// Length of a `long` in bytes.
    word: usize,
    /// Virtual address of the page.
    vaddr: u64,
    /// VMCOREINFO of Debian's 6.1.0-50, the lines that matter, with `prb` moved to the page.
    vmcoreinfo: &'static str,
    /// Offsets in `printk_ringbuffer`: descs, infos, head_id, tail_id, size_bits, data.
    ring: [usize; 6],
    /// Length of a `prb_desc`.
    desc: usize,
}

const I386: Machine = Machine {
    word: 4,
    vaddr: 0xc500_0000,
    vmcoreinfo: "OSRELEASE=6.1.0-50-686-pae\nSYMBOL(prb)=c5000000\n\
        SIZE(printk_ringbuffer)=44\nOFFSET(printk_ringbuffer.desc_ring)=0\n\
        OFFSET(printk_ringbuffer.text_data_ring)=24\nSIZE(prb_desc_ring)=24\n\
        OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=4\n\
        OFFSET(prb_desc_ring.infos)=8\nOFFSET(prb_desc_ring.head_id)=12\n\
        OFFSET(prb_desc_ring.tail_id)=16\nSIZE(prb_desc)=12\nOFFSET(prb_desc.state_var)=0\n\
        OFFSET(prb_desc.text_blk_lpos)=4\nSIZE(prb_data_blk_lpos)=8\n\
        OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=4\n\
        SIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\nOFFSET(printk_info.ts_nsec)=8\n\
        OFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
        SIZE(prb_data_ring)=16\nOFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=4\n\
        SIZE(atomic_long_t)=4\nOFFSET(atomic_long_t.counter)=0\n",
    ring: [4, 8, 12, 16, 24, 28],
    desc: 12,
};

const X86_64: Machine = Machine {
    word: 8,
    vaddr: 0xffff_ffff_9b66_4000,
    vmcoreinfo: "OSRELEASE=6.1.0-50-amd64\nSYMBOL(prb)=ffffffff9b664000\n\
        SIZE(printk_ringbuffer)=88\nOFFSET(printk_ringbuffer.desc_ring)=0\n\
        OFFSET(printk_ringbuffer.text_data_ring)=48\nSIZE(prb_desc_ring)=48\n\
        OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\n\
        OFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\n\
        OFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\nOFFSET(prb_desc.state_var)=0\n\
        OFFSET(prb_desc.text_blk_lpos)=8\nSIZE(prb_data_blk_lpos)=16\n\
        OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\n\
        SIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\nOFFSET(printk_info.ts_nsec)=8\n\
        OFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
        SIZE(prb_data_ring)=32\nOFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n\
        SIZE(atomic_long_t)=8\nOFFSET(atomic_long_t.counter)=0\n",
    ring: [8, 16, 24, 32, 48, 56],
    desc: 24,
};

const BOTH: [Machine; 2] = [I386, X86_64];

/// The page with the ring, and whose it is.
#[derive(Clone)]
struct Page {
    machine: Machine,
    bytes: Vec<u8>,
}

impl Page {
    /// A ring whose oldest and newest ids are these.
    fn new(machine: Machine, tail: u64, head: u64) -> Self {
        let mut page = Self { machine, bytes: vec![0; PAGE] };
        let at = |offset: usize| machine.vaddr + offset as u64;
        let [descs, infos, head_id, tail_id, size_bits, data] = machine.ring;
        page.word(PRB, at(RING));
        page.put(RING, &(COUNT_BITS as u32).to_le_bytes());
        page.word(RING + descs, at(DESCS));
        page.word(RING + infos, at(INFOS));
        page.word(RING + head_id, head);
        page.word(RING + tail_id, tail);
        page.put(RING + size_bits, &(SIZE_BITS as u32).to_le_bytes());
        page.word(RING + data, at(DATA));
        page
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: usize, value: u64) {
        let word = self.machine.word;
        self.put(at, &value.to_le_bytes()[..word]);
    }

    /// State and positions of the descriptor at `index`.
    fn desc(&mut self, index: usize, state_var: u64, [begin, next]: [i64; 2]) {
        let (at, word) = (DESCS + index * self.machine.desc, self.machine.word);
        self.word(at, state_var);
        self.word(at + word, begin as u64);
        self.word(at + 2 * word, next as u64);
    }

    /// `printk_info` is the same on both machines.
    fn info(&mut self, index: usize, seq: u64, ts_nsec: u64, text_len: u16, caller: u32) {
        let at = INFOS + 88 * index;
        self.put(at, &seq.to_le_bytes());
        self.put(at + 8, &ts_nsec.to_le_bytes());
        self.put(at + 16, &text_len.to_le_bytes());
        self.put(at + 20, &caller.to_le_bytes());
    }

    /// A block of the text ring, from `index` on.
    fn block(&mut self, index: usize, id: u64, text: &[u8]) {
        self.word(DATA + index, id);
        self.put(DATA + index + self.machine.word, text);
    }

    fn memory(&self) -> (FakeMemory, [Segment; 1]) {
        let (source, filesz) = (PhysAddr::new(PADDR), PAGE as u64);
        let (kind, vaddr) = (SegmentKind::Load, self.machine.vaddr);
        let load = Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 };
        (FakeMemory::with(PADDR, self.bytes.clone()), [load])
    }

    /// What `use_log` makes of the log.
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
        shown.push(format!("{} {} {record}", record.seq, record.caller));
    }
    let Skipped { unfinished, damaged } = log.skipped();
    (shown, [unfinished, damaged])
}

/// Ids have 30 or 62 bits, of which these are the lowest.
fn id(machine: Machine, value: i64) -> u64 {
    let mask = if machine.word == 4 { 0x3fff_ffff } else { 0x3fff_ffff_ffff_ffff };
    value as u64 & mask
}

/// A state word: committed is 1, finalized 2, reusable 3.
fn state(machine: Machine, state: u64, value: i64) -> u64 {
    let shift = if machine.word == 4 { 30 } else { 62 };
    state << shift | id(machine, value)
}

/// A kernel that has just started: `DESC0_ID` is −(4 + 1) and reusable, the first block is at −128.
fn young(machine: Machine) -> Page {
    let mut page = Page::new(machine, id(machine, -5), id(machine, -3));
    page.desc(3, state(machine, 3, -5), [1, 1]);
    page.desc(0, state(machine, 2, -4), [-128, -96]);
    page.info(0, 0, 0, 17, 0);
    page.block(0, id(machine, -4), b"Linux version 6.1");
    page.desc(1, state(machine, 1, -3), [-96, -72]);
    page.info(1, 1, 1_234_567_890, 5, 0x8000_0001);
    page.block(32, id(machine, -3), b"hello");
    page
}

/// A ring that has gone round: ids and positions both pass zero.
fn old(machine: Machine) -> Page {
    let mut page = Page::new(machine, id(machine, -2), id(machine, 1));
    page.desc(2, state(machine, 2, -2), [-64, -32]);
    page.info(2, 6, 5_000_001_000, 6, 1);
    page.block(64, id(machine, -2), b"sysrq:");
    // 32 bytes are left, 40 are needed: the block lies at the front, the id here as well.
    page.desc(3, state(machine, 2, -1), [-32, 40]);
    page.info(3, 7, 5_000_002_000, 30, 1);
    page.block(96, id(machine, -1), b"");
    page.block(0, id(machine, -1), b"Kernel panic - not syncing: x ");
    page.desc(0, state(machine, 2, 0), [3, 3]);
    page.info(0, 8, 6_000_000_000, 0, 1);
    page.desc(1, state(machine, 1, 1), [40, 64]);
    page.info(1, 9, 7_000_000_000, 6, 1);
    page.block(40, id(machine, 1), b"a\nb\x1b[m");
    page
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

/// Since Linux 6.18 a block may end where the ring ends; before, it lay at the front.
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

/// All records but the one that `change` spoils, the second one, and what was counted.
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

/// All texts together have room in the ring, so blocks that lie in each other bring no flood.
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
    let older = Err(Error::NoKey { key: "OFFSET(atomic_long_t.counter)" });
    assert_eq!(open("SYMBOL(log_buf)=c1234567"), older);
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
    /// Whatever lies there: no panic, no endless loop, no flood.
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
            (records, bytes, log.ring.count, log.ring.size())
        });
        if let Ok((records, bytes, most, size)) = seen {
            prop_assert!(records <= last.unwrap_or(most).min(most));
            prop_assert!(bytes as u64 <= size);
        }
    }
}
