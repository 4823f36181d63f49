//! The sections of `crashinfo`, by the names of crash(8)'s commands. Each has its arguments in a
//! struct, and answers from the data of a subsystem.

use clap::{FromArgMatches, Subcommand};

use crate::report::Answer;
use crate::{Error, Kernel};

mod bt;
mod dev;
mod files;
mod first;
mod hung;
mod irq;
mod kmem;
mod list;
mod log;
mod module;
mod mount;
mod net;
mod panic;
mod place;
mod ps;
mod rd;
mod runq;
mod section;
mod structure;
mod swap;
mod sym;
mod sys;
mod timer;
mod tree;
mod vm;
mod vmcoreinfo;
mod vtop;
mod whatis;
mod workqueue;

pub use first::first_page;
pub use section::{Part, Progress, Section};

/// Defines the enum of all sections from the table of their names and arguments.
macro_rules! sections {
    ($($(#[$attribute:meta])* $name:ident($arguments:ty),)*) => {
        /// A section.
        #[derive(Clone, Debug, Subcommand)]
        pub enum Command {
            $($(#[$attribute])* $name($arguments),)*
        }

        impl Section for Command {
            fn answer(&self, kernel: &Kernel<'_>, progress: Progress<'_>) -> Result<Answer, Error> {
                match self {
                    $(Self::$name(section) => section.answer(kernel, progress),)*
                }
            }
        }
    };
}

impl Command {
    /// The section of a command line without the program's name: `kmem -i`.
    ///
    /// # Errors
    /// [`Error::Usage`]: the words of `clap`.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let words = ["crashinfo"].into_iter().chain(line.split_whitespace());
        let parser = clap::Command::new("crashinfo").subcommand_required(true);
        Self::augment_subcommands(parser)
            .try_get_matches_from(words)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| Error::Usage(error.to_string()))
    }

    /// The sections of a report, besides the first page.
    ///
    /// # Panics
    /// Never: a test parses the lines.
    pub fn report() -> Vec<Self> {
        let parse = |line: &&str| Self::parse(line).expect("a section of the table");
        REPORT.iter().map(parse).collect()
    }
}

/// The sections of a report, as their command lines.
const REPORT: &[&str] = &[
    "bt -a",
    "log",
    "ps",
    "runq",
    "hung",
    "timer",
    "kmem -i -z -s",
    "swap",
    "mod",
    "mount",
    "irq",
    "dev -d",
    "net",
    "workqueue",
    "vmcoreinfo",
];

sections! {
    /// Backtraces of CPUs and tasks, with the registers that CPUs saved
    Bt(bt::Arguments),
    /// Devices: numbers of drivers, disks and their requests
    Dev(dev::Arguments),
    /// Open files of a task
    Files(files::Arguments),
    /// Tasks that hang, the longest first, with the functions that wait
    Hung(hung::Arguments),
    /// Interrupts and softirqs by CPU
    Irq(irq::Arguments),
    /// Memory: as a whole, zones, free blocks, slab caches, areas of vmalloc
    Kmem(kmem::Arguments),
    /// Structs of a list, from any one or from its head
    List(list::Arguments),
    /// The kernel's log
    Log(log::Arguments),
    /// Modules
    Mod(module::Arguments),
    /// Mounts of the first process
    Mount(mount::Arguments),
    /// Network interfaces
    Net(net::Arguments),
    /// The crash in short: kind, words, function to blame, fingerprint
    Panic(panic::Arguments),
    /// Tasks: processes, threads and the idle tasks of the CPUs
    Ps(ps::Arguments),
    /// Memory as numbers and text
    Rd(rd::Arguments),
    /// Run queues: the tasks that ran and those that waited for a CPU
    Runq(runq::Arguments),
    /// A struct: its declaration, or its values at an address
    Struct(structure::Arguments),
    /// Swap areas
    Swap(swap::Arguments),
    /// Symbols by name and by address
    Sym(sym::Arguments),
    /// The machine and its kernel
    Sys(sys::Arguments),
    /// Timers: by ticks and of high resolution, with their functions and the tasks that sleep
    Timer(timer::Arguments),
    /// Structs of a tree: rbtree, XArray, IDR, maple tree
    Tree(tree::Arguments),
    /// A union: its declaration, or its values at an address
    Union(structure::OfUnion),
    /// Address space of a process
    Vm(vm::Arguments),
    /// The text of VMCOREINFO, with the lines that types and symbols added
    Vmcoreinfo(vmcoreinfo::Arguments),
    /// Virtual addresses as physical ones, by the page tables
    Vtop(vtop::Arguments),
    /// A type by its name, or the type of a variable
    Whatis(whatis::Arguments),
    /// Pools of workers, and the work that waits for them
    Workqueue(workqueue::Arguments),
}

#[cfg(test)]
mod memory_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_a_report_are_there() {
        assert_eq!(Command::report().len(), REPORT.len());
    }
}
