//! Requests in flight on a queue, each with the time by which it must be back.

use super::queue::{Link, VirtQueue};
use crate::{Clock, Deadline, Failure};
use alloc::vec::Vec;

/// A queue and which of its slots have a request in flight.
pub struct Requests {
    queue: VirtQueue,
    busy: Vec<Option<Deadline>>,
}

impl Requests {
    /// At most `most` requests at a time on `queue`.
    pub fn new(queue: VirtQueue, most: u16) -> Self {
        let slots = usize::from(queue.slots().min(most));
        Self { queue, busy: alloc::vec![None; slots] }
    }

    /// How many requests there may be at a time.
    pub fn slots(&self) -> usize {
        self.busy.len()
    }

    /// A slot without a request in flight.
    pub fn free(&self) -> Option<u16> {
        self.busy.iter().position(Option::is_none).map(|slot| slot as u16)
    }

    /// Offers a request to the device in a free slot; it must be back by `deadline`. The memory behind
    /// `links` must stay until then.
    ///
    /// # Panics
    /// As [`VirtQueue::offer`].
    pub fn offer(
        &mut self,
        slot: u16,
        links: impl ExactSizeIterator<Item = Link>,
        deadline: Deadline,
    ) {
        self.queue.offer(slot, links);
        self.busy[usize::from(slot)] = Some(deadline);
    }

    /// The slot of a request that is back, if there is one. There is an end to asking: no slot comes
    /// back twice.
    ///
    /// # Errors
    /// [`Failure::BadAnswer`] when that slot had no request.
    pub fn take_back(&mut self) -> Result<Option<u16>, Failure> {
        let Some(used) = self.queue.take_used()? else { return Ok(None) };
        let busy = self.busy.get_mut(usize::from(used.slot)).and_then(Option::take);
        busy.map(|_| Some(used.slot)).ok_or(Failure::BadAnswer(used.slot.into()))
    }

    /// Gives whatever is in flight until `deadline`.
    pub fn renew(&mut self, deadline: Deadline) {
        for busy in self.busy.iter_mut().flatten() {
            *busy = deadline;
        }
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.busy.iter().all(Option::is_none)
    }

    /// Whether one of them should be back by now.
    pub fn is_late(&self, clock: &dyn Clock) -> bool {
        self.busy.iter().flatten().any(|deadline| deadline.is_over(clock))
    }
}
