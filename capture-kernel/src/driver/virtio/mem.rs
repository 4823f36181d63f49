//! The virtio memory device (virtio 1.2, section 5.15): which of its blocks are plugged, and
//! nothing else. No reset of the device changes that; only a reset of the machine does.

use super::device::{self, Features};
use super::requests::{Body, Requests, Shape};
use crate::driver::Error;
use crate::driver::dma::{Pieces, SlotMemory};
use crate::{Clock, Deadline};
use core::mem::ManuallyDrop;
use handoff::layout::PAGE_SIZE;
use virtio_drivers::transport::Transport;
use vmcore::{Holes, PhysAddr, PhysRange};
use zerocopy::{Immutable, IntoBytes};

/// The reason for memory that the device calls unplugged.
pub const UNPLUGGED: &str = "unplugged";
/// The reason for memory of a device that could not be asked.
pub const NOT_KNOWN: &str = "virtio-mem device not answering";

/// The one queue.
const GUEST_REQUESTS: u16 = 0;
/// The most blocks that one request can name.
const MOST_BLOCKS: u64 = u16::MAX as u64;
/// Most reads of the configuration until it is stable.
const TRIES: u32 = 16;

/// Offsets in the device's configuration (5.15.4).
mod config {
    pub(super) const BLOCK_SIZE: usize = 0;
    pub(super) const ADDR: usize = 16;
    pub(super) const REGION_SIZE: usize = 24;
    pub(super) const USABLE_REGION_SIZE: usize = 32;
    pub(super) const PLUGGED_SIZE: usize = 40;
}

/// `VIRTIO_MEM_REQ_STATE`.
const STATE: u16 = 3;
/// `VIRTIO_MEM_RESP_ACK`.
const ACK: u16 = 0;
/// `struct virtio_mem_req`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    kind: u16,
    padding: [u16; 3],
    address: u64,
    blocks: u16,
    padding_of_blocks: [u16; 3],
}

/// Length of the answer in bytes, as Linux and QEMU have it. The type comes first; the state
/// follows at the eighth byte.
const ANSWER_LENGTH: usize = 10;
/// Offset of the state in the answer.
const ANSWER_STATE: usize = 8;

/// The state of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plugged,
    Unplugged,
    Mixed,
}

/// The memory that a device manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// All of it.
    pub range: PhysRange,
    /// The first part of it, in which blocks may be plugged.
    usable: PhysRange,
    /// Bytes of a block, a multiple of a page.
    block: u64,
    /// Bytes that are plugged.
    pub plugged: u64,
}

impl Region {
    /// Reads the location of the device's memory through `transport`.
    ///
    /// # Errors
    /// [`Error::NoConfiguration`], [`Error::BadRegion`] where that makes no sense.
    pub fn read(transport: &impl Transport) -> Result<Self, Error> {
        for _ in 0..TRIES {
            let before = transport.read_config_generation();
            let word = |at| read_u64(transport, at);
            let (block, start) = (word(config::BLOCK_SIZE)?, word(config::ADDR)?);
            let (length, usable) = (word(config::REGION_SIZE)?, word(config::USABLE_REGION_SIZE)?);
            let plugged = word(config::PLUGGED_SIZE)?;
            if transport.read_config_generation() == before {
                return Self::new(PhysAddr::new(start), length, usable, block, plugged);
            }
        }
        Err(Error::BadRegion)
    }

    fn new(
        start: PhysAddr,
        length: u64,
        usable: u64,
        block: u64,
        plugged: u64,
    ) -> Result<Self, Error> {
        let range = |length| PhysRange::new(start, length).or(Err(Error::BadRegion));
        let makes_sense = block.is_power_of_two()
            && block >= PAGE_SIZE
            && start.is_aligned(block)
            && length.is_multiple_of(block)
            && usable <= length;
        if !makes_sense {
            return Err(Error::BadRegion);
        }
        // Only whole blocks can be plugged.
        let usable = range(usable - usable % block)?;
        Ok(Self { range: range(length)?, usable, block, plugged })
    }

    /// `count` blocks from `at` on.
    fn blocks(&self, at: PhysAddr, count: u64) -> Result<PhysRange, Error> {
        PhysRange::new(at, count * self.block).or(Err(Error::BadRegion))
    }
}

fn read_u64(transport: &impl Transport, at: usize) -> Result<u64, Error> {
    let half = |at| transport.read_config_space::<u32>(at).or(Err(Error::NoConfiguration));
    Ok(u64::from(half(at)?) | u64::from(half(at + 4)?) << 32)
}

/// A running memory device.
struct VirtioMem<'c, T: Transport> {
    /// Never dropped: virtio-drivers' PCI transport would wait for a reset without an end.
    transport: ManuallyDrop<T>,
    clock: &'c dyn Clock,
    /// Milliseconds that one request may take, and all of them together.
    timeout: u64,
    requests: Requests,
}

impl<'c, T: Transport> VirtioMem<'c, T> {
    fn start(
        transport: T,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let mut transport = ManuallyDrop::new(transport);
        // A device whose unplugged memory is inaccessible refuses a driver that cannot handle that.
        let wanted = Features::UNPLUGGED_INACCESSIBLE;
        device::negotiate(&mut *transport, clock, wanted, slot.translation)?;
        let shape = Shape {
            most: 1,
            head: size_of::<Request>(),
            pieces: 0,
            reply: ANSWER_LENGTH,
            reply_first: false,
        };
        let requests = Requests::set_up(&mut *transport, GUEST_REQUESTS, slot, shape)?;
        let mut device = Self { transport, clock, timeout, requests };
        device::go(&mut *device.transport);
        Ok(device)
    }

    /// Asks for the state of `count` blocks from `at` on.
    fn state(&mut self, at: PhysAddr, count: u64) -> Result<State, Error> {
        let request = Request {
            kind: STATE,
            padding: [0; 3],
            address: at.get(),
            blocks: u16::try_from(count).or(Err(Error::BadRegion))?,
            padding_of_blocks: [0; 3],
        };
        let body = Body::Out(Pieces::new());
        let slot = self.requests.free(&body).ok_or(Error::Timeout("answer"))?;
        let deadline = Deadline::after(self.clock, self.timeout);
        self.requests.offer(slot, request.as_bytes(), body, deadline);
        self.transport.notify(GUEST_REQUESTS);
        while self.requests.take_back()?.is_none() {
            if self.requests.is_late(self.clock) {
                return Err(Error::Timeout("say which of its memory is plugged"));
            }
            core::hint::spin_loop();
        }
        match (self.requests.reply(slot, 0), self.requests.reply(slot, ANSWER_STATE)) {
            (ACK, 0_u16) => Ok(State::Plugged),
            (ACK, 1) => Ok(State::Unplugged),
            (ACK, 2) if count > 1 => Ok(State::Mixed),
            (ACK, state) => Err(Error::NoState(state)),
            (kind, _) => Err(Error::NoState(kind)),
        }
    }

    /// Adds the blocks that are unplugged to `holes`, up to the last one that the device has
    /// answered for: `at`. Each turn gets further or asks for half as many blocks, and all have one
    /// deadline.
    fn find_unplugged(
        &mut self,
        region: &Region,
        holes: &mut Holes,
        most: usize,
        at: &mut PhysAddr,
    ) -> Result<(), Error> {
        let deadline = Deadline::after(self.clock, self.timeout);
        let mut step = MOST_BLOCKS;
        while *at < region.usable.end() {
            if holes.iter().len() >= most {
                return Err(Error::TooManyHoles(most));
            }
            if deadline.is_over(self.clock) {
                return Err(Error::Timeout("say which of its memory is plugged"));
            }
            let left = (region.usable.end().get() - at.get()) / region.block;
            let count = step.min(left);
            let blocks = region.blocks(*at, count)?;
            match self.state(*at, count)? {
                State::Mixed => {
                    step = count / 2;
                    continue;
                }
                State::Plugged => {}
                State::Unplugged => add(holes, blocks, UNPLUGGED)?,
            }
            *at = blocks.end();
            step = (2 * step).min(MOST_BLOCKS);
        }
        add(
            holes,
            PhysRange::from_bounds(*at, region.range.end()).or(Err(Error::BadRegion))?,
            UNPLUGGED,
        )?;
        *at = region.range.end();
        Ok(())
    }

    /// Stops the device; where it does not stop, its memory is given up for good.
    fn stop(mut self) {
        if let Ok(stopped) = device::reset(&mut *self.transport, self.clock) {
            self.requests.release(&stopped);
        }
    }
}

fn add(holes: &mut Holes, range: PhysRange, reason: &'static str) -> Result<(), Error> {
    holes.add(range, reason).or(Err(Error::NoMemory))
}

/// Adds to `holes` the memory of `region` that the device at `transport` reports as unplugged. If
/// the device does not answer, or has more than `most` holes, the rest of its region is added:
/// unplugged memory in it is unknown and must not be touched.
///
/// # Errors
/// The reason why the queries ended early; the rest of the region is in `holes` then, unless it is
/// [`Error::NoMemory`].
pub fn ask<T: Transport>(
    transport: T,
    region: &Region,
    (holes, most): (&mut Holes, usize),
    slot: SlotMemory,
    clock: &dyn Clock,
    timeout: u64,
) -> Result<(), Error> {
    let mut at = region.range.start();
    let asked = VirtioMem::start(transport, slot, clock, timeout).and_then(|mut device| {
        let found = device.find_unplugged(region, holes, most, &mut at);
        device.stop();
        found
    });
    if asked.is_err() {
        let rest = PhysRange::from_bounds(at, region.range.end()).or(Err(Error::BadRegion))?;
        add(holes, rest, NOT_KNOWN)?;
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{BLOCK, FakeClock, FakeTransport, Mem, slot};
    use core::cell::RefCell;
    use proptest::prelude::*;
    use std::rc::Rc;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    const START: u64 = 1 << 32;

    /// The holes that were found for the device, and its faults.
    fn asked(device: &Rc<RefCell<Mem>>, most: usize) -> (Vec<String>, Result<(), Error>) {
        let (clock, mut holes) = (FakeClock::default(), Holes::new());
        let region = Region::read(&FakeTransport::new(device)).expect("a region");
        let found =
            ask(FakeTransport::new(device), &region, (&mut holes, most), slot(), &clock, 1000);
        (holes.iter().map(|hole| hole.to_string()).collect(), found)
    }

    #[test]
    fn unplugged_blocks_are_found_and_nothing_is_plugged_or_unplugged() {
        let device = Mem::new(START, vec![true, true, false, true, false, false, true, false]);
        let expected = [
            "LEFTOUT(100400000-100600000)=unplugged",
            "LEFTOUT(100800000-100c00000)=unplugged",
            "LEFTOUT(100e00000-101000000)=unplugged",
        ];
        assert_eq!(asked(&device, 64), (expected.map(String::from).to_vec(), Ok(())));
        assert_eq!(device.borrow().base.status, 0, "it is stopped");
    }

    #[test]
    fn few_questions_are_enough_for_a_large_region() {
        // 1 TiB in blocks of 2 MiB, half of it plugged, one block missing.
        let mut plugged = vec![true; 1 << 18];
        plugged[1000] = false;
        plugged.resize(1 << 19, false);
        let device = Mem::new(START, plugged);
        device.borrow_mut().usable = (1 << 18) + 5;
        let expected =
            ["LEFTOUT(17d000000-17d200000)=unplugged", "LEFTOUT(8100000000-10100000000)=unplugged"];
        assert_eq!(asked(&device, 64), (expected.map(String::from).to_vec(), Ok(())));
        let requests = device.borrow().requests;
        assert!(requests < 100, "{requests} requests");
    }

    fn rest_is_left_out(failure: Error, change: impl FnOnce(&mut Mem)) {
        let device = Mem::new(START, vec![true, false, true, true]);
        change(&mut device.borrow_mut());
        let (holes, found) = asked(&device, 64);
        assert_eq!(found, Err(failure));
        let last = holes.last().expect("a hole");
        assert!(last.ends_with("-100800000)=virtio-mem device not answering"), "{holes:?}");
    }

    #[test]
    fn a_device_that_misbehaves_costs_its_own_memory_and_no_more() {
        let late = Error::Timeout("say which of its memory is plugged");
        rest_is_left_out(late, |device| device.stalls_after = Some(0));
        rest_is_left_out(late, |device| device.stalls_after = Some(2));
        rest_is_left_out(Error::NoState(1), |device| device.answers_with = Some((1, 0)));
        rest_is_left_out(Error::NoState(7), |device| device.answers_with = Some((0, 7)));
        // One block cannot be mixed.
        rest_is_left_out(Error::NoState(2), |device| device.answers_with = Some((0, 2)));
        rest_is_left_out(Error::BehindIommu, |device| device.base.features |= 1 << 33);
        rest_is_left_out(Error::LegacyOnly, |device| device.base.features = 1 << 1);
        rest_is_left_out(Error::QueueTooShort(1), |device| device.base.queue_size = 1);
        rest_is_left_out(Error::Timeout("reset"), |device| device.base.never_resets = true);
    }

    #[test]
    fn what_was_answered_before_counts() {
        let device = Mem::new(START, vec![true, false, true, true]);
        device.borrow_mut().stalls_after = Some(5);
        let (holes, _) = asked(&device, 64);
        assert_eq!(holes.len(), 2, "{holes:?}");
        assert_eq!(holes[0], "LEFTOUT(100200000-100400000)=unplugged");
    }

    #[test]
    fn there_is_a_limit_of_holes() {
        let device = Mem::new(START, (0..100).map(|block| block % 2 == 0).collect());
        let (holes, found) = asked(&device, 8);
        assert_eq!((holes.len(), found), (9, Err(Error::TooManyHoles(8))));
        assert!(holes[8].ends_with("=virtio-mem device not answering"), "{holes:?}");
    }

    #[test]
    fn a_region_that_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut Mem)| {
            let device = Mem::new(START, vec![true; 4]);
            change(&mut device.borrow_mut());
            Region::read(&FakeTransport::new(&device)).err()
        };
        let bad = Some(Error::BadRegion);
        assert_eq!(refused(|device| device.block_size = 0), bad);
        assert_eq!(refused(|device| device.block_size = 512), bad);
        assert_eq!(refused(|device| device.block_size = 3 << 20), bad);
        assert_eq!(refused(|device| device.block_size = 1 << 40), bad);
        assert_eq!(refused(|device| device.address = START + 4096), bad);
        assert_eq!(refused(|device| device.address = u64::MAX - BLOCK + 1), bad);
        assert_eq!(refused(|device| device.usable = 5), bad);
        assert_eq!(refused(|device| device.usable = 3), None);
    }

    proptest! {
        #[test]
        fn every_block_is_in_a_hole_or_plugged(plugged in prop::collection::vec(any::<bool>(), 1..200), shorter in 0_u64..20) {
            let device = Mem::new(START, plugged.clone());
            let usable = plugged.len() as u64 - shorter.min(plugged.len() as u64);
            device.borrow_mut().usable = usable;
            let (clock, mut holes) = (FakeClock::default(), Holes::new());
            let region = Region::read(&FakeTransport::new(&device)).expect("a region");
            let asked = ask(FakeTransport::new(&device), &region, (&mut holes, 1000), slot(), &clock, 100_000);
            prop_assert_eq!(asked, Ok(()));
            for (block, plugged) in (0..).zip(&plugged) {
                let range = PhysRange::new(PhysAddr::new(START + block * BLOCK), BLOCK).expect("no wrap");
                let left: u64 = holes.within(range).map(|hole| hole.range.length()).sum();
                let is_there = *plugged && block < usable;
                prop_assert_eq!(left, if is_there { 0 } else { BLOCK });
            }
        }
    }
}
