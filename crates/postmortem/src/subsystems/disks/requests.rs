//! Requests that a driver has not answered yet (Linux, `block/blk-mq-tag.c`).

use collector::Hex;
use serde::Serialize;

use crate::types::Type;
use crate::{Error, Object};

/// Most hardware queues of a disk, and most tags of a queue.
const MOST_QUEUES: u64 = 8192;
const MOST_TAGS: u64 = 1 << 16;
/// Bits of a request's flags that are its operation (`REQ_OP_BITS`).
const OPERATION: u64 = 0xff;

/// A request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// Address of its `struct request`.
    pub address: Hex,
    /// Its operation: `READ`, `WRITE`, `FLUSH`.
    pub operation: String,
    /// Its first sector.
    pub sector: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Number of its hardware queue.
    pub queue: u64,
    /// Its tag.
    pub tag: u64,
    /// True if the driver has it; false if the driver has answered it, and it is not freed yet.
    pub is_in_flight: bool,
    /// Time at which it was made, in nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Its age in nanoseconds at the last tick of the kernel.
    pub age_ns: Option<u64>,
    /// Address of its partition or disk.
    #[serde(skip)]
    pub part: u64,
}

/// The requests of a queue that are started and not freed, the oldest first.
pub(super) fn read(queue: &Object<'_>, now: Option<u64>) -> Result<Vec<Request>, Error> {
    let mut found = Vec::new();
    for hardware in hardware_queues(queue)? {
        let Some(tags) = hardware.field("tags")?.deref_or_null()? else { continue };
        let number = hardware.field("queue_num")?.number()?;
        let slots = tags.field("rqs")?;
        for tag in 0..tags.field("nr_tags")?.number()?.min(MOST_TAGS) {
            let Some(object) = slots.index(tag)?.deref_or_null()? else { continue };
            // Tags may be shared by disks, and their slots keep what was freed.
            let is_own = object.field("q")?.number()? == queue.address()
                && object.field("tag")?.number()? == tag;
            if is_own && object.field("state")?.enumerator()? != "MQ_RQ_IDLE" {
                found.push(request(&object, (number, tag), now)?);
            }
        }
    }
    found.sort_by_key(|request: &Request| request.start_ns);
    Ok(found)
}

fn hardware_queues<'k>(queue: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    if queue.has("hctx_table") {
        let table = queue.field("hctx_table")?.indexed("struct blk_mq_hw_ctx")?;
        return table.map(|entry| Ok(entry?.1)).collect();
    }
    let table = queue.field("queue_hw_ctx")?;
    let count = queue.field("nr_hw_queues")?.number()?.min(MOST_QUEUES);
    let queues = (0..count).map(|index| table.index(index)?.deref_or_null());
    Ok(queues.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn request(
    object: &Object<'_>,
    (queue, tag): (u64, u64),
    now: Option<u64>,
) -> Result<Request, Error> {
    let number = |path: &str| object.field(path)?.number();
    let start_ns = number("start_time_ns")?;
    Ok(Request {
        address: Hex(object.address()),
        operation: operation(object, number("cmd_flags")? & OPERATION)?,
        sector: number("__sector")?,
        bytes: number("__data_len")?,
        queue,
        tag,
        is_in_flight: object.field("state")?.enumerator()? == "MQ_RQ_IN_FLIGHT",
        start_ns,
        // A queue without statistics keeps no time.
        age_ns: now.filter(|_| start_ns > 0).map(|now| now.saturating_sub(start_ns)),
        part: number("part")?,
    })
}

fn operation(object: &Object<'_>, value: u64) -> Result<String, Error> {
    let types = object.kernel().types();
    let names = ["enum req_op", "enum req_opf"];
    let found = names.iter().find_map(|name| types.find(name).ok());
    let found = types.get(found.ok_or_else(|| Error::NoType(names.join(" or ")))?)?;
    let Type::Enumeration(names) = &*found else { return Ok(value.to_string()) };
    let name = names.name_of(value as i64).map(|name| name.trim_start_matches("REQ_OP_"));
    Ok(name.map_or_else(|| value.to_string(), ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kernel;
    use crate::fake::Fake;

    /// Slots of tags: an empty one, a request in flight, one that is freed, one of another disk,
    /// one that has another tag by now, and one that is answered.
    fn fake() -> (Fake, u64) {
        let mut fake = Fake::amd64();
        let states = [("MQ_RQ_IDLE", 0), ("MQ_RQ_IN_FLIGHT", 1), ("MQ_RQ_COMPLETE", 2)];
        fake.enumeration("mq_rq_state", &states);
        fake.enumeration("req_op", &[("REQ_OP_READ", 0), ("REQ_OP_WRITE", 1)]);
        let members =
            [("queue_hw_ctx", "struct blk_mq_hw_ctx **", 0), ("nr_hw_queues", "unsigned int", 8)];
        fake.structure("request_queue", 16, &members);
        let members = [("tags", "struct blk_mq_tags *", 0), ("queue_num", "unsigned int", 8)];
        fake.structure("blk_mq_hw_ctx", 16, &members);
        let members = [("nr_tags", "unsigned int", 0), ("rqs", "struct request **", 8)];
        fake.structure("blk_mq_tags", 16, &members);
        let members = [
            ("q", "struct request_queue *", 0),
            ("__sector", "unsigned long", 8),
            ("start_time_ns", "unsigned long", 16),
            ("part", "void *", 24),
            ("cmd_flags", "unsigned int", 32),
            ("__data_len", "unsigned int", 36),
            ("tag", "int", 40),
            ("state", "enum mq_rq_state", 44),
        ];
        fake.structure("request", 48, &members);
        let queue = fake.place_words(&[0, 1]);
        let mut request = |queue, start: u64, tag: u64, state: u64| {
            let flags = 0x800 | 1;
            fake.place_words(&[queue, 64, start, 7, 4096 << 32 | flags, state << 32 | tag])
        };
        let (mine, other) = (queue, queue + 8);
        let slots = [
            0,
            request(mine, 500, 1, 1),
            request(mine, 100, 2, 0),
            request(other, 100, 3, 1),
            request(mine, 100, 9, 1),
            request(mine, 300, 5, 2),
        ];
        let slots = fake.place_words(&slots);
        let tags = fake.place_words(&[6, slots]);
        let hardware = fake.place_words(&[tags, 3]);
        let table = fake.place_words(&[hardware]);
        fake.put_words(queue, &[table]);
        (fake, queue)
    }

    #[test]
    fn only_requests_of_the_queue_that_are_not_freed_are_found() {
        let (fake, queue) = fake();
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let queue = kernel.object("struct request_queue", queue).expect("a queue");
        let found = read(&queue, Some(20_000)).expect("requests");
        let seen = |r: &Request| (r.tag, r.is_in_flight, r.age_ns, r.queue);
        let expected = [(5, false, Some(19_700), 3), (1, true, Some(19_500), 3)];
        assert_eq!(found.iter().map(seen).collect::<Vec<_>>(), expected);
        let request = &found[1];
        assert_eq!(
            (request.operation.as_str(), request.sector, request.bytes),
            ("WRITE", 64, 4096)
        );
        assert!(read(&queue, None).expect("requests").iter().all(|r| r.age_ns.is_none()));
    }
}
