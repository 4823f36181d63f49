//! Requests in flight on a queue, each with the time by which it must be back, and with all memory
//! that the device may use for it.

use super::queue::{Element, VirtQueue};
use crate::driver::Error;
use crate::driver::dma::{DmaBuffer, DmaPiece, MAX_PIECES, Pieces, SlotMemory, Stopped, ZEROS};
use crate::{Clock, Deadline, list};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::mem::ManuallyDrop;
use core::ops::Range;
use virtio_drivers::transport::Transport;
use vmcore::PhysRange;
use zerocopy::FromBytes;

/// Value of each byte of a reply until the device has written it.
const UNANSWERED: u8 = 0xff;
/// Head and reply of a request begin at multiples of this many bytes.
const ALIGN: usize = 8;

/// Shape of requests on a queue: a head, which is copied, then a body, then a reply; or the last
/// two in the other order.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The most requests at a time.
    pub(super) most: u16,
    /// The most bytes of a head.
    pub(super) head: usize,
    /// The most pieces of a body.
    pub(super) pieces: usize,
    /// Bytes of a reply, which the device writes; zero where there is none.
    pub(super) reply: usize,
    /// The device writes the reply in front of the data that it writes.
    pub(super) reply_first: bool,
}

impl Shape {
    /// Descriptors of a request beside its body.
    fn others(self) -> usize {
        usize::from(self.head > 0) + usize::from(self.reply > 0)
    }

    /// The place of a slot's reply in the control buffer.
    fn reply(self, slot: u16) -> Range<usize> {
        let start = self.head(slot).start + self.head.next_multiple_of(ALIGN);
        start..start + self.reply
    }

    /// The place of a slot's head.
    fn head(self, slot: u16) -> Range<usize> {
        let length = self.head.next_multiple_of(ALIGN) + self.reply.next_multiple_of(ALIGN);
        let start = usize::from(slot) * length;
        start..start + self.head
    }
}

/// The data that a request moves. The request owns it until the device has answered.
pub(super) enum Body {
    /// The device reads these.
    Out(Pieces),
    /// The device fills the first so many bytes of this, and no code reads it meanwhile.
    In(DmaBuffer, usize),
}

impl Body {
    /// Number of descriptors.
    fn links(&self) -> usize {
        match self {
            Self::Out(pieces) => pieces.len(),
            Self::In(..) => 1,
        }
    }
}

/// A request that the device has.
struct InFlight {
    chain: u16,
    deadline: Deadline,
    /// Leaked where the request is dropped without an answer: the device may still use it.
    body: ManuallyDrop<Body>,
}

/// A request that is back.
pub(super) struct Done {
    /// Its slot, whose reply can be read until the next request takes it.
    pub(super) slot: u16,
    /// Its data, which is ours again.
    pub(super) body: Body,
}

impl Done {
    /// The buffer that the device has filled, if there was one.
    pub(super) fn into_buffer(self) -> Option<DmaBuffer> {
        match self.body {
            Body::In(buffer, _) => Some(buffer),
            Body::Out(_) => None,
        }
    }
}

/// A queue and the requests in flight on it.
pub(super) struct Requests {
    queue: VirtQueue,
    shape: Shape,
    /// For each slot a head and a reply.
    control: DmaBuffer,
    /// A page of zeros, where there are pieces.
    zeros: Option<DmaBuffer>,
    in_flight: Vec<Option<InFlight>>,
}

impl Requests {
    /// Queue `index` of a device that is not running yet, for requests of this shape: fewer at a
    /// time, and with fewer pieces, where it is short.
    ///
    /// # Errors
    /// [`Error::QueueTooShort`] where not one request fits, [`Error::NoMemory`].
    pub(super) fn set_up(
        transport: &mut impl Transport,
        index: u16,
        slot: SlotMemory,
        shape: Shape,
    ) -> Result<Self, Error> {
        let least = shape.others() + usize::from(shape.pieces > 0);
        let queue = VirtQueue::set_up(transport, index, slot, least as u16)?;
        let slots = (queue.size() / least).min(shape.most.into());
        let mut in_flight = list::with_room(slots)?;
        in_flight.resize_with(slots, || None);
        let control = DmaBuffer::new(slot, shape.head(slots as u16).start)?;
        let zeros = (shape.pieces > 0).then(|| DmaBuffer::new(slot, ZEROS as usize)).transpose()?;
        Ok(Self { queue, shape, control, zeros, in_flight })
    }

    /// Most requests at a time.
    pub(super) fn slots(&self) -> usize {
        self.in_flight.len()
    }

    /// The most pieces of one request.
    pub(super) fn most_pieces(&self) -> usize {
        (self.queue.size() - self.shape.others()).min(self.shape.pieces)
    }

    /// A slot for a request with this body, if there is room for it now.
    pub(super) fn free(&self, body: &Body) -> Option<u16> {
        let has_room = self.queue.room() >= self.shape.others() + body.links();
        let slot = self.in_flight.iter().position(Option::is_none)?;
        has_room.then_some(slot as u16)
    }

    /// Offers a request to the device in a slot from [`Self::free`]; it must be back by `deadline`.
    ///
    /// # Panics
    /// There is no room for it, it is empty, or the head is too long.
    pub(super) fn offer(&mut self, slot: u16, head: &[u8], mut body: Body, deadline: Deadline) {
        assert!(self.in_flight[usize::from(slot)].is_none(), "the slot is free");
        let mut links = ArrayVec::<Element, { MAX_PIECES + 2 }>::new();
        if !head.is_empty() {
            assert!(head.len() <= self.shape.head, "room for the head");
            let start = self.shape.head(slot).start;
            self.control.copy_from(start, head);
            links.push(Element::read(self.control.share(start..start + head.len())));
        }
        let reply = self.prepare_reply(slot);
        match &mut body {
            Body::Out(pieces) => {
                links.extend(pieces.iter().map(|piece| Element::read(self.addresses(piece))));
                links.extend(reply);
            }
            Body::In(buffer, length) => {
                let data = Some(Element::write(buffer, 0..*length));
                let both = if self.shape.reply_first { [reply, data] } else { [data, reply] };
                links.extend(both.into_iter().flatten());
            }
        }
        let chain = self.queue.offer(links.into_iter());
        let request = InFlight { chain, deadline, body: ManuallyDrop::new(body) };
        self.in_flight[usize::from(slot)] = Some(request);
    }

    /// A place for the slot's reply, as if there were none yet.
    fn prepare_reply(&mut self, slot: u16) -> Option<Element> {
        let reply = self.shape.reply(slot);
        reply.clone().for_each(|at| self.control.write(at, UNANSWERED));
        (!reply.is_empty()).then(|| Element::write(&mut self.control, reply))
    }

    fn addresses(&self, piece: &DmaPiece) -> PhysRange {
        match piece {
            DmaPiece::Old(range) => *range,
            DmaPiece::Frozen(frozen, part) => frozen.share(part.clone()),
            DmaPiece::Zeros(count) => {
                let zeros = self.zeros.as_ref().expect("requests with pieces have zeros");
                zeros.share(0..*count as usize)
            }
        }
    }

    /// A request that is back, if there is one. There is an end to asking: no chain comes back
    /// twice.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] when the device did not have that chain.
    pub(super) fn take_back(&mut self) -> Result<Option<Done>, Error> {
        let Some(used) = self.queue.take_used()? else { return Ok(None) };
        let is_back = |one: &mut InFlight| one.chain == used.chain;
        let mut slots = (0..).zip(&mut self.in_flight);
        let found = slots.find_map(|(slot, one)| Some((slot, one.take_if(is_back)?)));
        let (slot, request) = found.ok_or(Error::BadAnswer(used.chain.into()))?;
        Ok(Some(Done { slot, body: ManuallyDrop::into_inner(request.body) }))
    }

    /// The value at `offset` of the reply to the last request in this slot.
    pub(super) fn reply<R: FromBytes>(&self, slot: u16, offset: usize) -> R {
        self.control.read(self.shape.reply(slot).start + offset)
    }

    /// Gives whatever is in flight until `deadline`.
    pub(super) fn renew(&mut self, deadline: Deadline) {
        for request in self.in_flight.iter_mut().flatten() {
            request.deadline = deadline;
        }
    }

    /// True if the device has the request in this slot.
    pub(super) fn has(&self, slot: u16) -> bool {
        self.in_flight[usize::from(slot)].is_some()
    }

    /// Number of requests that the device has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.iter().flatten().count()
    }

    /// True if nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// True if one of them should be back by now.
    pub(super) fn is_late(&self, clock: &dyn Clock) -> bool {
        self.in_flight.iter().flatten().any(|request| request.deadline.is_over(clock))
    }

    /// The device is stopped: nothing is in flight any more, and all memory is ours again.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        for request in self.in_flight.iter_mut().filter_map(Option::take) {
            if let Body::In(mut buffer, _) = ManuallyDrop::into_inner(request.body) {
                buffer.release(stopped);
            }
        }
        self.queue.release(stopped);
        self.control.release(stopped);
        if let Some(zeros) = &mut self.zeros {
            zeros.release(stopped);
        }
    }
}
