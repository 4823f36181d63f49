//! TCP in the states that last, with unread and unsent bytes.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::held::Held;

/// Room for received bytes where little is to fit in.
const SMALL: usize = 4096;
/// Accepted connections that a queue of 2 takes.
const FULL: usize = 3;

/// All of them at ports from `first` on.
pub fn all(ip: IpAddr, first: u16) -> Result<Held> {
    let at = |offset| SocketAddr::from((ip, first + offset));
    let mut held = pair(at(0), b"a question", &[b'.'; 1200])?;
    held.extend(stuck(at(1))?);
    held.extend(half_closed(at(2))?);
    held.extend(time_wait(at(3))?);
    held.extend(full_queue(at(4))?);
    held.extend(listening(at(5), 128)?);
    held.extend(kept_alive(at(6))?);
    Ok(held)
}

fn socket(address: SocketAddr, flags: SocketFlags) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// A socket that listens, with room for `backlog` connections.
pub fn listening(address: SocketAddr, backlog: i32) -> Result<Held> {
    let socket = socket(address, SocketFlags::empty())?;
    rustix::net::bind(&socket, &address).with_context(|| address.to_string())?;
    rustix::net::listen(&socket, backlog)?;
    Ok(vec![socket])
}

/// A listener, a client and its server.
fn connected(address: SocketAddr) -> Result<(TcpListener, TcpStream, TcpStream)> {
    let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
    let client = TcpStream::connect(address)?;
    let (server, _) = listener.accept()?;
    Ok((listener, client, server))
}

/// A connection on whose ends lie unread bytes.
pub fn pair(address: SocketAddr, there: &[u8], back: &[u8]) -> Result<Held> {
    let (listener, mut client, mut server) = connected(address)?;
    client.set_nodelay(true)?;
    client.write_all(there)?;
    server.write_all(back)?;
    Ok(vec![listener.into(), client.into(), server.into()])
}

/// A connection on whose ends lie unread and unsent bytes: the windows are shut.
fn stuck(address: SocketAddr) -> Result<Held> {
    let listener = listening(address, 1)?.remove(0);
    sockopt::set_socket_recv_buffer_size(&listener, SMALL)?;
    let client = socket(address, SocketFlags::empty())?;
    sockopt::set_socket_recv_buffer_size(&client, SMALL)?;
    rustix::net::connect(&client, &address)?;
    let (listener, client) = (TcpListener::from(listener), TcpStream::from(client));
    let (server, _) = listener.accept()?;
    for mut end in [&client, &server] {
        sockopt::set_socket_send_buffer_size(end, SMALL)?;
        end.set_nonblocking(true)?;
        // The kernel sends the first bytes while the next are put in: once more after a while.
        for _ in 0..2 {
            let error = loop {
                if let Err(error) = end.write(&[b'x'; 1000]) {
                    break error;
                }
            };
            ensure!(error.kind() == ErrorKind::WouldBlock, "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(vec![listener.into(), client.into(), server.into()])
}

/// FIN_WAIT2 and CLOSE_WAIT.
fn half_closed(address: SocketAddr) -> Result<Held> {
    let (listener, client, server) = connected(address)?;
    client.shutdown(std::net::Shutdown::Write)?;
    Ok(vec![listener.into(), client.into(), server.into()])
}

/// TIME_WAIT, which no program holds.
fn time_wait(address: SocketAddr) -> Result<Held> {
    let (listener, client, server) = connected(address)?;
    drop(client);
    // It closes as the second one.
    std::thread::sleep(Duration::from_millis(20));
    drop(server);
    Ok(vec![listener.into()])
}

/// A queue of connections to accept that is full; before that, connections that wait for bytes in
/// the SYN queue; and one more whose SYN nobody answers.
fn full_queue(address: SocketAddr) -> Result<Held> {
    let listener = listening(address, FULL as i32 - 1)?.remove(0);
    defer_accept(&listener, 600)?;
    let mut held: Held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(address)?.into());
    }
    defer_accept(&listener, 0)?;
    for _ in 0..FULL {
        held.push(TcpStream::connect(address)?.into());
    }
    let late = socket(address, SocketFlags::NONBLOCK)?;
    let connecting = rustix::net::connect(&late, &address);
    ensure!(connecting == Err(rustix::io::Errno::INPROGRESS), "{connecting:?}");
    held.extend([late, listener]);
    Ok(held)
}

/// A connection with a timer for its life.
fn kept_alive(address: SocketAddr) -> Result<Held> {
    let (listener, client, server) = connected(address)?;
    sockopt::set_socket_keepalive(&client, true)?;
    sockopt::set_tcp_keepidle(&client, Duration::from_secs(3600))?;
    Ok(vec![listener.into(), client.into(), server.into()])
}

/// TCP_DEFER_ACCEPT, in seconds: connections wait for their first bytes before they are accepted.
#[expect(unsafe_code, reason = "neither std nor rustix has the option")]
fn defer_accept(listener: &OwnedFd, seconds: libc::c_int) -> Result<()> {
    let length = size_of_val(&seconds) as libc::socklen_t;
    // SAFETY: the option's value is an int that lives as long as the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    ensure!(result == 0, "TCP_DEFER_ACCEPT: {}", std::io::Error::last_os_error());
    Ok(())
}
