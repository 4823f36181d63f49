//! Network interfaces (Linux, `net/core/dev.c`).

mod statistics;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use collector::Hex;
use serde::Serialize;

use super::clock::Clock;
use super::holes::Holes;
use super::jiffies::Jiffies;
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel, Object};

pub use statistics::Statistics;

/// Most bytes of a hardware address (`MAX_ADDR_LEN`).
const MOST_BYTES: usize = 32;
/// Most addresses of an interface, and most queues.
const MOST_ADDRESSES: usize = 4096;
const MOST_QUEUES: u64 = 4096;
/// Time for which a stopped queue is not worth a warning: 5 s, the watchdog's in most drivers.
const STOPPED: u64 = 5_000_000_000;
/// Flags in the order of ip(8) (Linux, `include/uapi/linux/if.h`).
const FLAGS: [(u64, &str); 15] = [
    (1 << 3, "LOOPBACK"),
    (1 << 1, "BROADCAST"),
    (1 << 4, "POINTOPOINT"),
    (1 << 12, "MULTICAST"),
    (1 << 7, "NOARP"),
    (1 << 9, "ALLMULTI"),
    (1 << 8, "PROMISC"),
    (1 << 10, "MASTER"),
    (1 << 11, "SLAVE"),
    (1 << 2, "DEBUG"),
    (1 << 15, "DYNAMIC"),
    (1 << 14, "AUTOMEDIA"),
    (1 << 13, "PORTSEL"),
    (1 << 5, "NOTRAILERS"),
    (UP, "UP"),
];
const UP: u64 = 1;

/// All interfaces of a network namespace.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Interfaces {
    /// In the order of the kernel's list.
    pub interfaces: Vec<Interface>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Address of its `struct net_device`.
    pub net_device: Hex,
    /// Its number.
    pub index: u64,
    /// Words as ip(8) shows them: `UP`, `LOWER_UP`.
    pub flags: Vec<&'static str>,
    /// Largest packet in bytes.
    pub mtu: u64,
    /// Its hardware address.
    pub hardware: String,
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Nanoseconds since the last packet of any queue: see there.
    pub last_sent_ns: Option<u64>,
    /// Its queues for sending.
    pub queues: Vec<Queue>,
    /// Sums of its packets. [`None`] if its driver keeps them for itself.
    pub statistics: Option<Statistics>,
    /// The numbers of `/proc/net/dev`, from the same.
    pub proc_net_dev: Option<Vec<u64>>,
    /// The driver's function that counts the packets, where it has one.
    pub counted_by: Option<String>,
}

/// A queue for sending.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Queue {
    /// True if the driver takes no more packets.
    pub is_stopped: bool,
    /// Nanoseconds since the last packet was given to the driver (`trans_start`), or since the
    /// start of a driver without a queue, such as `lo`. [`None`] before.
    pub last_sent_ns: Option<u64>,
}

/// Reads the interfaces of the first network namespace.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::Memory`]: there is not even a list.
pub fn read(kernel: &Kernel<'_>) -> Result<Interfaces, Error> {
    let mut holes = Holes::default();
    let clock = Clock::read(kernel).and_then(|clock| Jiffies::read(kernel, &clock));
    let ticks = holes.take("time", clock);
    let list = kernel.global("init_net")?.field("dev_base_head")?;
    let mut interfaces = Vec::new();
    for object in holes.walk("interfaces", list.list("struct net_device", "dev_list")) {
        let found = interface(&object, ticks.as_ref(), &mut holes);
        interfaces.extend(holes.take("interface", found));
    }
    Ok(Interfaces { interfaces, missing: holes.into_list() })
}

fn interface(
    device: &Object<'_>,
    ticks: Option<&Jiffies>,
    holes: &mut Holes,
) -> Result<Interface, Error> {
    let number = |path: &str| device.field(path)?.number();
    let name = device.field("name")?.text()?;
    let mut part =
        |what, found| holes.take(&format!("{what} of {name}"), found).unwrap_or_default();
    let mut addresses = part("addresses", ipv4(device));
    addresses.extend(part("IPv6 addresses", ipv6(device)));
    let queues = holes.take(&format!("queues of {name}"), queues(device, ticks));
    let queues = queues.unwrap_or_default();
    let (statistics, counted_by) = statistics::read(device)?;
    Ok(Interface {
        name,
        net_device: Hex(device.address()),
        index: number("ifindex")?,
        flags: flags(device, number("flags")?)?,
        mtu: number("mtu")?,
        hardware: hardware(device)?,
        addresses,
        last_sent_ns: queues.iter().filter_map(|queue: &Queue| queue.last_sent_ns).min(),
        queues,
        proc_net_dev: statistics.as_ref().map(Statistics::proc_net_dev),
        statistics,
        counted_by,
    })
}

fn flags(device: &Object<'_>, flags: u64) -> Result<Vec<&'static str>, Error> {
    let state = device.field("state")?.number()?;
    let bit = |name: &str| {
        let bit = device.kernel().types().enumerator(name)?;
        Ok::<_, Error>(state >> bit.clamp(0, 63) & 1 != 0)
    };
    let has_carrier = !bit("__LINK_STATE_NOCARRIER")?;
    let mut words = Vec::new();
    if flags & UP != 0 && !has_carrier {
        words.push("NO-CARRIER");
    }
    words.extend(FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word));
    if has_carrier && flags & UP != 0 {
        words.push("LOWER_UP");
    }
    Ok(words)
}

fn hardware(device: &Object<'_>) -> Result<String, Error> {
    let length = device.field("addr_len")?.number()?.min(MOST_BYTES as u64) as usize;
    if length == 0 {
        return Ok(String::new());
    }
    let mut bytes = [0; MOST_BYTES];
    let bytes = &mut bytes[..length];
    device.kernel().read(device.field("dev_addr")?.number()?, bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

fn ipv4(device: &Object<'_>) -> Result<Vec<String>, Error> {
    let Some(own) = device.field("ip_ptr")?.deref_or_null()? else { return Ok(Vec::new()) };
    let (mut found, mut next) = (Vec::new(), own.field("ifa_list")?.deref_or_null()?);
    while let Some(object) = next {
        if found.len() >= MOST_ADDRESSES {
            let why = "it is too long";
            return Err(Error::Damaged { what: "list of addresses", at: object.address(), why });
        }
        let mut bytes = [0; 4];
        object.field("ifa_local")?.read(&mut bytes)?;
        let length = object.field("ifa_prefixlen")?.number()?;
        found.push(format!("{}/{length}", IpAddr::V4(Ipv4Addr::from(bytes))));
        next = object.field("ifa_next")?.deref_or_null()?;
    }
    Ok(found)
}

fn ipv6(device: &Object<'_>) -> Result<Vec<String>, Error> {
    if !device.has("ip6_ptr") {
        return Ok(Vec::new());
    }
    let Some(own) = device.field("ip6_ptr")?.deref_or_null()? else { return Ok(Vec::new()) };
    let list = own.field("addr_list")?.list("struct inet6_ifaddr", "if_list")?;
    let address = |object: Result<Object<'_>, Error>| {
        let (object, mut bytes) = (object?, [0; 16]);
        object.field("addr")?.read(&mut bytes)?;
        let length = object.field("prefix_len")?.number()?;
        Ok(format!("{}/{length}", IpAddr::V6(Ipv6Addr::from(bytes))))
    };
    list.take(MOST_ADDRESSES).map(address).collect()
}

fn queues(device: &Object<'_>, ticks: Option<&Jiffies>) -> Result<Vec<Queue>, Error> {
    let types = device.kernel().types();
    let stopped = types.enumerator("__QUEUE_STATE_DRV_XOFF")?.clamp(0, 63);
    let table = device.field("_tx")?;
    let count = device.field("real_num_tx_queues")?.number()?.min(MOST_QUEUES);
    let queue = |index| {
        let queue = table.index(index)?;
        let sent = queue.field("trans_start")?.number()?;
        let since = |ticks: &Jiffies| ticks.since(sent, types.word);
        Ok(Queue {
            is_stopped: queue.field("state")?.number()? >> stopped & 1 != 0,
            last_sent_ns: ticks.filter(|_| sent != 0).map(since),
        })
    };
    (0..count).map(queue).collect()
}

/// Warnings about queues that are stopped for long: the device or its driver hangs.
pub fn warnings(interfaces: &Interfaces) -> Vec<Warning> {
    let mut found = Vec::new();
    for interface in &interfaces.interfaces {
        if !interface.flags.contains(&"LOWER_UP") {
            continue;
        }
        for (number, queue) in interface.queues.iter().enumerate() {
            let Some(since) = queue.last_sent_ns.filter(|since| *since >= STOPPED) else {
                continue;
            };
            if queue.is_stopped {
                let (name, since) = (&interface.name, duration(since));
                let text =
                    format!("queue {number} of {name} is stopped, and sent nothing for {since}");
                found.push(Warning { severity: Severity::Warning, text, section: "net" });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_stopped_for_long_is_a_warning() {
        let queue = |is_stopped, seconds: u64| Queue {
            is_stopped,
            last_sent_ns: Some(seconds * 1_000_000_000),
        };
        let interface = |flags: &[&'static str], queues| Interface {
            name: "eth0".to_owned(),
            flags: flags.to_vec(),
            queues,
            ..Interface::default()
        };
        let up = ["UP", "LOWER_UP"];
        let interfaces = vec![
            interface(&up, vec![queue(false, 60), queue(true, 60)]),
            interface(&up, vec![queue(true, 4), Queue { is_stopped: true, last_sent_ns: None }]),
            interface(&["NO-CARRIER", "UP"], vec![queue(true, 60)]),
        ];
        let found = warnings(&Interfaces { interfaces, missing: Vec::new() });
        let texts: Vec<_> = found.iter().map(|warning| warning.text.as_str()).collect();
        assert_eq!(texts, ["queue 1 of eth0 is stopped, and sent nothing for 00:01:00"]);
    }
}
