//! Values and types as C writes them, and as gdb and crash(8) show them.

mod declaration;
mod value;

pub use declaration::{declaration, declared};
pub use value::Shown;
