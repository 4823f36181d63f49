//! A view of a million scattered pages in 8 GiB over a fake line, within 256 KiB of memory on the
//! sender's side. The heap is counted, so this test has a program of its own, and one test in it.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dumpfile::chunk::{
    CHUNK, ChunkEntry, Codec, Encoder, MOST_COMPRESSED, PAGE, left_of, pages_of, totals,
};
use dumpfile::wire::{
    CLASSES, Event, Frame, FrameReader, Hello, Known, Packet, Range, Run, SMALL_FRAME, Sender,
    SenderConfig, SenderStep, Slot, Source, Unreadable, ViewInfo, Wants,
};
use vmcore::{DumpOffset, Error, PageClass, PhysAddr, PhysRange, Piece, ReadPhys, View, What};

/// Bytes in use and their peak, while the sender has its turn. One thread, so cells of a thread
/// will do.
struct Counting;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static NOW: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    if COUNTS.get() {
        NOW.set(NOW.get() + bytes);
        PEAK.set(PEAK.get().max(NOW.get()));
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// Runs the sender's side, and counts its memory.
fn counted<T>(work: impl FnOnce() -> T) -> T {
    COUNTS.set(true);
    let result = work();
    COUNTS.set(false);
    result
}

/// Length of the view: 8 GiB, with 2,097,152 pages; one half of them is kept.
const LENGTH: u64 = 8 << 30;
/// Chunks with a number that is a multiple of this keep nothing; the others keep all pages but
/// some.
const GONE: u64 = 4;

/// True if a page is kept: by a pure function of its number, in runs of 1 to 3 pages. The address
/// of a page is another than its offset.
fn is_kept(page: u64) -> bool {
    !(page / 16).is_multiple_of(GONE) && page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 != 0
}

fn class(page: u64) -> PageClass {
    if page & 64 == 0 { PageClass::Free } else { PageClass::User }
}

/// Place of the page: the order of pages is turned around within each MiB.
fn address(page: u64) -> PhysAddr {
    PhysAddr::new((page ^ 0xff) * PAGE)
}

/// Compression of so much takes minutes without optimization: of the others, only the selection is
/// real.
fn is_encoded(chunk: u32) -> bool {
    chunk.is_multiple_of(64) || chunk.is_multiple_of(63)
}

/// Stored bytes of the others.
const STORED: u32 = 500;

/// The first word of a page, then bytes that LZ4 makes shorter.
fn fill(page: u64, into: &mut [u8]) {
    into.fill(page as u8 | 1);
    into[..8].copy_from_slice(&page.to_le_bytes());
    // Every 16th chunk does not become shorter.
    if (page / 16).is_multiple_of(16) {
        let mut state = page | 1;
        for byte in &mut into[8..] {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
    }
}

#[derive(Debug)]
struct Scattered;

impl View for Scattered {
    fn len(&self) -> u64 {
        LENGTH
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        let offset = at.get();
        let (page, within) = (offset / PAGE, offset % PAGE);
        let len = (PAGE - within).min(most).min(LENGTH.checked_sub(offset)?);
        let what = match is_kept(page) {
            true => What::Phys(PhysRange::new(address(page).checked_add(within)?, len).ok()?),
            false => What::Left(class(page)),
        };
        (len > 0).then_some(Piece { at, len, what })
    }
}

/// Whole pages, made as they are read.
struct Memory;

impl ReadPhys for Memory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let (mut at, mut rest) = (at.get(), into);
        while !rest.is_empty() {
            let mut page = [0; PAGE as usize];
            fill((at / PAGE) ^ 0xff, &mut page);
            let within = (at % PAGE) as usize;
            let count = rest.len().min(PAGE as usize - within);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&page[within..within + count]);
            (at, rest) = (at + count as u64, later);
        }
        Ok(())
    }
}

/// The view as a source, as the capture kernel has it.
struct Machine {
    lz4: Option<(Encoder, Vec<u8>)>,
    last: Option<ChunkEntry>,
    totals: Option<[u64; CLASSES]>,
}

impl Source for Machine {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let codec = if self.lz4.is_some() { Codec::Lz4 } else { Codec::Raw };
        let info =
            ViewInfo { name: "vmcore", length: LENGTH, start: 0, pushed: true, level: 31, codec };
        (view == 0).then_some(info)
    }

    fn read(&mut self, _: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        let read = Scattered.read_at(DumpOffset::new(offset), bytes, &Memory);
        read.map(drop).map_err(|_| Unreadable)
    }

    fn known(&self, _: u16, offset: u64, most: u64) -> Known {
        let mut done = 0;
        while done < most.min(1 << 20) {
            let piece =
                Scattered.piece(DumpOffset::new(offset + done), most - done).expect("inside");
            match piece.what {
                What::Left(class) if done == 0 => return Known::Left(class, piece.len),
                What::Left(_) => break,
                _ => done += piece.len,
            }
        }
        Known::Kept(done)
    }

    fn run(&mut self, _: u16, offset: u64, most: u64) -> Run {
        Run::Bulk(Scattered.piece(DumpOffset::new(offset), most).map_or(most, |piece| piece.len))
    }

    fn chunk(&mut self, _: u16, chunk: u32) -> Option<ChunkEntry> {
        if let Some(last) = self.last.filter(|last| last.chunk == chunk) {
            return Some(last);
        }
        let (encoder, out) = self.lz4.as_mut()?;
        let entry = if is_encoded(chunk) {
            encoder.encode(&Scattered, chunk, &Memory, out)
        } else {
            let (left, stored) = (left_of(&Scattered, chunk), STORED);
            ChunkEntry { chunk, codec: Codec::Lz4, stored, crc: Some(0), left }
        };
        self.last = Some(entry);
        self.last
    }

    fn totals(&mut self, _: u16) -> Option<[u64; CLASSES]> {
        Some(*self.totals.get_or_insert_with(|| totals(&Scattered)))
    }
}

/// A fast receiver: it marks each page that has come, once in a session.
struct Marks(Vec<u8>);

impl Marks {
    fn mark(&mut self, range: Range, mark: impl Fn(u64) -> bool) {
        assert!(range.offset().is_multiple_of(PAGE) && range.length().is_multiple_of(PAGE));
        for page in range.offset() / PAGE..range.end() / PAGE {
            assert!(mark(page), "page {page} is not what it is said to be");
            self.0[page as usize] += 1;
        }
    }

    /// A chunk with its stored bytes. Those that are real are compared with memory.
    fn chunk(&mut self, entry: &ChunkEntry, stored: &[u8]) {
        let first = u64::from(entry.chunk) * 16;
        for page in 0..16 {
            let expected = (!is_kept(first + page)).then(|| class(first + page));
            assert_eq!(entry.left.get(page as usize), expected, "page {}", first + page);
            self.0[(first + page) as usize] += 1;
        }
        if !is_encoded(entry.chunk) {
            return;
        }
        let mut pages = vec![0; pages_of(entry.chunk, LENGTH) * PAGE as usize];
        let mut room = vec![0; CHUNK as usize];
        entry.decode(stored, LENGTH, &mut room, &mut pages).expect("a whole chunk");
        for (page, bytes) in (first..).zip(pages.chunks(PAGE as usize)) {
            let mut expected = [0; PAGE as usize];
            if is_kept(page) {
                fill(page, &mut expected);
            }
            assert!(bytes == expected, "page {page}");
        }
    }
}

/// Runs one session with the sender for `wants` (for all, if there are none), until nothing is left
/// or until `stop` chunks and bulks have come.
fn session(
    sender: &mut Sender<'_>,
    machine: &mut Machine,
    (number, stop): (u32, u64),
    wants: &[Range],
    marks: &mut Marks,
) -> u64 {
    let hello =
        Hello { session: number, max_frame: 256, push: wants.is_empty(), bulk: true, lz4: true };
    let (mut seq, mut highest, mut contents, mut out) = (1, 0, 0, [0; SMALL_FRAME]);
    sender.receive(&Packet { seq, frame: Frame::Hello(hello) }, 0);
    let mut wants = wants.chunks(8);
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let mut next = wants.next();
    loop {
        if let Some(ranges) = next.take() {
            let ranges: Wants = ranges.iter().copied().collect();
            seq += 1;
            sender.receive(&Packet { seq, frame: Frame::Want(ranges) }, 0);
        }
        let step = counted(|| sender.poll(machine, 0, &mut out)).expect("a large buffer");
        let head = match step {
            SenderStep::Send(length) => length,
            SenderStep::Bulk { head, .. } | SenderStep::Chunk { head, .. } => head,
            SenderStep::Busy => continue,
            SenderStep::Wait(_) if highest > 0 => {
                seq += 1;
                let ack = Frame::Ack { highest: std::mem::take(&mut highest), before: u64::MAX };
                sender.receive(&Packet { seq, frame: ack }, 0);
                continue;
            }
            SenderStep::Wait(_) => match wants.next() {
                Some(ranges) => {
                    next = Some(ranges);
                    continue;
                }
                None => return contents,
            },
            SenderStep::Finished(outcome) => panic!("{outcome}"),
        };
        // The reader returns the frame of a bulk or chunk after its bytes.
        let length = match step {
            SenderStep::Bulk { range, .. } => {
                marks.mark(range, is_kept);
                range.length()
            }
            SenderStep::Chunk { chunk, .. } => {
                let entry = machine.last.expect("it was encoded last");
                assert_eq!(entry.chunk, chunk);
                let (_, stored) = machine.lz4.as_ref().expect("a codec");
                marks.chunk(&entry, &stored[..entry.stored as usize]);
                entry.stored.into()
            }
            _ => 0,
        };
        contents += u64::from(length > 0);
        static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
        for mut input in [&out[..head], &ZEROS[..length as usize]] {
            while let Some(event) = reader.next(&mut input, number) {
                let Event::Frame(Packet { seq, frame }) = event else { continue };
                if frame.is_counted() {
                    highest = seq;
                }
                match frame {
                    Frame::Left(range, left) => {
                        marks.mark(range, |page| !is_kept(page) && class(page) == left);
                    }
                    Frame::Totals(0, totals) => assert_eq!(totals, expected_totals()),
                    Frame::Zero(_) | Frame::Data { .. } => panic!("no page is zero or small"),
                    _ => {}
                }
            }
        }
        if contents >= stop {
            return contents;
        }
    }
}

fn expected_totals() -> [u64; CLASSES] {
    let mut totals = [0; CLASSES];
    for page in 0..LENGTH / PAGE {
        let code = if is_kept(page) { 0 } else { class(page).code() };
        totals[usize::from(code)] += 1;
    }
    totals
}

/// The view in ranges of 64 MiB, which begin and end inside of chunks.
fn ranges() -> Vec<Range> {
    const STEP: u64 = 64 << 20;
    let bounds = |at: u64| if at == 0 || at >= LENGTH { at.min(LENGTH) } else { at + 5 * PAGE };
    let range = |at: u64| {
        let (from, to) = (bounds(at), bounds(at + STEP));
        Range::new(0, from, to - from).expect("a range")
    };
    (0..LENGTH / STEP).map(|index| range(index * STEP)).collect()
}

/// A sender's side of this codec: the memory that it needs.
fn machine(codec: Codec) -> (Machine, Vec<Slot>) {
    let memory = || (Encoder::new().expect("room"), vec![0; MOST_COMPRESSED]);
    let lz4 = (codec == Codec::Lz4).then(memory);
    (Machine { lz4, last: None, totals: None }, vec![Slot::default(); 64])
}

fn config(codec: Codec) -> SenderConfig {
    SenderConfig { codec, ..SenderConfig::console([7; 16]) }
}

#[test]
fn a_million_scattered_pages_go_out_in_any_order_within_256_kib() {
    let kept = expected_totals()[0];
    assert!(kept > 1_000_000, "{kept} pages");
    let (mut machine, mut slots) = counted(|| machine(Codec::Lz4));
    let mut sender = Sender::new(config(Codec::Lz4), &mut slots, 0);
    // As it is pushed. The collector goes away in the middle, and comes back for the rest.
    let mut marks = Marks(vec![0; (LENGTH / PAGE) as usize]);
    let came = session(&mut sender, &mut machine, (1, 30_000), &[], &mut marks);
    assert_eq!(came, 30_000);
    // It has kept a part of the last chunk.
    let last = marks.0.iter().rposition(|mark| *mark > 0).expect("something") as u64;
    let from = last / 16 * 16 * PAGE + 3 * PAGE;
    marks.0[(from / PAGE) as usize..].fill(0);
    let rest = Range::new(0, from, LENGTH - from).expect("a range");
    session(&mut sender, &mut machine, (2, u64::MAX), &[rest], &mut marks);
    assert!(marks.0.iter().all(|mark| *mark == 1), "in order");
    // Backwards, and in an order without one.
    let mut ranges = ranges();
    ranges.reverse();
    let mut shuffled = ranges.clone();
    shuffled.sort_by_key(|range| range.offset().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for (number, order) in (3..).zip([ranges, shuffled]) {
        let mut marks = Marks(vec![0; (LENGTH / PAGE) as usize]);
        session(&mut sender, &mut machine, (number, u64::MAX), &order, &mut marks);
        assert!(marks.0.iter().all(|mark| *mark == 1), "session {number}");
    }
    let peak = PEAK.get();
    assert!((MOST_COMPRESSED as i64..=256 << 10).contains(&peak), "{peak} bytes");
    counted(|| drop((machine, slots)));
    uncompressed();
}

/// The same without compression: each run of pages is a frame.
fn uncompressed() {
    NOW.set(0);
    PEAK.set(0);
    let (mut machine, mut slots) = counted(|| machine(Codec::Raw));
    let mut sender = Sender::new(config(Codec::Raw), &mut slots, 0);
    let mut marks = Marks(vec![0; (LENGTH / PAGE) as usize]);
    let ranges: Vec<Range> = ranges().into_iter().rev().step_by(40).collect();
    session(&mut sender, &mut machine, (1, u64::MAX), &ranges, &mut marks);
    for page in 0..LENGTH / PAGE {
        let wanted =
            ranges.iter().filter(|range| (range.offset()..range.end()).contains(&(page * PAGE)));
        assert_eq!(usize::from(marks.0[page as usize]), wanted.count(), "page {page}");
    }
    let peak = PEAK.get();
    assert!((1..=64 << 10).contains(&peak), "{peak} bytes");
}
