//! Sums of an interface's packets (Linux, `dev_get_stats`).

use serde::Serialize;

use crate::{Error, Object};

/// Sums of packets and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Names of `struct rtnl_link_stats64`, and values.
    #[serde(flatten)]
    values: std::collections::BTreeMap<&'static str, u64>,
}

/// Members of `struct net_device_stats`.
const NAMES: [&str; 23] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
];

/// Places of an interface's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In `net_device.stats`.
    Plain,
    /// In `lstats` of each CPU: packets that were sent, and received just as many.
    Loopback,
    /// In `lstats` of each CPU: packets that were sent.
    Sent,
    /// In `tstats` of each CPU, besides those in `stats`.
    Tunnel,
    /// In `dstats` of each CPU, besides those in `stats`.
    Device,
}

impl Statistics {
    /// The value of a member of `struct rtnl_link_stats64`.
    pub fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, name: &'static str, more: u64) {
        let value = self.values.entry(name).or_default();
        *value = value.wrapping_add(more);
    }

    /// The 16 numbers of `/proc/net/dev`.
    pub(super) fn proc_net_dev(&self) -> Vec<u64> {
        let sum = |names: &[&str]| {
            names.iter().fold(0, |sum: u64, name| sum.wrapping_add(self.get(name)))
        };
        let groups: [&[&str]; 16] = [
            &["rx_bytes"],
            &["rx_packets"],
            &["rx_errors"],
            &["rx_dropped", "rx_missed_errors"],
            &["rx_fifo_errors"],
            &["rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"],
            &["rx_compressed"],
            &["multicast"],
            &["tx_bytes"],
            &["tx_packets"],
            &["tx_errors"],
            &["tx_dropped"],
            &["tx_fifo_errors"],
            &["collisions"],
            &["tx_carrier_errors", "tx_aborted_errors", "tx_window_errors", "tx_heartbeat_errors"],
            &["tx_compressed"],
        ];
        groups.map(sum).to_vec()
    }
}

/// The sums of an interface; [`None`] if its driver counts in a way that is not known. The second
/// value is the driver's function.
pub(super) fn read(device: &Object<'_>) -> Result<(Option<Statistics>, Option<String>), Error> {
    let function = function(device)?;
    let Some(source) = source(device, function.as_deref())? else { return Ok((None, function)) };
    let mut sums = Statistics::default();
    if !matches!(source, Source::Loopback | Source::Sent) {
        for name in NAMES {
            sums.add(name, device.field("stats")?.field(name)?.number()?);
        }
    }
    let pairs: &[(&str, &'static str)] = match source {
        Source::Plain => &[],
        Source::Loopback => &[
            ("packets", "rx_packets"),
            ("packets", "tx_packets"),
            ("bytes", "rx_bytes"),
            ("bytes", "tx_bytes"),
        ],
        Source::Sent => &[("packets", "tx_packets"), ("bytes", "tx_bytes")],
        Source::Tunnel => &BOTH,
        Source::Device => {
            add_each(&mut sums, device, "dstats", &DROPS)?;
            &BOTH
        }
    };
    let member = match source {
        Source::Loopback | Source::Sent => "lstats",
        Source::Tunnel => "tstats",
        Source::Plain | Source::Device => "dstats",
    };
    add_each(&mut sums, device, member, pairs)?;
    add_core(&mut sums, device)?;
    Ok((Some(sums), function))
}

const BOTH: [(&str, &str); 4] = [
    ("rx_packets", "rx_packets"),
    ("tx_packets", "tx_packets"),
    ("rx_bytes", "rx_bytes"),
    ("tx_bytes", "tx_bytes"),
];
const DROPS: [(&str, &str); 2] = [("rx_drops", "rx_dropped"), ("tx_drops", "tx_dropped")];

/// Adds the counters of all CPUs. Names of their structs changed: `packets` was `rx_packets`.
fn add_each(
    sums: &mut Statistics,
    device: &Object<'_>,
    member: &str,
    pairs: &[(&str, &'static str)],
) -> Result<(), Error> {
    if pairs.is_empty() {
        return Ok(());
    }
    let kernel = device.kernel();
    for cpu in kernel.possible_cpus()? {
        let part = kernel.per_cpu_of(device.field(member)?, cpu)?;
        for (from, to) in pairs {
            sums.add(to, part.field(from)?.number()?);
        }
    }
    Ok(())
}

/// Adds what the core dropped: a number of the interface, later one of each CPU.
fn add_core(sums: &mut Statistics, device: &Object<'_>) -> Result<(), Error> {
    let names = ["rx_dropped", "tx_dropped", "rx_nohandler"];
    if device.has("core_stats") {
        if device.field("core_stats")?.number()? != 0 {
            add_each(sums, device, "core_stats", &names.map(|name| (name, name)))?;
        }
        return Ok(());
    }
    for name in names {
        sums.add(name, device.field(name)?.number()?);
    }
    Ok(())
}

/// The place of the counters, as the kernel itself looks for them; [`None`]: only the driver knows.
fn source(device: &Object<'_>, function: Option<&str>) -> Result<Option<Source>, Error> {
    Ok(match function {
        Some("loopback_get_stats64") => Some(Source::Loopback),
        Some("dummy_get_stats64") => Some(Source::Sent),
        Some("dev_get_tstats64" | "ip_tunnel_get_stats64") => Some(Source::Tunnel),
        Some(_) => None,
        None if device.has("pcpu_stat_type") => {
            Some(match device.field("pcpu_stat_type")?.enumerator()?.as_str() {
                "NETDEV_PCPU_STAT_TSTATS" => Source::Tunnel,
                "NETDEV_PCPU_STAT_DSTATS" => Source::Device,
                _ => Source::Plain,
            })
        }
        None => Some(Source::Plain),
    })
}

/// Name of the driver's function that counts; its address where it has no name.
fn function(device: &Object<'_>) -> Result<Option<String>, Error> {
    for member in ["ndo_get_stats64", "ndo_get_stats"] {
        let at = device.field("netdev_ops")?.deref()?.field(member)?.number()?;
        if at != 0 {
            return Ok(Some(device.kernel().symbolized(at)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of `/proc/net/dev` by the kernel's documentation of `rtnl_link_stats64`: each
    /// member has a bit of its own.
    #[test]
    fn proc_net_dev_has_each_member_in_its_column() {
        let mut sums = Statistics::default();
        for (bit, name) in NAMES.iter().enumerate() {
            sums.add(name, 1 << bit);
        }
        let bit = |name: &str| 1_u64 << NAMES.iter().position(|other| *other == name).expect(name);
        let found = sums.proc_net_dev();
        assert_eq!(found[3], bit("rx_dropped") | bit("rx_missed_errors"));
        let frames = ["rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"];
        assert_eq!(found[5], frames.iter().fold(0, |all, name| all | bit(name)));
        assert_eq!(
            (found[0], found[1], found[7]),
            (bit("rx_bytes"), bit("rx_packets"), bit("multicast"))
        );
        assert_eq!(
            (found[8], found[9], found[13]),
            (bit("tx_bytes"), bit("tx_packets"), bit("collisions"))
        );
        assert_eq!(found.iter().sum::<u64>(), (1 << NAMES.len()) - 1);
    }
}
