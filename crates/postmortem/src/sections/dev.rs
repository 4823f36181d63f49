//! Devices, by crash(8)'s `dev`.

use clap::Args;
use serde::Serialize;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, Table, bytes, duration};
use crate::subsystems::disks::{self, Disks};
use crate::subsystems::majors::{self, Major, Majors};
use crate::{Error, Kernel};

/// The devices to show; the numbers of drivers without any.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Disks: requests that are not answered, and the numbers of /proc/diskstats
    #[arg(short = 'd')]
    disks: bool,
}

/// The data of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Data {
    Disks(Disks),
    Majors(Majors),
}

/// Disks on the first page: only their warnings.
pub(super) const PART: Part = Part { name: "disks", read: first_page };

fn first_page(kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
    let found = disks::read(kernel)?;
    let answer = Answer::new("Disks", &found)?;
    Ok(Answer { warnings: disks::warnings(&found), missing: found.missing, ..answer })
}

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        if !self.disks {
            let found = majors::read(kernel);
            let (characters, blocks) =
                (table("CHRDEV", &found.characters), table("BLKDEV", &found.blocks));
            let missing = found.missing.clone();
            let answer = Answer::new("Devices", &Data::Majors(found))?;
            return Ok(Answer { missing, ..answer.with(characters).with(blocks) });
        }
        let found = disks::read(kernel)?;
        let (warnings, missing) = (disks::warnings(&found), found.missing.clone());
        let blocks = blocks(&found);
        Ok(Answer { blocks, warnings, missing, ..Answer::new("Disks", &Data::Disks(found))? })
    }
}

fn table(kind: &'static str, list: &[Major]) -> Block {
    let mut table = Table::new(&[">MAJOR", kind]);
    list.iter().for_each(|row| table.row([row.major.to_string(), row.name.clone()]));
    Block::Table(table)
}

fn blocks(found: &Disks) -> Vec<Block> {
    let names = [
        "GENDISK",
        "QUEUE",
        "NAME",
        "NUMBER",
        ">SIZE",
        ">IN FLIGHT",
        ">READS",
        ">WRITES",
        ">OLDEST",
    ];
    let mut table = Table::new(&names);
    for disk in &found.disks {
        let oldest = disk.requests.iter().filter_map(|request| request.age_ns).max();
        for volume in [&disk.whole].into_iter().chain(&disk.partitions) {
            let count = |index| volume.diskstats.get(index).map(u64::to_string).unwrap_or_default();
            let oldest = oldest.filter(|_| volume.name == disk.whole.name);
            table.row([
                format!("{:x}", disk.gendisk.0),
                format!("{:x}", disk.queue.0),
                volume.name.clone(),
                format!("{}:{}", volume.major, volume.minor),
                bytes(volume.bytes),
                volume.in_flight.to_string(),
                count(0),
                count(4),
                oldest.map(duration).unwrap_or_default(),
            ]);
        }
    }
    let mut blocks = vec![Block::Table(table)];
    let requests = requests(found);
    if !requests.rows.is_empty() {
        blocks.extend([Block::Heading("Requests".to_owned()), Block::Table(requests)]);
    }
    blocks
}

fn requests(found: &Disks) -> Table {
    let names = ["REQUEST", "DISK", ">HWQ", ">TAG", "OP", ">SECTOR", ">SIZE", ">AGE", "STATE"];
    let mut table = Table::new(&names);
    for disk in &found.disks {
        for request in &disk.requests {
            table.row([
                format!("{:x}", request.address.0),
                disk.whole.name.clone(),
                request.queue.to_string(),
                request.tag.to_string(),
                request.operation.clone(),
                request.sector.to_string(),
                bytes(request.bytes),
                request.age_ns.map(duration).unwrap_or_default(),
                if request.is_in_flight { "in flight" } else { "answered" }.to_owned(),
            ]);
        }
    }
    table
}
