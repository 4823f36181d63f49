//! Arguments of processes, which are in their own memory.

use serde::Serialize;

use super::Task;
use crate::{Error, Kernel, printable};

/// Most bytes of the arguments of a process, as /proc/PID/cmdline once had.
const MOST: u64 = 4096;

/// The arguments of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Arguments {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The arguments, the name of the program first. [`None`] if they cannot be read: a dump of
    /// level 8 or above has no memory of processes.
    pub arguments: Option<Vec<String>>,
}

/// The arguments of those tasks that have memory of their own, and the reason why some are missing.
pub fn arguments(kernel: &Kernel<'_>, tasks: &[Task]) -> (Vec<Arguments>, Option<String>) {
    let mut missing = (0_u64, None);
    let processes = tasks.iter().filter(|task| task.virtual_bytes.is_some());
    let arguments = processes.map(|task| {
        let arguments = read(kernel, task.address.0);
        let arguments = arguments.map_err(|error| {
            missing.0 += 1;
            missing.1.get_or_insert(error);
        });
        Arguments { pid: task.pid, comm: task.comm.clone(), arguments: arguments.ok() }
    });
    let arguments = arguments.collect();
    let (count, first) = missing;
    let why = "a dump of level 8 or above has no memory of processes";
    let reason = first.map(|error| format!("arguments of {count} tasks: {why} ({error})"));
    (arguments, reason)
}

fn read(kernel: &Kernel<'_>, task: u64) -> Result<Vec<String>, Error> {
    let mm = kernel.object("struct task_struct", task)?.field("mm")?.deref()?;
    let number = |path| mm.field(path)?.number();
    let (start, end) = (number("arg_start")?, number("arg_end")?);
    let mut bytes = vec![0; end.saturating_sub(start).min(MOST) as usize];
    let memory = kernel.dead().memory;
    let read = memory.read_process(number("pgd")?, start, &mut bytes);
    read.map_err(|source| Error::Memory { at: start, source })?;
    // A vmcore in ELF may have zeros for pages that were left out. No arguments are only zeros.
    if bytes.len() > 1 && bytes.iter().all(|byte| *byte == 0) {
        return Err(Error::Missing("they were left out".to_owned()));
    }
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    Ok(bytes.split(|byte| *byte == 0).map(printable).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;
    use collector::Hex;

    const START: u64 = 0x7fff_0000_0ff8;

    /// A process with these bytes as its arguments, over the end of a page.
    fn shown(bytes: &[u8; 16]) -> (Vec<Arguments>, Option<String>) {
        let mut fake = Fake::amd64();
        let members = [("pgd", "void *", 0), ("arg_start", "u64", 8), ("arg_end", "u64", 16)];
        fake.structure("mm_struct", 24, &members);
        fake.structure("task_struct", 8, &[("mm", "struct mm_struct *", 0)]);
        let pages = [&[0; 0xff8], &bytes[..], &[0; 0xff8]].concat();
        let physical = |at: u64| at & 0xffff_ffff;
        let page = physical(fake.place_aligned(&pages, 4096));
        // Indices of the address: 255, 508, 0, 0 and 1.
        let [last, third, second, first] = [0; 4].map(|_| fake.place_aligned(&[0; 4096], 4096));
        fake.put_words(last, &[page | 7, (page + 4096) | 7]);
        fake.put_words(third, &[physical(last) | 7]);
        fake.put_words(second + 8 * 508, &[physical(third) | 7]);
        fake.put_words(first + 8 * 255, &[physical(second) | 7]);
        fake.symbol("init_top_pgt", 0xffff_ffff_8100_0000);
        let mm = fake.place_words(&[first, START, START + 16]);
        let task = fake.place_words(&[mm]);
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let process =
            Task { address: Hex(task), pid: 7, virtual_bytes: Some(1), ..Task::default() };
        arguments(&kernel, &[Task::default(), process])
    }

    #[test]
    fn arguments_are_those_of_the_process() {
        let (found, missing) = shown(b"/bin/sh\0-c\0a \x01b\0");
        let expected = ["/bin/sh", "-c", "a \\x01b"].map(ToOwned::to_owned);
        assert_eq!((found.len(), found[0].pid, missing), (1, 7, None));
        assert_eq!(found[0].arguments.as_deref(), Some(&expected[..]));
        let (found, missing) = shown(&[0; 16]);
        assert_eq!(found[0].arguments, None);
        assert!(missing.is_some_and(|part| part.starts_with("arguments of 1 tasks: ")));
    }
}
