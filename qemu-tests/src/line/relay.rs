//! A socket before QEMU's: where the bytes of a virtio-console port are counted.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Meter;

/// Longest wait before the next check for its end.
const SLICE: Duration = Duration::from_millis(20);

/// Connects to QEMU when a collector connects to it, and goes with it: the guest sees its port open
/// and close as if the collector itself were there.
pub struct Relay {
    socket: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Both streams of the connection that there is.
    streams: Mutex<Vec<UnixStream>>,
    ended: AtomicBool,
}

impl Relay {
    /// Accepts collectors at `socket` for the listener at `machine`, and counts the bytes that they
    /// get with `meter`.
    ///
    /// # Errors
    /// Fails if no socket can be made.
    pub fn open(machine: PathBuf, socket: PathBuf, meter: Meter) -> Result<Self> {
        let listener = UnixListener::bind(&socket).context("a socket for the collector")?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &machine, &shared, &meter)
        });
        Ok(Self { socket, shared, thread: Some(thread) })
    }

    /// Returns the socket to which collectors connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.cut();
        if let Some(thread) = self.thread.take() {
            // Only a bug makes it panic, and the test that sees it fails by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Ends the connection that there is.
    fn cut(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            // It fails where the other side has done it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Notes a connection's streams, unless it is over already.
    fn keep(&self, streams: [&UnixStream; 2]) -> std::io::Result<bool> {
        let mut kept = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams {
            kept.push(stream.try_clone()?);
        }
        Ok(!self.ended.load(Ordering::SeqCst))
    }
}

/// Takes one collector after the other.
fn serve(listener: &UnixListener, machine: &Path, shared: &Shared, meter: &Meter) {
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((collector, _)) = listener.accept() else {
            std::thread::sleep(SLICE);
            continue;
        };
        // If QEMU is gone, the collector sees its connection end.
        let _ = converse(collector, machine, shared, meter);
        shared.cut();
    }
}

/// Moves bytes both ways until one side ends.
fn converse(
    mut collector: UnixStream,
    machine: &Path,
    shared: &Shared,
    meter: &Meter,
) -> std::io::Result<()> {
    let mut machine = UnixStream::connect(machine)?;
    collector.set_nonblocking(false)?;
    if !shared.keep([&collector, &machine])? {
        return Ok(());
    }
    let (mut said, mut to_machine) = (collector.try_clone()?, machine.try_clone()?);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut said, &mut to_machine);
            shared.cut();
        });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = machine.read(&mut buffer) {
            let mut alive = true;
            meter.pass(&buffer[..length], |piece| alive &= collector.write_all(piece).is_ok());
            if !alive {
                break;
            }
        }
        shared.cut();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn bytes_go_both_ways_and_the_end_of_one_is_the_end_of_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, socket) = (folder.path().join("port"), folder.path().join("relay"));
        let machine = UnixListener::bind(&port).expect("a socket");
        let meter = Meter::default();
        let relay = Relay::open(port, socket, meter.clone()).expect("a relay");
        for _ in 0..2 {
            let mut collector = UnixStream::connect(relay.socket()).expect("somebody listens");
            let (mut guest, _) = machine.accept().expect("the relay");
            for stream in [&collector, &guest] {
                stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
            }
            guest.write_all(b"dump").expect("taken");
            let mut four = [0; 4];
            collector.read_exact(&mut four).expect("four bytes");
            assert_eq!(&four, b"dump");
            collector.write_all(b"want").expect("taken");
            guest.read_exact(&mut four).expect("four bytes");
            assert_eq!(&four, b"want");
            drop(collector);
            assert_eq!(guest.read(&mut four).expect("an end"), 0);
        }
        assert_eq!(meter.count(), 8);
    }

    /// Whoever is connected sees the end of it.
    #[test]
    fn the_end_of_the_relay_ends_its_connections() {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, socket) = (folder.path().join("port"), folder.path().join("relay"));
        let machine = UnixListener::bind(&port).expect("a socket");
        let relay = Relay::open(port, socket, Meter::default()).expect("a relay");
        let mut collector = UnixStream::connect(relay.socket()).expect("somebody listens");
        collector.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let guest = machine.accept().expect("the relay");
        drop(relay);
        assert_eq!(collector.read(&mut [0; 4]).expect("an end"), 0);
        drop(guest);
    }
}
