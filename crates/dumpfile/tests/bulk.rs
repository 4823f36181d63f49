//! Bulks step by step: bytes in flight, repeated frames, and the receiver's answers.

use dumpfile::chunk::{ChunkEntry, Codec, Left, PAGES};
use dumpfile::wire::{
    BULK_IN_FLIGHT, Chunk, Event, Frame, FrameReader, Greeting, Hello, MAX_BULK, Packet, Piece,
    Plan, Range, Receiver, ReceiverError, ReceiverStep, ReceiverTimes, Run, SMALL_FRAME, Sender,
    SenderConfig, SenderStep, Slot, Source, Stored, Unreadable, ViewInfo, Wants,
};
use vmcore::PageClass;

const ID: [u8; 16] = *b"0123456789abcdef";
const MIB: u64 = 1 << 20;

/// A view that begins with zeros; its other bytes are not zero. It must not be read.
struct Plain {
    zeros: u64,
    length: u64,
}

impl Source for Plain {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let info = ViewInfo {
            name: "vmcore",
            length: self.length,
            start: 0,
            pushed: true,
            ..ViewInfo::default()
        };
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
    let hello = Hello { session: 7, max_frame: 65_536, push: true, bulk: true, lz4: true };
    sender.receive(&Packet { seq: 1, frame: Frame::Hello(hello) }, 0);
    sender
}

fn ack(sender: &mut Sender<'_>, seq: u32, highest: u32, now: u64) {
    let frame = Frame::Ack { highest, before: u64::MAX };
    sender.receive(&Packet { seq, frame }, now);
}

/// Returns the bulks that are sent until the sender waits, as offsets in MiB; and the end of that
/// wait.
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
            other => panic!("{other:?}"),
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
    // A collector whose disk stalls this long gets one of them again, not all.
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

/// A receiver that takes bulks and knows that there is one view.
fn welcomed() -> Receiver {
    let receiver = Receiver::new(Plan::Dump, ReceiverTimes::default(), 65_536, None);
    let mut receiver = receiver.taking_bulk();
    receiver.connect(7, 0);
    let greeting = Greeting { id: ID, length: 4 * MIB, max_frame: 65_536, views: 1, bulk: true };
    take(&mut receiver, 0, Frame::Welcome(greeting));
    receiver
}

const VIEW: ViewInfo<'_> = ViewInfo {
    name: "vmcore",
    length: 4 * MIB,
    start: 0,
    pushed: true,
    level: 0,
    codec: Codec::Raw,
};

/// One that has the list of views: one of 4 MiB.
fn receiver() -> Receiver {
    let mut receiver = welcomed();
    take(&mut receiver, 1, Frame::View(0, VIEW));
    receiver
}

fn take(receiver: &mut Receiver, seq: u32, frame: Frame<'_>) {
    let write = receiver.receive(&Packet { seq, frame }, 0).expect("in order");
    assert_eq!(write, None);
}

/// Returns the frames that the receiver sends until it waits, by the first word of each.
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
    // Bytes that could not be written are missing, and their bulk is not acknowledged.
    let piece = Piece { view: 0, offset: MIB, bytes: &bytes };
    let write = receiver.receive_piece(&piece).expect("in order").expect("new");
    receiver.not_written(&write);
    take(&mut receiver, 3, Frame::Bulk(bulk(1)));
    assert_eq!(words(&mut receiver, 200), [""; 0]);
    let (_, view) = receiver.views().next().expect("a view");
    assert_eq!(view.missing().collect::<Vec<_>>(), [(MIB, 4 * MIB)]);
}

/// The line has lost the view's own frame.
#[test]
fn totals_of_a_view_that_is_not_known_are_not_acknowledged() {
    let mut receiver = welcomed();
    words(&mut receiver, 100);
    take(&mut receiver, 2, Frame::Totals(0, [1; 16]));
    assert_eq!(words(&mut receiver, 200), [""; 0]);
    take(&mut receiver, 3, Frame::View(0, VIEW));
    take(&mut receiver, 4, Frame::Totals(0, [1; 16]));
    assert_eq!(words(&mut receiver, 200), ["Ack"]);
}

/// A page of sevens as an LZ4 block, written by hand from the block format: a token of one literal
/// and a match of 19 bytes and more, the literal, a match one byte back, its length, and five
/// literals at the end.
fn page_of_sevens() -> Vec<u8> {
    let length = 4096 - 1 - 5 - 4 - 15;
    let mut block = vec![0x1f, 7, 1, 0];
    block.extend([0xff].repeat(length / 255));
    block.push((length % 255) as u8);
    block.extend([0x50, 7, 7, 7, 7, 7]);
    block
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

/// Chunk 1: only page 2 of it is kept; the others belong to users.
fn chunk(stored: &[u8], follows: bool) -> Chunk {
    let left = Left::from_bytes([0x44, 0x40, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44], PAGES);
    let (codec, crc) = (Codec::Lz4, Some(crc32c(stored)));
    let left = left.expect("known classes");
    let entry = ChunkEntry { chunk: 1, codec, stored: stored.len() as u32, crc, left };
    Chunk { view: 0, entry, follows }
}

#[test]
fn a_chunk_is_written_when_it_is_whole_and_right() {
    let stored = page_of_sevens();
    for follows in [true, false] {
        let mut receiver = receiver();
        let chunk = chunk(&stored, follows);
        let (first, rest) = stored.split_at(9);
        let end = if follows {
            receiver.receive_stored(&Stored { chunk, offset: 0, bytes: first });
            receiver.receive_stored(&Stored { chunk, offset: 9, bytes: rest });
            Frame::Chunk(chunk)
        } else {
            take(&mut receiver, 2, Frame::Chunk(chunk));
            take(&mut receiver, 3, Frame::Part { view: 0, chunk: 1, offset: 9, bytes: rest });
            Frame::Part { view: 0, chunk: 1, offset: 0, bytes: first }
        };
        let write = receiver.receive(&Packet { seq: 4, frame: end }, 0).expect("in order");
        let write = write.expect("it is new");
        let mut expected = vec![0; 65_536];
        expected[0x2000..0x3000].fill(7);
        assert!((write.view, write.offset) == (0, 65_536) && *write.bytes == expected);
        let (_, view) = receiver.views().next().expect("a view");
        assert_eq!(view.have.iter().collect::<Vec<_>>(), [(0x10000, 0x20000)]);
        let left: Vec<_> =
            view.left.iter().map(|left| (left.start, left.end, left.class)).collect();
        let user = PageClass::User;
        assert_eq!(left, [(0x10000, 0x12000, user), (0x13000, 0x20000, user)]);
        // Bytes that could not be written are missing, and not left out.
        receiver.not_written(&write);
        let (_, view) = receiver.views().next().expect("a view");
        assert!(view.have.is_empty() && view.left.is_empty());
    }
}

#[test]
fn a_damaged_chunk_is_fetched_again_and_never_complete() {
    let good = page_of_sevens();
    let mut bad_sum = chunk(&good, true);
    bad_sum.entry.crc = Some(0);
    let mut short = good.clone();
    short[0] = 0x2f;
    for (chunk, stored) in [(bad_sum, &good), (chunk(&short, true), &short)] {
        let mut receiver = receiver();
        for attempt in 0..3 {
            let (_, view) = receiver.views().next().expect("a view");
            assert!(view.have.is_empty() && view.left.is_empty() && view.differs.is_empty());
            receiver.receive_stored(&Stored { chunk, offset: 0, bytes: stored });
            take(&mut receiver, 2 + attempt, Frame::Chunk(chunk));
        }
        let (_, view) = receiver.views().next().expect("a view");
        assert_eq!(view.differs.iter().collect::<Vec<_>>(), [(0x10000, 0x20000)]);
        assert_eq!(view.missing().collect::<Vec<_>>(), [(0, 0x10000), (0x20000, 4 * MIB)]);
    }
}

#[test]
fn a_chunk_that_the_view_does_not_have_is_nothing() {
    let stored = page_of_sevens();
    let mut receiver = receiver();
    let mut outside = chunk(&stored, true);
    for number in [64, 65_535, u32::MAX] {
        outside.entry.chunk = number;
        receiver.receive_stored(&Stored { chunk: outside, offset: 0, bytes: &stored });
        take(&mut receiver, 2, Frame::Chunk(outside));
    }
    let (_, view) = receiver.views().next().expect("a view");
    assert!(view.have.is_empty() && view.left.is_empty());
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

/// A greeting of another version may be in the dead kernel's memory.
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
