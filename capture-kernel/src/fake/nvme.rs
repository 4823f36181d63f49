//! A fake NVMe controller: it follows queues and PRP lists by physical address, as the
//! specification has it (NVM Express Base 2.0).

#![expect(unsafe_code, reason = "a device follows physical addresses, here pointers")]

use super::Done;
use crate::driver::registers::Registers;
use core::cell::RefCell;
use core::ops::Range;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const PAGE: u64 = 4096;

/// Bits of the status register.
pub(crate) const READY: u32 = 1;
pub(crate) const FATAL: u32 = 2;
pub(crate) const SHUTTING_DOWN: u32 = 1 << 2;

/// A namespace: its number, its contents, and the answer to Identify.
pub(crate) struct Space {
    pub(crate) id: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

impl Space {
    /// A namespace in blocks of `1 << shift` bytes.
    pub(crate) fn new(id: u32, bytes: Vec<u8>, shift: u8) -> Self {
        let mut answer = vec![0; 4096];
        answer[..8].copy_from_slice(&(bytes.len() as u64 >> shift).to_le_bytes());
        // The third of four formats.
        (answer[25], answer[26], answer[128 + 4 * 2 + 2]) = (3, 2, shift);
        Self { id, bytes, answer }
    }
}

/// One submission queue with its completion queue.
#[derive(Default)]
struct Pair {
    /// Addresses and entries: of commands, of completions.
    places: [(u64, u32); 2],
    head: u32,
    tail: u32,
    /// The place of the next completion, its phase, and the driver's place.
    next: u32,
    phase: u32,
    taken: u32,
    /// Completions for which there is no room.
    held: VecDeque<[u32; 4]>,
}

/// A command on the I/O queue.
struct Command {
    words: [u32; 16],
    /// Parts of memory.
    parts: Vec<(u64, usize)>,
}

/// Behaviour of the fake controller, and a record of its use.
#[derive(Default)]
pub(crate) struct Ssd {
    pub(crate) capabilities: u64,
    /// Configuration and status registers.
    pub(crate) configuration: u32,
    pub(crate) status: u32,
    /// Reads of the status until a change is there; never, if there is none.
    pub(crate) start_time: Option<u32>,
    pub(crate) stop_time: Option<u32>,
    pub(crate) shutdown_time: Option<u32>,
    /// It fails when it is enabled.
    pub(crate) fails_to_start: bool,
    /// All registers read as all ones.
    pub(crate) is_gone: bool,
    /// It is gone from this I/O command on, counted from 0.
    pub(crate) gone_after: Option<usize>,
    /// It has a fatal error from this I/O command on.
    pub(crate) fatal_after: Option<usize>,
    pub(crate) controller: Vec<u8>,
    pub(crate) spaces: Vec<Space>,
    /// The list of namespaces, if it is another one than that of `spaces`.
    pub(crate) list: Option<Vec<u32>>,
    /// An admin command with this opcode gets this status, or no answer.
    pub(crate) refuses: Option<(u8, Option<u16>)>,
    /// I/O commands are not answered from this many on.
    pub(crate) stalls_after: Option<usize>,
    /// These I/O commands, counted from 0, get this status.
    pub(crate) fails: Range<usize>,
    pub(crate) failure: u16,
    /// Every completion on the I/O queue has this number, or this queue.
    pub(crate) answers_with: Option<u16>,
    pub(crate) answers_for: Option<u16>,
    /// Every completion comes twice.
    pub(crate) answers_twice: bool,
    /// Every completion on the I/O queue has the number of an earlier command in the same slot.
    pub(crate) answers_late: bool,
    /// I/O commands wait until [`Self::answer`]; a reset forgets them.
    pub(crate) lags: bool,
    /// Those, each with the bytes of the memory that the device reads.
    waiting: VecDeque<(Command, Vec<u8>)>,
    admin: [u32; 5],
    queues: [Option<Pair>; 2],
    pub(crate) requests: usize,
    pub(crate) resets: usize,
    pub(crate) most_in_flight: usize,
    /// The writes and flushes that it has done.
    pub(crate) log: Vec<Done>,
}

/// Queues of 64 entries, time to be ready, the NVM command set.
pub(crate) const ORDINARY: u64 = 63 | 1 << 16 | 2 << 24 | 1 << 37;

fn words<const N: usize>(at: u64) -> [u32; N] {
    // SAFETY: the driver under test gave the address of its memory.
    unsafe { (at as *const [u32; N]).read_unaligned() }
}

#[expect(clippy::mut_from_ref, reason = "memory of the driver, at a physical address")]
fn memory(&(at, length): &(u64, usize)) -> &mut [u8] {
    // SAFETY: as in `words`; it lives until the command is back.
    unsafe { core::slice::from_raw_parts_mut(at as *mut u8, length) }
}

/// The parts of memory of `length` bytes by PRP entries.
fn parts(entries: [u64; 2], mut length: usize) -> Vec<(u64, usize)> {
    let [first, second] = entries;
    assert!(first.is_multiple_of(4), "a multiple of four");
    let start = length.min((PAGE - first % PAGE) as usize);
    let mut parts = vec![(first, start)];
    length -= start;
    let mut list = (length as u64 > PAGE).then_some(second);
    let mut next = second;
    while length > 0 {
        if let Some(at) = &mut list {
            assert!(at.is_multiple_of(8));
            let is_last = *at % PAGE == PAGE - 8;
            [next] = [words::<2>(*at)].map(|[low, high]| u64::from(high) << 32 | u64::from(low));
            *at += 8;
            if is_last && length as u64 > PAGE {
                *at = next;
                continue;
            }
        }
        assert!(next.is_multiple_of(PAGE), "a page");
        let now = length.min(PAGE as usize);
        parts.push((next, now));
        length -= now;
    }
    parts
}

impl Ssd {
    /// A controller with one namespace, number 1, in blocks of 512 bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Rc<RefCell<Self>> {
        Self::with(vec![Space::new(1, bytes, 9)])
    }

    pub(crate) fn with(spaces: Vec<Space>) -> Rc<RefCell<Self>> {
        let mut controller = vec![0; 4096];
        // Data up to 512 KiB, entries of 64 and 16 bytes, 1000 namespaces, a write cache.
        (controller[77], controller[512], controller[513], controller[525]) = (7, 0x66, 0x44, 1);
        controller[516..520].copy_from_slice(&1000_u32.to_le_bytes());
        Rc::new(RefCell::new(Self {
            capabilities: ORDINARY,
            start_time: Some(3),
            stop_time: Some(3),
            shutdown_time: Some(3),
            controller,
            spaces,
            ..Self::default()
        }))
    }

    /// Answers one of the commands that wait, whose memory must be unchanged; true if there was
    /// one.
    pub(crate) fn answer(&mut self, number: usize) -> bool {
        let Some((command, bytes)) = self.waiting.remove(number) else { return false };
        assert!(read(&command) == bytes, "memory has changed while the device had it");
        self.carry_out(&command);
        true
    }

    /// Fails unless the memory of all commands that wait is as it was.
    #[track_caller]
    pub(crate) fn assert_memory_unchanged(&self) {
        let is_same = |(command, bytes): &(Command, Vec<u8>)| read(command) == *bytes;
        assert!(self.waiting.iter().all(is_same), "memory has changed while the device had it");
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn read(&mut self, offset: usize) -> u32 {
        if self.is_gone {
            return u32::MAX;
        }
        match offset {
            0x00 => self.capabilities as u32,
            0x04 => (self.capabilities >> 32) as u32,
            0x08 => 0x0001_0400,
            0x14 => self.configuration,
            0x1c => {
                self.pass();
                self.status
            }
            _ => panic!("register {offset:#x}"),
        }
    }

    /// Time passes.
    fn pass(&mut self) {
        let is_over = |time: &mut Option<u32>| match time {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if self.status & SHUTTING_DOWN != 0 && is_over(&mut self.shutdown_time) {
            self.status = self.status & !SHUTTING_DOWN | 2 << 2;
        }
        let is_enabled = self.configuration & 1 != 0;
        let time = if is_enabled { &mut self.start_time } else { &mut self.stop_time };
        let is_changing = is_enabled != (self.status & READY != 0);
        if is_changing && is_over(time) {
            match (is_enabled, self.fails_to_start) {
                (true, true) => self.status = FATAL,
                (true, false) => self.status |= READY,
                _ => self.status = 0,
            }
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let stride = 4 << (self.capabilities >> 32 & 15);
        match offset {
            0x0c => {}
            0x14 => self.configure(value),
            0x24 => self.admin[0] = value,
            0x28..0x38 => self.admin[(offset - 0x24) / 4] = value,
            0x1000.. => {
                let number = (offset - 0x1000) / stride;
                assert_eq!(number * stride + 0x1000, offset);
                self.ring(number / 2, number % 2, value);
            }
            _ => panic!("register {offset:#x}"),
        }
    }

    fn configure(&mut self, value: u32) {
        let was = core::mem::replace(&mut self.configuration, value);
        match (was & 1, value & 1) {
            (0, 1) => {
                assert_eq!(self.status & READY, 0, "enabled before it has stopped");
                assert_eq!(value, 4 << 20 | 6 << 16 | 1);
                let [sizes, low, high, other_low, other_high] = self.admin;
                let at = |low, high| u64::from(high) << 32 | u64::from(low);
                let places = [
                    (at(low, high), (sizes & 0xfff) + 1),
                    (at(other_low, other_high), (sizes >> 16 & 0xfff) + 1),
                ];
                self.queues = [Some(Pair { places, phase: 1, ..Pair::default() }), None];
            }
            (1, 0) => {
                let is_early = self.status & (READY | FATAL) == 0 && self.start_time.is_some();
                assert!(!is_early, "stopped while it was starting");
                self.queues = [None, None];
                self.waiting.clear();
                self.status &= !FATAL;
                self.resets += 1;
            }
            _ => {}
        }
    }

    fn ring(&mut self, queue: usize, kind: usize, entry: u32) {
        if self.is_gone || self.status & FATAL != 0 {
            return;
        }
        assert_ne!(self.status & READY, 0);
        let pair = self.queues[queue].as_mut().expect("the queue is there");
        assert!(entry < pair.places[kind].1, "inside the queue");
        if kind == 1 {
            pair.taken = entry;
            let held = core::mem::take(&mut pair.held);
            held.into_iter().for_each(|entry| self.complete(queue, entry));
            return;
        }
        pair.tail = entry;
        while let Some(words) = self.next(queue) {
            match queue {
                0 => self.admin_command(&words),
                _ => self.io_command(words),
            }
        }
    }

    fn next(&mut self, queue: usize) -> Option<[u32; 16]> {
        let pair = self.queues[queue].as_mut()?;
        let (at, entries) = pair.places[0];
        let is_there = pair.head != pair.tail;
        let words = is_there.then(|| words(at + 64 * u64::from(pair.head)))?;
        pair.head = (pair.head + 1) % entries;
        Some(words)
    }

    /// Completes a command of a queue with this value and status.
    fn answer_command(&mut self, queue: usize, words: &[u32; 16], value: u32, status: u16) {
        let head = self.queues[queue].as_ref().map_or(0, |pair| pair.head);
        let (mut id, mut of) = ((words[0] >> 16) as u16, queue as u16);
        if queue == 1 {
            (id, of) = (self.answers_with.unwrap_or(id), self.answers_for.unwrap_or(of));
            id = id.wrapping_sub(u16::from(self.answers_late) << 4);
        }
        let last = u32::from(id) | u32::from(status) << 17;
        for _ in 0..=usize::from(queue == 1 && self.answers_twice) {
            self.complete(queue, [value, 0, head | u32::from(of) << 16, last]);
        }
    }

    fn complete(&mut self, queue: usize, mut entry: [u32; 4]) {
        let Some(pair) = &mut self.queues[queue] else { return };
        let (at, entries) = pair.places[1];
        if (pair.next + 1) % entries == pair.taken {
            pair.held.push_back(entry);
            return;
        }
        entry[3] |= pair.phase << 16;
        let place = (at + 16 * u64::from(pair.next)) as *mut [u32; 4];
        // SAFETY: the driver under test gave the address of its queue.
        unsafe { place.write_unaligned(entry) };
        pair.next += 1;
        if pair.next == entries {
            (pair.next, pair.phase) = (0, pair.phase ^ 1);
        }
    }

    fn admin_command(&mut self, words: &[u32; 16]) {
        let opcode = words[0] as u8;
        let status = match self.refuses {
            Some((refused, None)) if refused == opcode => return,
            Some((refused, Some(status))) if refused == opcode => status,
            _ => self.administer(opcode, words),
        };
        self.answer_command(0, words, 0, status);
    }

    /// Carries out an admin command; returns its status.
    fn administer(&mut self, opcode: u8, words: &[u32; 16]) -> u16 {
        let data = u64::from(words[7]) << 32 | u64::from(words[6]);
        let (id, entries) = (words[10] & 0xffff, (words[10] >> 16) + 1);
        let most = u32::from(self.capabilities as u16);
        match opcode {
            // Interrupts are off, the memory is contiguous.
            0x05 if id == 1 && entries <= most + 1 && words[11] == 1 => {
                assert!(data.is_multiple_of(PAGE));
                let places = [(0, 0), (data, entries)];
                self.queues[1] = Some(Pair { places, phase: 1, ..Pair::default() });
                0
            }
            0x01 if id == 1 && entries <= most + 1 && words[11] == 1 << 16 | 1 => {
                assert!(data.is_multiple_of(PAGE));
                let pair = self.queues[1].as_mut().expect("completions come first");
                pair.places[0] = (data, entries);
                0
            }
            0x06 => {
                let Some(answer) = self.identify(words[10], words[1]) else { return 0x0b };
                memory(&(data, 4096)).copy_from_slice(&answer);
                0
            }
            0x09 if words[10] == 7 && words[11] == 0 => 0,
            _ => 0x02,
        }
    }

    fn identify(&self, subject: u32, namespace: u32) -> Option<Vec<u8>> {
        match subject {
            0 => self.space(namespace).map(|number| self.spaces[number].answer.clone()),
            1 => Some(self.controller.clone()),
            2 => {
                let own = || self.spaces.iter().map(|space| space.id).collect();
                let ids: Vec<u32> = self.list.clone().unwrap_or_else(own);
                let mut answer: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                answer.resize(4096, 0);
                Some(answer)
            }
            _ => None,
        }
    }

    fn space(&self, id: u32) -> Option<usize> {
        self.spaces.iter().position(|space| space.id == id)
    }

    fn io_command(&mut self, words: [u32; 16]) {
        let number = self.requests;
        self.requests += 1;
        let from = |after: Option<usize>| after.is_some_and(|after| number >= after);
        self.is_gone |= from(self.gone_after);
        if from(self.fatal_after) {
            self.status |= FATAL;
        }
        if self.is_gone || self.status & FATAL != 0 || from(self.stalls_after) {
            return;
        }
        if self.fails.contains(&number) {
            self.answer_command(1, &words, 0, self.failure);
            return;
        }
        let parts = match words[0] & 0xff {
            0 => Vec::new(),
            _ => {
                let entry = |at: usize| u64::from(words[at + 1]) << 32 | u64::from(words[at]);
                let space = self.space(words[1]).expect("a namespace that is there");
                let shift = self.spaces[space].answer[128 + 4 * 2 + 2];
                parts([entry(6), entry(8)], ((words[12] & 0xffff) as usize + 1) << shift)
            }
        };
        let command = Command { words, parts };
        let limit = 4096_usize << self.controller[77];
        let length: usize = command.parts.iter().map(|part| part.1).sum();
        assert!(self.controller[77] == 0 || length <= limit, "longer than MDTS");
        if self.lags {
            let bytes = read(&command);
            self.waiting.push_back((command, bytes));
            self.most_in_flight = self.most_in_flight.max(self.waiting.len());
        } else {
            self.carry_out(&command);
        }
    }

    fn carry_out(&mut self, command: &Command) {
        let status = self.transfer(command);
        self.answer_command(1, &command.words, 0, status);
    }

    /// Carries out an I/O command; returns its status.
    fn transfer(&mut self, Command { words, parts }: &Command) -> u16 {
        let Some(number) = self.space(words[1]) else { return 0x0b };
        let space = &mut self.spaces[number];
        let block = u64::from(words[11]) << 32 | u64::from(words[10]);
        let start = (block << space.answer[128 + 4 * 2 + 2]) as usize;
        let end = start + parts.iter().map(|part| part.1).sum::<usize>();
        let Some(mut rest) = space.bytes.get_mut(start..end) else { return 0x80 };
        for part in parts {
            let (place, after) = rest.split_at_mut(part.1);
            match words[0] as u8 {
                1 => place.copy_from_slice(memory(part)),
                2 => memory(part).copy_from_slice(place),
                _ => return 0x01,
            }
            rest = after;
        }
        match words[0] as u8 {
            1 => self.log.push(Done::Write(start, space.bytes[start..end].to_vec())),
            0 => self.log.push(Done::Flush),
            _ => {}
        }
        0
    }
}

/// The bytes that the controller reads for a command.
fn read(command: &Command) -> Vec<u8> {
    let parts = if command.words[0] & 0xff == 1 { &command.parts[..] } else { &[] };
    parts.iter().flat_map(|part| memory(part).to_vec()).collect()
}

/// The registers of a controller.
pub(crate) struct SsdRegisters(pub(crate) Rc<RefCell<Ssd>>);

impl Registers for SsdRegisters {
    fn read(&self, offset: usize) -> u32 {
        self.0.borrow_mut().read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut().write(offset, value);
    }

    fn length(&self) -> usize {
        0x2000
    }
}
