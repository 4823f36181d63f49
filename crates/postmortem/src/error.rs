//! Reasons why something of a dead kernel is not shown.

use std::io;
use std::path::PathBuf;

/// The reason why a dump, a type, a symbol or an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dump could not be opened.
    #[error(transparent)]
    Dump(#[from] collector::Error),
    /// The dead kernel's memory could not be read there.
    #[error("memory at {at:#x} cannot be read: {source}")]
    Memory {
        /// First virtual address of what was wanted.
        at: u64,
        /// The reason.
        source: linux::Error,
    },
    /// A structure of the kernel that the crate `linux` reads.
    #[error(transparent)]
    Linux(#[from] linux::Error),
    /// The kernel's types are not known.
    #[error("the kernel's types are not known: {0}; give its debug vmlinux with -s")]
    NoTypes(String),
    /// No type with this name.
    #[error("this kernel has no type {0}")]
    NoType(String),
    /// A type has no such member.
    #[error("{of} has no member {member}")]
    NoMember {
        /// The type, as C writes it.
        of: String,
        /// The member, or the members that were tried.
        member: String,
    },
    /// No symbol with this name.
    #[error("this kernel has no symbol {0}")]
    NoSymbol(String),
    /// A symbol of a type that is not known: BTF has the types of few variables.
    #[error(
        "the type of the variable {0} is not known: name a type, or give a debug vmlinux with -s"
    )]
    NoVariable(String),
    /// Debug information that cannot be right.
    #[error("the description of type {number} is damaged")]
    BadType {
        /// Number of the type in its source.
        number: u64,
    },
    /// An object was used as one of another kind.
    #[error("{of} at {at:#x} is no {wanted}")]
    WrongKind {
        /// The type, as C writes it.
        of: String,
        /// Its address.
        at: u64,
        /// The kind that is needed: `number`, `pointer`, `array`, `struct`, `text`.
        wanted: &'static str,
    },
    /// A pointer of zero.
    #[error("{0} is NULL")]
    Null(String),
    /// A list, a tree or an array that leads nowhere.
    #[error("{what} at {at:#x} is damaged: {why}")]
    Damaged {
        /// The structure, such as `list`.
        what: &'static str,
        /// Virtual address of the damage.
        at: u64,
        /// The reason.
        why: &'static str,
    },
    /// The debug vmlinux is not one, or is that of another kernel.
    #[error("{path}: {why}")]
    Vmlinux {
        /// Path of the file.
        path: PathBuf,
        /// The reason, with the next step.
        why: String,
    },
    /// The kernel has no such part, or it is of a kind that is not known.
    #[error("{0}")]
    Missing(String),
    /// The command line of a section.
    #[error("{0}")]
    Usage(String),
    /// The output took no more.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}
