//! A serial line: a 16550 by polling.

use super::Link;
use crate::driver::Error;
use crate::driver::dma::{Limits, Pieces};
use crate::{Clock, Deadline};
use alloc::collections::VecDeque;
use cmdline::SerialPort;

/// Room for bytes that come while something is sent: two frames and more. Bytes that do not fit
/// are lost, and sent again.
const BACKLOG: usize = 1024;
/// Below this speed (bits per second) bytes are sent one by one, so that the console on the same
/// line has its turn before it is taken for dead.
const SLOW: u32 = 1200;

/// The registers of a 16550, without any waiting.
pub trait Uart {
    /// True if one answers.
    fn is_present(&mut self) -> bool;
    /// Sets it up for 8N1 at `baud` bits per second; bytes in its FIFOs are lost.
    fn configure(&mut self, baud: u32);
    /// Number of bytes that it takes whenever [`Self::can_send`] is true.
    fn depth(&mut self) -> usize;
    /// True if it takes bytes.
    fn can_send(&mut self) -> bool;
    /// True if everything has left it.
    fn is_idle(&mut self) -> bool;
    /// Gives it a byte.
    fn put(&mut self, byte: u8);
    /// Takes a byte that has come.
    fn take(&mut self) -> Option<u8>;
}

/// A 16550 as a [`Link`].
pub struct SerialLink<'c, U: Uart> {
    uart: U,
    /// Number of bytes that it takes at once.
    depth: usize,
    /// Bytes that came while something was sent.
    backlog: VecDeque<u8>,
    clock: &'c dyn Clock,
    timeout: u64,
}

impl<'c, U: Uart> SerialLink<'c, U> {
    /// Sets up the 16550 at `serial`, once it has sent what it has. It may take `timeout`
    /// milliseconds for whatever it takes next.
    ///
    /// # Errors
    /// [`Error::NoUart`], [`Error::NoMemory`], [`Error::Timeout`].
    pub fn open(
        mut uart: U,
        serial: SerialPort,
        clock: &'c dyn Clock,
        timeout: u64,
    ) -> Result<Self, Error> {
        let mut backlog = VecDeque::new();
        backlog.try_reserve_exact(BACKLOG).or(Err(Error::NoMemory))?;
        if !uart.is_present() {
            return Err(Error::NoUart(serial.port));
        }
        let mut line = Self { uart, depth: 1, backlog, clock, timeout };
        line.drain()?;
        line.uart.configure(serial.baud);
        if serial.baud >= SLOW {
            line.depth = line.uart.depth().max(1);
        }
        Ok(line)
    }

    /// Waits until the 16550 is ready, and receives meanwhile: its FIFO has room for a fraction of
    /// a frame only.
    fn wait(&mut self, mut ready: impl FnMut(&mut U) -> bool) -> Result<(), Error> {
        let Self { uart, backlog, .. } = self;
        let in_time = Deadline::after(self.clock, self.timeout).wait(self.clock, || {
            while backlog.len() < BACKLOG
                && let Some(byte) = uart.take()
            {
                backlog.push_back(byte);
            }
            ready(uart)
        });
        in_time.then_some(()).ok_or(Error::Timeout("take a byte to send"))
    }
}

impl<U: Uart> Link for SerialLink<'_, U> {
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut count = 0;
        for place in into {
            let Some(byte) = self.backlog.pop_front().or_else(|| self.uart.take()) else { break };
            *place = byte;
            count += 1;
        }
        Ok(count)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for burst in bytes.chunks(self.depth) {
            self.wait(U::can_send)?;
            burst.iter().for_each(|byte| self.uart.put(*byte));
        }
        Ok(())
    }

    fn bulk(&self) -> Option<Limits> {
        None
    }

    fn send_bulk(&mut self, _: &[u8], _: Pieces) -> Result<(), Error> {
        // Nobody does: `bulk` says that it cannot be done.
        Err(Error::Timeout("send by DMA"))
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.wait(U::is_idle)
    }

    fn stop(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeClock;
    use std::vec::Vec;

    /// A 16550 that loses bytes that do not fit into its FIFOs. Time passes with each read of its
    /// state.
    #[derive(Default)]
    struct FakeUart {
        absent: bool,
        stuck: bool,
        depth: usize,
        baud: u32,
        out: VecDeque<u8>,
        sent: Vec<u8>,
        into: VecDeque<u8>,
        /// Bytes of the other end, one for each poll, and bytes that did not fit.
        other: VecDeque<u8>,
        lost: usize,
        largest_burst: usize,
    }

    impl FakeUart {
        fn tick(&mut self) {
            if !self.stuck {
                self.sent.extend(self.out.pop_front());
            }
            if let Some(byte) = self.other.pop_front() {
                if self.into.len() < 16 {
                    self.into.push_back(byte);
                } else {
                    self.lost += 1;
                }
            }
        }
    }

    impl Uart for &mut FakeUart {
        fn is_present(&mut self) -> bool {
            !self.absent
        }

        fn configure(&mut self, baud: u32) {
            assert!(self.out.is_empty(), "something is lost");
            self.baud = baud;
        }

        fn depth(&mut self) -> usize {
            self.depth
        }

        fn can_send(&mut self) -> bool {
            self.tick();
            self.out.is_empty()
        }

        fn is_idle(&mut self) -> bool {
            self.can_send()
        }

        fn put(&mut self, byte: u8) {
            assert!(self.out.len() < self.depth, "the FIFO overflows");
            self.out.push_back(byte);
            self.largest_burst = self.largest_burst.max(self.out.len());
        }

        fn take(&mut self) -> Option<u8> {
            self.into.pop_front()
        }
    }

    fn at(baud: u32) -> SerialPort {
        SerialPort { port: 0x2f8, baud }
    }

    #[test]
    fn bytes_go_out_as_many_at_a_time_as_there_is_room_for() {
        for (depth, baud, burst) in [(16, 115_200, 16), (1, 115_200, 1), (16, 300, 1)] {
            let clock = FakeClock::default();
            let mut uart = FakeUart { depth, ..FakeUart::default() };
            uart.out.extend(*b"console");
            let text: Vec<u8> = (0..100).collect();
            let mut line = SerialLink::open(&mut uart, at(baud), &clock, 100).expect("is there");
            line.send(&text).expect("goes out");
            line.drain().expect("goes out");
            assert_eq!(uart.sent, [b"console", &text[..]].concat());
            assert_eq!((uart.baud, uart.largest_burst), (baud, burst));
        }
    }

    #[test]
    fn what_comes_while_something_is_sent_is_kept() {
        let clock = FakeClock::default();
        let mut uart = FakeUart { depth: 16, ..FakeUart::default() };
        let frame: Vec<u8> = (0..200).collect();
        uart.other.extend(&frame);
        let mut line = SerialLink::open(&mut uart, at(115_200), &clock, 1000).expect("is there");
        line.send(&[7; 256]).expect("goes out");
        let mut came = [0; 256];
        assert_eq!(line.receive(&mut came[..150]), Ok(150));
        assert_eq!(line.receive(&mut came[150..]), Ok(50));
        assert_eq!(line.receive(&mut came), Ok(0));
        assert_eq!((&came[..200], uart.lost), (&frame[..], 0));
    }

    #[test]
    fn where_nobody_is_nothing_is_waited_for() {
        let clock = FakeClock::default();
        let mut uart = FakeUart { absent: true, stuck: true, ..FakeUart::default() };
        let failure = SerialLink::open(&mut uart, at(9600), &clock, 1 << 40).err();
        assert_eq!(failure, Some(Error::NoUart(0x2f8)));
        assert!(clock.milliseconds() < 10);
    }

    #[test]
    fn a_wait_ends_when_nothing_goes_out() {
        let clock = FakeClock::default();
        let mut uart = FakeUart { depth: 16, ..FakeUart::default() };
        let mut line = SerialLink::open(&mut uart, at(9600), &clock, 100).expect("is there");
        line.uart.stuck = true;
        let failure = line.send(&[1; 17]).expect_err("it is stuck");
        assert_eq!(failure, Error::Timeout("take a byte to send"));
        assert!((100..300).contains(&clock.milliseconds()));
    }
}
