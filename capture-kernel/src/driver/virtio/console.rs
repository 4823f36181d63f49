//! The virtio console (virtio 1.2, section 5.3): a named port of it as a link to a collector.
//! Polled, several buffers in flight, old memory by DMA from its place, every wait with a deadline.

mod control;
mod device;
mod names;

pub use names::{PortList, PortName};

use super::inbox::{Filled, Inbox};
use super::requests::{Body, Requests, Shape};
use crate::Clock;
use crate::driver::Error;
use crate::driver::Link;
use crate::driver::dma::{Limits, MAX_PIECES, Pieces, SlotMemory, Stopped};
use crate::driver::virtio::device::go;
use control::{Control, Message};
use core::mem::ManuallyDrop;
use device::Device;
use virtio_drivers::transport::Transport;

/// Chains in flight to the other end, of a mebibyte each at most.
const IN_FLIGHT: u16 = 16;
/// Bytes that one chain can carry besides pieces.
const COPIED: usize = 4096;
/// Bytes that one call takes by DMA.
const BULK: u64 = 1 << 20;
/// Buffers for bytes of the other end, and bytes of each.
const RECEIVE_BUFFERS: u16 = 16;
const RECEIVE_LENGTH: usize = 1024;

/// The queues of our port.
struct Port {
    incoming: Inbox,
    /// The incoming buffer that is being read, and the offset of the next byte.
    reading: Option<(Filled, usize)>,
    /// Each chain carries bytes that were copied, or pieces, or both.
    outgoing: Requests,
}

/// Queues of port `id`: to us, and from us.
fn queues(id: u32) -> Option<[u16; 2]> {
    let first = match id {
        0 => 0,
        _ => u16::try_from(id).ok()?.checked_mul(2)?.checked_add(2)?,
    };
    Some([first, first.checked_add(1)?])
}

impl Port {
    /// The queues of port `id` of a device that is not running yet.
    fn set_up<T: Transport>(device: &mut Device<'_, T>, id: u32) -> Result<Self, Error> {
        let [to_us, from_us] = queues(id).ok_or(Error::BadAnswer(id))?;
        let (transport, slot) = (&mut *device.transport, device.slot);
        let incoming = Inbox::set_up(transport, to_us, slot, RECEIVE_BUFFERS, RECEIVE_LENGTH)?;
        let shape = Shape {
            most: IN_FLIGHT,
            head: COPIED,
            pieces: MAX_PIECES,
            reply: 0,
            reply_first: false,
        };
        let outgoing = Requests::set_up(transport, from_us, slot, shape)?;
        Ok(Self { incoming, reading: None, outgoing })
    }

    fn release(&mut self, stopped: &Stopped) {
        self.incoming.release(stopped);
        self.outgoing.release(stopped);
    }
}

/// A running console of which one port is ours. Bytes for a port without another end are thrown
/// away.
pub struct VirtioConsole<'c, T: Transport> {
    device: Device<'c, T>,
    name: PortName,
    id: u32,
    control: Control,
    port: Port,
    /// True if there is another end.
    is_open: bool,
}

impl<'c, T: Transport> VirtioConsole<'c, T> {
    /// Resets and starts the device behind `transport` if it has a port called `name`; else stops
    /// it. Any one request may then take `timeout` milliseconds.
    ///
    /// All queues that are used have to be set up before a device is started, and which they are is
    /// known only afterwards: so it is started twice.
    ///
    /// # Errors
    /// [`Error::NoSuchPort`], [`Error::NoNamedPorts`], or what the device lacks or refuses.
    pub fn open(
        transport: T,
        name: PortName,
        slot: SlotMemory,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let transport = ManuallyDrop::new(transport);
        let mut device = Device { transport, slot, clock, timeout };
        device.negotiate()?;
        let mut control = Control::set_up(&mut device)?;
        go(&mut *device.transport);
        let found = control.find_port(&mut device, name);
        control.release(&device.reset()?);
        let id = found?.id;
        let (control, port, is_open) = start(&mut device, name, id)?;
        Ok(Self { device, name, id, control, port, is_open })
    }

    /// Starts again, without anything in flight.
    fn restart(&mut self) -> Result<(), Error> {
        self.reset()?;
        (self.control, self.port, self.is_open) = start(&mut self.device, self.name, self.id)?;
        Ok(())
    }

    /// Stops the device, and takes back its memory.
    fn reset(&mut self) -> Result<(), Error> {
        let stopped = self.device.reset()?;
        self.control.release(&stopped);
        self.port.release(&stopped);
        Ok(())
    }

    /// Reads the device's messages about our port.
    fn listen(&mut self) -> Result<(), Error> {
        for _ in 0..self.control.most() {
            match self.control.next(&mut self.device)? {
                Some(Message::Opened(id, true)) if id == self.id => self.is_open = true,
                Some(Message::Opened(id, false)) if id == self.id => self.closed()?,
                Some(Message::Removed(id)) if id == self.id => return Err(Error::PortGone),
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// The other end has gone away. The device has returned the chains in flight, but QEMU does not
    /// return a chain that it has begun: only a reset gives that memory back.
    fn closed(&mut self) -> Result<(), Error> {
        self.is_open = false;
        self.collect()?;
        match self.port.outgoing.is_idle() {
            true => Ok(()),
            false => self.restart(),
        }
    }

    /// Takes back the chains that the device has sent.
    fn collect(&mut self) -> Result<(), Error> {
        while self.port.outgoing.take_back()?.is_some() {
            // A slow reader is still a reader.
            self.port.outgoing.renew(self.device.deadline());
        }
        Ok(())
    }

    /// Collects and listens until `is_ready` has an answer.
    fn wait<R>(&mut self, is_ready: impl Fn(&Self) -> Option<R>) -> Result<R, Error> {
        loop {
            self.collect()?;
            self.listen()?;
            if let Some(ready) = is_ready(self) {
                return Ok(ready);
            }
            if self.port.outgoing.is_late(self.device.clock) {
                return Err(Error::Timeout("take the sent bytes"));
            }
            core::hint::spin_loop();
        }
    }

    /// A slot for a chain with this body, or [`None`] if there is no other end.
    fn free_slot(&mut self, body: &Body) -> Result<Option<u16>, Error> {
        self.wait(|console| match console.is_open {
            true => console.port.outgoing.free(body).map(Some),
            false => Some(None),
        })
    }

    /// Sends at most [`COPIED`] bytes, and after them `pieces`, as one chain.
    fn send_chain(&mut self, copied: &[u8], pieces: Pieces) -> Result<(), Error> {
        if copied.is_empty() && pieces.is_empty() {
            return Ok(());
        }
        let body = Body::Out(pieces);
        let Some(slot) = self.free_slot(&body)? else { return Ok(()) };
        self.port.outgoing.offer(slot, copied, body, self.device.deadline());
        if let Some([_, from_us]) = queues(self.id) {
            self.device.transport.notify(from_us);
        }
        Ok(())
    }
}

/// Starts the device with the queues of port `id`, which must still have this name, and opens it.
/// Also returns true if there is another end.
fn start<T: Transport>(
    device: &mut Device<'_, T>,
    name: PortName,
    id: u32,
) -> Result<(Control, Port, bool), Error> {
    device.negotiate()?;
    let mut control = Control::set_up(device)?;
    let mut port = Port::set_up(device, id)?;
    go(&mut *device.transport);
    let opened = control.find_port(device, name).and_then(|found| {
        if found.id != id {
            return Err(Error::PortGone);
        }
        port.incoming.notify(&mut *device.transport);
        control.open(device, id).map(|()| found.is_open)
    });
    match opened {
        Ok(is_open) => Ok((control, port, is_open)),
        Err(failure) => {
            let stopped = device.reset()?;
            control.release(&stopped);
            port.release(&stopped);
            Err(failure)
        }
    }
}

impl<T: Transport> Link for VirtioConsole<'_, T> {
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.listen()?;
        let Port { incoming, reading, .. } = &mut self.port;
        let mut taken = 0;
        // A device that refills its buffers at once does not keep us here.
        for _ in 0..incoming.buffers() {
            let next = match reading.take() {
                Some(part) => Some(part),
                None => incoming.take()?.map(|filled| (filled, 0)),
            };
            let Some((filled, from)) = next else { break };
            let length = (filled.length - from).min(into.len() - taken);
            incoming.copy_to(filled, from, &mut into[taken..taken + length]);
            taken += length;
            if from + length < filled.length {
                *reading = Some((filled, from + length));
                break;
            }
            incoming.done(filled, &mut *self.device.transport);
        }
        Ok(taken)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut chunks = bytes.chunks(COPIED);
        chunks.try_for_each(|chunk| self.send_chain(chunk, Pieces::new()))
    }

    fn bulk(&self) -> Option<Limits> {
        let pieces = self.port.outgoing.most_pieces();
        Some(Limits { bytes: BULK, pieces, piece: BULK, align: 1, address_bits: 64 })
    }

    fn send_bulk(&mut self, head: &[u8], pieces: Pieces) -> Result<(), Error> {
        let (first, last) = head.split_at(head.len().saturating_sub(COPIED));
        self.send(first)?;
        self.send_chain(last, pieces)
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        let before = self.port.outgoing.in_flight();
        self.wait(|console| match console.port.outgoing.in_flight() {
            0 if before == 0 => Some(false),
            now => (now < before).then_some(true),
        })
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.wait(|console| console.port.outgoing.is_idle().then_some(()))
    }

    /// Never waits for chains in flight: unlike a disk, QEMU's console forgets them in a reset, and
    /// has copied those that it has sent.
    fn stop(&mut self) -> Result<(), Error> {
        self.reset()
    }
}

#[cfg(test)]
mod tests;
