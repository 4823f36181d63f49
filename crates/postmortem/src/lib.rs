//! Analysis of a dead Linux from its dump: types, symbols, objects, and the kernel's subsystems.
//!
//! ```text
//! Dump ──▶ Kernel (symbols, types, per-CPU) ──▶ Object (field, deref, index, list …)
//!                                                  │
//!                                   subsystems/*.rs: typed data of a subsystem
//!                                                  │
//!                                   sections/*.rs: text, JSON, HTML
//! ```
//!
//! Types come from BTF, which lies in the dead kernel's memory; a debug vmlinux adds DWARF. The
//! bytes are those of a kernel that has died: each walk is bounded, a missing part is named.

#![forbid(unsafe_code)]

pub mod cli;
mod dump;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod globals;
mod kernel;
mod object;
pub mod render;
pub mod report;
pub mod sections;
mod show;
pub mod subsystems;
mod symbols;
mod types;
mod variables;
mod vmlinux;
mod walk;

pub use dump::Dump;
pub use error::Error;
pub use kernel::Kernel;
pub use object::{Object, printable};
pub use show::{Shown, declaration, declared};
pub use symbols::{NamedSymbol, SymbolTable};
pub use types::{
    BtfTypes, Compound, DwarfTypes, Enumeration, Field, Integer, Member, Tag, Type, TypeId,
    TypeSource, Types,
};
pub use vmlinux::Vmlinux;
pub use walk::{Entries, Entry, List, MapleTree, RadixTree, RbTree};
