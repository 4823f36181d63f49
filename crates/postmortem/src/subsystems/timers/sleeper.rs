//! Tasks that sleep until a timer ends.

use collector::Hex;
use serde::Serialize;

use crate::Object;

/// Most timers of one queue or wheel.
pub(super) const MOST: usize = 1 << 20;

/// The task that sleeps until a timer ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sleeper {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Address of its `task_struct`.
    pub address: Hex,
}

/// The task that a struct with a timer and a task names.
pub(super) fn sleeper(timer: &Object<'_>, of: &str, member: &str) -> Option<Sleeper> {
    let task = timer.container_of(of, member).ok()?.field("task").ok()?.deref().ok()?;
    let comm = task.field("comm").and_then(|comm| comm.text()).ok()?;
    let pid = task.field("pid").and_then(|pid| pid.number()).ok()? as u32;
    Some(Sleeper { pid, comm, address: Hex(task.address()) })
}
