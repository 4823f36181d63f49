//! Rings put together by hand, from the structures of Linux 6.1.

use alloc::vec;
use alloc::vec::Vec;

use crate::SegmentMap;
use vmcore::fake::FakeMemory;
use vmcore::{PhysAddr, Segment, SegmentKind};

/// Address of the page with the ring.
pub(crate) const PADDR: u64 = 0x500_0000;

// Offsets in that page.
pub(crate) const PRB: usize = 0x000;
pub(crate) const RING: usize = 0x040;
pub(crate) const DESCS: usize = 0x100;
pub(crate) const INFOS: usize = 0x200;
pub(crate) const DATA: usize = 0x400;
pub(crate) const PAGE: usize = 0x1000;

/// Four descriptors, 128 bytes of text.
pub(crate) const COUNT_BITS: u64 = 2;
pub(crate) const SIZE_BITS: u64 = 7;

/// A machine, with the differences between the two.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    /// Length of a `long` in bytes.
    pub(crate) word: usize,
    /// Virtual address of the page.
    pub(crate) vaddr: u64,
    /// VMCOREINFO of Debian's 6.1.0-50, the lines that matter, with `prb` moved to the page.
    pub(crate) vmcoreinfo: &'static str,
    /// Offsets in `printk_ringbuffer`: descs, infos, head_id, tail_id, size_bits, data.
    pub(crate) ring: [usize; 6],
    /// Length of a `prb_desc`.
    pub(crate) desc: usize,
}

pub(crate) const I386: Machine = Machine {
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

pub(crate) const X86_64: Machine = Machine {
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

pub(crate) const BOTH: [Machine; 2] = [I386, X86_64];

/// The page with the ring, and its machine.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) machine: Machine,
    pub(crate) bytes: Vec<u8>,
}

impl Page {
    /// A ring whose oldest and newest ids are these.
    pub(crate) fn new(machine: Machine, tail: u64, head: u64) -> Self {
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

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn word(&mut self, at: usize, value: u64) {
        let word = self.machine.word;
        self.put(at, &value.to_le_bytes()[..word]);
    }

    /// State and positions of the descriptor at `index`.
    pub(crate) fn desc(&mut self, index: usize, state_var: u64, [begin, next]: [i64; 2]) {
        let (at, word) = (DESCS + index * self.machine.desc, self.machine.word);
        self.word(at, state_var);
        self.word(at + word, begin as u64);
        self.word(at + 2 * word, next as u64);
    }

    /// `printk_info` is the same on both machines.
    pub(crate) fn info(
        &mut self,
        index: usize,
        seq: u64,
        ts_nsec: u64,
        text_len: u16,
        caller: u32,
    ) {
        let at = INFOS + 88 * index;
        self.put(at, &seq.to_le_bytes());
        self.put(at + 8, &ts_nsec.to_le_bytes());
        self.put(at + 16, &text_len.to_le_bytes());
        self.put(at + 20, &caller.to_le_bytes());
    }

    /// A block of the text ring, from `index` on.
    pub(crate) fn block(&mut self, index: usize, id: u64, text: &[u8]) {
        self.word(DATA + index, id);
        self.put(DATA + index + self.machine.word, text);
    }

    pub(crate) fn memory(&self) -> (FakeMemory, SegmentMap) {
        let (source, filesz) = (PhysAddr::new(PADDR), PAGE as u64);
        let (kind, vaddr) = (SegmentKind::Load, self.machine.vaddr);
        let load = Segment { kind, source, vaddr, paddr: source, filesz, memsz: filesz, flags: 7 };
        let map = SegmentMap::new([Ok(load)]).expect("room");
        (FakeMemory::with(PADDR, self.bytes.clone()), map)
    }
}

/// Ids have 30 or 62 bits, of which these are the lowest.
pub(crate) fn id(machine: Machine, value: i64) -> u64 {
    let mask = if machine.word == 4 { 0x3fff_ffff } else { 0x3fff_ffff_ffff_ffff };
    value as u64 & mask
}

/// A state word: committed is 1, finalized 2, reusable 3.
pub(crate) fn state(machine: Machine, state: u64, value: i64) -> u64 {
    let shift = if machine.word == 4 { 30 } else { 62 };
    state << shift | id(machine, value)
}

/// A kernel that has just started: `DESC0_ID` is −(4 + 1) and reusable, the first block is at −128.
pub(crate) fn young(machine: Machine) -> Page {
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
pub(crate) fn old(machine: Machine) -> Page {
    let mut page = Page::new(machine, id(machine, -2), id(machine, 1));
    page.desc(2, state(machine, 2, -2), [-64, -32]);
    page.info(2, 6, 5_000_001_000, 6, 1);
    page.block(64, id(machine, -2), b"sysrq:");
    // 32 bytes are left, 40 are needed: the block is at the front, with its id.
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
