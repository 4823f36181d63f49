//! The kernel's containers: lists, trees, arrays. Each walk is bounded and finds its way out of a
//! damaged structure.

mod list;

pub use list::List;
