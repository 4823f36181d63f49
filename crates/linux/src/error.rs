//! Reasons why a structure of the dead kernel was not found or not believed.

/// The reason why memory could not be read by its virtual address, or the log not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The dump or the memory below it.
    #[error(transparent)]
    Dump(#[from] vmcore::Error),
    /// A virtual address that no PT_LOAD has.
    #[error(
        "no PT_LOAD has the virtual address {at:#x}: the headers have no virtual addresses, or the \
         kernel's pointer is damaged"
    )]
    Unmapped {
        /// The first such address.
        at: u64,
    },
    /// VMCOREINFO lacks a key that is needed to find the kernel's log.
    #[error(
        "VMCOREINFO has no {key}: the dead kernel has no log, or one of a kind that is not known"
    )]
    NoKey {
        /// The key that is missing.
        key: &'static str,
    },
    /// VMCOREINFO has an impossible value.
    #[error("the value of {key} in VMCOREINFO cannot be: the note is damaged")]
    BadKey {
        /// The key whose value is wrong.
        key: &'static str,
    },
    /// VMCOREINFO lacks a key that is needed to find the class of a page.
    #[error(
        "VMCOREINFO has no {key}, without which pages cannot be told apart: the kernel is too old, \
         or too new for this version; dump all memory (level 0) instead"
    )]
    NotFiltered {
        /// The key that is missing.
        key: &'static str,
    },
    /// VMCOREINFO lacks a line that our loader adds.
    #[error(
        "VMCOREINFO has no {key}: the kernel does not write this line, and the loader did not add \
         it, or another loader was used"
    )]
    NoLine {
        /// The key that is missing.
        key: &'static str,
    },
    /// The kernel's symbol table is not where it should be, or is damaged.
    #[error("the kernel's symbol table at {at:#x} is damaged, or of a kind that is not known")]
    BadSymbols {
        /// Virtual address of the part that does not fit.
        at: u64,
    },
    /// The place of the kernel's page structs cannot be right.
    #[error("the dead kernel's page structs cannot be at {at:#x}: its memory is damaged there")]
    BadMap {
        /// Their virtual address.
        at: u64,
    },
    /// The kernel's tasks, or the fields of their structs, are not known.
    #[error("the kernel's tasks cannot be found: {why}")]
    NoTasks {
        /// The first reason.
        why: &'static str,
    },
    /// A field of the kernel's log has a value that it cannot have.
    #[error("{field} of the kernel's log is {value:#x}: the dead kernel's memory is damaged there")]
    BadLog {
        /// The field's name in Linux.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Error {
    /// The heap has no room.
    pub const NO_MEMORY: Self = Self::Dump(vmcore::Error::NoMemory);
}
