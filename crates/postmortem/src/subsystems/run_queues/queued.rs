//! The tasks that wait in a run queue, by their classes (Linux, `kernel/sched/`).

use std::collections::HashSet;

use crate::{Error, Object};

/// Deepest nesting of groups.
const DEEPEST: u32 = 64;
/// Most tasks of a queue.
const MOST: usize = 1 << 20;
const TASK: &str = "struct task_struct";

/// Tasks of a queue and of the groups in it.
#[derive(Debug, Default)]
struct Queued<'k> {
    tasks: Vec<Object<'k>>,
    /// Queues of groups that were walked: each counts once.
    walked: HashSet<u64>,
}

/// The tasks of the `cfs_rq` and of the groups in it, the next one first.
pub(super) fn fair<'k>(queue: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    let mut queued = Queued::default();
    queued.fair(queue, DEEPEST)?;
    Ok(queued.tasks)
}

/// The tasks of the `rt_rq`, the most urgent first.
pub(super) fn real_time<'k>(queue: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    let mut queued = Queued::default();
    queued.real_time(queue, DEEPEST)?;
    Ok(queued.tasks)
}

impl<'k> Queued<'k> {
    fn fair(&mut self, queue: &Object<'k>, deepest: u32) -> Result<(), Error> {
        if !self.walked.insert(queue.address()) {
            return Ok(());
        }
        let tree = queue.field("tasks_timeline")?.rbtree("struct sched_entity", "run_node")?;
        // The entity that runs is not in the tree; others of its group may wait.
        let current = queue.field("curr")?.deref_or_null()?;
        for entity in current.into_iter().map(Ok).chain(tree) {
            let entity = entity?;
            match group(&entity)?.zip(deepest.checked_sub(1)) {
                Some((group, deepest)) => self.fair(&group, deepest)?,
                None if is_delayed(&entity) => {}
                None => self.add(&entity, "se")?,
            }
        }
        Ok(())
    }

    fn real_time(&mut self, queue: &Object<'k>, deepest: u32) -> Result<(), Error> {
        let count = queue.field("rt_nr_running")?.number()?;
        if count == 0 || !self.walked.insert(queue.address()) {
            return Ok(());
        }
        let lists = queue.field("active.queue")?;
        for priority in 0..lists.length()? {
            let list = lists.index(priority)?.list("struct sched_rt_entity", "run_list")?;
            for entity in list {
                let entity = entity?;
                match group(&entity)?.zip(deepest.checked_sub(1)) {
                    Some((group, deepest)) => self.real_time(&group, deepest)?,
                    None => self.add(&entity, "rt")?,
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, entity: &Object<'k>, member: &str) -> Result<(), Error> {
        if self.tasks.len() < MOST {
            self.tasks.push(entity.container_of(TASK, member)?);
        }
        Ok(())
    }
}

/// The queue of the group that an entity stands for.
fn group<'k>(entity: &Object<'k>) -> Result<Option<Object<'k>>, Error> {
    match entity.has("my_q") {
        true => entity.field("my_q")?.deref_or_null(),
        false => Ok(None),
    }
}

/// True for a task that sleeps, and leaves the queue later (since 6.12).
fn is_delayed(entity: &Object<'_>) -> bool {
    let delayed = entity.field("sched_delayed").and_then(|delayed| delayed.number());
    delayed.is_ok_and(|delayed| delayed != 0)
}

/// The deadline tasks of an `rq`, the most urgent first.
pub(super) fn deadline<'k>(rq: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    let mut tasks = Vec::new();
    for entity in rq.field("dl.root")?.rbtree("struct sched_dl_entity", "rb_node")?.take(MOST) {
        let entity = entity?;
        // A server stands for the tasks of another class (since 6.8).
        let is_server = entity.field("dl_server").and_then(|server| server.number());
        if is_server.is_ok_and(|is_server| is_server != 0) {
            continue;
        }
        tasks.push(entity.container_of(TASK, "dl")?);
    }
    Ok(tasks)
}
