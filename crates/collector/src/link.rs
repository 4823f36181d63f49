//! The line to the other end: sockets and terminals, each as one file descriptor that never blocks.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};

use crate::Source;

/// Options for the connection to the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Wait for it to connect, and do not connect to it.
    pub listen: bool,
    /// Speed of a serial line, in bits per second.
    pub baud: u32,
}

/// Opens a link, and a new one after a cut.
#[derive(Debug)]
pub(crate) enum Connector {
    Connect(Source, LinkOptions),
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// Pause before the next attempt to connect.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest time that bytes wait to be sent before they are dropped. They are sent again in any
/// case.
const JAM: Duration = Duration::from_secs(1);

impl Connector {
    /// Begins to listen, where that is asked for.
    pub(crate) fn new(source: &Source, options: LinkOptions) -> io::Result<Self> {
        match source {
            Source::Unix(path) if options.listen => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, path.clone()))
            }
            Source::Tcp(address) if options.listen => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            _ => Ok(Self::Connect(source.clone(), options)),
        }
    }

    /// The next link, if one is available at once.
    pub(crate) fn open_now(&self) -> io::Result<Option<Link>> {
        match self.try_open() {
            Ok(fd) => Ok(Some(Link(fd))),
            Err(error) if may_come(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next link, waited for until `deadline`.
    pub(crate) fn open(&self, deadline: Instant) -> io::Result<Link> {
        loop {
            match self.try_open() {
                Ok(fd) => return Ok(Link(fd)),
                Err(error) if !may_come(&error) || Instant::now() >= deadline => return Err(error),
                Err(_) => self.pause(deadline)?,
            }
        }
    }

    fn try_open(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Connect(Source::Unix(path), _) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Self::Connect(Source::Tcp(address), _) => prepared(TcpStream::connect(address)?),
            Self::Connect(Source::Terminal(path) | Source::Disk(path), options) => {
                terminal(path, options.baud)
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Self::Tcp(listener) => prepared(listener.accept()?.0),
        }
    }

    /// Waits until another end may be there, for a short time at most.
    fn pause(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self {
            Self::Connect(..) => std::thread::sleep(AGAIN.min(left)),
            Self::Unix(listener, _) => drop(wait(listener, PollFlags::IN, left)?),
            Self::Tcp(listener) => drop(wait(listener, PollFlags::IN, left)?),
        }
        Ok(())
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nothing listens there any more; the rest of the socket is only in our own way.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a socket without a listener.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// True if another attempt may succeed.
fn may_come(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionRefused, ConnectionReset, Interrupted, NotFound, TimedOut, WouldBlock,
    };
    let kinds = [ConnectionRefused, ConnectionReset, Interrupted, NotFound, TimedOut, WouldBlock];
    kinds.contains(&error.kind())
}

fn prepared(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

/// Opens a terminal as a line for bytes: nothing is interpreted, no modem is waited for.
fn terminal(path: &Path, baud: u32) -> io::Result<OwnedFd> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let mut modes = tcgetattr(&file)?;
    modes.make_raw();
    modes.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
    modes.control_modes &= !ControlModes::CRTSCTS;
    modes.set_speed(baud)?;
    tcsetattr(&file, OptionalActions::Now, &modes)?;
    Ok(file.into())
}

/// Waits until `fd` is ready; says whether it is.
fn wait(fd: &impl AsFd, flags: PollFlags, at_most: Duration) -> io::Result<bool> {
    let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(fd, flags)], Some(&at_most)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A line to the other end.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// Result of a read.
pub(crate) enum Arrived {
    Bytes(usize),
    Nothing,
    /// The other end has gone.
    End,
}

impl Link {
    /// Reads the available bytes, and waits for them at most this long.
    pub(crate) fn read(&self, bytes: &mut [u8], at_most: Duration) -> Arrived {
        match self.try_read(bytes) {
            Arrived::Nothing => {}
            arrived => return arrived,
        }
        match wait(&self.0, PollFlags::IN, at_most) {
            Ok(true) => self.try_read(bytes),
            Ok(false) => Arrived::Nothing,
            Err(_) => Arrived::End,
        }
    }

    fn try_read(&self, bytes: &mut [u8]) -> Arrived {
        match rustix::io::read(&self.0, bytes) {
            Ok(0) => Arrived::End,
            Ok(count) => Arrived::Bytes(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Arrived::Nothing,
            Err(_) => Arrived::End,
        }
    }

    /// Sends bytes, or drops them when the line is jammed. That it is cut is seen when reading.
    pub(crate) fn write(&self, mut bytes: &[u8]) {
        let deadline = Instant::now() + JAM;
        while !bytes.is_empty() {
            match rustix::io::write(&self.0, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || wait(&self.0, PollFlags::OUT, left).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}
