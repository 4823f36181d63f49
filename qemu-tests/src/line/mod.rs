//! Lines between the guest and a collector: their bytes, the effects of a bad line, and the code
//! that handles both ends.
//!
//! ```text
//! QEMU's COM1 ─▶ Tap ─ text ─▶ the harness's console
//!      ▲          └─ noise ─▶ collector
//!      └─── noise ◀─ proxy ◀──────┘
//! ```

pub mod collector_process;
pub(crate) mod flow;
mod meter;
mod noise;
mod other_version;
mod proxy;
pub mod receiving;
mod relay;
mod text;

pub use meter::Meter;
pub use noise::{Mangler, Rates};
pub use other_version::hello as hello_of_another_version;
pub use proxy::{LineProxy, Tap};
pub use relay::Relay;
pub use text::TextOf;
