//! The control queues of a virtio console (virtio 1.2, section 5.3.6.2): its ports, their names,
//! and the presence of another end.

use super::device::Device;
use super::names::{PortList, PortName};
use crate::Deadline;
use crate::driver::Error;
use crate::driver::dma::{Pieces, Stopped};
use crate::driver::virtio::inbox::Inbox;
use crate::driver::virtio::requests::{Body, Requests, Shape};
use arrayvec::ArrayVec;
use virtio_drivers::transport::Transport;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// From the device.
const INCOMING: u16 = 2;
/// To the device.
const OUTGOING: u16 = 3;

/// Messages from the device that there is room for: QEMU drops those for which there is none, and
/// names 31 ports at once.
const BUFFERS: u16 = 64;
/// Bytes of a message: its header and a name, longer than any that can be asked for.
const LENGTH: usize = HEADER + MOST_NAME;
const HEADER: usize = size_of::<Header>();
const MOST_NAME: usize = 120;
/// Most ports of one device that are asked for their names.
const MAX_PORTS: usize = 64;
/// No list of ports says that it is over: so many milliseconds of silence do.
const SILENCE: u64 = 500;

mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const PORT_ADD: u16 = 1;
    pub(super) const PORT_REMOVE: u16 = 2;
    pub(super) const PORT_READY: u16 = 3;
    // 4, CONSOLE_PORT, and 5, RESIZE, are of no interest here.
    pub(super) const PORT_OPEN: u16 = 6;
    pub(super) const PORT_NAME: u16 = 7;
}

/// A message to the device is late.
const NOT_TAKEN: Error = Error::Timeout("take a control message");

/// `struct virtio_console_control`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    port: u32,
    event: u16,
    value: u16,
}

type Name = ArrayVec<u8, MOST_NAME>;

/// A message of the device about a port.
pub(super) enum Message {
    Added(u32),
    Removed(u32),
    /// True if there is another end.
    Opened(u32, bool),
    Named(u32, Name),
    /// Something else, or nonsense.
    Other,
}

/// The port that was asked for.
pub(super) struct Found {
    pub(super) id: u32,
    /// True if the device has reported another end.
    pub(super) is_open: bool,
}

/// Both control queues.
pub(super) struct Control {
    inbox: Inbox,
    outgoing: Requests,
}

impl Control {
    /// The control queues of a device that is not running yet.
    pub(super) fn set_up<T: Transport>(device: &mut Device<'_, T>) -> Result<Self, Error> {
        let slot = device.slot;
        let inbox = Inbox::set_up(&mut *device.transport, INCOMING, slot, BUFFERS, LENGTH)?;
        let shape = Shape { most: 1, head: HEADER, pieces: 0, reply: 0, reply_first: false };
        let outgoing = Requests::set_up(&mut *device.transport, OUTGOING, slot, shape)?;
        Ok(Self { inbox, outgoing })
    }

    /// Asks a device that has just been started for its ports, and these for their names, until one
    /// has the name `wanted`.
    pub(super) fn find_port<T: Transport>(
        &mut self,
        device: &mut Device<'_, T>,
        wanted: PortName,
    ) -> Result<Found, Error> {
        self.inbox.notify(&mut *device.transport);
        self.tell(device, 0, event::DEVICE_READY)?;
        let (mut ports, mut open) =
            (ArrayVec::<u32, MAX_PORTS>::new(), ArrayVec::<_, MAX_PORTS>::new());
        let mut found = PortList::default();
        let end = Deadline::after(device.clock, device.timeout);
        let mut silence = Deadline::after(device.clock, SILENCE);
        while !end.is_over(device.clock) {
            match self.next(device)? {
                Some(Message::Added(id)) => drop(ports.try_push(id)),
                Some(Message::Opened(id, true)) => drop(open.try_push(id)),
                Some(Message::Named(id, name)) if wanted.is(&name) => {
                    return Ok(Found { id, is_open: open.contains(&id) });
                }
                Some(Message::Named(_, name)) => found.add(&name),
                Some(_) => {}
                // All that has come is read: a question may bring several answers.
                None => match ports.pop_at(0) {
                    Some(id) => {
                        self.tell(device, id, event::PORT_READY)?;
                        silence = Deadline::after(device.clock, SILENCE);
                    }
                    None if silence.is_over(device.clock) => break,
                    None => core::hint::spin_loop(),
                },
            }
        }
        Err(Error::NoSuchPort { name: wanted, found })
    }

    /// Reports to the device that this end of the port is open.
    pub(super) fn open<T: Transport>(
        &mut self,
        device: &mut Device<'_, T>,
        port: u32,
    ) -> Result<(), Error> {
        self.tell(device, port, event::PORT_OPEN)
    }

    /// Sends one message, with the value 1 that all of ours have, and waits until it was taken.
    fn tell<T: Transport>(
        &mut self,
        device: &mut Device<'_, T>,
        port: u32,
        event: u16,
    ) -> Result<(), Error> {
        let header = Header { port, event, value: 1 };
        let body = Body::Out(Pieces::new());
        let slot = self.outgoing.free(&body).ok_or(NOT_TAKEN)?;
        let deadline = Deadline::after(device.clock, device.timeout);
        self.outgoing.offer(slot, header.as_bytes(), body, deadline);
        device.transport.notify(OUTGOING);
        while self.outgoing.take_back()?.is_none() {
            if self.outgoing.is_late(device.clock) {
                return Err(NOT_TAKEN);
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// The device is stopped: the memory returns to the heap with the queues.
    pub(super) fn release(&mut self, stopped: &Stopped) {
        self.inbox.release(stopped);
        self.outgoing.release(stopped);
    }

    /// Most messages that can have come by now.
    pub(super) fn most(&self) -> usize {
        self.inbox.buffers()
    }

    /// The next message that has come.
    pub(super) fn next<T: Transport>(
        &mut self,
        device: &mut Device<'_, T>,
    ) -> Result<Option<Message>, Error> {
        let Some(filled) = self.inbox.take()? else { return Ok(None) };
        let mut bytes = [0; LENGTH];
        let bytes = &mut bytes[..filled.length];
        self.inbox.copy_to(filled, 0, bytes);
        self.inbox.done(filled, &mut *device.transport);
        Ok(Some(parse(bytes)))
    }
}

/// Meaning of a message.
fn parse(bytes: &[u8]) -> Message {
    let Ok((header, name)) = Header::read_from_prefix(bytes) else { return Message::Other };
    match header.event {
        event::PORT_ADD => Message::Added(header.port),
        event::PORT_REMOVE => Message::Removed(header.port),
        event::PORT_OPEN => Message::Opened(header.port, header.value != 0),
        event::PORT_NAME => {
            // The standard has no zero at the end, QEMU has.
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Message::Named(header.port, name[..end].iter().copied().collect())
        }
        _ => Message::Other,
    }
}
