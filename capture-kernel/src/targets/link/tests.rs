//! A link whose other end is the real receiver.

mod levels;

use super::*;
use crate::driver::dma::{DmaPiece, Limits, Pieces};
use crate::dump::NamedView;
use crate::fake::{FakeClock, bytes_of, logged, physical, slot};
use crate::targets::stay::{Stay, Visit};
use dumpfile::wire::{
    Event, Frame, FrameReader, HeldView, Plan, Receiver, ReceiverStep, ReceiverTimes, Write,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::rc::Rc;
use std::{vec, vec::Vec};
use vmcore::{DumpOffset, Error, Extent, Extents, PageClass, PhysAddr, PhysRange, What};

const PAGE: usize = 4096;

/// The dead kernel's memory: bytes of the test at their own addresses, some lines of which are bad.
struct Memory {
    bytes: Vec<u8>,
    bad: Vec<usize>,
}

impl ReadPhys for &Memory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let start = (at.get() - physical(&self.bytes).get()) as usize;
        let end = start + into.len();
        match self.bad.iter().find(|line| **line < end && start < **line + 64) {
            Some(_) => return Err(Error::MachineCheck { at }),
            None => into.copy_from_slice(&self.bytes[start..end]),
        }
        Ok(())
    }
}

impl Memory {
    /// As `vmcore()` lays it out: a head, then two loads with a gap after each. A line of memory is
    /// a line of the view.
    fn dump(&self) -> Dump {
        let range = |from: usize, to: usize| {
            Extent::Phys(
                PhysRange::new(physical(&self.bytes[from..]), (to - from) as u64).expect("fits"),
            )
        };
        let middle = self.bytes.len() / 3 / 64 * 64;
        let extents = vec![
            Extent::Bytes(vec![0x7f; 79 * 64]),
            range(0, middle),
            Extent::Zero(47 * 64),
            range(middle, self.bytes.len()),
            Extent::Zero(30),
        ];
        let named = |name, extents, start| NamedView {
            name,
            view: Rc::new(Extents::new(extents).expect("small")),
            start,
        };
        Dump {
            first: vec![named("dmesg-tail", vec![Extent::Bytes(b"it died\n".repeat(40))], 0)],
            bulk: Some(named("vmcore", extents, 0)),
            on_request: vec![named("oldmem", vec![range(0, self.bytes.len())], 0x1000)],
            ..Dump::default()
        }
    }

    /// The bytes of a view, where they cannot be read zeros.
    fn truth(&self, named: &NamedView) -> Vec<u8> {
        let mut memory = self.bytes.clone();
        for line in &self.bad {
            memory[*line..line + 64].fill(0);
        }
        let mut truth = Vec::new();
        let mut next = DumpOffset::new(0);
        while let Some(piece) = named.view.piece(next, u64::MAX) {
            match piece.what {
                What::Bytes(bytes) => truth.extend_from_slice(bytes),
                What::Zero | What::Left(_) => truth.resize(truth.len() + piece.len as usize, 0),
                What::Phys(range) => {
                    let start = (range.start().get() - physical(&self.bytes).get()) as usize;
                    truth.extend_from_slice(&memory[start..start + range.length() as usize]);
                }
            }
            next = piece.end();
        }
        truth
    }
}

/// Kind of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Nobody,
    /// Wants the dump, by bulk where that is offered.
    Collector,
    /// Reads a part of oldmem and leaves.
    Reader,
}

/// A link to a receiver: bytes that are sent arrive at once, unless they are lost.
struct FakeLink<'c> {
    clock: &'c FakeClock<'c>,
    limits: Option<Limits>,
    /// One byte in so many is lost, or another.
    noise: u64,
    dice: u64,
    /// The line fails when it has taken so many bytes.
    fails_at: usize,
    /// The collector is killed, and another begins where it stopped, when so many bytes have come.
    restarts_at: Vec<usize>,
    other: Other,
    receiver: Option<Receiver>,
    eyes: FrameReader<Vec<u8>>,
    up: VecDeque<u8>,
    sent: usize,
    /// Received data, by view.
    files: Vec<Vec<u8>>,
    zeros: Vec<(u64, u64)>,
    bulks: usize,
    holes: usize,
    chunks: usize,
    /// Bytes that frames have named as left out.
    left: u64,
    codec: Codec,
    /// The views of the collector, when it is through.
    ended: Option<Vec<HeldView>>,
    /// Of bulks: how many of their bytes are still to come, and whether any were sent since
    /// `drain`.
    undrained: bool,
    stopped: bool,
}

impl<'c> FakeLink<'c> {
    fn new(clock: &'c FakeClock<'c>, other: Other) -> Self {
        let mut line = Self {
            clock,
            limits: None,
            noise: 0,
            dice: 0x9e37_79b9_7f4a_7c15,
            fails_at: usize::MAX,
            restarts_at: Vec::new(),
            other,
            receiver: None,
            eyes: FrameReader::new(vec![0; 65_536]),
            up: VecDeque::new(),
            sent: 0,
            files: vec![Vec::new(); 3],
            zeros: Vec::new(),
            bulks: 0,
            holes: 0,
            chunks: 0,
            left: 0,
            codec: Codec::Raw,
            ended: None,
            undrained: false,
            stopped: false,
        };
        line.connect();
        line
    }

    /// A collector begins, or another goes on.
    fn connect(&mut self) {
        let held = self.receiver.take().map(|receiver| receiver.held());
        let plan = match self.other {
            Other::Nobody => return,
            Other::Collector => Plan::Dump,
            Other::Reader => {
                Plan::Part { view: "oldmem".into(), start: 0x1000 + 100, length: 9000 }
            }
        };
        let receiver = Receiver::new(plan, ReceiverTimes::default(), 65_536, held);
        let mut receiver = if self.limits.is_some() { receiver.taking_bulk() } else { receiver };
        receiver.connect(77 + self.sent as u32, self.clock.milliseconds());
        self.receiver = Some(receiver);
        self.eyes.restart();
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }

    /// Bytes as they come out of the line.
    fn through(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            match self.noise > 0 && self.roll().is_multiple_of(self.noise) {
                true if self.roll() & 1 == 0 => {}
                true => out.push(byte ^ 0x41),
                false => out.push(*byte),
            }
        }
        out
    }

    fn arrive(&mut self, bytes: &[u8]) -> Result<(), driver::Error> {
        self.sent += bytes.len();
        if self.sent >= self.fails_at {
            return Err(driver::Error::Timeout("take a byte to send"));
        }
        if self.restarts_at.first().is_some_and(|at| self.sent >= *at) {
            self.restarts_at.remove(0);
            self.connect();
        }
        let bytes = self.through(bytes);
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        let (mut input, now) = (&bytes[..], self.clock.milliseconds());
        loop {
            self.eyes.limit(receiver.frame_limit());
            let Some(event) = self.eyes.next(&mut input, receiver.session()) else { break };
            let write = match event {
                Event::Frame(packet) => {
                    match packet.frame {
                        Frame::View(view, info) => {
                            self.files[usize::from(view)].resize(info.length as usize, 0);
                        }
                        Frame::Zero(range) => self.zeros.push((range.offset(), range.length())),
                        Frame::Bulk(_) => self.bulks += 1,
                        Frame::Left(_, PageClass::Unreadable) => self.holes += 1,
                        Frame::Left(range, PageClass::Offline) => self.left += range.length(),
                        Frame::Chunk(_) => self.chunks += 1,
                        _ => {}
                    }
                    receiver.receive(&packet, now).expect("a sender in order")
                }
                Event::Piece(piece) => receiver.receive_piece(&piece).expect("a sender in order"),
                Event::Stored(stored) => {
                    receiver.receive_stored(&stored);
                    None
                }
                Event::Text(_) => None,
                other => panic!("{other:?}"),
            };
            if let Some(Write { view, offset, bytes }) = write {
                self.files[usize::from(view)][offset as usize..][..bytes.len()]
                    .copy_from_slice(&bytes);
            }
        }
        Ok(())
    }

    /// The collector's turn.
    fn answer(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        let mut out = [0; 256];
        loop {
            match receiver.poll(self.clock.milliseconds(), &mut out).expect("a sender in order") {
                ReceiverStep::Send(length) => {
                    let out = self.through(&out[..length]);
                    self.up.extend(out);
                }
                ReceiverStep::Compare(range, sha256) => {
                    let file = &mut self.files[usize::from(range.view())];
                    let bytes = &mut file[range.offset() as usize..range.end() as usize];
                    let same = Sha256::digest(&*bytes)[..] == sha256;
                    if receiver.compared(range, same) {
                        bytes.fill(0);
                    }
                }
                ReceiverStep::Wait(_) => break,
                ReceiverStep::Finished(_) => {
                    self.ended = Some(receiver.held().views);
                    return;
                }
            }
        }
        self.receiver = Some(receiver);
    }
}

impl Link for &mut FakeLink<'_> {
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, driver::Error> {
        self.answer();
        let count = self.up.len().min(into.len()).min(16);
        into.iter_mut().zip(self.up.drain(..count)).for_each(|(place, byte)| *place = byte);
        Ok(count)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), driver::Error> {
        self.arrive(bytes)
    }

    fn bulk(&self) -> Option<Limits> {
        self.limits
    }

    fn send_bulk(&mut self, head: &[u8], pieces: Pieces) -> Result<(), driver::Error> {
        let limits = self.limits.expect("no bulk without DMA");
        assert!(!pieces.is_empty() && pieces.len() <= limits.pieces);
        assert!(pieces.iter().map(DmaPiece::length).sum::<u64>() <= limits.bytes);
        self.arrive(head)?;
        for piece in &pieces {
            assert!((1..=limits.piece).contains(&piece.length()));
            self.arrive(&bytes_of(piece))?;
        }
        self.undrained = true;
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<bool, driver::Error> {
        Ok(false)
    }

    fn drain(&mut self) -> Result<(), driver::Error> {
        self.undrained = false;
        Ok(())
    }

    fn stop(&mut self) -> Result<(), driver::Error> {
        self.stopped = true;
        Ok(())
    }
}

/// Pages of memory: zeros and others.
fn pages(kinds: &[bool]) -> Vec<u8> {
    kinds
        .iter()
        .enumerate()
        .flat_map(|(page, full)| [if *full { page as u8 | 1 } else { 0 }; PAGE])
        .collect()
}

fn config(line: &FakeLink<'_>) -> SenderConfig {
    let config = SenderConfig::serial([0; 16]);
    SenderConfig { bulk: line.limits.is_some(), codec: line.codec, timeout: 5000, ..config }
}

/// Delivers, and returns the stages that were reached.
fn deliver(
    line: &mut FakeLink<'_>,
    memory: &Memory,
    dump: &Dump,
) -> (Result<(), TargetError>, Vec<Stage>) {
    let (config, clock) = (config(line), line.clock);
    let mut stages = Vec::new();
    let mut target = LinkTarget::new(line, memory, slot(), clock, config);
    let result = target.deliver(dump, &mut |stage| stages.push(stage));
    target.stop().expect("it stops");
    (result, stages)
}

/// Asserts that the pushed views have come, byte for byte.
fn assert_whole(line: &FakeLink<'_>, memory: &Memory, dump: &Dump) {
    for ((view, pushed), file) in dump.views(dump.bulk.as_ref()).zip(&line.files) {
        let come = if pushed { memory.truth(view) } else { vec![0; view.view.len() as usize] };
        assert!(*file == come, "{} differs", view.name);
    }
}

const ALL: [Stage; 2] = [Stage::FirstByte, Stage::LastByte];
const DMA: Limits =
    Limits { bytes: 64 << 10, pieces: 3, piece: 20_000, align: 1, address_bits: 64 };

#[test]
fn a_dump_goes_out_in_frames() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true; 6]), bad: vec![2 * PAGE + 128] };
    let (mut line, dump) = (FakeLink::new(&clock, Other::Collector), memory.dump());
    assert_eq!(deliver(&mut line, &memory, &dump), (Ok(()), ALL.to_vec()));
    assert_whole(&line, &memory, &dump);
    assert!(line.holes > 0 && line.stopped);
    assert_eq!(line.bulks, 0);
}

#[test]
fn a_run_of_zeros_is_one_frame() {
    for limits in [None, Some(DMA)] {
        let clock = FakeClock::default();
        let kinds: Vec<bool> = (0..1000).map(|page| page == 0 || page == 999).collect();
        let memory = Memory { bytes: pages(&kinds), bad: Vec::new() };
        let (mut line, dump) = (FakeLink::new(&clock, Other::Nobody), memory.dump());
        (line.limits, line.other) = (limits, Other::Collector);
        line.connect();
        assert_eq!(deliver(&mut line, &memory, &dump).0, Ok(()));
        assert_whole(&line, &memory, &dump);
        // All pages but two and the rest of a frame, and the gap between the loads; the one at the
        // end is less than a line.
        let run = line.zeros.iter().find(|run| run.1 >= 997 * PAGE as u64);
        assert!(run.is_some() && line.zeros.len() <= 2, "{:?}", line.zeros);
    }
}

#[test]
fn bulks_go_out_from_where_they_lie() {
    let clock = FakeClock::default();
    // Runs of zeros that are not worth a frame, and one that is.
    let kinds: Vec<bool> =
        (0..600).map(|page| page % 5 == 0 && !(300..310).contains(&page)).collect();
    let memory = Memory { bytes: pages(&kinds), bad: vec![40 * PAGE + 256, 41 * PAGE] };
    let (mut line, dump) = (FakeLink::new(&clock, Other::Nobody), memory.dump());
    (line.limits, line.other) = (Some(DMA), Other::Collector);
    line.connect();
    assert_eq!(deliver(&mut line, &memory, &dump), (Ok(()), ALL.to_vec()));
    assert_whole(&line, &memory, &dump);
    assert!(line.bulks > 3 && line.holes == 2, "{} {}", line.bulks, line.holes);
    assert!(line.zeros.len() < 12, "{:?}", line.zeros);
    assert!(!line.undrained, "stopped before all was out");
}

/// Unplugged memory is named, whether its chunk is compressed or not.
#[test]
fn chunks_go_out_compressed_and_unplugged_memory_is_named() {
    for (limits, codec) in
        [(None, Codec::Raw), (Some(DMA), Codec::Raw), (None, Codec::Lz4), (Some(DMA), Codec::Lz4)]
    {
        let clock = FakeClock::default();
        // A page of zeros in each chunk, and a chunk with a line that cannot be read.
        let kinds: Vec<bool> = (0..160).map(|page| page % 16 != 5).collect();
        let memory = Memory { bytes: pages(&kinds), bad: vec![35 * PAGE] };
        let (mut line, mut dump) = (FakeLink::new(&clock, Other::Nobody), memory.dump());
        let phys = |from: usize, to: usize| {
            let length = (to - from) as u64;
            Extent::Phys(PhysRange::new(physical(&memory.bytes[from..]), length).expect("fits"))
        };
        // Left out are some pages of a chunk, and more than another one.
        let extents = vec![
            phys(0, 70 * PAGE),
            Extent::Left(PageClass::Offline, 4 * PAGE as u64),
            phys(74 * PAGE, 90 * PAGE),
            Extent::Left(PageClass::Offline, 40 * PAGE as u64),
            phys(130 * PAGE, 160 * PAGE - 30),
        ];
        let view = Rc::new(Extents::new(extents).expect("small"));
        dump.bulk = Some(NamedView { name: "vmcore", view, start: 0 });
        (line.limits, line.codec, line.other) = (limits, codec, Other::Collector);
        line.connect();
        assert_eq!(deliver(&mut line, &memory, &dump), (Ok(()), ALL.to_vec()));
        assert_whole(&line, &memory, &dump);
        // Two of ten chunks are left out as a whole, and one is sent as it is for the bad line.
        assert_eq!(line.chunks, if codec == Codec::Lz4 { 7 } else { 0 });
        assert_eq!(line.holes, 1);
        let lists = &line.ended.as_ref().and_then(|views| views.last()).expect("a collector").left;
        let left: Vec<_> = lists.iter().filter(|range| range.class == PageClass::Offline).collect();
        let left: Vec<_> = left.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(left, [(70, 74), (90, 130)].map(|(from, to)| (from * 4096, to * 4096)));
        let whole = if codec == Codec::Lz4 { 2 * 16 } else { 44 };
        assert_eq!(line.left, whole * 4096, "the others are told with their chunks");
        let pages = 160 - 44;
        let bytes = if codec == Codec::Lz4 { 20 * 4096 } else { pages * 4096 };
        assert!(line.sent < bytes * 256 / 200, "{} bytes", line.sent);
    }
}

/// In a slot that has no room for it, the dump must still get out.
#[test]
fn without_memory_for_lz4_memory_is_sent_as_it_is() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true; 40]), bad: Vec::new() };
    let (mut line, mut dump) = (FakeLink::new(&clock, Other::Collector), memory.dump());
    line.codec = Codec::Lz4;
    // More than there is.
    dump.later = crate::dump::Later::new(1 << 60, Vec::new);
    let config = config(&line);
    let mut target = LinkTarget::new(&mut line, &memory, slot(), &clock, config);
    let (delivered, logged) = logged(|| target.deliver(&dump, &mut |_| ()));
    assert_eq!(delivered, Ok(()));
    assert_eq!(logged, ["no room for lz4 in this slot: memory is sent as it is"]);
    assert_eq!(line.chunks, 0);
    assert_whole(&line, &memory, &dump);
}

#[test]
fn nobody_is_waited_for_as_long_as_was_said() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true]), bad: Vec::new() };
    let mut line = FakeLink::new(&clock, Other::Nobody);
    let (result, stages) = deliver(&mut line, &memory, &memory.dump());
    assert_eq!(result, Err(TargetError::Collector(Outcome::Nobody)));
    assert_eq!(stages, []);
    assert!((5000..6000).contains(&clock.milliseconds()));
}

#[test]
fn a_line_that_fails_half_way_says_so() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true; 40]), bad: Vec::new() };
    let mut line = FakeLink::new(&clock, Other::Collector);
    line.fails_at = 20_000;
    let (result, stages) = deliver(&mut line, &memory, &memory.dump());
    assert_eq!(result, Err(TargetError::Device(driver::Error::Timeout("take a byte to send"))));
    assert_eq!(stages, [Stage::FirstByte]);
}

#[test]
fn without_a_bulk_the_small_views_leave_and_it_is_no_dump() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true]), bad: Vec::new() };
    let mut line = FakeLink::new(&clock, Other::Collector);
    let dump = Dump { bulk: None, on_request: Vec::new(), ..memory.dump() };
    assert_eq!(deliver(&mut line, &memory, &dump).0, Err(TargetError::NothingToSend));
    assert_eq!(line.files[0], b"it died\n".repeat(40));
    let sent = line.sent;
    assert_eq!(deliver(&mut line, &memory, &Dump::default()).0, Err(TargetError::NothingToSend));
    assert_eq!(line.sent, sent);
}

#[test]
fn who_reads_a_part_gets_it_and_the_next_gets_the_dump() {
    let clock = FakeClock::default();
    let memory = Memory { bytes: pages(&[true; 6]), bad: Vec::new() };
    let (mut line, dump) = (FakeLink::new(&clock, Other::Reader), memory.dump());
    let (result, stages) = deliver(&mut line, &memory, &dump);
    assert_eq!(result, Err(TargetError::Collector(Outcome::Silent)), "it left, and nobody came");
    assert!(!stages.contains(&Stage::LastByte));
    let mut part = vec![0; 6 * PAGE];
    part[100..9100].copy_from_slice(&memory.bytes[100..9100]);
    assert!(line.files[2] == part);
    assert!(line.files[1].iter().all(|byte| *byte == 0), "nothing is pushed to a reader");
}

/// Delivers to the targets of a list, and counts.
struct Scripted(VecDeque<Result<(), TargetError>>);

impl Target for Scripted {
    fn deliver(&mut self, _: &Dump, _: &mut dyn FnMut(Stage)) -> Result<(), TargetError> {
        self.0.pop_front().expect("not asked again")
    }

    fn stop(&mut self) -> Result<(), driver::Error> {
        Ok(())
    }
}

#[test]
fn a_visit_awhile_ends_with_the_first_dump_or_in_silence() {
    let memory = Memory { bytes: pages(&[true]), bad: Vec::new() };
    let nobody = Err(TargetError::Collector(Outcome::Nobody));
    let silent = Err(TargetError::Collector(Outcome::Silent));
    let gave_up = Err(TargetError::Collector(Outcome::GaveUp));
    let stuck = Err(TargetError::Device(driver::Error::Timeout("take a byte to send")));
    let stay = |visit, script: &[Result<(), TargetError>]| {
        let mut target = Stay::new(Scripted(script.iter().copied().collect()), visit);
        let result = target.deliver(&memory.dump(), &mut |_| ());
        target.stop().expect("it stops");
        result
    };
    for (outcome, expected) in [
        (nobody, Err(TargetError::NoTarget)),
        (silent, Err(TargetError::NoTarget)),
        (gave_up, gave_up),
        (Ok(()), Ok(())),
    ] {
        assert_eq!(stay(Visit::Awhile, &[outcome]), expected);
    }
    let all = [nobody, Ok(()), silent, gave_up, Err(TargetError::NothingToSend), stuck];
    assert_eq!(stay(Visit::ForGood, &all), stuck, "only the line itself ends it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// For any losses, and any number of kills of the collector: its files equal the views in the
    /// end.
    #[test]
    fn the_collector_holds_what_the_views_are(
        kinds in prop::collection::vec(any::<bool>(), 3..20),
        bad in prop::collection::vec(0usize..60, 0..3),
        noise in prop_oneof![Just(0u64), 300u64..5000],
        mut restarts_at in prop::collection::vec(1usize..60_000, 0..4),
        dice in 1u64..,
        bulk in any::<bool>(),
        lz4 in any::<bool>(),
    ) {
        let clock = FakeClock::default();
        let bytes = pages(&kinds);
        let bad = bad.into_iter().map(|line| line * 64 * kinds.len() % bytes.len() / 64 * 64).collect();
        let memory = Memory { bytes, bad };
        let (mut line, dump) = (FakeLink::new(&clock, Other::Nobody), memory.dump());
        restarts_at.sort_unstable();
        line.restarts_at = restarts_at;
        line.dice = dice;
        (line.noise, line.other) = (if bulk { 0 } else { noise }, Other::Collector);
        line.limits = bulk.then_some(DMA);
        line.codec = if lz4 { Codec::Lz4 } else { Codec::Raw };
        line.connect();
        let (result, _) = deliver(&mut line, &memory, &dump);
        prop_assert_eq!(result, Ok(()));
        assert_whole(&line, &memory, &dump);
    }
}
