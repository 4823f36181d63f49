//! Opens sockets of all kinds, prints `ready` and holds them until it is ended.
//!
//! Arguments: `all FOLDER`, with the folder for the sockets that have paths; or `few`, for a network
//! namespace beside that of the others. Ports are fixed, so that a person finds the rows.

mod held;
mod tcp;
mod unix;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};

use crate::held::Held;

/// A protocol that is for experiments (RFC 3692).
const EXPERIMENT: NonZeroU32 = NonZeroU32::new(253).unwrap();

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let held = match &arguments[..] {
        ["all", folder] => all(Path::new(folder))?,
        ["few"] => few()?,
        _ => bail!("usage: sockets all FOLDER | sockets few"),
    };
    println!("ready");
    loop {
        std::thread::park();
        std::hint::black_box(&held);
    }
}

fn all(folder: &Path) -> Result<Held> {
    let mut held = Held::new();
    for (ip, first) in [(Ipv4Addr::LOCALHOST.into(), 7000), (Ipv6Addr::LOCALHOST.into(), 7060)] {
        held.extend(tcp::all(ip, first)?);
        held.extend(udp(ip, first)?);
        held.extend(raw(ip)?);
    }
    held.extend(tcp::listening((Ipv6Addr::UNSPECIFIED, 7090).into(), 128)?);
    held.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7091)).context("UDP 7091")?.into());
    held.push(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7092)).context("UDP 7092")?.into());
    held.extend(unix::all(folder)?);
    Ok(held)
}

fn few() -> Result<Held> {
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut held = tcp::pair((ip, 7000).into(), b"here", b"and there")?;
    held.extend(tcp::listening((ip, 7001).into(), 16)?);
    held.extend(udp(ip, 7000)?);
    held.extend(raw(ip)?);
    held.push(unix::named("other")?);
    Ok(held)
}

/// One socket with unread datagrams, and the connected one that they came from.
fn udp(ip: IpAddr, port: u16) -> Result<Held> {
    let bound = UdpSocket::bind((ip, port)).with_context(|| format!("UDP {ip} {port}"))?;
    let connected = UdpSocket::bind((ip, port + 1))?;
    connected.connect((ip, port))?;
    connected.send(b"one")?;
    connected.send(&[7; 700])?;
    Ok(vec![bound.into(), connected.into()])
}

/// A raw socket for all answers to pings, and one that has sent something to itself.
fn raw(ip: IpAddr) -> Result<Held> {
    let (family, icmp) = match ip {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let open = |protocol: Protocol| {
        rustix::net::socket(family, SocketType::RAW, Some(protocol)).context("a raw socket")
    };
    let experiment = open(Protocol::from_raw(EXPERIMENT))?;
    let address = SocketAddr::from((ip, 0));
    rustix::net::bind(&experiment, &address)?;
    rustix::net::connect(&experiment, &address)?;
    rustix::net::send(&experiment, b"to myself", rustix::net::SendFlags::empty())?;
    Ok(vec![open(icmp)?, experiment])
}
