//! The system call, and the record of the last load.

pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod holder;
pub(crate) mod judge;
pub(crate) mod lock;
pub(crate) mod record;
pub(crate) mod reload;
pub(crate) mod state;
pub(crate) mod status;

pub use call::{Call, check, crash_loaded, unload};
