//! The kernel's log.

use linux::{Dmesg, KernelMemory};
use serde::Serialize;

use crate::{Error, Kernel};

/// The log, oldest record first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Log {
    /// The records.
    pub records: Vec<Record>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its number since the boot, if the kernel has it.
    pub seq: Option<u64>,
    /// Nanoseconds of the kernel's clock.
    pub ts_nsec: Option<u64>,
    /// The task or CPU that wrote it: `T1`, `C0`.
    pub caller: Option<String>,
    /// As `dmesg` shows it, with the time; control characters are escaped.
    pub line: String,
}

/// Reads the log, or its last `most` records.
///
/// # Errors
/// [`Error::Linux`]: there is none, or it cannot be read.
pub fn read(kernel: &Kernel<'_>, most: Option<u64>) -> Result<Log, Error> {
    let memory = KernelMemory::new(kernel.dump(), kernel.dump().map());
    let mut log = Dmesg::open(memory, kernel.vmcoreinfo())?;
    if let Some(most) = most {
        log.keep_last_records(most);
    }
    let mut records = Vec::new();
    while let Some(record) = log.next_record() {
        records.push(Record {
            seq: record.seq,
            ts_nsec: record.ts_nsec,
            caller: record.caller.map(|caller| caller.to_string()),
            line: record.to_string(),
        });
    }
    let skipped = log.skipped();
    let parts = [(skipped.damaged, "are damaged"), (skipped.unfinished, "were never finished")];
    let missing = parts.iter().filter(|(count, _)| *count > 0);
    let missing = missing.map(|(count, why)| format!("records of the log: {count} {why}"));
    Ok(Log { records, missing: missing.collect() })
}
