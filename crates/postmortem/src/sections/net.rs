//! Network interfaces, by crash(8)'s `net`.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table, duration};
use crate::subsystems::interfaces::{self, Interface};
use crate::{Error, Kernel};

/// There are none: the interfaces are those of the first network namespace.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Interfaces on the first page: only their warnings.
pub(super) const PART: Part = Part { name: "interfaces", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = interfaces::read(kernel)?;
    let answer = Answer::new("Interfaces", &found)?;
    Ok(Answer { warnings: interfaces::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let found = interfaces::read(kernel)?;
        let names = ["NET_DEVICE", "NAME", ">MTU", "MAC", "FLAGS", "IP ADDRESSES"];
        let mut table = Table::new(&names);
        for interface in &found.interfaces {
            table.row([
                format!("{:x}", interface.net_device.0),
                interface.name.clone(),
                interface.mtu.to_string(),
                interface.hardware.clone(),
                interface.flags.join(","),
                interface.addresses.join(", "),
            ]);
        }
        let answer = Answer::new("Network interfaces", &found)?.with(Block::Table(table));
        let answer = answer.with(Block::Heading("Packets".to_owned()));
        let answer = answer.with(Block::Table(packets(&found.interfaces)));
        Ok(Answer { warnings: interfaces::warnings(&found), missing: found.missing, ..answer })
    }
}

fn packets(list: &[Interface]) -> Table {
    let columns = ["rx_bytes", "rx_packets", "rx_errors", "tx_bytes", "tx_packets", "tx_errors"];
    let names = [
        "NAME",
        ">RX BYTES",
        ">RX PACKETS",
        ">ERRORS",
        ">TX BYTES",
        ">TX PACKETS",
        ">ERRORS",
        ">STOPPED",
        ">TRANS_START",
        "COUNTED BY",
    ];
    let mut table = Table::new(&names);
    for interface in list {
        let value = |name| {
            interface.statistics.as_ref().map_or("?".to_owned(), |sums| sums.get(name).to_string())
        };
        let stopped = interface.queues.iter().filter(|queue| queue.is_stopped).count();
        let rest = [
            format!("{stopped}/{}", interface.queues.len()),
            interface
                .last_sent_ns
                .map(|time| format!("{} ago", duration(time)))
                .unwrap_or_default(),
            interface.counted_by.clone().unwrap_or_default(),
        ];
        table.row([interface.name.clone()].into_iter().chain(columns.map(value)).chain(rest));
    }
    table
}
