//! Both ends over a line that loses, damages and repeats bytes, in virtual time.

use std::collections::VecDeque;

use dumpfile::LeftRanges;
use dumpfile::chunk::{CHUNK, ChunkEntry, Codec, Encoder, MOST_COMPRESSED};
use dumpfile::wire::{
    CLASSES, End, Event, Frame, FrameReader, Greeting, HEADER_SIZE, Held, HeldView, Hello, Known,
    MAX_VIEWS, Outcome, Packet, Plan, Range, Receiver, ReceiverStep, ReceiverTimes, SMALL_FRAME,
    Sender, SenderConfig, SenderStep, Slot, Source, Unreadable, Verdict, ViewInfo, Write, encode,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vmcore::{DumpOffset, Error, PageClass, PhysAddr, PhysRange, ReadPhys, View, What};

/// A generator whose whole state is its seed (Marsaglia's xorshift64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// True once in `n` times; never for zero.
    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.roll().is_multiple_of(n)
    }
}

/// Error rates of a link: one in so many bytes, zero for never.
#[derive(Clone, Copy, Debug, Default)]
struct Noise {
    drops: u64,
    flips: u64,
    /// All bytes are damaged for as long as the line takes for 64 of them.
    bursts: u64,
    /// Bytes that were sent at once are sent twice.
    repeats: u64,
}

/// One direction of a line: bytes per millisecond, and milliseconds until they arrive.
struct Pipe {
    noise: Noise,
    dice: Dice,
    /// The millisecond in which the last burst ends.
    burst_until: Option<u64>,
    rate: u64,
    delay: u64,
    free_at: u64,
    bytes: VecDeque<(u64, u8)>,
}

impl Pipe {
    fn new(noise: Noise, seed: u64, rate: u64, delay: u64) -> Self {
        let dice = Dice(seed | 1);
        let (burst_until, bytes) = (None, VecDeque::new());
        Self { noise, dice, burst_until, rate, delay, free_at: 0, bytes }
    }

    /// Sends bytes, and says when the line is free again.
    fn send(&mut self, bytes: &[u8], now: u64) -> u64 {
        let start = self.free_at.max(now);
        let copies = if self.dice.one_in(self.noise.repeats) { 2 } else { 1 };
        for (index, byte) in (0..).zip(bytes.iter().cycle().take(bytes.len() * copies)) {
            if self.dice.one_in(self.noise.drops) {
                continue;
            }
            let at = start + index / self.rate;
            if self.dice.one_in(self.noise.bursts) {
                self.burst_until = Some(at + 64 / self.rate);
            }
            let in_burst = self.burst_until.is_some_and(|until| at <= until);
            let flip = if in_burst || self.dice.one_in(self.noise.flips) {
                self.dice.roll() as u8
            } else {
                0
            };
            self.bytes.push_back((start + self.delay, byte ^ flip));
        }
        self.free_at = start + (bytes.len() * copies) as u64 / self.rate;
        self.free_at
    }

    fn arrived(&mut self, now: u64, most: usize) -> Vec<u8> {
        let count = self.bytes.iter().take(most).take_while(|(at, _)| *at <= now).count();
        self.bytes.drain(..count).map(|(_, byte)| byte).collect()
    }
}

/// Views in memory. Of the vmcore, some lines cannot be read, and some pages are left out.
struct Memory {
    views: Vec<(&'static str, Vec<u8>, bool)>,
    poisoned: Vec<u64>,
    left: LeftRanges,
    /// The encoding of the vmcore's chunks, and the one that was encoded last.
    codec: Codec,
    encoder: Encoder,
    encoded: Option<(u32, ChunkEntry, Vec<u8>)>,
}

/// The vmcore as the encoder sees it: memory from address 0 on.
#[derive(Debug)]
struct Vmcore<'m>(&'m Vec<u8>, &'m [u64], &'m LeftRanges);

impl View for Vmcore<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<vmcore::Piece<'_>> {
        let start = at.get();
        let most = most.min(self.len().checked_sub(start)?);
        let (what, len) = match known(self.2, start, most) {
            Known::Left(class, len) => (What::Left(class), len),
            Known::Kept(len) => (What::Phys(PhysRange::new(PhysAddr::new(start), len).ok()?), len),
        };
        (len > 0).then_some(vmcore::Piece { at, len, what })
    }
}

impl ReadPhys for Vmcore<'_> {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let (start, end) = (at.get(), at.get() + into.len() as u64);
        if self.1.iter().any(|line| *line < end && start < line + 64) {
            return Err(Error::MachineCheck { at });
        }
        into.copy_from_slice(&self.0[start as usize..end as usize]);
        Ok(())
    }
}

/// The front of `most` bytes from `at` on.
fn known(left: &LeftRanges, at: u64, most: u64) -> Known {
    match left.iter().find(|range| range.end > at) {
        Some(range) if range.start <= at => Known::Left(range.class, most.min(range.end - at)),
        Some(range) => Known::Kept(most.min(range.start - at)),
        None => Known::Kept(most),
    }
}

impl Memory {
    fn is_readable(&self, range: Range) -> bool {
        let bulk = self.views[usize::from(range.view())].0 == "vmcore";
        let touched = |line: &u64| *line < range.end() && range.offset() < line + 64;
        !bulk || !self.poisoned.iter().any(touched)
    }
}

impl Source for Memory {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let (name, bytes, pushed) = self.views.get(usize::from(view))?;
        let codec = if view == 2 { self.codec } else { Codec::Raw };
        let length = bytes.len() as u64;
        Some(ViewInfo { name, length, start: 0x1000, pushed: *pushed, level: 0, codec })
    }

    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        let range = Range::new(view, offset, bytes.len() as u64).expect("a range");
        if !self.is_readable(range) {
            return Err(Unreadable);
        }
        let from = &self.views[usize::from(view)].1[offset as usize..range.end() as usize];
        bytes.copy_from_slice(from);
        if view == 2 {
            self.left.iter().for_each(|left| clear(bytes, offset, left.start, left.end));
        }
        Ok(())
    }

    fn known(&self, view: u16, offset: u64, most: u64) -> Known {
        if view == 2 { known(&self.left, offset, most) } else { Known::Kept(most) }
    }

    fn chunk(&mut self, view: u16, chunk: u32) -> Option<ChunkEntry> {
        assert_eq!(view, 2, "a small view is never encoded");
        let vmcore = Vmcore(&self.views[2].1, &self.poisoned, &self.left);
        let mut out = vec![0; MOST_COMPRESSED];
        let entry = self.encoder.encode(&vmcore, chunk, &vmcore, &mut out);
        self.encoded = Some((chunk, entry, out));
        Some(entry)
    }

    fn stored(
        &mut self,
        view: u16,
        chunk: u32,
        offset: u32,
        bytes: &mut [u8],
    ) -> Result<(), Unreadable> {
        if self.encoded.as_ref().is_none_or(|encoded| encoded.0 != chunk) {
            self.chunk(view, chunk);
        }
        let (_, entry, out) = self.encoded.as_ref().ok_or(Unreadable)?;
        let stored = &out[..entry.stored as usize];
        bytes.copy_from_slice(
            stored
                .get(offset as usize..)
                .ok_or(Unreadable)?
                .get(..bytes.len())
                .ok_or(Unreadable)?,
        );
        Ok(())
    }

    fn totals(&mut self, view: u16) -> Option<[u64; CLASSES]> {
        (view == 2).then_some(TOTALS)
    }
}

/// Any numbers: the receiver passes them on.
const TOTALS: [u64; CLASSES] = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 1 << 40];

/// Makes the part of `start..end` zero that is in `bytes`, which begin at `offset`.
fn clear(bytes: &mut [u8], offset: u64, start: u64, end: u64) {
    let inside = |at: u64| (at.saturating_sub(offset) as usize).min(bytes.len());
    let (from, to) = (inside(start), inside(end));
    bytes[from..to].fill(0);
}

/// Returns contents that a page of memory may have: zeros, text, pointers, and bytes that look like
/// our marks.
fn content(dice: &mut Dice, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 4096);
    while bytes.len() < length {
        let run = (dice.roll() % 3000) as usize;
        let filler = match dice.roll() % 5 {
            0 | 1 => vec![0; run * 4],
            2 => vec![dumpfile::wire::MARK; run / 4],
            3 => b"kdump: stage=views tsc=1234567\n".iter().copied().cycle().take(run).collect(),
            _ => (0..run).map(|_| dice.roll() as u8).collect(),
        };
        bytes.extend(filler);
    }
    bytes.truncate(length);
    bytes
}

/// Returns bytes that a hostile program has put into its memory to be taken for frames, before it
/// could know the number of a session: frames of a sender and a receiver, greetings of another
/// version, headers of large frames.
fn forged() -> Vec<u8> {
    let id = *b"a forged dump id";
    let greeting = Greeting { id, length: 1, max_frame: 256, views: 1, bulk: true };
    let (mut bytes, mut out) = (Vec::new(), vec![0; 4096]);
    for session in [0, 1, 77] {
        for frame in [
            Frame::Announce(greeting),
            Frame::Welcome(greeting),
            Frame::Data { view: 2, offset: 0, bytes: b"forged" },
            Frame::Bulk(Range::new(2, 0, 5000).expect("a range")),
            Frame::Done(End::Complete),
            Frame::Bye,
        ] {
            let length = encode(&Packet { seq: 1, frame }, session, &mut out).expect("a frame");
            bytes.extend_from_slice(&out[..length]);
        }
        let large = Frame::Data { view: 2, offset: 0, bytes: &[1; 3000] };
        encode(&Packet { seq: 1, frame: large }, session, &mut out).expect("a frame");
        bytes.extend_from_slice(&out[..HEADER_SIZE]);
    }
    // Of version 3, worked out in Python from the table in the module's documentation.
    bytes.extend(b"\xf6\x00\x03\x01\x20\x00\x82\xb3\x00\x00\x00\x000123456789abcdef");
    bytes.extend(
        b"\x00\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x03\x00\x01\x00\xff\x29\xd8\x08",
    );
    bytes
}

/// A whole transfer.
struct Bench {
    memory: Memory,
    down: Pipe,
    up: Pipe,
    now: u64,
    max_frame: usize,
    /// Console lines go between frames, one in so many.
    chatter: u64,
    printed: u64,
    /// Bytes that the collector has written, by view.
    files: Vec<Vec<u8>>,
    /// Bytes that went as bulks.
    bulk_bytes: u64,
    /// Chunks that went compressed.
    chunks: u64,
    /// The line is cut when so many bytes have come.
    budget: usize,
    text: Vec<u8>,
    lost_frames: u64,
    sent_bytes: u64,
    /// The stored bytes are changed once, unnoticed by the receiver.
    rot: bool,
}

const ID: [u8; 16] = *b"0123456789abcdef";
const LINE: &[u8] = b"kdump: a line of the console\r\n";
/// Virtual milliseconds within which every test is through.
const LONGEST: u64 = 20 * 60 * 1000;

impl Bench {
    fn new(length: usize, noise: Noise, seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let dmesg = content(&mut dice, 700);
        let views = vec![
            ("dmesg", dmesg, true),
            ("oldmem", vec![7; 5000], false),
            ("vmcore", content(&mut dice, length), true),
        ];
        Self {
            files: views.iter().map(|(_, bytes, _)| vec![0; bytes.len()]).collect(),
            memory: Memory {
                views,
                poisoned: Vec::new(),
                left: LeftRanges::new(),
                codec: Codec::Raw,
                encoder: Encoder::new().expect("room"),
                encoded: None,
            },
            down: Pipe::new(noise, dice.roll(), 11, 5),
            up: Pipe::new(noise, dice.roll(), 11, 5),
            now: 0,
            max_frame: SMALL_FRAME,
            chatter: 0,
            printed: 0,
            bulk_bytes: 0,
            chunks: 0,
            budget: usize::MAX,
            text: Vec::new(),
            lost_frames: 0,
            sent_bytes: 0,
            rot: false,
        }
    }

    /// Runs `receiver` against `sender` until either is through, or until `until`.
    fn run(&mut self, sender: &mut Sender<'_>, receiver: &mut Receiver, until: u64) -> Ending {
        let mut ears = FrameReader::new([0; SMALL_FRAME]);
        let mut eyes = FrameReader::new(vec![0; self.max_frame]);
        let mut ending = Ending::default();
        let over = |ending: &Ending| ending.verdict.is_some() && ending.outcome.is_some();
        while self.now < until && self.budget > 0 && !over(&ending) {
            ending.verdict = ending.verdict.or_else(|| self.receiver_turn(&mut eyes, receiver));
            let arrived = self.up.arrived(self.now, usize::MAX);
            let mut input = &arrived[..];
            while let Some(event) = ears.next(&mut input, sender.session()) {
                if let Event::Frame(packet) = event {
                    sender.receive(&packet, self.now);
                }
            }
            ending.outcome = ending.outcome.or_else(|| self.sender_turn(sender));
            self.now += 1;
        }
        self.lost_frames += eyes.damage().frames;
        ending
    }

    fn sender_turn(&mut self, sender: &mut Sender<'_>) -> Option<Outcome> {
        let mut out = vec![0; self.max_frame];
        // The line takes bytes at once until the queue is full, as with a driver.
        for _ in 0..64 {
            if self.down.free_at > self.now + 20 {
                return None;
            }
            if self.down.dice.one_in(self.chatter) {
                self.down.send(LINE, self.now);
                self.printed += 1;
            }
            match sender.poll(&mut self.memory, self.now, &mut out).expect("a large buffer") {
                SenderStep::Send(length) => {
                    self.down.send(&out[..length], self.now);
                    self.sent_bytes += length as u64;
                }
                SenderStep::Bulk { head, range } => {
                    assert!(self.memory.is_readable(range), "a hole in a bulk");
                    let raw = &self.memory.views[usize::from(range.view())].1;
                    let raw = &raw[range.offset() as usize..range.end() as usize];
                    self.down.send(&[&out[..head], raw].concat(), self.now);
                    self.sent_bytes += head as u64 + range.length();
                    self.bulk_bytes += range.length();
                }
                SenderStep::Chunk { head, view, chunk } => {
                    assert_eq!(view, 2);
                    let (number, entry, stored) = self.memory.encoded.as_ref().expect("a chunk");
                    assert_eq!(*number, chunk, "it was encoded last");
                    let stored = &stored[..entry.stored as usize];
                    self.down.send(&[&out[..head], stored].concat(), self.now);
                    self.sent_bytes += (head + stored.len()) as u64;
                    self.chunks += 1;
                }
                SenderStep::Busy => {}
                SenderStep::Wait(until) => {
                    assert!(until > self.now, "it waits for the past");
                    return None;
                }
                SenderStep::Finished(outcome) => return Some(outcome),
            }
        }
        None
    }

    fn receiver_turn(
        &mut self,
        eyes: &mut FrameReader<Vec<u8>>,
        receiver: &mut Receiver,
    ) -> Option<Verdict> {
        self.hear(eyes, receiver);
        let mut out = [0; SMALL_FRAME];
        for _ in 0..64 {
            match receiver.poll(self.now, &mut out).expect("a sender in order") {
                ReceiverStep::Send(length) => {
                    self.up.send(&out[..length], self.now);
                }
                ReceiverStep::Compare(range, sha256) => {
                    let file = &mut self.files[usize::from(range.view())];
                    if std::mem::take(&mut self.rot) {
                        file[range.offset() as usize] ^= 1;
                    }
                    let bytes = &file[range.offset() as usize..range.end() as usize];
                    let same = <[u8; 32]>::from(Sha256::digest(bytes)) == sha256;
                    if receiver.compared(range, same) {
                        file[range.offset() as usize..range.end() as usize].fill(0);
                    }
                }
                ReceiverStep::Wait(until) => {
                    assert!(until > self.now, "it waits for the past");
                    return None;
                }
                ReceiverStep::Finished(verdict) => return Some(verdict),
            }
        }
        panic!("a receiver that never waits");
    }

    /// Takes the bytes that have come down the link.
    fn hear(&mut self, eyes: &mut FrameReader<Vec<u8>>, receiver: &mut Receiver) {
        let arrived = self.down.arrived(self.now, self.budget);
        self.budget -= arrived.len();
        let mut input = &arrived[..];
        loop {
            eyes.limit(receiver.frame_limit());
            let Some(event) = eyes.next(&mut input, receiver.session()) else { break };
            match event {
                Event::Text(text) => self.text.extend(text),
                Event::Frame(packet) => {
                    let write = receiver.receive(&packet, self.now).expect("a sender in order");
                    store(&mut self.files, write);
                }
                Event::Piece(piece) => {
                    let write = receiver.receive_piece(&piece).expect("a sender in order");
                    store(&mut self.files, write);
                }
                Event::Stored(stored) => receiver.receive_stored(&stored),
                Event::OtherVersion(version) => receiver.other_version(version, self.now),
                Event::Nonsense(error) => panic!("{error}"),
            }
        }
    }

    /// Leaves pages of the vmcore out. The last page may be cut.
    fn leave_out(&mut self, left: &[LeftOut]) {
        let length = self.memory.views[2].1.len() as u64;
        for (page, pages, class) in left {
            let (start, end) = (page * 4096, ((page + pages) * 4096).min(length));
            let class = PageClass::from_code(*class).expect("a class");
            assert!(self.memory.left.insert(start, end.max(start), class));
        }
    }

    /// Cuts the line. The receiver of the next session may be another one.
    fn cut(
        &mut self,
        [tail, replaced, takes, known]: [bool; 4],
        sender: &mut Sender<'_>,
        mut receiver: Receiver,
        session: u32,
    ) -> Receiver {
        self.up.bytes.clear();
        if !tail {
            self.down.bytes.clear();
        }
        if known {
            sender.disconnected(self.now);
        }
        if replaced {
            let anew = if takes { taker } else { summer };
            return anew(Some(receiver.held()), session, self.now);
        }
        receiver.connect(session, self.now);
        receiver
    }

    /// Checks that the written bytes are right, byte for byte, and that the receiver reports all
    /// others as missing.
    fn assert_honest(&self, receiver: &Receiver) {
        for (number, view) in receiver.views() {
            let (file, truth) = (&self.files[usize::from(number)], self.truth(number));
            for (from, to) in view.have.iter() {
                assert!(file[from as usize..to as usize] == truth[from as usize..to as usize]);
            }
            let class_there = |left: &dumpfile::LeftRange| {
                (left.start..left.end).all(|at| self.class(number, at) == Some(left.class))
            };
            assert!(view.left.iter().all(|left| class_there(&left)), "a wrong reason");
            if let Some((start, end)) = view.wanted {
                let missing: u64 = view.missing().map(|(from, to)| to - from).sum();
                assert_eq!(missing + view.have.total(), end - start);
                let holes = view.missing().all(|(from, to)| {
                    file[from as usize..to as usize].iter().all(|byte| *byte == 0)
                });
                assert!(holes, "something was written where nothing is said to be");
            }
        }
    }

    /// A view, with zeros for the lines that cannot be read.
    fn truth(&self, view: u16) -> Vec<u8> {
        let mut bytes = self.memory.views[usize::from(view)].1.clone();
        if view == 2 {
            for line in &self.memory.poisoned {
                let end = bytes.len().min(*line as usize + 64);
                bytes[*line as usize..end].fill(0);
            }
            self.memory.left.iter().for_each(|left| clear(&mut bytes, 0, left.start, left.end));
        }
        bytes
    }

    /// The reason why a byte is not there.
    fn class(&self, view: u16, at: u64) -> Option<PageClass> {
        let unreadable =
            || self.memory.poisoned.iter().any(|line| (*line..line + 64).contains(&at));
        let class = self.memory.left.class_at(at);
        class.or_else(|| unreadable().then_some(PageClass::Unreadable)).filter(|_| view == 2)
    }

    /// Every byte that is left out is named, with its reason, and nothing else.
    fn assert_named(&self, receiver: &Receiver) {
        let (_, view) = receiver.views().last().expect("the vmcore");
        for at in (0..view.length).step_by(64) {
            assert_eq!(view.left.class_at(at), self.class(2, at), "{at:#x}");
        }
        assert_eq!(view.totals, (view.length > 0).then_some(TOTALS));
    }

    fn assert_whole(&self) {
        for view in [0, 2] {
            assert!(self.files[usize::from(view)] == self.truth(view), "view {view} is wrong");
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Ending {
    verdict: Option<Verdict>,
    outcome: Option<Outcome>,
}

const WHOLE: Ending = Ending { verdict: Some(Verdict::Complete), outcome: Some(Outcome::Complete) };

fn store(files: &mut [Vec<u8>], write: Option<Write<'_>>) {
    if let Some(Write { view, offset, bytes }) = write {
        files[usize::from(view)][offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
}

fn config() -> SenderConfig {
    SenderConfig::serial(ID)
}

/// A collector that takes bulks.
fn taker(held: Option<Held>, session: u32, now: u64) -> Receiver {
    let receiver = Receiver::new(Plan::Dump, ReceiverTimes::default(), 65_536, held);
    let mut receiver = receiver.taking_bulk();
    receiver.connect(session, now);
    receiver
}

/// One that does not.
fn summer(held: Option<Held>, session: u32, now: u64) -> Receiver {
    receiver(Plan::Dump, held, session, now)
}

fn receiver(plan: Plan, held: Option<Held>, session: u32, now: u64) -> Receiver {
    let mut receiver = Receiver::new(plan, ReceiverTimes::default(), 65_536, held);
    receiver.connect(session, now);
    receiver
}

#[test]
fn a_good_line_is_used_once() {
    let mut bench = Bench::new(60_000, Noise::default(), 1);
    bench.memory.views[2].1.fill(0x55);
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    bench.assert_whole();
    assert_eq!(bench.lost_frames, 0);
    assert!(bench.files[1].iter().all(|byte| *byte == 0), "what is not pushed is not sent");
    // 230 bytes in a frame of 256, 700 bytes of dmesg, and a few frames of the session.
    let least = 60_000 * 256 / 230;
    assert!((least..least + 3000).contains(&bench.sent_bytes), "{}", bench.sent_bytes);
}

#[test]
fn zeros_cost_one_frame() {
    let mut bench = Bench::new(0, Noise::default(), 1);
    bench.memory.views[2].1 = vec![0; 900_000];
    bench.files[2] = vec![0; 900_000];
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    assert!(bench.sent_bytes < 2000, "{}", bench.sent_bytes);
}

#[test]
fn large_frames_on_a_line_that_loses_nothing() {
    let mut bench = Bench::new(3_000_000, Noise::default(), 3);
    (bench.down.rate, bench.max_frame) = (100_000, 65_536);
    let mut slots = [Slot::default(); 8];
    let mut sender = Sender::new(SenderConfig::console(ID), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    bench.assert_whole();
}

#[test]
fn bulk_needs_both_ends() {
    for (sends, takes) in [(true, true), (true, false), (false, true)] {
        let mut bench = Bench::new(3_000_000, Noise::default(), 3);
        (bench.down.rate, bench.max_frame) = (100_000, 65_536);
        let mut slots = [Slot::default(); 8];
        let config = SenderConfig { bulk: sends, ..SenderConfig::console(ID) };
        let mut sender = Sender::new(config, &mut slots, 0);
        let mut receiver =
            if takes { taker(None, 77, 0) } else { receiver(Plan::Dump, None, 77, 0) };
        assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
        bench.assert_whole();
        let agreed = sends && takes;
        assert_eq!(bench.bulk_bytes > 0, agreed, "sends {sends}, takes {takes}");
        assert_eq!(receiver.greeting().map(|greeting| greeting.bulk), Some(agreed));
    }
}

/// A text of three chunks and a half, then two chunks that do not shrink.
fn chunky(bench: &mut Bench) {
    let mut dice = Dice(5);
    let text = b"kernel panic - not syncing ".iter().copied().cycle();
    let mut bytes: Vec<u8> = text.take(3 * CHUNK as usize + 32_768).collect();
    bytes.extend((0..2 * CHUNK).map(|_| dice.roll() as u8));
    bench.files[2] = vec![0; bytes.len()];
    bench.memory.views[2].1 = bytes;
    bench.memory.codec = Codec::Lz4;
}

#[test]
fn chunks_need_both_ends_and_cost_less() {
    let mut raw = 0;
    for (sends, bulk) in [(false, false), (true, false), (true, true)] {
        let mut bench = Bench::new(0, Noise::default(), 3);
        chunky(&mut bench);
        (bench.down.rate, bench.max_frame) = (2000, if bulk { 65_536 } else { SMALL_FRAME });
        let mut slots = [Slot::default(); 64];
        let codec = if sends { Codec::Lz4 } else { Codec::Raw };
        let config = if bulk { SenderConfig::console(ID) } else { config() };
        let mut sender = Sender::new(SenderConfig { codec, ..config }, &mut slots, 0);
        let mut receiver = taker(None, 77, 0);
        assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
        bench.assert_whole();
        let (_, view) = receiver.views().last().expect("the vmcore");
        assert_eq!(view.codec, codec);
        // Of the fourth chunk, one half is text.
        assert_eq!(bench.chunks, if bulk { 4 } else { 0 });
        if !sends {
            raw = bench.sent_bytes;
        } else {
            assert!(bench.sent_bytes < raw * 2 / 3, "{} of {raw} bytes", bench.sent_bytes);
        }
    }
}

#[test]
fn a_hello_that_does_not_take_lz4_gets_none() {
    let mut bench = Bench::new(0, Noise::default(), 3);
    chunky(&mut bench);
    let mut slots = [Slot::default(); 64];
    let config = SenderConfig { codec: Codec::Lz4, ..config() };
    let mut sender = Sender::new(config, &mut slots, 0);
    let hello = Hello { session: 5, max_frame: 256, push: true, bulk: false, lz4: false };
    sender.receive(&Packet { seq: 1, frame: Frame::Hello(hello) }, 0);
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let mut kinds = Vec::new();
    for _ in 0..60 {
        let mut out = [0; SMALL_FRAME];
        if let Ok(SenderStep::Send(length)) = sender.poll(&mut bench.memory, 0, &mut out) {
            match reader.next(&mut &out[..length], 5) {
                Some(Event::Frame(Packet { frame: Frame::View(_, info), .. })) => {
                    assert_eq!(info.codec, Codec::Raw);
                }
                Some(Event::Frame(Packet { frame, .. })) => kinds.push(format!("{frame:?}")),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(kinds.iter().any(|kind| kind.starts_with("Data { view: 2")), "{kinds:?}");
    assert!(!kinds.iter().any(|kind| kind.starts_with("Chunk") || kind.starts_with("Part")));
}

/// Chunks of many parts: 20 KiB of noise at the start of each.
fn noisy_chunks(bench: &mut Bench) {
    chunky(bench);
    let mut dice = Dice(9);
    bench.memory.views[2].1.chunks_mut(CHUNK as usize).for_each(|chunk| {
        chunk.iter_mut().take(20 << 10).for_each(|byte| *byte = dice.roll() as u8);
    });
}

/// The stored bytes of the vmcore's chunks that a sender sends next, at most so many frames, as
/// (chunk, offset); a chunk's head has none. All are acknowledged.
fn parts_sent(bench: &mut Bench, sender: &mut Sender<'_>, most: usize) -> Vec<(u32, Option<u32>)> {
    let (mut reader, mut parts) = (FrameReader::new([0; SMALL_FRAME]), Vec::new());
    let mut out = [0; SMALL_FRAME];
    while parts.len() < most {
        let length = match sender.poll(&mut bench.memory, 0, &mut out).expect("room") {
            SenderStep::Send(length) => length,
            SenderStep::Busy => continue,
            _ => break,
        };
        let Some(Event::Frame(packet)) = reader.next(&mut &out[..length], 5) else {
            panic!("no frame");
        };
        match packet.frame {
            Frame::Chunk(chunk) => parts.push((chunk.entry.chunk, None)),
            Frame::Part { chunk, offset, .. } => parts.push((chunk, Some(offset))),
            _ => {}
        }
        bench.now += 1;
        let ack = Frame::Ack { highest: packet.seq, before: u64::MAX };
        sender.receive(&Packet { seq: bench.now as u32 + 1, frame: ack }, 0);
    }
    parts
}

#[test]
fn a_want_does_not_begin_a_chunk_again() {
    let mut bench = Bench::new(0, Noise::default(), 3);
    noisy_chunks(&mut bench);
    let mut slots = [Slot::default(); 1];
    let config = SenderConfig { codec: Codec::Lz4, ..config() };
    let mut sender = Sender::new(config, &mut slots, 0);
    let hello = Hello { session: 5, max_frame: 256, push: true, bulk: false, lz4: true };
    sender.receive(&Packet { seq: 1, frame: Frame::Hello(hello) }, 0);
    let want = |bench: &mut Bench, sender: &mut Sender<'_>, from, length| {
        let wants = Range::new(2, from, length).into_iter().collect();
        bench.now += 1;
        sender.receive(&Packet { seq: bench.now as u32 + 1, frame: Frame::Want(wants) }, 0);
    };
    let pushed = parts_sent(&mut bench, &mut sender, 4);
    assert_eq!(pushed, [(0, None), (0, Some(0)), (0, Some(230)), (0, Some(460))]);
    // However often it is asked for: it goes on to its end, and then to the next one.
    let mut rest = Vec::new();
    for _ in 0..20 {
        want(&mut bench, &mut sender, 0, 2 * CHUNK);
        rest.extend(parts_sent(&mut bench, &mut sender, 5));
    }
    let end = rest.iter().position(|(chunk, _)| *chunk == 1).expect("the next chunk");
    let ascends = (3..).zip(&rest[..end]).all(|(at, part)| *part == (0, Some(230 * at)));
    assert!(ascends, "{rest:?}");
    assert_eq!(rest[end], (1, None));
    // One that is whole and still wanted, or was not gone on with, is begun again.
    want(&mut bench, &mut sender, 0, CHUNK);
    assert_eq!(parts_sent(&mut bench, &mut sender, 2), [(0, None), (0, Some(0))]);
    want(&mut bench, &mut sender, CHUNK, CHUNK);
    assert_eq!(parts_sent(&mut bench, &mut sender, 2), [(1, None), (1, Some(0))]);
}

/// The collector is killed when it has a part of a chunk.
#[test]
fn a_restart_inside_a_chunk_costs_the_chunk() {
    for bulk in [false, true] {
        let mut bench = Bench::new(0, Noise::default(), 3);
        noisy_chunks(&mut bench);
        bench.max_frame = if bulk { 65_536 } else { SMALL_FRAME };
        let mut slots = [Slot::default(); 64];
        let config = if bulk { SenderConfig::console(ID) } else { config() };
        let config = SenderConfig { codec: Codec::Lz4, ..config };
        let mut sender = Sender::new(config, &mut slots, 0);
        let mut receiver = taker(None, 77, 0);
        // The lists, the log, the first chunk, and some of the second one.
        bench.budget = 36_000;
        bench.run(&mut sender, &mut receiver, LONGEST);
        bench.assert_honest(&receiver);
        let have: Vec<_> = receiver.views().map(|(_, view)| view.have.total()).collect();
        assert_eq!(have, [700, 0, CHUNK], "bulk: {bulk}");
        bench.budget = usize::MAX;
        let held = receiver.held();
        bench.up.bytes.clear();
        bench.down.bytes.clear();
        sender.disconnected(bench.now);
        let mut next = taker(Some(held), 78, bench.now);
        assert_eq!(bench.run(&mut sender, &mut next, LONGEST), WHOLE);
        bench.assert_whole();
    }
}

#[test]
fn text_goes_through_unharmed() {
    let mut bench = Bench::new(20_000, Noise::default(), 4);
    bench.chatter = 10;
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    bench.assert_whole();
    // Text that is printed after the end is not read here.
    assert!(bench.text.len() > LINE.len() * 10);
    assert!(LINE.repeat(bench.printed as usize).starts_with(&bench.text));
}

#[test]
fn lines_that_cannot_be_read_are_named() {
    let mut bench = Bench::new(60_000, Noise { flips: 3000, ..Noise::default() }, 5);
    bench.memory.views[2].1.fill(0x55);
    bench.memory.poisoned = vec![0, 640, 704, 30_016, 59_968];
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    bench.assert_whole();
    let (_, vmcore) = receiver.views().last().expect("the last view");
    let holes: Vec<_> = vmcore.left.iter().map(|left| (left.start, left.end)).collect();
    bench.assert_named(&receiver);
    assert_eq!(holes, [(0, 64), (640, 768), (30_016, 30_080), (59_968, 60_000)]);
    let held = receiver.held();
    let kept = held.views.iter().find(|held| held.name == "vmcore").expect("the view");
    assert_eq!(
        (&kept.left, kept.totals),
        (&vmcore.left, Some(TOTALS)),
        "the next session knows them too"
    );
}

#[test]
fn what_rots_on_the_disk_is_fetched_again() {
    let mut bench = Bench::new(20_000, Noise::default(), 6);
    bench.rot = true;
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
    assert!(!bench.rot);
    bench.assert_whole();
}

/// A source that says something else each time it is read.
struct Restless(u8);

impl Source for Restless {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let info = ViewInfo {
            name: "vmcore",
            length: 1000,
            start: 0,
            pushed: true,
            ..ViewInfo::default()
        };
        (view == 0).then_some(info)
    }

    fn read(&mut self, _: u16, _: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        self.0 = self.0 % 250 + 1;
        bytes.fill(self.0);
        Ok(())
    }
}

#[test]
fn what_stays_different_is_never_complete() {
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut receiver = receiver(Plan::Dump, None, 77, 0);
    let (mut source, mut file) = (Restless(0), vec![vec![0; 1000]]);
    let (mut ears, mut eyes) = (FrameReader::new([0; 256]), FrameReader::new([0; 256]));
    let mut out = [0; 256];
    for now in 0..100_000 {
        while let Ok(SenderStep::Send(length)) = sender.poll(&mut source, now, &mut out) {
            let mut input = &out[..length];
            while let Some(Event::Frame(packet)) = eyes.next(&mut input, receiver.session()) {
                store(&mut file, receiver.receive(&packet, now).expect("in order"));
            }
        }
        match receiver.poll(now, &mut out).expect("in order") {
            ReceiverStep::Send(length) => {
                let mut input = &out[..length];
                while let Some(Event::Frame(packet)) = ears.next(&mut input, sender.session()) {
                    sender.receive(&packet, now);
                }
            }
            ReceiverStep::Compare(range, sha256) => {
                let same = <[u8; 32]>::from(Sha256::digest(&file[0])) == sha256;
                if receiver.compared(range, same) {
                    file[0].fill(0);
                }
            }
            ReceiverStep::Finished(verdict) => {
                assert_eq!(verdict, Verdict::Differs);
                let (_, view) = receiver.views().next().expect("a view");
                assert_eq!(view.differs.iter().collect::<Vec<_>>(), [(0, 1000)]);
                return;
            }
            ReceiverStep::Wait(_) => {}
        }
    }
    panic!("no end");
}

#[test]
fn nobody_at_the_other_end() {
    let mut bench = Bench::new(1000, Noise::default(), 7);
    bench.up.noise.drops = 1;
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut deaf = receiver(Plan::Dump, None, 77, 0);
    let ending = bench.run(&mut sender, &mut deaf, 29_000);
    assert_eq!(ending, Ending::default());
    let ending = bench.run(&mut sender, &mut deaf, 31_000);
    assert_eq!(ending.outcome, Some(Outcome::Nobody));
}

#[test]
fn a_receiver_that_falls_silent() {
    let mut bench = Bench::new(200_000, Noise::default(), 8);
    bench.memory.views[2].1.fill(0x55);
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let mut dying = receiver(Plan::Dump, None, 77, 0);
    assert_eq!(bench.run(&mut sender, &mut dying, 4000), Ending::default());
    bench.assert_honest(&dying);
    bench.up.noise.drops = 1;
    let ending = bench.run(&mut sender, &mut dying, 40_000);
    assert_eq!(ending.outcome, Some(Outcome::Silent));
    bench.assert_honest(&dying);
}

#[test]
fn a_part_is_pulled_and_the_sender_stays() {
    let mut bench = Bench::new(50_000, Noise { flips: 2000, ..Noise::default() }, 9);
    let truth = content(&mut Dice(99), 5000);
    bench.memory.views[1].1 = truth.clone();
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let part = Plan::Part { view: "oldmem".into(), start: 0x1000 + 300, length: 2000 };
    let mut reader = receiver(part, None, 78, 0);
    let ending = bench.run(&mut sender, &mut reader, 20_000);
    assert_eq!(ending, Ending { verdict: Some(Verdict::Complete), outcome: None });
    assert!(bench.files[1][300..2300] == truth[300..2300]);
    assert!(bench.files[2].iter().all(|byte| *byte == 0));
    let mut dump = receiver(Plan::Dump, None, 79, bench.now);
    assert_eq!(bench.run(&mut sender, &mut dump, LONGEST), WHOLE);
    bench.assert_whole();
}

#[test]
fn what_is_not_there_is_refused_in_words() {
    let cases = [
        (Plan::View("notes".into()), "there is no view notes, there are: dmesg, oldmem, vmcore"),
        (
            Plan::Part { view: "oldmem".into(), start: 0xfff, length: 10 },
            "view oldmem covers 0x1000+0x1388: the range is not within it",
        ),
        (
            Plan::Part { view: "oldmem".into(), start: 0x1000, length: 5001 },
            "view oldmem covers 0x1000+0x1388: the range is not within it",
        ),
    ];
    for (plan, words) in cases {
        let mut bench = Bench::new(100, Noise::default(), 9);
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(config(), &mut slots, 0);
        let mut receiver = receiver(plan, None, 78, 0);
        let error = refusal(&mut bench, &mut sender, &mut receiver);
        assert_eq!(error, words);
    }
}

/// Runs both ends over a good line until the receiver refuses.
fn refusal(bench: &mut Bench, sender: &mut Sender<'_>, receiver: &mut Receiver) -> String {
    let (mut ears, mut eyes) = (FrameReader::new([0; 256]), FrameReader::new([0; 256]));
    let mut out = [0; 256];
    for now in 0..10_000 {
        match receiver.poll(now, &mut out) {
            Ok(ReceiverStep::Send(length)) => {
                let mut input = &out[..length];
                while let Some(Event::Frame(packet)) = ears.next(&mut input, sender.session()) {
                    sender.receive(&packet, now);
                }
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        if let Ok(SenderStep::Send(length)) = sender.poll(&mut bench.memory, now, &mut out) {
            let mut input = &out[..length];
            while let Some(Event::Frame(packet)) = eyes.next(&mut input, receiver.session()) {
                if let Err(error) = receiver.receive(&packet, now) {
                    return error.to_string();
                }
            }
        }
    }
    panic!("not refused");
}

#[test]
fn another_dump_is_not_mixed_in() {
    let mut bench = Bench::new(100, Noise::default(), 9);
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let view = |length| HeldView { name: "vmcore".to_owned(), length, ..HeldView::default() };
    let held = Held { id: *b"another dump's i", views: vec![view(100)] };
    let error = refusal(&mut bench, &mut sender, &mut receiver(Plan::Dump, Some(held), 5, 0));
    assert_eq!(error, "the other end has another dump than the one that was begun");
    let mut sender = Sender::new(config(), &mut slots, 0);
    let held = Held { id: ID, views: vec![view(99)] };
    let error = refusal(&mut bench, &mut sender, &mut receiver(Plan::Dump, Some(held), 5, 0));
    assert_eq!(error, "view vmcore has another length than when the transfer was begun");
}

#[test]
fn the_issues_noise() {
    for seed in 0..4 {
        let noise = Noise { drops: 10_000, flips: 10_000, bursts: 20_000, repeats: 200 };
        let mut bench = Bench::new(150_000, noise, 100 + seed);
        bench.chatter = 50;
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(config(), &mut slots, 0);
        let mut receiver = receiver(Plan::Dump, None, 77, 0);
        assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE);
        bench.assert_whole();
        assert!(bench.lost_frames > 0, "the line was good");
    }
}

prop_compose! {
    fn noise()(drops in prop_oneof![Just(0u64), 500u64..20_000], flips in prop_oneof![Just(0u64), 500u64..20_000],
        bursts in prop_oneof![Just(0u64), 2000u64..20_000], repeats in prop_oneof![Just(0u64), 2u64..100]) -> Noise {
        Noise { drops, flips, bursts, repeats }
    }
}

/// First page, number of pages and class code.
type LeftOut = (u64, u64, u8);

/// Runs of pages that are left out.
fn left() -> impl Strategy<Value = Vec<LeftOut>> {
    prop::collection::vec((0u64..50, 1u64..24, 2u8..9), 0..6)
}

/// A transfer of `length` bytes with `window` slots; its collectors are killed after this many
/// milliseconds each. A finished one is not killed any more, nor is another one started.
fn arrives(
    (noise, seed, length): (Noise, u64, usize),
    (codec, left): (Codec, &[LeftOut]),
    window: usize,
    chatter: u64,
    kills: impl IntoIterator<Item = u64>,
) {
    let mut bench = Bench::new(length, noise, seed);
    bench.chatter = chatter.saturating_mul(3);
    bench.leave_out(left);
    bench.memory.codec = codec;
    let mut slots = vec![Slot::default(); window];
    let mut sender = Sender::new(SenderConfig { codec, ..config() }, &mut slots, 0);
    let (mut held, mut ending) = (None, Ending::default());
    for (session, life) in (100..).zip(kills.into_iter().chain([LONGEST])) {
        let mut receiver = receiver(Plan::Dump, held.take(), session, bench.now);
        let until = bench.now + life;
        ending = bench.run(&mut sender, &mut receiver, until);
        if ending.verdict.is_some() && ending.outcome.is_none() {
            ending = bench.run(&mut sender, &mut receiver, LONGEST);
        }
        bench.assert_honest(&receiver);
        held = Some(receiver.held());
        if ending.outcome.is_some() {
            bench.assert_named(&receiver);
            break;
        }
    }
    assert!(bench.now < LONGEST, "it does not end");
    assert_eq!(ending.outcome, Some(Outcome::Complete));
    bench.assert_whole();
}

/// A window of one frame: a lost one is followed by silence, and so by a want. Found by
/// [`chunks_arrive`]: each loss began the chunk again, so that chunks of 38 parts never ended.
#[test]
fn a_lost_part_costs_the_part_and_not_the_chunk() {
    let noise = Noise { drops: 2070, flips: 6725, bursts: 15_379, repeats: 0 };
    let seed = 12_371_732_144_227_289_206;
    arrives((noise, seed, 174_024), (Codec::Lz4, &[(15, 16, 7)]), 1, 2, []);
}

/// The frame with the totals is lost and all contents have come before it comes again. Found by
/// [`the_dump_arrives`]: the receiver had nothing more to ask for, and left without them.
#[test]
fn totals_that_are_lost_come_before_the_end() {
    let noise = Noise { drops: 2307, flips: 7892, bursts: 8913, repeats: 10 };
    arrives((noise, 12_793_704_446_840_793_716, 227), (Codec::Raw, &[]), 6, 6, []);
}

/// A receiver that has all contents from an earlier session and only asks for a hash.
#[test]
fn no_hash_without_totals() {
    let mut bench = Bench::new(500, Noise::default(), 3);
    let mut slots = [Slot::default(); 64];
    let mut sender = Sender::new(config(), &mut slots, 0);
    let hello = Hello { session: 5, max_frame: 256, push: false, bulk: false, lz4: true };
    let check = Frame::Check(Range::new(2, 0, 500).expect("a range"));
    for (seq, frame) in [(1, Frame::Hello(hello)), (2, check)] {
        sender.receive(&Packet { seq, frame }, 0);
    }
    // The list is acknowledged, the totals at first are not.
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let (mut out, mut seen) = ([0; SMALL_FRAME], Vec::new());
    for now in 0..2000 {
        let SenderStep::Send(length) = sender.poll(&mut bench.memory, now, &mut out).expect("room")
        else {
            continue;
        };
        let Some(Event::Frame(packet)) = reader.next(&mut &out[..length], 5) else {
            panic!("no frame");
        };
        let name = match packet.frame {
            Frame::Totals(2, TOTALS) => "totals",
            Frame::Checked(..) => "checked",
            _ => "list",
        };
        seen.push(name);
        if name == "list" || seen.iter().filter(|name| **name == "totals").count() == 2 {
            let ack = Frame::Ack { highest: packet.seq, before: u64::MAX };
            sender.receive(&Packet { seq: 3 + seen.len() as u32, frame: ack }, now);
        }
    }
    assert_eq!(seen, ["list", "list", "list", "list", "totals", "totals", "checked"]);
}

/// As many views as there may be, at 9600 baud: the list takes longer than a hello is waited for,
/// and goes on when the hello comes again.
#[test]
fn a_list_that_takes_long_is_not_begun_again() {
    for window in [1, 4, 64] {
        let mut bench = Bench::new(2000, Noise::default(), 11);
        (bench.down.rate, bench.up.rate) = (1, 1);
        for _ in 3..MAX_VIEWS {
            bench.memory.views.push(("a-view-with-a-name-of-32-letters", Vec::new(), false));
            bench.files.push(Vec::new());
        }
        let mut slots = vec![Slot::default(); window];
        let mut sender = Sender::new(config(), &mut slots, 0);
        let mut receiver = receiver(Plan::Dump, None, 77, 0);
        assert_eq!(bench.run(&mut sender, &mut receiver, LONGEST), WHOLE, "window {window}");
        assert_eq!(receiver.views().count(), usize::from(MAX_VIEWS));
        bench.assert_whole();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the line does, and however often the collector is killed: the dump is whole in the
    /// end, and at no time is a byte wrong or an account false.
    #[test]
    fn the_dump_arrives(
        noise in noise(), seed in 1u64.., length in 0usize..60_000, window in 1usize..=64,
        chatter in 0u64..20, kills in prop::collection::vec(1u64..5000, 0..4), left in left(),
    ) {
        arrives((noise, seed, length), (Codec::Raw, &left), window, chatter, kills);
    }

    /// The same with chunks, which come in parts.
    #[test]
    fn chunks_arrive(
        noise in noise(), seed in 1u64.., length in 0usize..200_000, window in 1usize..=64,
        chatter in 0u64..20, kills in prop::collection::vec(1u64..9000, 0..4), left in left(),
    ) {
        arrives((noise, seed, length), (Codec::Lz4, &left), window, chatter, kills);
    }

    /// A line that loses nothing is cut at any byte, now and then; the bytes left in it may come to
    /// the next session first; collectors are replaced by others, which take bulks or do not. The
    /// memory is hostile, and parts of it cannot be read.
    #[test]
    fn bulks_arrive(
        seed in 1u64.., length in 0usize..200_000, window in 1usize..=64,
        poisoned in prop::collection::vec(0u64..3000, 0..3), hostile: bool, lz4: bool, left in left(),
        cuts in prop::collection::vec((1usize..100_000, any::<[bool; 4]>()), 0..5),
    ) {
        let mut bench = Bench::new(length, Noise::default(), seed);
        (bench.down.rate, bench.max_frame) = (2000, 65_536);
        bench.memory.poisoned =
            poisoned.iter().map(|line| line * 64).filter(|at| *at < length as u64).collect();
        if hostile {
            let forged = forged();
            bench.memory.views[2].1.chunks_mut(forged.len()).step_by(2)
                .for_each(|part| part.copy_from_slice(&forged[..part.len()]));
        }
        let mut slots = vec![Slot::default(); window];
        bench.leave_out(&left);
        bench.memory.codec = if lz4 { Codec::Lz4 } else { Codec::Raw };
        let config = SenderConfig { codec: bench.memory.codec, ..SenderConfig::console(ID) };
        let mut sender = Sender::new(config, &mut slots, 0);
        let mut receiver = taker(None, 100, 0);
        for (session, (bytes, how)) in (101..).zip(cuts) {
            bench.budget = bytes;
            bench.run(&mut sender, &mut receiver, LONGEST);
            bench.assert_honest(&receiver);
            if sender.outcome().is_some() { break }
            receiver = bench.cut(how, &mut sender, receiver, session);
        }
        bench.budget = usize::MAX;
        let ending = bench.run(&mut sender, &mut receiver, LONGEST);
        prop_assert!(bench.now < LONGEST, "it does not end");
        bench.assert_honest(&receiver);
        prop_assert_eq!(ending.outcome, Some(Outcome::Complete));
        bench.assert_whole();
        bench.assert_named(&receiver);
    }

    /// A line that is cut for good leaves an exact account.
    #[test]
    fn a_cut_leaves_an_exact_account(noise in noise(), seed in 1u64.., length in 5000usize..60_000, cut in 1u64..6000) {
        let mut bench = Bench::new(length, noise, seed);
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(config(), &mut slots, 0);
        let mut receiver = receiver(Plan::Dump, None, 100, 0);
        bench.run(&mut sender, &mut receiver, cut);
        bench.assert_honest(&receiver);
    }
}
