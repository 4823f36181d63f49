//! Frames that were sent and not acknowledged.

use vmcore::PageClass;

use super::{BULK_IN_FLIGHT, MAX_BULK, MAX_WINDOW, Range};

/// A slot of the window: the place of one counted frame in flight. It holds no bytes of the frame:
/// for a repeated frame they are read again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot(Option<Sent>);

/// One counted frame.
#[derive(Clone, Copy, Debug)]
struct Sent {
    item: Item,
    /// Its sequence number and when it was sent, in milliseconds; `None` when it is to be sent
    /// again.
    flight: Option<(u32, u64)>,
}

/// Contents of a counted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    View(u16),
    Data(Range),
    Zero(Range),
    Left(Range, PageClass),
    Bulk(Range),
    /// A chunk of so many stored bytes: its head in parts mode, all of it with bulks.
    Chunk(Range, u32),
    Part(Part),
    Totals(u16),
}

/// Some of the stored bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) view: u16,
    pub(super) chunk: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Item {
    /// Bytes of a view that it stands for.
    pub(super) const fn length(&self) -> u64 {
        match self {
            Self::View(_) | Self::Part(_) | Self::Totals(_) => 0,
            Self::Data(range)
            | Self::Zero(range)
            | Self::Left(range, _)
            | Self::Bulk(range)
            | Self::Chunk(range, _) => range.length(),
        }
    }

    /// Returns the bytes fetched from their place in memory.
    const fn weight(&self) -> u64 {
        match self {
            Self::Bulk(range) => range.length(),
            Self::Chunk(_, stored) => *stored as u64,
            _ => 0,
        }
    }
}

/// The frames in flight, in memory of the caller.
#[derive(Debug)]
pub(super) struct Window<'w> {
    slots: &'w mut [Slot],
}

impl<'w> Window<'w> {
    /// At most [`MAX_WINDOW`] of `slots` are used.
    pub(super) fn new(slots: &'w mut [Slot]) -> Self {
        let count = slots.len().min(MAX_WINDOW);
        let mut window = Self { slots: &mut slots[..count] };
        window.clear();
        window
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot(None));
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.iter().all(|slot| slot.0.is_some())
    }

    /// True if `item` was sent and is not acknowledged.
    pub(super) fn holds(&self, item: Item) -> bool {
        self.slots.iter().any(|slot| slot.0.is_some_and(|sent| sent.item == item))
    }

    /// True if one more bulk would be too many bytes in flight.
    pub(super) fn is_heavy(&self) -> bool {
        let items = self.slots.iter().filter_map(|slot| slot.0).map(|sent| sent.item);
        items.map(|item| item.weight()).sum::<u64>() + u64::from(MAX_BULK) > BULK_IN_FLIGHT
    }

    /// Records an item that was sent for the first time. There must be room.
    pub(super) fn sent(&mut self, item: Item, seq: u32, now: u64) {
        if let Some(free) = self.slots.iter_mut().find(|slot| slot.0.is_none()) {
            *free = Slot(Some(Sent { item, flight: Some((seq, now)) }));
        }
    }

    /// Notes that a lost item was sent again.
    pub(super) fn sent_again(&mut self, item: Item, seq: u32, now: u64) {
        let again = self.all().find(|sent| sent.flight.is_none() && sent.item == item);
        if let Some(sent) = again {
            sent.flight = Some((seq, now));
        }
    }

    /// Something that is to be sent again.
    pub(super) fn lost(&self) -> Option<Item> {
        let sent = self.slots.iter().filter_map(|slot| slot.0);
        sent.into_iter().find(|sent| sent.flight.is_none()).map(|sent| sent.item)
    }

    /// Takes an acknowledgement: nothing at or below `highest` is in flight any more, as links do
    /// not reorder. Says whether anything was acknowledged.
    pub(super) fn acknowledge(&mut self, highest: u32, before: u64) -> bool {
        let mut any = false;
        for slot in self.slots.iter_mut() {
            let Some(Sent { flight: Some((seq, _)), .. }) = slot.0 else { continue };
            let Some(age) = highest.checked_sub(seq) else { continue };
            let seen = age == 0 || (age <= 64 && before >> (age - 1) & 1 == 1);
            any |= seen;
            if seen {
                slot.0 = None;
            } else if let Some(sent) = &mut slot.0 {
                sent.flight = None;
            }
        }
        any
    }

    /// Returns the time at which the frame that is longest in flight was sent, in milliseconds.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.0?.flight).map(|(_, at)| at).min()
    }

    /// Gives up the frame that is longest in flight: sent again, it makes the receiver tell about
    /// all others.
    pub(super) fn expire_oldest(&mut self) {
        let oldest = self.all().filter(|sent| sent.flight.is_some());
        if let Some(sent) = oldest.min_by_key(|sent| sent.flight) {
            sent.flight = None;
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Sent> {
        self.slots.iter_mut().filter_map(|slot| slot.0.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ack_does_not_name_is_lost() {
        let mut slots = [Slot::default(); 4];
        let mut window = Window::new(&mut slots);
        for seq in 1..=4 {
            window.sent(Item::View(seq as u16), seq, 0);
        }
        assert!(window.is_full());
        // 3 and 1 were seen, 2 was not, and of 4 nothing is known.
        assert!(window.acknowledge(3, 0b10));
        assert_eq!(window.lost(), Some(Item::View(2)));
        window.sent_again(Item::View(2), 5, 7);
        assert_eq!(window.lost(), None);
        assert_eq!(window.oldest(), Some(0));
        assert!(!window.acknowledge(3, 0b10), "nothing new");
        window.expire_oldest();
        assert_eq!(window.lost(), Some(Item::View(4)));
        assert!(window.acknowledge(5, 0));
        assert_eq!(window.lost(), Some(Item::View(4)), "given up, so to be sent again");
    }

    #[test]
    fn an_ack_far_ahead_says_nothing_about_what_is_old() {
        let mut slots = [Slot::default(); 1];
        let mut window = Window::new(&mut slots);
        window.sent(Item::View(0), 1, 0);
        assert!(!window.acknowledge(66, u64::MAX), "65 before: not in the list");
        assert_eq!(window.lost(), Some(Item::View(0)));
    }
}
