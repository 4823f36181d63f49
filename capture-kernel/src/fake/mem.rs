//! A fake virtio memory device.

use super::{Base, FakeDevice};
use core::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 2 << 20;

/// Behavior of the fake device, and the requests it has seen.
#[derive(Default)]
pub(crate) struct Mem {
    pub(crate) base: Base,
    pub(crate) block_size: u64,
    pub(crate) address: u64,
    /// True for each plugged block.
    pub(crate) plugged: Vec<bool>,
    /// Blocks from this one on cannot be plugged.
    pub(crate) usable: u64,
    /// Requests are not answered from this many on.
    pub(crate) stalls_after: Option<usize>,
    /// Every answer has this type and this state.
    pub(crate) answers_with: Option<(u16, u16)>,
    pub(crate) requests: usize,
}

impl Mem {
    /// A device with these blocks from `address` on, all of them usable.
    pub(crate) fn new(address: u64, plugged: Vec<bool>) -> Rc<RefCell<Self>> {
        let base = Base { features: 1 << 32 | 1 << 1, queue_size: 128, ..Base::default() };
        let usable = plugged.len() as u64;
        let new = Self { base, block_size: BLOCK, address, plugged, usable, ..Self::default() };
        Rc::new(RefCell::new(new))
    }

    /// Type and state of the answer to a request.
    fn answer(&self, request: &[u8]) -> (u16, u16) {
        let number = |from: usize, length: usize| {
            request[from..from + length]
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert_eq!((request.len(), number(0, 2)), (24, 3), "a request for a state");
        let (address, count) = (number(8, 8), number(16, 2));
        assert!(
            count > 0 && address >= self.address && (address - self.address).is_multiple_of(BLOCK)
        );
        let first = (address - self.address) / BLOCK;
        if first + count > self.usable {
            return (3, 0);
        }
        let blocks = &self.plugged[first as usize..(first + count) as usize];
        let state = match (blocks.contains(&true), blocks.contains(&false)) {
            (true, false) => 0,
            (false, true) => 1,
            _ => 2,
        };
        self.answers_with.unwrap_or((0, state))
    }
}

impl FakeDevice for Mem {
    const KIND: DeviceType = DeviceType::Memory;

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn configuration(&self) -> Vec<u8> {
        let length = self.plugged.len() as u64 * BLOCK;
        let plugged = self.plugged.iter().filter(|plugged| **plugged).count() as u64 * BLOCK;
        let usable = self.usable * BLOCK;
        let words = [self.block_size, 0, self.address, length, usable, plugged, plugged];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn notified(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        while let Some(mut chain) = self.base.queues.get_mut(&0).expect("is set up").pop() {
            let number = self.requests;
            self.requests += 1;
            if self.stalls_after.is_some_and(|after| number >= after) {
                continue;
            }
            let request = chain.memory(0).to_vec();
            let (kind, state) = self.answer(&request);
            assert!(chain.links.len() == 2 && chain.links[1].2, "the answer is the device's");
            let answer = chain.memory(1);
            assert_eq!(answer.len(), 10);
            answer[..2].copy_from_slice(&kind.to_le_bytes());
            answer[8..].copy_from_slice(&state.to_le_bytes());
            let head = chain.head.into();
            self.base.queues.get_mut(&0).expect("is set up").push(head, 10);
        }
    }
}
