//! Backtraces: the functions that each CPU and each task of a dead Linux was in.
//!
//! ```text
//! registers, tasks ──Unwinder──▶ Trace: addresses ──Kallsyms, Modules──▶ names ──▶ text
//! ```

mod trace;

pub use trace::{Frame, MOST_FRAMES, Trace, TraceEnd, Trust};
