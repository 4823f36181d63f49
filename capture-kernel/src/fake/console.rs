//! A fake virtio console that behaves like QEMU's: messages without a buffer are lost, bytes are
//! thrown away while there is no other end, and a chain that is cut in the middle never comes back.

use super::device::Queue;
use super::{Base, Chain, FakeDevice};
use core::cell::RefCell;
use core::mem;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::vec::Vec;
use virtio_drivers::transport::DeviceType;

const VERSION_1: u64 = 1 << 32;
const MULTIPORT: u64 = 1 << 1;

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// Behaviour of the fake console, and a record of its use.
#[derive(Default)]
pub(crate) struct Console {
    pub(crate) base: Base,
    /// Ids and names.
    pub(crate) ports: Vec<(u32, &'static str)>,
    /// The port that has an other end.
    pub(crate) ours: u32,
    /// True if there is another end.
    pub(crate) is_connected: bool,
    /// Number of bytes that the other end takes.
    pub(crate) appetite: usize,
    /// Bytes that it has taken.
    pub(crate) taken: Vec<u8>,
    /// Ports that the driver has opened.
    pub(crate) opened: BTreeSet<u32>,
    /// Messages that come when the driver is ready, before all others.
    pub(crate) nonsense: Vec<Vec<u8>>,
    /// Its answers for buffers that it has filled and chains that it has sent: id and length.
    pub(crate) lies: Option<(u32, u32)>,
    /// A control message never comes back.
    pub(crate) is_deaf: bool,
    pub(crate) resets: usize,
    /// Chains that it has not sent, each with the bytes of its memory. A reset forgets them.
    waiting: VecDeque<(Chain, Vec<u8>)>,
    /// Number of bytes of the first one that have gone.
    gone: usize,
}

impl Console {
    /// A console with a port called `kdump` among others, whose other end reads everything.
    pub(crate) fn new() -> Rc<RefCell<Self>> {
        let features = VERSION_1 | MULTIPORT;
        Rc::new(RefCell::new(Self {
            base: Base { features, queue_size: 128, ..Base::default() },
            ports: std::vec![(0, "hvc"), (1, "org.qemu.guest_agent.0"), (2, "kdump")],
            ours: 2,
            is_connected: true,
            appetite: usize::MAX,
            ..Self::default()
        }))
    }

    /// Somebody comes.
    pub(crate) fn connect(&mut self) {
        self.is_connected = true;
        self.tell(self.ours, PORT_OPEN, 1, &[]);
    }

    /// And goes away.
    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        if self.gone > 0 {
            // That one never comes back.
            self.waiting.pop_front();
            self.gone = 0;
        }
        self.discard();
        self.tell(self.ours, PORT_OPEN, 0, &[]);
    }

    /// The other end takes so many bytes more.
    pub(crate) fn eat(&mut self, bytes: usize) {
        self.appetite = self.appetite.saturating_add(bytes);
        self.send();
    }

    /// The other end says something; returns how much of it there was room for.
    pub(crate) fn say(&mut self, mut bytes: &[u8]) -> usize {
        let all = bytes.len();
        let queue = self.data_queue();
        while self.opened.contains(&self.ours)
            && !bytes.is_empty()
            && let Some(mut chain) = self.pop(queue)
        {
            let length = chain.fill(bytes);
            bytes = &bytes[length..];
            self.push(queue, chain.head, length);
        }
        all - bytes.len()
    }

    /// A message of any bytes to the driver.
    pub(crate) fn message(&mut self, bytes: &[u8]) {
        if let Some(mut chain) = self.pop(2) {
            chain.fill(bytes);
            self.push(2, chain.head, bytes.len());
        }
    }

    fn tell(&mut self, port: u32, event: u16, value: u16, name: &[u8]) {
        let mut bytes = port.to_le_bytes().to_vec();
        bytes.extend(event.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes.extend(name);
        self.message(&bytes);
    }

    fn hear(&mut self, message: &[u8]) {
        let number = |at: usize| u16::from_le_bytes([message[at], message[at + 1]]);
        let (port, event, value) = (u32::from(number(0)), number(4), number(6));
        assert_eq!((message.len(), number(2), value), (8, 0, 1));
        match event {
            DEVICE_READY => {
                for nonsense in self.nonsense.clone() {
                    self.message(&nonsense);
                }
                for (port, _) in self.ports.clone() {
                    self.tell(port, PORT_ADD, 1, &[]);
                }
            }
            PORT_READY => {
                let name = self.ports.iter().find(|(id, _)| *id == port).map(|(_, name)| *name);
                if let Some(name) = name.filter(|name| !name.is_empty()) {
                    self.tell(port, PORT_NAME, 1, std::format!("{name}\0").as_bytes());
                }
                if port == self.ours && self.is_connected {
                    self.tell(port, PORT_OPEN, 1, &[]);
                }
            }
            PORT_OPEN => drop(self.opened.insert(port)),
            other => panic!("event {other}"),
        }
    }

    /// Fails unless the memory of all chains that it has is as it was.
    #[track_caller]
    pub(crate) fn assert_memory_unchanged(&mut self) {
        for (chain, bytes) in &mut self.waiting {
            assert!(chain.bytes() == *bytes, "memory has changed while the device had it");
        }
    }

    /// Number of chains that it has.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the offered chains.
    fn look(&mut self) {
        let queue = self.data_queue() + 1;
        while let Some(mut chain) = self.pop(queue) {
            let bytes = chain.bytes();
            self.waiting.push_back((chain, bytes));
        }
    }

    /// Sends as much as the other end takes.
    fn send(&mut self) {
        self.look();
        let queue = self.data_queue() + 1;
        while let Some((mut chain, bytes)) = self.waiting.pop_front() {
            assert!(chain.bytes() == bytes, "memory has changed while the device had it");
            let count = (bytes.len() - self.gone).min(self.appetite);
            self.taken.extend_from_slice(&bytes[self.gone..self.gone + count]);
            self.appetite -= if self.appetite < usize::MAX { count } else { 0 };
            self.gone += count;
            if self.gone < bytes.len() {
                self.waiting.push_front((chain, bytes));
                return;
            }
            self.gone = 0;
            self.push(queue, chain.head, 0);
        }
    }

    fn discard(&mut self) {
        self.look();
        let queue = self.data_queue() + 1;
        while let Some((chain, _)) = self.waiting.pop_front() {
            self.push(queue, chain.head, 0);
        }
    }

    fn data_queue(&self) -> u16 {
        if self.ours == 0 { 0 } else { self.ours as u16 * 2 + 2 }
    }

    fn pop(&mut self, queue: u16) -> Option<Chain> {
        self.base.queues.get_mut(&queue).and_then(Queue::pop)
    }

    fn push(&mut self, queue: u16, head: u16, length: usize) {
        let (id, length) = self.lies.unwrap_or((head.into(), length as u32));
        self.base.queues.get_mut(&queue).expect("is set up").push(id, length);
    }
}

impl FakeDevice for Console {
    const KIND: DeviceType = DeviceType::Console;

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }

    fn configuration(&self) -> Vec<u8> {
        std::vec![0; 12]
    }

    fn notified(&mut self, queue: u16) {
        if queue == 3 && !self.is_deaf {
            while let Some(mut chain) = self.pop(queue) {
                self.hear(&chain.bytes());
                let lies = mem::take(&mut self.lies);
                self.push(queue, chain.head, 0);
                self.lies = lies;
            }
        } else if queue == self.data_queue() + 1 {
            match self.is_connected {
                true => self.send(),
                false => self.discard(),
            }
        }
    }

    fn was_reset(&mut self) {
        self.resets += 1;
        self.opened.clear();
        self.waiting.clear();
        self.gone = 0;
    }
}
