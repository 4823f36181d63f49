//! The kernel's containers: lists, trees, arrays. Each walk is bounded and finds its way out of a
//! damaged structure.

mod entry;
mod list;
mod maple;
mod rbtree;
mod xarray;

pub use entry::{Entries, Entry};
pub use list::List;
pub use maple::MapleTree;
pub use rbtree::RbTree;
pub use xarray::RadixTree;
