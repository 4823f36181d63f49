//! Buffers: never two owners, never changed during a read, never freed under a device.

use super::*;
use crate::fake::{bytes_of, slot};
use proptest::prelude::*;
use std::vec::Vec;

const SIZE: usize = 256;

fn pool(count: usize) -> Pool {
    Pool::new(slot(), count, SIZE).expect("memory")
}

#[test]
fn a_buffer_is_free_again_with_the_last_frozen_part() {
    let pool = pool(1);
    let mut lease = pool.lease().expect("is free");
    lease[..4].copy_from_slice(b"head");
    let head = lease.cut(4);
    assert!(lease.follows(&head) && pool.lease().is_none());
    lease[..4].copy_from_slice(b"tail");
    let tail = lease.freeze(4);
    let both = head.joined(&tail).expect("one behind the other");
    assert_eq!((both.bytes(), tail.joined(&head).is_none()), (&b"headtail"[..], true));
    drop((head, tail));
    assert!(pool.lease().is_none());
    drop(both);
    assert!(pool.lease().is_some());
}

#[test]
fn a_lease_ends_at_the_end_of_its_buffer() {
    let pool = pool(2);
    let mut lease = pool.lease().expect("is free");
    assert_eq!((lease.cut(SIZE - 1).len(), lease.len()), (SIZE - 1, 1));
    assert_eq!((lease.cut(100).len(), lease.len()), (1, 0));
    assert!(lease.cut(1).is_empty() && lease.is_empty());
    let other = pool.lease().expect("the second one").freeze(SIZE);
    assert_eq!(other.share(0..1).start().get() % 4096, SIZE as u64);
}

#[test]
#[should_panic(expected = "inside the frozen bytes")]
fn no_device_sees_more_than_what_is_frozen() {
    let frozen = pool(1).lease().expect("is free").freeze(16);
    frozen.share(0..17);
}

#[test]
fn without_a_buffer_one_is_waited_for() {
    let pool = pool(1);
    let mut busy = pool.lease();
    let mut waits = 0;
    let lease = pool.lease_or_wait(|| {
        waits += 1;
        if waits == 3 {
            busy = None;
        }
        Ok(true)
    });
    assert!(lease.is_ok() && waits == 3);
    assert_eq!(pool.lease_or_wait(|| Ok(false)).err(), Some(Error::NoMemory));
    let late = Error::Timeout("answer");
    assert_eq!(pool.lease_or_wait(|| Err(late)).err(), Some(late));
}

/// The allocator of the test fills memory that it gets back.
#[test]
fn memory_that_a_device_has_seen_is_given_back_only_when_it_is_stopped() {
    let buffer = DmaBuffer::new(slot(), 64).expect("memory");
    let seen = DmaPiece::Old(buffer.share(0..64));
    drop(buffer);
    assert_eq!(bytes_of(&seen), [0; 64], "it is still there");
    let mut buffer = DmaBuffer::new(slot(), 64).expect("memory");
    buffer.share(0..64);
    buffer.release(&Stopped::confirmed());
    assert!(!buffer.is_shared.get());
}

proptest! {
    /// Leases, frozen parts and their clones in any order: each frozen part keeps its bytes, and no
    /// buffer has two owners that write.
    #[test]
    fn frozen_bytes_never_change(
        steps in prop::collection::vec((0_u8..5, any::<u8>(), any::<u8>()), 1..200),
    ) {
        let pool = pool(4);
        let (mut leases, mut frozen) = (Vec::new(), Vec::new());
        for (step, value, which) in steps {
            let which = usize::from(which);
            match step {
                0 => leases.extend(pool.lease()),
                1 if !leases.is_empty() => {
                    let count = leases.len();
                    let lease: &mut Lease = &mut leases[which % count];
                    lease.fill(value);
                    let part = lease.cut(usize::from(value));
                    frozen.push((part.bytes().to_vec(), part));
                }
                2 if !leases.is_empty() => drop(leases.swap_remove(which % leases.len())),
                3 if !frozen.is_empty() => frozen.push(frozen[which % frozen.len()].clone()),
                4 if !frozen.is_empty() => drop(frozen.swap_remove(which % frozen.len())),
                _ => {}
            }
            prop_assert!(frozen.iter().all(|(bytes, part)| part.bytes() == bytes));
        }
        drop((leases, frozen));
        let all: Vec<_> = core::iter::from_fn(|| pool.lease()).collect();
        prop_assert_eq!(all.len(), 4);
    }
}

#[test]
fn limits_of_addresses() {
    let limits = |address_bits| Limits { bytes: 0, pieces: 0, piece: 0, align: 1, address_bits };
    let range = |start, length| PhysRange::new(PhysAddr::new(start), length).expect("no wrap");
    assert!(limits(32).reaches(range(0xffff_f000, 4096)));
    assert!(!limits(32).reaches(range(0xffff_f000, 4097)));
    assert!(limits(64).reaches(range(u64::MAX - 1, 1)));
    assert!(limits(32).reaches(range(1 << 33, 0)));
}

/// Words and bytes, from any offset on.
#[test]
fn what_is_copied_in_is_copied_out() {
    let mut buffer = DmaBuffer::new(slot(), 64).expect("memory");
    let bytes: Vec<u8> = (1..=64).collect();
    for (offset, length) in (0..10).flat_map(|offset| (0..20).map(move |length| (offset, length))) {
        buffer.copy_from(0, &[0; 64]);
        buffer.copy_from(offset, &bytes[..length]);
        let mut all = [0xff; 64];
        buffer.copy_to(0, &mut all);
        let mut expected = [0; 64];
        expected[offset..offset + length].copy_from_slice(&bytes[..length]);
        assert_eq!(all, expected);
        let mut part = std::vec![0xff; length];
        buffer.copy_to(offset, &mut part);
        assert_eq!(part, bytes[..length]);
    }
}
