//! Serial lines: the 16550s of this machine, one of which may be the console's.

use crate::machine::oldmem::Window;
use crate::machine::time::Tsc;
use boot_stub::console;
use boot_stub::uart;
use capture_kernel::driver::Error;
use capture_kernel::driver::dma::SlotMemory;
use capture_kernel::driver::serial::{SerialLink, Uart};
use capture_kernel::targets::link::{LinkTarget, pace};
use cmdline::SerialPort;
use dumpfile::chunk::Codec;
use dumpfile::wire::SenderConfig;

/// Time between two invitations on the console, in milliseconds: the console stays readable.
const REMIND: u64 = 5000;

/// A collector on a serial line.
pub(crate) type SerialTarget<'c> = LinkTarget<'c, SerialLink<'c, ComPort>, Window>;

/// Parts that a target on a serial line needs.
pub(crate) struct SerialPorts<'c> {
    pub(crate) slot: SlotMemory,
    pub(crate) clock: &'c Tsc,
    /// Milliseconds that a line may take nothing, and a collector say nothing.
    pub(crate) timeout: u64,
    /// Speed of the console's line in bits per second.
    pub(crate) console_baud: u32,
    /// The encoding of memory.
    pub(crate) codec: Codec,
}

impl<'c> SerialPorts<'c> {
    /// The target `serial`. If it uses the console's line, the console changes its speed, too.
    pub(crate) fn open(&mut self, serial: SerialPort) -> Result<SerialTarget<'c>, Error> {
        let SerialPort { port, baud } = serial;
        let shared = console::port() == port;
        if shared && baud != self.console_baud {
            log::info!("from here on console and dump go at {baud} baud");
        }
        let target = self.target(serial, pace(baud, self.timeout))?;
        if shared {
            self.console_baud = baud;
        }
        let beside = if shared { ", beside the console" } else { "" };
        log::info!("target serial at I/O port {port:#x}, {baud} baud{beside}");
        Ok(target)
    }

    /// The console's line, for a collector that asks.
    pub(crate) fn open_console(&self) -> Result<SerialTarget<'c>, Error> {
        let port = Some(console::port()).filter(|port| *port != 0).unwrap_or(console::COM1);
        let baud = self.console_baud;
        let config = pace(baud, self.timeout);
        let announce_every = config.announce_every.max(REMIND);
        let target =
            self.target(SerialPort { port, baud }, SenderConfig { announce_every, ..config })?;
        log::info!(
            "a collector on this line can read the dump: `kdump-collector read LINE --baud {baud} \
             --view vmcore --range 0+4K`, `kdump-collector receive LINE --baud {baud} -o vmcore`"
        );
        Ok(target)
    }

    fn target(&self, serial: SerialPort, config: SenderConfig) -> Result<SerialTarget<'c>, Error> {
        // Before the line has another speed or carries frames, and before the wait for a collector.
        console::release();
        let uart = ComPort(uart::Uart { port: serial.port });
        let line = SerialLink::open(uart, serial, self.clock, self.timeout)?;
        let config = SenderConfig { codec: self.codec, ..config };
        Ok(LinkTarget::new(line, Window, self.slot, self.clock, config))
    }
}

/// A 16550 of this machine.
pub(crate) struct ComPort(uart::Uart);

impl Uart for ComPort {
    fn is_present(&mut self) -> bool {
        self.0.is_present()
    }

    fn configure(&mut self, baud: u32) {
        self.0.configure(baud);
    }

    fn depth(&mut self) -> usize {
        self.0.depth()
    }

    fn can_send(&mut self) -> bool {
        self.0.can_send()
    }

    fn is_idle(&mut self) -> bool {
        self.0.is_idle()
    }

    fn put(&mut self, byte: u8) {
        self.0.put(byte);
        if self.0.port == console::port() {
            console::interrupted();
        }
    }

    fn take(&mut self) -> Option<u8> {
        self.0.take()
    }
}
