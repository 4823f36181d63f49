//! Pools of workers and the work that waits for them (Linux, `kernel/workqueue.c`).

use collector::Hex;
use serde::Serialize;

use super::clock::Clock;
use super::holes::Holes;
use super::jiffies::Jiffies;
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel, Object};

/// Most workers and most waiting work of a pool that are read.
const MOST: usize = 1 << 16;
/// Chains of a pool's table of busy workers.
const MOST_CHAINS: u64 = 1024;
/// Time without progress after which a pool counts as stalled: 30 s, as in Linux
/// (`workqueue.watchdog_thresh`).
const STALLED: u64 = 30_000_000_000;

/// All pools.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pools {
    /// By number.
    pub pools: Vec<Pool>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A pool of workers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pool {
    /// Its number.
    pub number: u64,
    /// Address of its `struct worker_pool`.
    pub address: Hex,
    /// Its CPU. [`None`]: its workers run on several.
    pub cpu: Option<u32>,
    /// Workers.
    pub workers: u64,
    /// Workers that wait for work.
    pub idle: u64,
    /// Workers that run something.
    pub busy: Vec<Worker>,
    /// Functions of the work that no worker has begun, the first in line first.
    pub waiting: Vec<String>,
    /// Nanoseconds since a worker last began something, if work is waiting.
    pub stalled_ns: Option<u64>,
}

/// A worker that runs something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Worker {
    /// Number of its task. [`None`] of one that runs in softirqs, from 6.9 on.
    pub pid: Option<u64>,
    /// The function that it runs.
    pub function: String,
    /// Name of the work queue.
    pub queue: String,
}

/// Reads all pools.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::NoVariable`], [`Error::Memory`]: there is not even a list.
pub fn read(kernel: &Kernel<'_>) -> Result<Pools, Error> {
    let mut holes = Holes::default();
    let ticks = Clock::read(kernel).and_then(|clock| Jiffies::read(kernel, &clock));
    let ticks = holes.take("time", ticks);
    let mut pools = Vec::new();
    for found in kernel.global("worker_pool_idr")?.indexed("struct worker_pool")? {
        let Some((number, object)) = holes.take("pool", found) else { continue };
        let pool = pool(number, &object, ticks.as_ref(), &mut holes);
        pools.extend(holes.take(&format!("pool {number}"), pool));
    }
    Ok(Pools { pools, missing: holes.into_list() })
}

fn pool(
    number: u64,
    pool: &Object<'_>,
    ticks: Option<&Jiffies>,
    holes: &mut Holes,
) -> Result<Pool, Error> {
    let kernel = pool.kernel();
    let cpu = u32::try_from(pool.field("cpu")?.signed()?).ok();
    let waiting = pool.field("worklist")?.list("struct work_struct", "entry");
    let waiting = holes.walk("work", waiting.map(|list| list.take(MOST)));
    let name = |work: &Object<'_>| Ok(kernel.symbolized(work.field("func")?.number()?));
    let waiting = waiting.iter().map(name).collect::<Result<Vec<_>, Error>>()?;
    let mut busy = Vec::new();
    let chains = pool.field("busy_hash")?;
    for chain in 0..chains.length()?.min(MOST_CHAINS) {
        let list = chains.index(chain)?.hlist("struct worker", "hentry");
        for object in holes.walk("workers", list.map(|list| list.take(MOST))) {
            busy.extend(holes.take("worker", worker(&object)));
        }
    }
    let began = pool.first_of(&["last_progress_ts", "watchdog_ts"])?.number()?;
    let since = |ticks: &Jiffies| ticks.since(began, kernel.types().word);
    Ok(Pool {
        number,
        address: Hex(pool.address()),
        cpu,
        workers: pool.field("nr_workers")?.number()?,
        idle: pool.field("nr_idle")?.number()?,
        busy,
        stalled_ns: ticks.filter(|_| !waiting.is_empty()).map(since),
        waiting,
    })
}

fn worker(worker: &Object<'_>) -> Result<Worker, Error> {
    let function = worker.field("current_func")?.number()?;
    let task = worker.field("task")?.deref_or_null()?;
    Ok(Worker {
        pid: task.map(|task| task.field("pid")?.number()).transpose()?,
        function: worker.kernel().symbolized(function),
        queue: worker.field("current_pwq.wq.name")?.text()?,
    })
}

/// Warnings about pools whose work waits for long.
pub fn warnings(pools: &Pools) -> Vec<Warning> {
    let mut found = Vec::new();
    for pool in &pools.pools {
        let Some(since) = pool.stalled_ns.filter(|since| *since >= STALLED) else { continue };
        let place = pool.cpu.map_or("of several CPUs".to_owned(), |cpu| format!("of CPU {cpu}"));
        let (count, since) = (pool.waiting.len(), duration(since));
        let first = pool.waiting.first().map_or("", String::as_str);
        let number = pool.number;
        let text = format!(
            "the workers' pool {number} {place} has begun nothing for {since}; {count} pieces of \
             work wait, first {first}"
        );
        found.push(Warning { severity: Severity::Critical, text, section: "workqueue" });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// A pool of CPU 1 with a worker that runs `b`, one without a task, and work that waits: `a`,
    /// `b`.
    fn fake() -> (Fake, u64) {
        let mut fake = Fake::amd64();
        fake.structure("list_head", 8, &[("next", "struct list_head *", 0)]);
        fake.structure("hlist_head", 8, &[("first", "void *", 0)]);
        fake.structure("hlist_node", 8, &[("next", "void *", 0)]);
        let members = [
            ("worklist", "struct list_head", 0),
            ("busy_hash", "struct hlist_head [2]", 8),
            ("cpu", "int", 24),
            ("nr_workers", "int", 32),
            ("nr_idle", "int", 36),
            ("watchdog_ts", "unsigned long", 40),
        ];
        fake.structure("worker_pool", 48, &members);
        let members = [("entry", "struct list_head", 0), ("func", "void *", 8)];
        fake.structure("work_struct", 16, &members);
        let members = [
            ("hentry", "struct hlist_node", 0),
            ("current_func", "void *", 8),
            ("current_pwq", "struct pool_workqueue *", 16),
            ("task", "struct task_struct *", 24),
        ];
        fake.structure("worker", 32, &members);
        fake.structure("pool_workqueue", 8, &[("wq", "struct workqueue_struct *", 0)]);
        fake.structure("workqueue_struct", 24, &[("name", "char [24]", 0)]);
        fake.structure("task_struct", 8, &[("pid", "int", 0)]);
        let name = fake.place(b"events\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let (wq, task) = (fake.place_words(&[name]), fake.place_words(&[77]));
        let worker = fake.place_words(&[0, 0xb0, wq, task]);
        let other = fake.place_words(&[0, 0xc0, wq, 0]);
        let pool = fake.place_words(&[0, worker, other, 1, 4 << 32 | 5, 900]);
        let second = fake.place_words(&[pool, 0xb0]);
        let first = fake.place_words(&[second, 0xa0]);
        fake.put_words(pool, &[first]);
        (fake, pool)
    }

    #[test]
    fn a_stalled_pool_has_its_work_and_a_warning() {
        let (fake, at) = fake();
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let object = kernel.object("struct worker_pool", at).expect("a pool");
        let mut holes = Holes::default();
        for (now, warned) in [(900 + 29 * 250, 0), (900 + 31 * 250, 1)] {
            let ticks = Jiffies { now, frequency: 250 };
            let pool = pool(2, &object, Some(&ticks), &mut holes).expect("a pool");
            assert_eq!((pool.cpu, pool.workers, pool.idle), (Some(1), 5, 4));
            assert_eq!(pool.waiting, ["0xa0", "0xb0"]);
            let busy = |worker: &Worker| (worker.pid, worker.function.clone());
            let expected = [(Some(77), "0xb0".to_owned()), (None, "0xc0".to_owned())];
            assert_eq!(pool.busy.iter().map(busy).collect::<Vec<_>>(), expected);
            assert!(pool.busy.iter().all(|worker| worker.queue == "events"));
            let pools = Pools { pools: vec![pool], missing: Vec::new() };
            assert_eq!(warnings(&pools).len(), warned, "{pools:?}");
        }
        assert_eq!(holes.into_list(), Vec::<String>::new());
    }
}
