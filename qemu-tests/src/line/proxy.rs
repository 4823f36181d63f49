//! A serial line: text to the harness, everything to the collector, and the collector's bytes back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Mangler, Meter, TextOf};
use crate::delivery::Noise;

/// Longest wait before the next check for its end.
const SLICE: Duration = Duration::from_millis(20);
/// QEMU writes byte by byte. If the bytes are frames, and few have come, more of them may come
/// before the next look. Otherwise all of the time goes into waking up.
const NAP: Duration = Duration::from_micros(500);
const FEW: usize = 256;
/// Number of bytes that wait for a collector that does not read; bytes after these are lost.
const ROOM: usize = 64 << 10;
/// Timeout for the guest to read; bytes that it has not read then are lost, as on any serial line.
const JAM: Duration = Duration::from_secs(1);

/// The collector's end of a serial port of QEMU.
pub struct LineProxy {
    machine: UnixStream,
    socket: PathBuf,
    noise: Option<Noise>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// State that the threads of both directions share.
#[derive(Default)]
struct Shared {
    collector: Mutex<Option<ToCollector>>,
    ended: AtomicBool,
}

/// Bytes for a collector. A socket alone has room for some hundred writes, and QEMU writes each
/// byte by itself.
struct ToCollector {
    stream: UnixStream,
    waiting: VecDeque<u8>,
}

/// The harness's end: reading from it moves the line's bytes on, and returns the text among them.
pub struct Tap {
    machine: UnixStream,
    shared: Arc<Shared>,
    mangler: Option<Mangler>,
    meter: Meter,
    text_of: TextOf,
    text: Vec<u8>,
}

impl LineProxy {
    /// Both ends for QEMU's end `machine`. Collectors will find theirs at `socket`; bytes that they
    /// get are counted by `meter`.
    ///
    /// # Errors
    /// Fails if the system has no more file descriptors.
    pub fn new(
        machine: &UnixStream,
        socket: PathBuf,
        noise: Option<Noise>,
        meter: Meter,
    ) -> Result<(Self, Tap)> {
        machine.set_write_timeout(Some(JAM))?;
        let shared = Arc::new(Shared::default());
        let tap = Tap {
            machine: machine.try_clone()?,
            shared: Arc::clone(&shared),
            mangler: noise.map(|noise| Mangler::new(noise.rates, noise.seed)),
            meter,
            text_of: TextOf::default(),
            text: Vec::new(),
        };
        let machine = machine.try_clone()?;
        Ok((Self { machine, socket, noise, shared, thread: None }, tap))
    }

    /// Returns the socket to which collectors connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Opens the collectors' end. Before, nothing can reach the guest.
    ///
    /// # Errors
    /// Fails if no socket can be made.
    pub fn open(&mut self) -> Result<()> {
        let listener = UnixListener::bind(&self.socket).context("a socket for the collector")?;
        listener.set_nonblocking(true)?;
        let (machine, shared) = (self.machine.try_clone()?, Arc::clone(&self.shared));
        // The way back is damaged in other places.
        let noise = self.noise.map(|noise| Mangler::new(noise.rates, !noise.seed));
        self.thread = Some(std::thread::spawn(move || serve(&listener, machine, &shared, noise)));
        Ok(())
    }
}

impl Drop for LineProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Only a bug makes it panic, and the test that sees it fails by itself.
            let _ = thread.join();
        }
        self.shared.set_collector(None);
    }
}

impl Shared {
    fn collector(&self) -> MutexGuard<'_, Option<ToCollector>> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_collector(&self, stream: Option<UnixStream>) {
        let collector = stream.map(|stream| ToCollector { stream, waiting: VecDeque::new() });
        *self.collector() = collector;
    }

    /// Sends waiting bytes, as far as there is room; true if more are waiting.
    fn flush(&self) -> bool {
        let mut collector = self.collector();
        let alive = collector.as_mut().is_some_and(ToCollector::flush);
        if !alive {
            *collector = None;
        }
        collector.as_ref().is_some_and(|collector| !collector.waiting.is_empty())
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Accepts one collector after the other, and forwards their bytes.
fn serve(
    listener: &UnixListener,
    mut machine: UnixStream,
    shared: &Shared,
    mut noise: Option<Mangler>,
) {
    while !shared.has_ended() {
        let Ok((collector, _)) = listener.accept() else {
            std::thread::sleep(SLICE);
            continue;
        };
        // A collector that does not answer counts as gone.
        let _ = converse(collector, &mut machine, shared, noise.as_mut());
        shared.set_collector(None);
    }
}

/// Forwards the bytes of one collector, until it disconnects.
fn converse(
    mut collector: UnixStream,
    machine: &mut UnixStream,
    shared: &Shared,
    mut noise: Option<&mut Mangler>,
) -> io::Result<()> {
    // A serial line does not wait for its reader.
    collector.set_nonblocking(true)?;
    shared.set_collector(Some(collector.try_clone()?));
    let mut buffer = [0; 4096];
    while !shared.has_ended() {
        let waits = shared.flush();
        match collector.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let bytes = mangled(noise.as_deref_mut(), &buffer[..length]);
                // A guest that does not read loses it.
                let _ = machine.write_all(&bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&collector, waits)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits a little, at most until something can be read, or written where something `waits`.
fn wait(stream: &UnixStream, waits: bool) -> io::Result<()> {
    let slice = Timespec::try_from(SLICE).map_err(io::Error::other)?;
    let out = if waits { PollFlags::OUT } else { PollFlags::empty() };
    poll(&mut [PollFd::new(stream, PollFlags::IN | out)], Some(&slice))?;
    Ok(())
}

fn mangled(noise: Option<&mut Mangler>, bytes: &[u8]) -> Vec<u8> {
    noise.map_or_else(|| bytes.to_vec(), |noise| noise.pass(bytes))
}

impl Tap {
    /// Passes `bytes` on to the collector, if one is connected; bytes that it has no room for are
    /// lost.
    fn pass(&mut self, bytes: &[u8]) {
        let mut collector = self.shared.collector();
        let Some(to) = collector.as_mut() else { return };
        let (mut alive, mangler) = (true, &mut self.mangler);
        self.meter.pass(bytes, |piece| alive &= to.push(&mangled(mangler.as_mut(), piece)));
        if !alive {
            *collector = None;
        }
    }
}

impl ToCollector {
    /// Sends `bytes` after the waiting ones, or lets them wait, or loses them; true if there is
    /// still a reader.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let room = ROOM - self.waiting.len();
        self.waiting.extend(&bytes[..bytes.len().min(room)]);
        self.flush()
    }

    /// Sends waiting bytes as far as there is room; true if there is still a reader.
    fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.stream.write(self.waiting.as_slices().0) {
                Ok(0) => return false,
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

impl Read for Tap {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        while self.text.is_empty() {
            let length = self.machine.read(&mut buffer)?;
            if length == 0 {
                return Ok(0);
            }
            self.pass(&buffer[..length]);
            self.text_of.push(&buffer[..length], &mut self.text);
            if self.text.is_empty() && length < FEW {
                std::thread::sleep(NAP);
            }
        }
        let length = self.text.len().min(into.len());
        into[..length].copy_from_slice(&self.text[..length]);
        self.text.drain(..length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::deadline::{Deadline, Interrupt};
    use crate::line::Rates;
    use std::sync::mpsc::channel;
    use tempfile::TempDir;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A guest whose console is read by a thread, as the harness does it.
    struct Line {
        guest: UnixStream,
        proxy: LineProxy,
        text: std::sync::mpsc::Receiver<Vec<u8>>,
        _folder: TempDir,
    }

    fn line(noise: Option<Noise>, meter: Meter) -> Line {
        let folder = tempfile::tempdir().expect("a folder");
        let (guest, machine) = UnixStream::pair().expect("sockets");
        guest.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let socket = folder.path().join("line");
        let (proxy, mut tap) = LineProxy::new(&machine, socket, noise, meter).expect("a proxy");
        let (sender, text) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = tap.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Line { guest, proxy, text, _folder: folder }
    }

    impl Line {
        /// A collector that the proxy has accepted.
        fn collector(&self) -> UnixStream {
            let stream = UnixStream::connect(self.proxy.socket()).expect("an open line");
            stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
            let deadline = Deadline::new("connection", TIMEOUT, &Interrupt::default());
            let is_there = || self.proxy.shared.collector().is_some();
            deadline.wait_for(|| Ok(is_there().then_some(()))).expect("accepted");
            stream
        }

        fn text(&self) -> String {
            let text = self.text.recv_timeout(TIMEOUT).expect("text");
            String::from_utf8(text).expect("text")
        }
    }

    fn read(mut stream: &UnixStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    #[test]
    fn before_the_line_is_open_nobody_reaches_the_guest() {
        let mut line = line(None, Meter::default());
        assert!(UnixStream::connect(line.proxy.socket()).is_err());
        line.guest.write_all(b"boot\n").expect("taken");
        assert_eq!(line.text(), "boot\n");
        line.proxy.open().expect("a socket");
        line.collector().write_all(b"hello").expect("taken");
        assert_eq!(read(&line.guest, 5), b"hello");
    }

    #[test]
    fn text_goes_both_ways_and_collectors_come_and_go() {
        let meter = Meter::default();
        let mut line = line(None, meter.clone());
        line.proxy.open().expect("a socket");
        for word in [b"one\n", b"two\n"] {
            let collector = line.collector();
            line.guest.write_all(word).expect("taken");
            assert_eq!(read(&collector, 4), word);
            assert_eq!(line.text().as_bytes(), word);
            drop(collector);
            let deadline = Deadline::new("end", TIMEOUT, &Interrupt::default());
            let is_gone = || line.proxy.shared.collector().is_none();
            deadline.wait_for(|| Ok(is_gone().then_some(()))).expect("gone");
            line.guest.write_all(b"nobody\n").expect("taken");
            assert_eq!(line.text(), "nobody\n");
        }
        assert_eq!(meter.count(), 8);
    }

    /// Bytes that are damaged on the way to the collector are intact for the harness.
    #[test]
    fn noise_does_not_reach_the_harness() {
        let rates = Rates { flips: 1_000_000, ..Rates::default() };
        let mut line = line(Some(Noise { rates, seed: 1 }), Meter::default());
        line.proxy.open().expect("a socket");
        let mut collector = line.collector();
        line.guest.write_all(b"text\n").expect("taken");
        assert_eq!(line.text(), "text\n");
        let damaged = |bytes: &[u8], whole: &[u8]| bytes.iter().zip(whole).all(|(a, b)| a != b);
        assert!(damaged(&read(&collector, 5), b"text\n"));
        collector.write_all(b"back\n").expect("taken");
        assert!(damaged(&read(&line.guest, 5), b"back\n"));
    }

    /// A collector that does not read loses bytes, and the harness none.
    #[test]
    fn a_reader_that_stalls_does_not_stop_the_line() {
        let mut line = line(None, Meter::default());
        line.proxy.open().expect("a socket");
        let collector = line.collector();
        let lots = vec![b'x'; 4 << 20];
        let mut guest = line.guest.try_clone().expect("a file descriptor");
        let writer = std::thread::spawn(move || guest.write_all(&lots));
        let mut heard = 0;
        while heard < 4 << 20 {
            heard += line.text().len();
        }
        writer.join().expect("no panic").expect("all was taken");
        drop(line);
        let mut rest = Vec::new();
        (&collector).read_to_end(&mut rest).expect("what there was room for");
        assert!((1..4 << 20).contains(&rest.len()), "{}", rest.len());
    }

    /// QEMU writes byte by byte, and a collector is not always at hand: more of them wait than a
    /// socket has room for.
    #[test]
    fn bytes_wait_for_a_reader_that_is_busy() {
        let mut line = line(None, Meter::default());
        line.proxy.open().expect("a socket");
        let collector = line.collector();
        let bytes: Vec<u8> = (0..20_000_u32).map(|byte| b'a' + (byte % 23) as u8).collect();
        let mut guest = line.guest.try_clone().expect("a file descriptor");
        let lots = bytes.clone();
        let writer =
            std::thread::spawn(move || lots.chunks(1).try_for_each(|byte| guest.write_all(byte)));
        let mut heard = 0;
        while heard < bytes.len() {
            heard += line.text().len();
        }
        writer.join().expect("no panic").expect("all was taken");
        assert!(read(&collector, bytes.len()) == bytes);
    }

    /// The collector is killed to the byte.
    #[test]
    fn what_happens_after_so_many_bytes_happens_then() {
        let (sender, tripped) = channel();
        let sender = Mutex::new(sender);
        let act = move || {
            sender.lock().expect("no panic").send(()).expect("somebody listens");
            true
        };
        let mut line = line(None, Meter::with_trip(5, act));
        line.proxy.open().expect("a socket");
        let collector = line.collector();
        line.guest.write_all(b"1234").expect("taken");
        assert_eq!(read(&collector, 4), b"1234");
        assert!(tripped.try_recv().is_err());
        line.guest.write_all(b"56").expect("taken");
        assert_eq!(read(&collector, 2), b"56");
        tripped.recv_timeout(TIMEOUT).expect("the fifth byte");
    }
}
