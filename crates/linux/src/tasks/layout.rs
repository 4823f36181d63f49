//! Offsets of the fields of a `task_struct`.

use core::fmt;

use crate::Error;
use vmcore::Vmcoreinfo;

/// The longest `task_struct` that is believed, in bytes.
pub(super) const LONGEST: u64 = 64 << 10;

/// Offsets in a `task_struct`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskLayout {
    /// `__state`, or `state` of kernels before 5.14.
    pub(super) state: Option<u64>,
    pub(super) old_state: Option<u64>,
    pub(super) stack: u64,
    pub(super) tasks: u64,
    pub(super) exit_state: Option<u64>,
    pub(super) pid: u64,
    pub(super) tgid: u64,
    /// The ring of a process's threads before Linux 6.7.
    pub(super) thread_group: Option<u64>,
    /// The same since Linux 3.14, with a head in the `signal_struct` of the process.
    pub(super) thread_node: Option<u64>,
    pub(super) comm: u64,
    pub(super) sp: u64,
}

impl TaskLayout {
    /// Keys of VMCOREINFO with the offsets, in the order of the fields in memory. State and threads
    /// have two names, of which a kernel has one or both.
    pub const KEYS: [&str; 11] = [
        "OFFSET(task_struct.__state)",
        "OFFSET(task_struct.state)",
        "OFFSET(task_struct.stack)",
        "OFFSET(task_struct.tasks)",
        "OFFSET(task_struct.exit_state)",
        "OFFSET(task_struct.pid)",
        "OFFSET(task_struct.tgid)",
        "OFFSET(task_struct.thread_group)",
        "OFFSET(task_struct.thread_node)",
        "OFFSET(task_struct.comm)",
        "OFFSET(task_struct.thread.sp)",
    ];

    /// The offsets in the text of VMCOREINFO. State and threads may be unknown.
    ///
    /// # Errors
    /// [`Error::NoTasks`] if one of the others is not there or is impossible.
    pub fn parse(vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let text = Vmcoreinfo::new(vmcoreinfo);
        let offsets = Self::KEYS
            .map(|key| text.get(key)?.parse().ok().filter(|offset: &u64| *offset < LONGEST));
        let [state, old_state, stack, tasks, exit_state, pid, tgid, ..] = offsets;
        let [.., thread_group, thread_node, comm, sp] = offsets;
        let why = "VMCOREINFO lacks an OFFSET(task_struct.…) line: load with kdump-loader";
        let needed = |offset: Option<u64>| offset.ok_or(Error::NoTasks { why });
        Ok(Self {
            state,
            old_state,
            stack: needed(stack)?,
            tasks: needed(tasks)?,
            exit_state,
            pid: needed(pid)?,
            tgid: needed(tgid)?,
            thread_group,
            thread_node,
            comm: needed(comm)?,
            sp: needed(sp)?,
        })
    }
}

/// Lines of VMCOREINFO.
impl fmt::Display for TaskLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = [
            self.state,
            self.old_state,
            Some(self.stack),
            Some(self.tasks),
            self.exit_state,
            Some(self.pid),
            Some(self.tgid),
            self.thread_group,
            self.thread_node,
            Some(self.comm),
            Some(self.sp),
        ];
        for (key, value) in Self::KEYS.iter().zip(values) {
            if let Some(value) = value {
                writeln!(f, "{key}={value}")?;
            }
        }
        Ok(())
    }
}
