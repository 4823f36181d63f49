//! A fake virtio SCSI controller with disks.

use super::{Base, Chain, FakeDevice};
use core::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

/// Bytes of a command's head and of its answer.
const HEAD: usize = 51;
const ANSWER: usize = 108;

/// A controller, its disks by target and number, and a record of its use.
#[derive(Default)]
pub(crate) struct Scsi {
    pub(crate) base: Base,
    pub(crate) disks: BTreeMap<(u8, u16), ScsiDisk>,
    /// `seg_max`, `max_sectors`, `cmd_per_lun`.
    pub(crate) limits: [u32; 3],
    /// `sense_size`, `cdb_size`.
    pub(crate) sizes: [u32; 2],
    /// `max_target`, `max_lun`.
    pub(crate) last: (u16, u32),
    /// Answers other than the disks' own: to any disk, the first that suits.
    pub(crate) faults: Vec<ScsiFault>,
    /// Every completion carries this id.
    pub(crate) answers_with: Option<u32>,
    /// Writes wait until [`Self::answer`].
    pub(crate) lags: bool,
    waiting: VecDeque<(Chain, Vec<u8>)>,
    /// Operation codes in the order of the commands.
    pub(crate) log: Vec<u8>,
    /// The most commands that waited at a time.
    pub(crate) most_waiting: usize,
}

/// Another answer than usual.
#[derive(Clone, Debug)]
pub(crate) struct ScsiFault {
    /// To commands with this operation code …
    pub(crate) opcode: u8,
    /// … so many of them …
    pub(crate) count: usize,
    /// … this.
    pub(crate) answers: Answers,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// CHECK CONDITION with fixed sense data: key, code, qualifier.
    Sense(u8, u8, u8),
    /// The same about an earlier command.
    Deferred(u8, u8, u8),
    Status(u8),
    Response(u8),
    /// It is done, but so many bytes are missing.
    Residual(u32),
    /// These bytes come instead of the data.
    Data(&'static [u8]),
    Never,
}

/// One unit.
#[derive(Default)]
pub(crate) struct ScsiDisk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) block_size: u32,
    /// Its peripheral device type.
    pub(crate) kind: u8,
    pub(crate) is_read_only: bool,
    pub(crate) has_cache: bool,
    /// The most blocks of a transfer, zero where there is no such limit.
    pub(crate) most_blocks: u32,
    /// More blocks than there are, for its size.
    pub(crate) claims: Option<u64>,
    /// The stock of unit attentions.
    pub(crate) attentions: usize,
    pub(crate) needs_start: bool,
    /// Operation codes that it does not know.
    pub(crate) unknown: Vec<u8>,
}

impl ScsiDisk {
    pub(crate) fn new(bytes: Vec<u8>, block_size: u32) -> Self {
        Self { bytes, block_size, has_cache: true, attentions: 1, ..Self::default() }
    }

    /// Carries out a command: its data, or sense data.
    fn run(&mut self, cdb: &[u8], chain: &mut Chain) -> Result<Vec<u8>, (u8, u8, u8)> {
        if self.unknown.contains(&cdb[0]) {
            return Err((5, 0x20, 0));
        }
        if self.attentions > 0 && !matches!(cdb[0], 0x12 | 0xa0) {
            self.attentions -= 1;
            return Err((6, 0x29, 0));
        }
        if self.needs_start && cdb[0] == 0 {
            return Err((2, 4, 2));
        }
        let block = u64::from(self.block_size.max(1));
        let blocks = self.claims.unwrap_or(self.bytes.len() as u64 / block);
        match cdb[0] {
            0x12 if cdb[1] == 0 => Ok(vec![self.kind, 0, 5, 2, 31]),
            0x12 if cdb[2] == 0xb0 => {
                let mut page = vec![0, 0xb0, 0, 60, 0, 0, 0, 0];
                page.extend(self.most_blocks.to_be_bytes());
                Ok(page)
            }
            0x25 => {
                let last = u32::try_from(blocks.wrapping_sub(1)).unwrap_or(u32::MAX);
                Ok([last.to_be_bytes(), self.block_size.to_be_bytes()].concat())
            }
            0x9e => {
                let mut bytes = blocks.wrapping_sub(1).to_be_bytes().to_vec();
                bytes.extend(self.block_size.to_be_bytes());
                Ok(bytes)
            }
            0x1a => {
                let specific = u8::from(self.is_read_only) << 7;
                Ok(vec![6, 0, specific, 0, 8, 1, u8::from(self.has_cache) << 2])
            }
            0x28 | 0x88 => {
                let place = place(cdb, block);
                self.bytes.get(place).map(<[u8]>::to_vec).ok_or((5, 0x21, 0))
            }
            0x2a | 0x8a if self.is_read_only => Err((7, 0x27, 0)),
            0x2a | 0x8a => {
                let data = chain.bytes().split_off(HEAD);
                let place = self.bytes.get_mut(place(cdb, block)).ok_or((5, 0x21, 0))?;
                place.copy_from_slice(&data);
                Ok(Vec::new())
            }
            0x1b => {
                self.needs_start = false;
                Ok(Vec::new())
            }
            0 | 0x35 => Ok(Vec::new()),
            _ => Err((5, 0x24, 0)),
        }
    }
}

/// The bytes of a read or a write.
fn place(cdb: &[u8], block: u64) -> core::ops::Range<usize> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (start, count) = match cdb[0] {
        0x28 | 0x2a => (number(&cdb[2..6]), number(&cdb[7..9])),
        _ => (number(&cdb[2..10]), number(&cdb[10..14])),
    };
    (start * block) as usize..((start + count) * block) as usize
}

impl Scsi {
    /// A controller with these disks.
    pub(crate) fn new(disks: impl IntoIterator<Item = ((u8, u16), ScsiDisk)>) -> Rc<RefCell<Self>> {
        let base = Base { features: 1 << 32, queue_size: 64, ..Base::default() };
        Rc::new(RefCell::new(Self {
            base,
            disks: disks.into_iter().collect(),
            limits: [62, 0xffff, 128],
            sizes: [96, 32],
            last: (3, 16383),
            ..Self::default()
        }))
    }

    /// Answers the oldest write that waits, whose memory must be unchanged; true if there was one.
    pub(crate) fn answer_one(&mut self) -> bool {
        let Some((mut chain, bytes)) = self.waiting.pop_front() else { return false };
        assert!(chain.bytes() == bytes, "memory has changed while the device had it");
        self.process(chain);
        true
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn process(&mut self, mut chain: Chain) {
        let head = chain.memory(0).to_vec();
        assert_eq!((head.len(), head[0], head[2] & 0xc0), (HEAD, 1, 0x40));
        let address = (head[1], u16::from_be_bytes([head[2] & 0x3f, head[3]]));
        let cdb = &head[19..];
        self.log.push(cdb[0]);
        let fault = self.faults.iter_mut().find(|it| it.opcode == cdb[0] && it.count > 0);
        let fault = fault.map(|fault| {
            fault.count -= 1;
            fault.answers
        });
        let mut answer = vec![0; ANSWER];
        let mut data = Vec::new();
        match fault {
            Some(Answers::Never) => return,
            Some(Answers::Sense(key, code, qualifier)) => {
                fill_sense(&mut answer, 0x70, (key, code, qualifier));
            }
            Some(Answers::Deferred(key, code, qualifier)) => {
                fill_sense(&mut answer, 0x71, (key, code, qualifier));
            }
            Some(Answers::Status(status)) => answer[10] = status,
            Some(Answers::Response(response)) => answer[11] = response,
            Some(Answers::Residual(residual)) => {
                answer[4..8].copy_from_slice(&residual.to_le_bytes());
            }
            Some(Answers::Data(bytes)) => data = bytes.to_vec(),
            None => match self.run(address, cdb, &mut chain) {
                Some(Ok(bytes)) => data = bytes,
                Some(Err(sense)) => fill_sense(&mut answer, 0x70, sense),
                None => answer[11] = 3,
            },
        }
        self.reply(chain, answer, &data);
    }

    /// A command to a unit; [`None`] where the target is not there.
    fn run(
        &mut self,
        address: (u8, u16),
        cdb: &[u8],
        chain: &mut Chain,
    ) -> Option<Result<Vec<u8>, (u8, u8, u8)>> {
        let luns: Vec<_> =
            self.disks.keys().filter(|disk| disk.0 == address.0).map(|disk| disk.1).collect();
        let first = *luns.first()?;
        let lists = |disk: &ScsiDisk| !disk.unknown.contains(&0xa0);
        if cdb[0] == 0xa0 && lists(&self.disks[&(address.0, first)]) {
            let mut list = (luns.len() as u32 * 8).to_be_bytes().to_vec();
            list.extend([0; 4]);
            for lun in luns {
                let [high, low] = lun.to_be_bytes();
                list.extend([if lun > 255 { high | 0x40 } else { 0 }, low, 0, 0, 0, 0, 0, 0]);
            }
            return Some(Ok(list));
        }
        match self.disks.get_mut(&address) {
            Some(disk) => Some(disk.run(cdb, chain)),
            None if cdb[0] == 0x12 => Some(Ok(vec![0x7f])),
            None => Some(Err((5, if cdb[0] == 0xa0 { 0x20 } else { 0x25 }, 0))),
        }
    }

    /// Fills in the answer and the data, which follows it, as far as there is room.
    fn reply(&mut self, mut chain: Chain, mut answer: Vec<u8>, data: &[u8]) {
        let place = chain.links.iter().position(|link| link.2).expect("room for the answer");
        let room: usize = chain.links[place + 1..].iter().map(|link| link.1 as usize).sum();
        let moved = room.min(data.len());
        if answer[4..8] == [0; 4] && answer[10] == 0 {
            answer[4..8].copy_from_slice(&((room - moved) as u32).to_le_bytes());
        }
        chain.memory(place).copy_from_slice(&answer);
        if moved > 0 {
            chain.memory(place + 1)[..moved].copy_from_slice(&data[..moved]);
        }
        let id = self.answers_with.unwrap_or(chain.head.into());
        self.queue().push(id, ANSWER as u32);
    }

    fn queue(&mut self) -> &mut super::device::Queue {
        self.base.queues.get_mut(&2).expect("queue 2 is set up")
    }
}

fn fill_sense(answer: &mut [u8], format: u8, (key, code, qualifier): (u8, u8, u8)) {
    answer[0] = 18;
    answer[10] = 2;
    answer[12] = format;
    answer[14] = key;
    answer[19] = 10;
    (answer[24], answer[25]) = (code, qualifier);
}

impl FakeDevice for Scsi {
    const KIND: DeviceType = DeviceType::ScsiHost;

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn configuration(&self) -> Vec<u8> {
        let ([segments, sectors, commands], [sense, cdb]) = (self.limits, self.sizes);
        let mut words =
            [1, segments, sectors, commands, 8, sense, cdb].map(u32::to_le_bytes).concat();
        words.extend([0, self.last.0].map(u16::to_le_bytes).concat());
        words.extend(self.last.1.to_le_bytes());
        words
    }

    fn was_reset(&mut self) {
        self.waiting.clear();
    }

    fn notified(&mut self, queue: u16) {
        assert_eq!(queue, 2);
        while let Some(mut chain) = self.queue().pop() {
            let opcode = chain.memory(0)[19];
            match self.lags && matches!(opcode, 0x2a | 0x8a) {
                true => {
                    let bytes = chain.bytes();
                    self.waiting.push_back((chain, bytes));
                    self.most_waiting = self.most_waiting.max(self.waiting.len());
                }
                false => self.process(chain),
            }
        }
    }
}
