//! A machine whose memory is sent: the sender of a capture kernel, in a thread.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use dumpfile::LeftRanges;
use dumpfile::chunk::{CHUNK, ChunkEntry, Codec, Encoder, MOST_COMPRESSED};
use dumpfile::wire::{
    CLASSES, Event, Frame, FrameReader, Known, MAX_FRAME, Outcome, Piece, Range, Ranges,
    SMALL_FRAME, Sender, SenderConfig, SenderStep, Slot, Source, Stored, Unreadable, ViewInfo,
};
use vmcore::{DumpOffset, Error, PhysAddr, ReadPhys, View, What};

pub(crate) const ID: [u8; 16] = *b"0123456789abcdef";
pub(crate) const CONSOLE: &[u8] = b"kdump: a line of the console\x1b[2J\r\n";

/// A generator whose whole state is its seed (Marsaglia's xorshift64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The dead machine's memory.
pub(crate) struct Memory(pub(crate) Vec<(&'static str, u64, bool, Vec<u8>)>, pub(crate) Encoding);

/// The encoding of the vmcore.
#[derive(Default)]
pub(crate) struct Encoding {
    pub(crate) codec: Codec,
    /// The parts that are left out of it. They are zero in [`Memory`].
    pub(crate) left: LeftRanges,
    encoded: Option<(u32, ChunkEntry, Vec<u8>)>,
}

/// The vmcore as the encoder sees it.
#[derive(Debug)]
struct Vmcore<'m>(&'m Vec<u8>, &'m LeftRanges);

impl View for Vmcore<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<vmcore::Piece<'_>> {
        let most = most.min(self.len().checked_sub(at.get())?);
        let (what, len) = match known(self.1, at.get(), most) {
            Known::Left(class, len) => (What::Left(class), len),
            Known::Kept(len) => (What::Bytes(&self.0[at.get() as usize..][..len as usize]), len),
        };
        (len > 0).then_some(vmcore::Piece { at, len, what })
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

/// All that is encoded are bytes.
struct NoMemory;

impl ReadPhys for NoMemory {
    fn read_phys(&self, at: PhysAddr, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::MachineCheck { at })
    }
}

impl Memory {
    pub(crate) fn new(length: usize) -> Self {
        let mut dice = Dice(42);
        let mut vmcore: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
        vmcore[length / 4..length / 2].fill(0);
        let oldmem = (0..100_000).map(|_| dice.roll() as u8).collect();
        Self(
            vec![
                ("dmesg", 0, true, b"Kernel panic - not syncing\n".repeat(20)),
                ("vmcore", 0, true, vmcore),
                ("oldmem", 0x10_0000, false, oldmem),
            ],
            Encoding::default(),
        )
    }

    pub(crate) fn range(&self, range: Range) -> &[u8] {
        let (start, end) = (range.offset() as usize, range.end() as usize);
        &self.0[usize::from(range.view())].3[start..end]
    }

    pub(crate) fn view(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|view| view.0 == name).expect("a view").3
    }
}

impl Source for Memory {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let (name, start, pushed, bytes) = self.0.get(usize::from(view))?;
        let (length, codec) =
            (bytes.len() as u64, if view == 1 { self.1.codec } else { Codec::Raw });
        Some(ViewInfo { name, length, start: *start, pushed: *pushed, level: 0, codec })
    }

    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        let from = &self.0[usize::from(view)].3[offset as usize..];
        bytes.copy_from_slice(&from[..bytes.len()]);
        Ok(())
    }

    fn known(&self, view: u16, offset: u64, most: u64) -> Known {
        if view == 1 { known(&self.1.left, offset, most) } else { Known::Kept(most) }
    }

    fn chunk(&mut self, _: u16, chunk: u32) -> Option<ChunkEntry> {
        let mut out = vec![0; MOST_COMPRESSED];
        let view = Vmcore(&self.0[1].3, &self.1.left);
        let entry = Encoder::new().ok()?.encode(&view, chunk, &NoMemory, &mut out);
        out.truncate(entry.stored as usize);
        self.1.encoded = Some((chunk, entry, out));
        Some(entry)
    }

    fn stored(
        &mut self,
        view: u16,
        chunk: u32,
        offset: u32,
        bytes: &mut [u8],
    ) -> Result<(), Unreadable> {
        if self.1.encoded.as_ref().is_none_or(|encoded| encoded.0 != chunk) {
            self.chunk(view, chunk);
        }
        let (_, _, stored) = self.1.encoded.as_ref().ok_or(Unreadable)?;
        bytes.copy_from_slice(&stored[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn totals(&mut self, view: u16) -> Option<[u64; CLASSES]> {
        let mut totals = [0; CLASSES];
        totals[0] = (self.0[1].3.len() as u64 - self.1.left.total()).div_ceil(4096);
        for (class, bytes) in self.1.left.by_class() {
            totals[usize::from(class.code())] = bytes / 4096;
        }
        (view == 1).then_some(totals)
    }
}

/// Damages bytes as a bad line does: drops and flips, and now and then 64 bytes in a row.
pub(crate) struct Noise {
    dice: Dice,
    /// One byte in so many; zero for a good line.
    one_in: u64,
    burst: u32,
}

impl Noise {
    pub(crate) fn new(one_in: u64) -> Self {
        Self { dice: Dice(7), one_in, burst: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().filter_map(|byte| self.pass_byte(*byte)).collect()
    }

    fn pass_byte(&mut self, byte: u8) -> Option<u8> {
        if self.burst > 0 {
            self.burst -= 1;
            return Some(byte ^ self.dice.roll() as u8);
        }
        if self.one_in == 0 || !self.dice.roll().is_multiple_of(self.one_in) {
            return Some(byte);
        }
        match self.dice.roll() % 10 {
            0..=3 => None,
            4..=8 => Some(byte ^ self.dice.roll() as u8),
            _ => {
                self.burst = 64;
                None
            }
        }
    }
}

/// The capture kernel, in a thread: goes on with the same sender over one line after the other.
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    noise: Noise,
    pub(crate) max_frame: usize,
    pub(crate) bulk: bool,
    /// It goes once the receiver is through, and says nothing more.
    pub(crate) hurry: bool,
    started: Instant,
    pub(crate) sent: usize,
    /// The line is cut, once, when so many bytes have been sent.
    pub(crate) cut_at: usize,
    /// The machine falls silent, once, after this many bytes were sent and all of them are
    /// acknowledged.
    pub(crate) pause_at: usize,
    pub(crate) record: Record,
}

/// Contents that were sent, by view, and the acknowledged frames.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) contents: [Ranges; 3],
    session: u32,
    /// Highest number of a counted frame sent in this session, and of an acknowledged one.
    sent: u32,
    acknowledged: u32,
}

impl Record {
    /// Records a sent frame, with the bulk after it.
    fn sends(&mut self, bytes: &[u8], session: u32) {
        if session != self.session {
            (self.session, self.sent, self.acknowledged) = (session, 0, 0);
        }
        let mut reader = FrameReader::new(vec![0; MAX_FRAME]);
        let mut input = bytes;
        while let Some(event) = reader.next(&mut input, session) {
            let contents = match event {
                Event::Frame(packet) => {
                    if packet.frame.is_counted() {
                        self.sent = self.sent.max(packet.seq);
                    }
                    match packet.frame {
                        Frame::Data { view, offset, bytes } => (view, offset, bytes),
                        Frame::Part { view, chunk, offset, bytes } => {
                            (view, u64::from(chunk) * CHUNK + u64::from(offset), bytes)
                        }
                        _ => continue,
                    }
                }
                Event::Piece(Piece { view, offset, bytes }) => (view, offset, bytes),
                // Its raw offset, and a byte for each stored one.
                Event::Stored(Stored { chunk, offset, bytes }) => {
                    (chunk.view, chunk.entry.start() + u64::from(offset), bytes)
                }
                _ => continue,
            };
            let (view, offset, bytes) = contents;
            let ranges = &mut self.contents[usize::from(view)];
            ranges.insert((offset, offset + bytes.len() as u64)).expect("room");
        }
    }

    /// Bytes of a view that are in both records.
    pub(crate) fn again(&self, other: &Self, view: usize) -> u64 {
        let mut both = self.contents[view].clone();
        other.contents[view].iter().for_each(|range| both.exclude(range).expect("room"));
        self.contents[view].total() - both.total()
    }
}

/// The outcome, or nothing if the link was cut.
pub(crate) type Ended = Option<Outcome>;

impl Machine {
    pub(crate) fn new(memory: Memory, noise: u64) -> Self {
        let (started, noise) = (Instant::now(), Noise::new(noise));
        let max_frame = SMALL_FRAME;
        Self {
            memory,
            noise,
            max_frame,
            bulk: false,
            hurry: false,
            started,
            sent: 0,
            cut_at: usize::MAX,
            pause_at: usize::MAX,
            record: Record::default(),
        }
    }

    pub(crate) fn config(&self) -> SenderConfig {
        let timeout = 20_000;
        let (retransmit_after, linger) = (if self.bulk { 10_000 } else { 100 }, 300);
        SenderConfig {
            max_frame: self.max_frame,
            bulk: self.bulk,
            codec: self.memory.1.codec,
            timeout,
            retransmit_after,
            linger,
            ..SenderConfig::serial(ID)
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Serves one line with reads that do not block for long.
    pub(crate) fn serve(
        &mut self,
        sender: &mut Sender<'_>,
        line: &mut (impl Read + Write),
    ) -> Ended {
        let mut reader = FrameReader::new([0; SMALL_FRAME]);
        let mut out = vec![0; self.max_frame];
        let mut prints = 0;
        loop {
            for _ in 0..16 {
                if self.sent >= self.pause_at {
                    break;
                }
                let now = self.now();
                let (length, raw) =
                    match sender.poll(&mut self.memory, now, &mut out).expect("a buffer") {
                        SenderStep::Send(length) => (length, &[][..]),
                        SenderStep::Bulk { head, range } => (head, self.memory.range(range)),
                        SenderStep::Chunk { head, .. } => {
                            (head, self.memory.1.encoded.as_ref().map_or(&[][..], |chunk| &chunk.2))
                        }
                        SenderStep::Busy => continue,
                        SenderStep::Wait(_) => break,
                        SenderStep::Finished(outcome) => return Some(outcome),
                    };
                let frame = [&out[..length], raw].concat();
                self.record.sends(&frame, sender.session());
                prints += 1;
                let text = if prints % 50 == 0 { CONSOLE } else { &[] };
                let bytes = [text, &self.noise.pass(&frame)].concat();
                let left = self.cut_at.saturating_sub(self.sent).min(bytes.len());
                self.sent += bytes.len();
                if !write(line, &bytes[..left]) || left < bytes.len() {
                    self.cut_at = usize::MAX;
                    sender.disconnected(now);
                    return sender.outcome();
                }
            }
            let mut bytes = [0; 4096];
            let Some(count) = read(line, &mut bytes) else { return sender.outcome() };
            let bytes = self.noise.pass(&bytes[..count]);
            let mut input = &bytes[..];
            while let Some(event) = reader.next(&mut input, sender.session()) {
                if let Event::Frame(packet) = event {
                    if let Frame::Ack { highest, .. } = packet.frame {
                        self.record.acknowledged = highest;
                    }
                    sender.receive(&packet, self.now());
                }
            }
            if self.sent >= self.pause_at && self.record.acknowledged == self.record.sent {
                self.pause_at = usize::MAX;
                sender.disconnected(self.now());
                return None;
            }
            if self.hurry && sender.outcome().is_some() {
                return sender.outcome();
            }
        }
    }

    /// Serves every connection, until the dump is out.
    pub(crate) fn listen(mut self, listener: UnixListener) -> Outcome {
        let mut slots = [Slot::default(); 64];
        let mut sender = Sender::new(self.config(), &mut slots, 0);
        loop {
            let (mut stream, _) = listener.accept().expect("a collector");
            stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
            if let Some(outcome) = self.serve(&mut sender, &mut stream) {
                return outcome;
            }
        }
    }
}

/// Reads the available bytes; nothing if the other end is gone.
fn read(line: &mut impl Read, bytes: &mut [u8]) -> Option<usize> {
    match line.read(bytes) {
        Ok(0) => None,
        Ok(count) => Some(count),
        Err(error) => {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut).then_some(0)
        }
    }
}

/// Writes all of it, with timeout; false when nobody is there.
pub(crate) fn write(line: &mut impl Write, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match line.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return false,
        }
    }
    true
}
