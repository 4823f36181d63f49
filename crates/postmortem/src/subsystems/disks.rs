//! Disks, with their statistics and their requests (Linux, `block/`).

mod find;
mod requests;

use collector::Hex;
use serde::Serialize;

use super::clock::Clock;
use super::holes::Holes;
use super::jiffies::Jiffies;
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel, Object};

pub use requests::Request;

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Age of a request that is worth a warning: 10 s.
const OLD: u64 = 10_000_000_000;

/// All disks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disks {
    /// In the order in which they were found by the kernel.
    pub disks: Vec<Disk>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disk {
    /// The whole disk.
    #[serde(flatten)]
    pub whole: Volume,
    /// Address of its `struct gendisk`.
    pub gendisk: Hex,
    /// Address of its `struct request_queue`.
    pub queue: Hex,
    /// Its partitions, by number.
    pub partitions: Vec<Volume>,
    /// The requests that it has not answered, of drivers with `blk-mq`.
    pub requests: Vec<Request>,
}

/// A disk or a partition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Volume {
    /// Its name: `sda1`.
    pub name: String,
    /// Its device number.
    pub major: u64,
    /// The same.
    pub minor: u64,
    /// Its first sector on the disk.
    pub start: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Requests that are not answered.
    pub in_flight: u64,
    /// The 17 numbers of `/proc/diskstats`: for reads and writes each requests, merged, sectors,
    /// milliseconds; requests in flight, milliseconds with any, milliseconds of all; for discards
    /// as for reads; flushes and their milliseconds.
    pub diskstats: Vec<u64>,
}

/// Reads all disks.
///
/// # Errors
/// The reason why not even the list of them is there.
pub fn read(kernel: &Kernel<'_>) -> Result<Disks, Error> {
    let mut holes = Holes::default();
    let clock = Clock::read(kernel);
    let ticks = clock.as_ref().ok().and_then(|clock| Jiffies::read(kernel, clock).ok());
    let now = holes.take("age of requests", clock).map(|clock| clock.monotonic);
    let mut disks = Vec::new();
    for gendisk in find::disks(kernel, &mut holes)? {
        disks.extend(holes.take("disk", disk(&gendisk, now, ticks.as_ref())));
    }
    Ok(Disks { disks, missing: holes.into_list() })
}

fn disk(gendisk: &Object<'_>, now: Option<u64>, ticks: Option<&Jiffies>) -> Result<Disk, Error> {
    let (whole, parts) = find::volumes(gendisk)?;
    let queue = gendisk.field("queue")?.deref_or_null()?;
    let has_requests = queue.is_some_and(|queue| queue.field("mq_ops").is_ok_and(is_set));
    let requests = match queue.filter(|_| has_requests) {
        Some(queue) => requests::read(&queue, now)?,
        None => Vec::new(),
    };
    let volume = |object: &Object<'_>| {
        let is_own = |request: &&Request| {
            request.is_in_flight
                && (object.address() == whole.address() || request.part == object.address())
        };
        let counted = requests.iter().filter(is_own).count() as u64;
        self::volume(object, has_requests.then_some(counted), ticks)
    };
    Ok(Disk {
        whole: volume(&whole)?,
        gendisk: Hex(gendisk.address()),
        queue: Hex(queue.map_or(0, |queue| queue.address())),
        partitions: parts.iter().map(volume).collect::<Result<_, _>>()?,
        requests,
    })
}

fn is_set(pointer: Object<'_>) -> bool {
    pointer.number().is_ok_and(|at| at != 0)
}

/// A `struct block_device`; before 5.11 a `struct hd_struct`.
fn volume(
    part: &Object<'_>,
    in_flight: Option<u64>,
    ticks: Option<&Jiffies>,
) -> Result<Volume, Error> {
    let number = |paths: &[&str]| part.first_of(paths)?.number();
    let dev = number(&["bd_dev", "__dev.devt"])?;
    let statistics = statistics(part, ticks)?;
    let in_flight = in_flight.unwrap_or(statistics.in_flight);
    let mut diskstats = statistics.numbers;
    diskstats[8] = in_flight;
    Ok(Volume {
        name: part.first_of(&["bd_device.kobj.name", "__dev.kobj.name"])?.text()?,
        major: dev >> 20,
        minor: dev & 0xf_ffff,
        start: number(&["bd_start_sect", "start_sect"])?,
        bytes: number(&["bd_nr_sectors", "nr_sects"])?.saturating_mul(SECTOR),
        in_flight,
        diskstats,
    })
}

struct Statistics {
    numbers: Vec<u64>,
    in_flight: u64,
}

/// Sums of `struct disk_stats` over all CPUs, in the order of `/proc/diskstats`.
fn statistics(part: &Object<'_>, ticks: Option<&Jiffies>) -> Result<Statistics, Error> {
    let kernel = part.kernel();
    let per_cpu = part.first_of(&["bd_stats", "dkstats"])?;
    let cpus = kernel.possible_cpus()?;
    let parts = cpus.iter().map(|cpu| kernel.per_cpu_of(per_cpu, *cpu));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let sum = |path: &str, index: Option<u64>| {
        parts.iter().try_fold(0_u64, |sum, part| {
            let value = part.field(path)?;
            let value = index.map_or(Ok(value), |index| value.index(index))?;
            Ok::<_, Error>(sum.wrapping_add(value.number()?))
        })
    };
    let group = |name: &str| Ok::<_, Error>(Some(kernel.types().enumerator(name)? as u64));
    let (reads, writes) = (group("STAT_READ")?, group("STAT_WRITE")?);
    let (discards, flushes) = (group("STAT_DISCARD")?, group("STAT_FLUSH")?);
    let four = |group| {
        let time = sum("nsecs", group)? / MILLISECOND;
        Ok::<_, Error>([sum("ios", group)?, sum("merges", group)?, sum("sectors", group)?, time])
    };
    let busy = sum("io_ticks", None)?;
    let busy = ticks.map_or(0, |ticks| ticks.nanoseconds(busy) / MILLISECOND);
    let all = [reads, writes, discards, flushes].into_iter();
    let all = all.map(|group| sum("nsecs", group)).sum::<Result<u64, _>>()? / MILLISECOND;
    let in_flight = sum("in_flight", Some(0))?.wrapping_add(sum("in_flight", Some(1))?);
    let mut numbers = Vec::new();
    numbers.extend(four(reads)?);
    numbers.extend(four(writes)?);
    numbers.extend([in_flight, busy, all]);
    numbers.extend(four(discards)?);
    numbers.extend([sum("ios", flushes)?, sum("nsecs", flushes)? / MILLISECOND]);
    Ok(Statistics { numbers, in_flight })
}

/// Warnings about disks with old requests.
pub fn warnings(disks: &Disks) -> Vec<Warning> {
    let mut found = Vec::new();
    for disk in &disks.disks {
        let old =
            disk.requests.iter().filter(|request| request.age_ns.is_some_and(|age| age >= OLD));
        let Some(oldest) = old.clone().filter_map(|request| request.age_ns).max() else { continue };
        let (name, count) = (&disk.whole.name, old.count());
        let text = format!(
            "disk {name} has not answered {count} requests for 10 s or more, one of them for {}",
            duration(oldest)
        );
        found.push(Warning { severity: Severity::Critical, text, section: "dev -d" });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_requests_are_a_warning() {
        let request = |age_ns| Request { age_ns, ..Request::default() };
        let whole = Volume { name: "vda".to_owned(), ..Volume::default() };
        let disk = |requests| Disk { whole: whole.clone(), requests, ..Disk::default() };
        let second = 1_000_000_000;
        let old = disk(vec![request(Some(95 * second)), request(Some(10 * second)), request(None)]);
        let young = disk(vec![request(Some(9 * second)), request(None)]);
        let found = warnings(&Disks { disks: vec![young, old], missing: Vec::new() });
        let texts: Vec<_> = found.iter().map(|warning| warning.text.as_str()).collect();
        let expected = "disk vda has not answered 2 requests for 10 s or more, one of them for \
                        00:01:35";
        assert_eq!(texts, [expected]);
    }
}
