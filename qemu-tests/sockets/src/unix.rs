//! Sockets between programs of one machine.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::held::Held;

/// One that listens under an abstract name.
pub fn named(name: &str) -> Result<OwnedFd> {
    let address = SocketAddr::from_abstract_name(name)?;
    Ok(UnixListener::bind_addr(&address).with_context(|| name.to_string())?.into())
}

/// All kinds of them, bound in `folder`.
pub fn all(folder: &Path) -> Result<Held> {
    let mut held = vec![named("kdump/abstract")?, seqpacket("kdump/packets")?];
    held.extend(streams(folder)?);
    held.extend(datagrams(folder)?);
    Ok(held)
}

/// A listener with an accepted connection and two that are not; a pair without names.
fn streams(folder: &Path) -> Result<Held> {
    let path = folder.join("stream socket");
    let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
    let client = UnixStream::connect(&path)?;
    let (mut server, _) = listener.accept()?;
    server.write_all(b"unread")?;
    let waiting = [UnixStream::connect(&path)?, UnixStream::connect(&path)?];
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(b"between two")?;
    // A part of a packet is read.
    other.read_exact(&mut [0; 4])?;
    let mut held: Held = vec![listener.into(), client.into(), server.into()];
    held.extend(waiting.map(OwnedFd::from));
    held.extend([one.into(), other.into()]);
    Ok(held)
}

/// One with a path and an unread datagram, and the one without a name that is connected to it.
fn datagrams(folder: &Path) -> Result<Held> {
    let path = folder.join("datagrams");
    let bound = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
    let connected = UnixDatagram::unbound()?;
    connected.connect(&path)?;
    connected.send(b"unread as well")?;
    Ok(vec![bound.into(), connected.into()])
}

/// A listener for packets in sequence.
fn seqpacket(name: &str) -> Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}
