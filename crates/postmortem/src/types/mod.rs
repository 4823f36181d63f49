//! The dead kernel's types: one model for BTF and DWARF.

mod btf;
mod dwarf;
mod lookup;
mod model;

pub use btf::BtfTypes;
pub use dwarf::DwarfTypes;
pub use lookup::{Field, Types};
pub use model::{Compound, Enumeration, Integer, Member, Tag, Type, TypeId, TypeSource};
