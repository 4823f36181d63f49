//! Bulks step by step: how much is in flight, when something is sent again, and what the receiver says.

use dumpfile::wire::{
    BULK_IN_FLIGHT, Event, Frame, FrameReader, Greeting, Hello, MAX_BULK, Packet, Piece, Plan,
    Range, Receiver, ReceiverError, ReceiverStep, ReceiverTimes, Run, SMALL_FRAME, Sender,
    SenderConfig, SenderStep, Slot, Source, Unreadable, ViewInfo, Wants,
};

const ID: [u8; 16] = *b"0123456789abcdef";
const MIB: u64 = 1 << 20;

/// A view whose first bytes are zero and whose others are not. Nobody may read it.
struct Plain {
    zeros: u64,
    length: u64,
}

impl Source for Plain {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let info = ViewInfo { name: "vmcore", length: self.length, start: 0, pushed: true };
        (view == 0).then_some(info)
    }

    fn read(&mut self, _: u16, _: u64, _: &mut [u8]) -> Result<(), Unreadable> {
        panic!("a sender that reads what it sends as bulks");
    }

    fn run(&mut self, _: u16, offset: u64, most: u64) -> Run {
        assert!(0 < most && most <= MAX_BULK.into() && offset + most <= self.length);
        let zeros = self.zeros.saturating_sub(offset).min(most);
        if zeros > 0 { Run::Zeros(zeros) } else { Run::Bulk(most) }
    }
}

/// A sender to whom a receiver that takes bulks has said hello.
fn sender(slots: &mut [Slot]) -> Sender<'_> {
    let mut sender = Sender::new(SenderConfig::console(ID), slots, 0);
    let hello = Hello { session: 7, max_frame: 65_536, push: true, bulk: true };
    sender.receive(&Packet { seq: 1, frame: Frame::Hello(hello) }, 0);
    sender
}

fn ack(sender: &mut Sender<'_>, seq: u32, highest: u32, now: u64) {
    let frame = Frame::Ack { highest, before: u64::MAX };
    sender.receive(&Packet { seq, frame }, now);
}

/// What is sent as bulks, as offsets in MiB, until the sender waits; and until when it does.
fn bulks(sender: &mut Sender<'_>, source: &mut Plain, now: u64) -> (Vec<u64>, u64) {
    let mut offsets = Vec::new();
    loop {
        match sender.poll(source, now, &mut [0; SMALL_FRAME]).expect("room for a small frame") {
            SenderStep::Bulk { head, range } => {
                assert_eq!((head, range.length()), (30, MIB));
                offsets.push(range.offset() / MIB);
            }
            SenderStep::Wait(until) => return (offsets, until),
            SenderStep::Send(_) | SenderStep::Busy => {}
            SenderStep::Finished(outcome) => panic!("{outcome}"),
        }
    }
}

#[test]
fn what_is_in_flight_has_a_bound_and_is_not_sent_twice() {
    let mut slots = [Slot::default(); 64];
    let mut sender = sender(&mut slots);
    let mut source = Plain { zeros: 0, length: 100 * MIB };
    assert_eq!(BULK_IN_FLIGHT, 16 * MIB);
    assert_eq!(bulks(&mut sender, &mut source, 0), ((0..16).collect(), 10_000));
    // The list of one view has number 1, the first bulk number 2.
    ack(&mut sender, 2, 3, 4000);
    assert_eq!(bulks(&mut sender, &mut source, 4000), (vec![16, 17], 14_000));
    // A collector whose disk stalls for so long gets one of them again, not all.
    assert_eq!(bulks(&mut sender, &mut source, 13_999).0, []);
    assert_eq!(bulks(&mut sender, &mut source, 14_000).0, [2]);
    ack(&mut sender, 3, 20, 15_000);
    assert_eq!(bulks(&mut sender, &mut source, 15_000).0, (18..34).collect::<Vec<_>>());
}

/// Lengths of the zero frames until the first bulk. Each call takes so many milliseconds.
fn zero_frames(zeros: u64, each: u64) -> Vec<u64> {
    let mut slots = [Slot::default(); 64];
    let mut sender = sender(&mut slots);
    let mut source = Plain { zeros, length: zeros + MIB };
    let (mut frames, mut now) = (Vec::new(), 0);
    let mut out = [0; SMALL_FRAME];
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    loop {
        now += each;
        match sender.poll(&mut source, now, &mut out).expect("room for a small frame") {
            SenderStep::Send(length) => {
                let event = reader.next(&mut &out[..length], sender.session());
                if let Some(Event::Frame(Packet { frame: Frame::Zero(range), .. })) = event {
                    frames.push(range.length());
                }
            }
            SenderStep::Bulk { range, .. } => {
                assert_eq!((range.offset(), range.length()), (zeros, MIB));
                return frames;
            }
            SenderStep::Busy => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn zeros_of_any_length_are_one_frame() {
    assert_eq!(zero_frames(3 << 30, 0), [3 << 30]);
    assert_eq!(zero_frames(100, 0), [100]);
    // A slow machine does not look for so long that the receiver takes it for dead.
    let slow = zero_frames(20 * MIB, 50);
    assert_eq!(slow.iter().sum::<u64>(), 20 * MIB);
    assert!(slow.iter().all(|length| *length <= 5 * MIB), "{slow:?}");
}

/// A receiver that takes bulks and has the list of one view of 4 MiB.
fn receiver() -> Receiver {
    let receiver = Receiver::new(Plan::Dump, ReceiverTimes::default(), 65_536, None);
    let mut receiver = receiver.taking_bulk();
    receiver.connect(7, 0);
    let greeting = Greeting { id: ID, length: 4 * MIB, max_frame: 65_536, views: 1, bulk: true };
    take(&mut receiver, 0, Frame::Welcome(greeting));
    let info = ViewInfo { name: "vmcore", length: 4 * MIB, start: 0, pushed: true };
    take(&mut receiver, 1, Frame::View(0, info));
    receiver
}

fn take(receiver: &mut Receiver, seq: u32, frame: Frame<'_>) {
    let write = receiver.receive(&Packet { seq, frame }, 0).expect("in order");
    assert_eq!(write, None);
}

/// What the receiver says, until it waits, by the first word of each frame.
fn words(receiver: &mut Receiver, now: u64) -> Vec<String> {
    let mut words = Vec::new();
    let mut out = [0; SMALL_FRAME];
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    while let ReceiverStep::Send(length) = receiver.poll(now, &mut out).expect("in order") {
        let Some(Event::Frame(packet)) = reader.next(&mut &out[..length], 7) else {
            panic!("no frame");
        };
        let words_of = format!("{:?}", packet.frame);
        words.push(words_of.split([' ', '(']).next().unwrap_or_default().to_owned());
    }
    words
}

fn bulk(at: u64) -> Range {
    Range::new(0, at * MIB, MIB).expect("a range")
}

#[test]
fn a_bulk_is_acknowledged_when_it_is_whole_and_written() {
    let bytes = vec![1; MIB as usize];
    let mut receiver = receiver();
    words(&mut receiver, 100);
    let half = Piece { view: 0, offset: 0, bytes: &bytes[..1000] };
    let write = receiver.receive_piece(&half).expect("in order").expect("new");
    assert_eq!((write.offset, write.bytes.len()), (0, 1000));
    assert_eq!(words(&mut receiver, 200), [""; 0]);
    let rest = Piece { view: 0, offset: 1000, bytes: &bytes[1000..] };
    receiver.receive_piece(&rest).expect("in order").expect("new");
    take(&mut receiver, 2, Frame::Bulk(bulk(0)));
    assert_eq!(words(&mut receiver, 200), ["Ack"]);
    // What could not be written is missing, and its bulk is not acknowledged.
    let piece = Piece { view: 0, offset: MIB, bytes: &bytes };
    let write = receiver.receive_piece(&piece).expect("in order").expect("new");
    receiver.not_written(&write);
    take(&mut receiver, 3, Frame::Bulk(bulk(1)));
    assert_eq!(words(&mut receiver, 200), [""; 0]);
    let (_, view) = receiver.views().next().expect("a view");
    assert_eq!(view.missing().collect::<Vec<_>>(), [(MIB, 4 * MIB)]);
}

#[test]
fn time_that_the_disk_takes_is_not_silence() {
    let bytes = vec![1; MIB as usize];
    let mut receiver = receiver();
    words(&mut receiver, 100);
    for (at, now) in [(0, 100), (1, 20_000), (2, 40_000)] {
        let piece = Piece { view: 0, offset: at * MIB, bytes: &bytes };
        receiver.receive_piece(&piece).expect("in order");
        take(&mut receiver, 2 + at as u32, Frame::Bulk(bulk(at)));
        // Written only now.
        let said = words(&mut receiver, now + 19_000);
        assert!(!said.contains(&"Want".to_owned()), "{said:?}");
    }
    assert!(words(&mut receiver, 70_000).contains(&"Want".to_owned()), "this is silence");
}

#[test]
fn the_end_needs_no_hash() {
    let bytes = vec![1; 4 * MIB as usize];
    let mut receiver = receiver();
    words(&mut receiver, 100);
    receiver.receive_piece(&Piece { view: 0, offset: 0, bytes: &bytes }).expect("in order");
    assert_eq!(words(&mut receiver, 100), ["Done"]);
}

/// A greeting of another version may lie in the dead kernel's memory.
#[test]
fn another_version_is_believed_when_no_welcome_comes() {
    let mut receiver = Receiver::new(Plan::Dump, ReceiverTimes::default(), 65_536, None);
    receiver.connect(7, 0);
    receiver.other_version(2, 100);
    let mut out = [0; SMALL_FRAME];
    assert!(receiver.poll(2000, &mut out).is_ok(), "not yet");
    assert_eq!(receiver.poll(2100, &mut out), Err(ReceiverError::Version(2)));
    let greeting = Greeting { id: ID, length: 0, max_frame: 65_536, views: 1, bulk: false };
    take(&mut receiver, 0, Frame::Welcome(greeting));
    receiver.other_version(2, 2200);
    assert!(receiver.poll(9000, &mut out).is_ok(), "there was a welcome");
}

#[test]
fn a_want_restarts_what_is_sent() {
    let mut slots = [Slot::default(); 64];
    let mut sender = sender(&mut slots);
    let mut source = Plain { zeros: MIB, length: 100 * MIB };
    // Stopped in the middle of a run of zeros.
    for _ in 0..3 {
        sender.poll(&mut source, 0, &mut [0; SMALL_FRAME]).expect("room");
    }
    let wants: Wants = [bulk(50)].into_iter().collect();
    sender.receive(&Packet { seq: 2, frame: Frame::Want(wants) }, 0);
    assert_eq!(bulks(&mut sender, &mut source, 0).0, [50]);
}
