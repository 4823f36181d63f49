use super::*;
use crate::driver::dma::{DmaPiece, Pool};
use crate::fake::{Console, FakeClock, FakeTransport, old, slot};
use core::cell::{Cell, RefCell};
use proptest::prelude::*;
use std::rc::Rc;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const TIMEOUT: u64 = 2000;
type Opened<'c> = VirtioConsole<'c, FakeTransport<Console>>;

fn open<'c>(console: &Rc<RefCell<Console>>, clock: &'c FakeClock<'_>) -> Result<Opened<'c>, Error> {
    VirtioConsole::open(FakeTransport::new(console), PortName::new("kdump"), slot(), clock, TIMEOUT)
}

fn pieces<const N: usize>(pieces: [DmaPiece; N]) -> Pieces {
    pieces.into_iter().collect()
}

fn first_error(change: impl FnOnce(&mut Console)) -> Error {
    let (console, clock) = (Console::new(), FakeClock::default());
    change(&mut console.borrow_mut());
    let tried = open(&console, &clock).and_then(|mut line| {
        line.send(b"something")?;
        line.drain()
    });
    tried.expect_err("this console does not work")
}

#[test]
fn the_port_is_found_by_its_name_and_only_its_queues_are_set_up() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    assert!(console.borrow().base.queues.keys().eq(&[2, 3, 6, 7]));
    assert!(console.borrow().opened.iter().eq(&[2]));
    line.send(b"hello").expect("is taken");
    line.send_bulk(b", ", pieces([old(b"old "), old(b"world")])).expect("is taken");
    line.drain().expect("arrives");
    assert_eq!(console.borrow().taken, b"hello, old world");
    line.stop().expect("stops");
    assert_eq!(console.borrow().base.status, 0);
}

#[test]
fn queues_are_numbered_as_in_the_standard() {
    let [zero, one, last] = [0, 1, 32_766].map(|id| queues(id).expect("there are so many"));
    assert_eq!((zero, one, last), ([0, 1], [4, 5], [65_534, 65_535]));
    assert_eq!((queues(32_767), queues(u32::MAX)), (None, None));
}

#[test]
fn as_many_ports_as_qemu_has() {
    let (console, clock) = (Console::new(), FakeClock::default());
    {
        let mut console = console.borrow_mut();
        console.base.queue_size = 32;
        console.ports = (1..32).map(|id| (id, if id == 31 { "kdump" } else { "other" })).collect();
        console.ours = 31;
    }
    let mut line = open(&console, &clock).expect("has the port");
    line.send(b"hello").and_then(|()| line.drain()).expect("arrives");
    assert_eq!(console.borrow().taken, b"hello");
}

/// Shorter than a chain with all its pieces.
#[test]
fn a_short_queue_takes_fewer_pieces() {
    let (console, clock) = (Console::new(), FakeClock::default());
    console.borrow_mut().base.queue_size = 8;
    let mut line = open(&console, &clock).expect("has the port");
    assert_eq!(line.bulk().map(|limits| limits.pieces), Some(7));
    let page = [1; 16];
    for _ in 0..3 {
        line.send_bulk(b"head", (0..7).map(|_| old(&page)).collect()).expect("is taken");
    }
    line.drain().expect("arrives");
    assert_eq!(console.borrow().taken, [&b"head"[..], &[1; 7 * 16]].concat().repeat(3));
}

#[test]
fn without_the_port_it_is_stopped() {
    let (console, clock) = (Console::new(), FakeClock::default());
    console.borrow_mut().ports = vec![(0, ""), (1, "kdump2"), (2, "kdum"), (3, "Kdump")];
    let text = open(&console, &clock).err().expect("has no such port").to_string();
    assert!(text.contains("ports found: kdump2, kdum, Kdump ("), "{text}");
    assert_eq!(console.borrow().base.status, 0);
}

#[test]
fn what_the_other_end_says_comes_in_order_in_pieces_of_any_length() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    let said: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut rest, mut heard) = (&said[..], Vec::new());
    for length in (1..5000).step_by(7).cycle() {
        let taken = console.borrow_mut().say(&rest[..rest.len().min(length)]);
        rest = &rest[taken..];
        let mut into = vec![0; length / 2 + 1];
        let count = line.receive(&mut into).expect("works");
        heard.extend_from_slice(&into[..count]);
        if rest.is_empty() && count == 0 {
            break;
        }
    }
    assert!(heard == said);
}

#[test]
fn nobody_there_is_no_failure() {
    let (console, clock) = (Console::new(), FakeClock::default());
    console.borrow_mut().is_connected = false;
    let mut line = open(&console, &clock).expect("has the port");
    line.send(b"lost").expect("is thrown away");
    line.drain().expect("nothing is in flight");
    assert_eq!(line.receive(&mut [0; 8]), Ok(0));
    console.borrow_mut().connect();
    line.send(b"hello").and_then(|()| line.drain()).expect("arrives");
    assert_eq!(console.borrow().taken, b"hello");
}

/// The chain in the middle never comes back, as with QEMU; nor does anybody wait for it.
#[test]
fn a_collector_may_go_away_and_come_back_as_often_as_it_likes() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    for round in 0..40 {
        console.borrow_mut().taken.clear();
        console.borrow_mut().appetite = 5;
        for _ in 0..3 {
            line.send(b"cut here").expect("is taken");
        }
        assert_eq!(console.borrow().taken, b"cut h");
        console.borrow_mut().disconnect();
        line.send(b"lost").expect("is thrown away");
        console.borrow_mut().connect();
        console.borrow_mut().eat(100);
        line.send(b"next").and_then(|()| line.drain()).expect("arrives");
        assert_eq!(console.borrow().taken, b"cut hnext", "round {round}");
    }
}

/// While there is no free slot.
#[test]
fn a_collector_may_go_away_while_it_is_waited_for() {
    let (console, ticks) = (Console::new(), Cell::new(0));
    let tick = || {
        ticks.set(ticks.get() + 1);
        if ticks.get() == 1000 {
            console.borrow_mut().disconnect();
        }
    };
    let clock = FakeClock::with(&tick);
    let mut line = open(&console, &clock).expect("has the port");
    assert!(ticks.get() < 900);
    console.borrow_mut().appetite = 0;
    for _ in 0..100 {
        line.send(b"page").expect("is taken or thrown away");
    }
    line.drain().expect("nobody is there");
    assert_eq!((ticks.get() >= 1000, &console.borrow().taken[..]), (true, &[][..]));
}

#[test]
fn a_reader_that_is_stuck_is_an_end_and_does_not_keep_the_device_from_stopping() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().appetite = 3;
    let stuck = Error::Timeout("take the sent bytes");
    let page = [1; 4096];
    let failed = (0..100).find_map(|_| line.send_bulk(b"head", pieces([old(&page)])).err());
    assert_eq!(failed, Some(stuck));
    assert_eq!(line.drain(), Err(stuck));
    line.stop().expect("stops");
    assert_eq!(console.borrow().base.status, 0);
}

/// A buffer of the pool with these bytes.
fn frozen(pool: &Pool, byte: u8) -> Option<DmaPiece> {
    let mut lease = pool.lease()?;
    lease.fill(byte);
    Some(DmaPiece::Frozen(lease.freeze(512), 0..512))
}

/// Neither an error nor dropping the line gives memory back; a reset does.
#[test]
fn a_reader_that_is_stuck_keeps_its_memory_until_the_device_is_stopped() {
    for stops in [false, true] {
        let (console, clock) = (Console::new(), FakeClock::default());
        let pool = Pool::new(slot(), 4, 512).expect("memory");
        let mut line = open(&console, &clock).expect("has the port");
        console.borrow_mut().appetite = 3;
        for byte in 1..4 {
            let piece = frozen(&pool, byte).expect("is free");
            line.send_bulk(b"head", pieces([piece, DmaPiece::Zeros(100)])).expect("is taken");
        }
        assert_eq!(line.wait_for_one(), Err(Error::Timeout("take the sent bytes")));
        line.send(b"something").and_then(|()| line.drain()).expect_err("it is stuck");
        assert_eq!(console.borrow().waiting(), 4);
        if stops {
            line.stop().expect("stops");
        }
        drop(line);
        let rest: Vec<_> = core::iter::from_fn(|| frozen(&pool, 9)).collect();
        assert_eq!(rest.len(), if stops { 4 } else { 1 });
        console.borrow_mut().assert_memory_unchanged();
        assert_eq!(console.borrow().waiting(), if stops { 0 } else { 4 });
    }
}

/// Also the one in the middle, which only a reset gives back.
#[test]
fn buffers_are_back_when_the_collector_goes_away() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let pool = Pool::new(slot(), 4, 512).expect("memory");
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().appetite = 100;
    for byte in 0..4 {
        let piece = frozen(&pool, byte).expect("is free");
        line.send_bulk(&[], pieces([piece])).expect("is taken");
    }
    console.borrow_mut().disconnect();
    assert_eq!(line.wait_for_one(), Ok(true));
    assert_eq!(line.wait_for_one(), Ok(false));
    let all: Vec<_> = core::iter::from_fn(|| pool.lease()).collect();
    assert_eq!(all.len(), 4);
}

/// One chain takes a tenth of the timeout, and all that is in flight more than the whole.
#[test]
fn a_slow_reader_is_waited_for() {
    let console = Console::new();
    let tick = || console.borrow_mut().eat(4096 * 10 / TIMEOUT as usize);
    let clock = FakeClock::with(&tick);
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().appetite = 0;
    let page = [1; 4096];
    for _ in 0..30 {
        line.send_bulk(&[], pieces([old(&page)])).expect("is taken");
    }
    line.drain().expect("arrives");
    assert_eq!(console.borrow().taken.len(), 30 * 4096);
}

#[test]
fn a_device_that_misbehaves_is_an_error_and_not_a_hang() {
    assert_eq!(first_error(|console| console.base.features = 1 << 1), Error::LegacyOnly);
    assert_eq!(first_error(|console| console.base.features = 1 << 32), Error::NoNamedPorts);
    assert_eq!(first_error(|console| console.base.features |= 1 << 33), Error::BehindIommu);
    assert_eq!(first_error(|console| console.base.queue_size = 0), Error::QueueTooShort(0));
    let deaf = Error::Timeout("take a control message");
    assert_eq!(first_error(|console| console.is_deaf = true), deaf);
    assert_eq!(first_error(|console| console.base.never_resets = true), Error::Timeout("reset"));
    assert_eq!(first_error(|console| console.lies = Some((5000, 8))), Error::BadAnswer(5000));
}

#[test]
fn a_chain_that_comes_back_twice_is_an_error() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().appetite = 0;
    line.send(b"zero").and_then(|()| line.send(b"one")).expect("are taken");
    console.borrow_mut().lies = Some((0, 0));
    console.borrow_mut().eat(100);
    assert_eq!(line.drain(), Err(Error::BadAnswer(0)));
}

/// A buffer that is fuller than it can be is full.
#[test]
fn a_length_beyond_the_buffer_is_not_believed() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().lies = Some((0, u32::MAX));
    assert_eq!(console.borrow_mut().say(&[7; RECEIVE_LENGTH]), RECEIVE_LENGTH);
    let mut into = [0; 2 * RECEIVE_LENGTH];
    assert_eq!(line.receive(&mut into), Ok(RECEIVE_LENGTH));
    assert_eq!(into[..RECEIVE_LENGTH], [7; RECEIVE_LENGTH]);
}

#[test]
fn a_port_that_is_taken_out_is_gone() {
    let (console, clock) = (Console::new(), FakeClock::default());
    let mut line = open(&console, &clock).expect("has the port");
    console.borrow_mut().message(&[1, 0, 0, 0, 2, 0, 1, 0]);
    line.send(b"another port was removed").expect("is taken");
    console.borrow_mut().message(&[2, 0, 0, 0, 2, 0, 1, 0]);
    assert_eq!(line.send(b"ours"), Err(Error::PortGone));
    line.stop().expect("stops");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_bytes_arrive_once_and_in_order(
        calls in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..10_000),
             prop::collection::vec(prop::collection::vec(any::<u8>(), 1..1500), 0..20)),
            1..8),
        appetite in 100_usize..20_000,
    ) {
        let console = Console::new();
        let tick = || console.borrow_mut().eat(appetite);
        let clock = FakeClock::with(&tick);
        let mut line = open(&console, &clock).expect("has the port");
        console.borrow_mut().appetite = 0;
        let mut expected = Vec::new();
        for (head, pieces) in &calls {
            expected.extend_from_slice(head);
            if pieces.is_empty() {
                line.send(&head.clone()).expect("is taken");
                continue;
            }
            // The head is ours again as soon as the call returns.
            let bulk = pieces.iter().map(|piece| old(piece)).collect();
            line.send_bulk(&head.clone(), bulk).expect("is taken");
            expected.extend(pieces.concat());
        }
        line.drain().expect("arrives");
        prop_assert!(console.borrow().taken == expected);
        line.stop().expect("stops");
    }

    #[test]
    fn control_messages_of_any_bytes_do_no_harm(
        nonsense in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..128), 0..40),
        events in prop::collection::vec((0_u32..4, 0_u16..9, 0_u16..2), 0..40),
    ) {
        let (console, clock) = (Console::new(), FakeClock::default());
        let like_real = events.iter().map(|(id, event, value)| {
            let mut bytes = id.to_le_bytes().to_vec();
            bytes.extend(event.to_le_bytes().into_iter().chain(value.to_le_bytes()));
            bytes.extend(b"kdump");
            bytes
        });
        let messages: Vec<_> = nonsense.into_iter().chain(like_real).collect();
        console.borrow_mut().nonsense = messages.clone();
        if let Ok(mut line) = open(&console, &clock) {
            for message in messages {
                console.borrow_mut().message(&message);
                let _ = line.send(b"x");
                let _ = line.receive(&mut [0; 4]);
            }
            line.stop().expect("stops");
        }
        prop_assert_eq!(console.borrow().base.status, 0);
    }
}
