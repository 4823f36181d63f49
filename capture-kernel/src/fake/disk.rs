//! A fake virtio block device.

use super::{Base, Chain, FakeDevice};
use core::cell::RefCell;
use core::ops::Range;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

/// Behaviour of the fake disk, and a record of its use.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) base: Base,
    pub(crate) bytes: Vec<u8>,
    pub(crate) seg_max: u32,
    /// Size of its blocks in bytes, if it reports one.
    pub(crate) block_size: u32,
    /// Requests are not answered from this many on.
    pub(crate) stalls_after: Option<usize>,
    /// These requests, counted from 0, fail.
    pub(crate) fails: Range<usize>,
    /// A write to any of these bytes fails.
    pub(crate) bad: Range<usize>,
    /// This flush, counted from 0, fails.
    pub(crate) bad_flush: Option<usize>,
    /// Requests wait for the first notification after this is over.
    pub(crate) keeps_back: bool,
    /// Requests that do not fail at [`Self::bad`] wait until [`Self::answer_one`]; a reset forgets
    /// them.
    pub(crate) lags: bool,
    /// Those, each with the bytes of the memory that the device reads.
    waiting: VecDeque<(Chain, Vec<u8>)>,
    /// Every completion carries this id.
    pub(crate) answers_with: Option<u32>,
    pub(crate) requests: usize,
    pub(crate) writes: usize,
    pub(crate) flushes: usize,
    /// The writes and flushes that it has done.
    pub(crate) log: Vec<Done>,
}

/// Something that a disk has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// These bytes were written at this offset.
    Write(usize, Vec<u8>),
    /// Everything that was written before is there for good.
    Flush,
}

/// Features of a virtio 1 disk with a cache and a limit of segments.
pub(crate) const ORDINARY: u64 = 1 << 32 | 1 << 9 | 1 << 2;

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>) -> Rc<RefCell<Self>> {
        let base = Base { features: ORDINARY, queue_size: 64, ..Base::default() };
        Rc::new(RefCell::new(Self { base, bytes, seg_max: 254, ..Self::default() }))
    }

    /// Answers the oldest request that waits, whose memory must be unchanged; true if there was
    /// one.
    pub(crate) fn answer_one(&mut self) -> bool {
        self.answer(0)
    }

    /// The same for another one than the oldest.
    pub(crate) fn answer(&mut self, number: usize) -> bool {
        let Some((mut chain, bytes)) = self.waiting.remove(number) else { return false };
        assert!(chain.bytes() == bytes, "memory has changed while the device had it");
        self.process(chain);
        true
    }

    /// Fails unless the memory of all requests that wait is as it was.
    #[track_caller]
    pub(crate) fn assert_memory_unchanged(&mut self) {
        for (chain, bytes) in &mut self.waiting {
            assert!(chain.bytes() == *bytes, "memory has changed while the device had it");
        }
    }

    /// Number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True for a write to a bad place.
    fn is_bad(&self, chain: &mut Chain) -> bool {
        let bytes = chain.bytes();
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a header"));
        let start = field(8) as usize * 512;
        bytes[0] == 1 && start < self.bad.end && self.bad.start < start + bytes.len() - 16
    }

    fn process(&mut self, mut chain: Chain) {
        let number = self.requests;
        self.requests += 1;
        if self.stalls_after.is_some_and(|after| number >= after) {
            return;
        }
        let status = match self.fails.contains(&number) {
            true => 1,
            false => self.transfer(&mut chain),
        };
        let last = chain.links.len() - 1;
        assert!(chain.links[last].2, "the status byte is the device's to write");
        chain.memory(last)[0] = status;
        let id = self.answers_with.unwrap_or(chain.head.into());
        self.queue().push(id, 1);
    }

    /// Carries out one request; returns its status.
    fn transfer(&mut self, chain: &mut Chain) -> u8 {
        let header: [u8; 16] = chain.memory(0).try_into().expect("a header of 16 bytes");
        let kind = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
        let sector = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
        if kind == 4 && self.bad_flush.is_some_and(|bad| bad == self.flushes) {
            self.bad_flush = None;
            return 1;
        }
        let start = sector as usize * 512;
        let length: usize =
            chain.links[1..chain.links.len() - 1].iter().map(|link| link.1 as usize).sum();
        if kind == 1 && start < self.bad.end && self.bad.start < start + length {
            return 1;
        }
        let mut at = start;
        for link in 1..chain.links.len() - 1 {
            let is_writable = chain.links[link].2;
            let memory = chain.memory(link);
            let Some(place) = self.bytes.get_mut(at..at + memory.len()) else { return 1 };
            match (kind, is_writable) {
                (0, true) => memory.copy_from_slice(place),
                (1, false) => place.copy_from_slice(memory),
                _ => return 2,
            }
            at += memory.len();
        }
        match kind {
            1 => self.log.push(Done::Write(start, self.bytes[start..at].to_vec())),
            4 => self.log.push(Done::Flush),
            _ => {}
        }
        self.writes += usize::from(kind == 1);
        self.flushes += usize::from(kind == 4);
        0
    }

    fn queue(&mut self) -> &mut super::device::Queue {
        self.base.queues.get_mut(&0).expect("queue 0 is set up")
    }
}

impl FakeDevice for Disk {
    const KIND: DeviceType = DeviceType::Block;

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn configuration(&self) -> Vec<u8> {
        let mut configuration = std::vec![0; 24];
        configuration[..8].copy_from_slice(&(self.bytes.len() as u64 / 512).to_le_bytes());
        configuration[12..16].copy_from_slice(&self.seg_max.to_le_bytes());
        configuration[20..].copy_from_slice(&self.block_size.to_le_bytes());
        configuration
    }

    fn was_reset(&mut self) {
        self.waiting.clear();
    }

    fn notified(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        while !self.keeps_back
            && let Some(mut chain) = self.queue().pop()
        {
            match self.lags && !self.is_bad(&mut chain) {
                true => {
                    let bytes = chain.bytes();
                    self.waiting.push_back((chain, bytes));
                }
                false => self.process(chain),
            }
        }
    }
}
