//! Commands, as they are in a submission queue (NVM Express Base 2.0, section 3.3.3.1; the opcodes
//! of reads, writes and flushes: NVM Command Set 1.0, section 3.2).

use super::identify::Namespace;
use zerocopy::{Immutable, IntoBytes};

/// Bytes of a command.
pub(super) const COMMAND: usize = size_of::<Command>();

/// Opcodes of the admin queue.
mod admin {
    pub(super) const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub(super) const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const SET_FEATURES: u8 = 0x09;
}

/// Opcodes of an I/O queue.
mod io {
    pub(super) const FLUSH: u8 = 0x00;
    pub(super) const WRITE: u8 = 0x01;
    pub(super) const READ: u8 = 0x02;
}

/// Feature "number of queues".
const NUMBER_OF_QUEUES: u32 = 0x07;
/// Flag of a new queue: its memory is contiguous.
const CONTIGUOUS: u32 = 1;

/// The subject of an Identify command (CNS).
#[derive(Clone, Copy)]
pub(super) enum Subject {
    /// A namespace.
    Namespace = 0,
    /// The controller.
    Controller = 1,
    /// The list of active namespaces.
    Active = 2,
}

/// Addresses of the data: PRP entries 1 and 2.
pub(super) type Data = [u64; 2];

/// A command.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Command {
    opcode: u8,
    /// Zero: no fused operation, PRPs.
    flags: u8,
    id: u16,
    namespace: u32,
    reserved: u64,
    metadata: u64,
    data: Data,
    /// Words 10 to 15.
    words: [u32; 6],
}

impl Command {
    const fn new(opcode: u8, namespace: u32, data: Data, words: [u32; 3]) -> Self {
        let [ten, eleven, twelve] = words;
        let words = [ten, eleven, twelve, 0, 0, 0];
        Self { opcode, flags: 0, id: 0, namespace, reserved: 0, metadata: 0, data, words }
    }

    /// The same command with this number.
    pub(super) const fn numbered(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// Asks for 4096 bytes about the subject, which go to the page at `page`.
    pub(super) const fn identify(subject: Subject, namespace: u32, page: u64) -> Self {
        Self::new(admin::IDENTIFY, namespace, [page, 0], [subject as u32, 0, 0])
    }

    /// Asks for one I/O queue of each kind.
    pub(super) const fn one_queue() -> Self {
        Self::new(admin::SET_FEATURES, 0, [0; 2], [NUMBER_OF_QUEUES, 0, 0])
    }

    /// A completion queue without interrupts.
    pub(super) const fn create_completion_queue(id: u16, entries: u16, at: u64) -> Self {
        let words = [shape(id, entries), CONTIGUOUS, 0];
        Self::new(admin::CREATE_COMPLETION_QUEUE, 0, [at, 0], words)
    }

    /// A submission queue, whose completions go to the completion queue with the same number.
    pub(super) const fn create_submission_queue(id: u16, entries: u16, at: u64) -> Self {
        let words = [shape(id, entries), (id as u32) << 16 | CONTIGUOUS, 0];
        Self::new(admin::CREATE_SUBMISSION_QUEUE, 0, [at, 0], words)
    }

    /// Moves all data in the namespace's cache to its medium.
    pub(super) const fn flush(namespace: &Namespace) -> Self {
        Self::new(io::FLUSH, namespace.id, [0; 2], [0; 3])
    }

    /// Reads `length` bytes from offset `at` on: whole blocks, at least one, 65536 at most.
    pub(super) const fn read(namespace: &Namespace, at: u64, length: u64, data: Data) -> Self {
        Self::new(io::READ, namespace.id, data, blocks(namespace, at, length))
    }

    /// Writes them.
    pub(super) const fn write(namespace: &Namespace, at: u64, length: u64, data: Data) -> Self {
        Self::new(io::WRITE, namespace.id, data, blocks(namespace, at, length))
    }
}

/// Number and size of a queue; the latter counts from 0.
const fn shape(id: u16, entries: u16) -> u32 {
    (entries as u32 - 1) << 16 | id as u32
}

/// The first block, low word first, and the number of blocks, which counts from 0.
const fn blocks(namespace: &Namespace, at: u64, length: u64) -> [u32; 3] {
    let first = at >> namespace.shift;
    let count = (length >> namespace.shift) as u32;
    [first as u32, (first >> 32) as u32, count.wrapping_sub(1) & 0xffff]
}
