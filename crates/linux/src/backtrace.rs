//! Backtraces: the functions that each CPU and each task of a dead Linux was in.
//!
//! ```text
//! registers, tasks ──Unwinder──▶ Trace: addresses ──Kallsyms, Modules──▶ names ──▶ text
//! ```

pub(crate) mod kallsyms;
mod modules;
mod names;
mod symbols;
mod trace;
mod unwind;

pub use kallsyms::{Budget, Kallsyms, KallsymsTables, Located, MOST_NAME, MOST_NAMES};
pub use modules::{MOST_MODULES, Module, ModuleOrc, ModuleSymbol, Modules};
pub use names::{MostNames, Name, NamedFrame, Names, Sources};
pub use symbols::{Symbol, Symbols};
pub use trace::{Frame, MOST_FRAMES, Trace, TraceEnd, Trust};
pub use unwind::{Start, Unwinder};
