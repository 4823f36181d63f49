//! The plan: contents and place of each segment in the slot.

pub(crate) mod command_line;
pub(crate) mod contents;
pub(crate) mod core_header;
pub(crate) mod e820;
pub(crate) mod error;
pub(crate) mod fill;
pub(crate) mod image_data;
pub(crate) mod layout;
pub(crate) mod left_out;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod report;
pub(crate) mod reservation;
pub(crate) mod reuse;
pub(crate) mod room;
pub mod sizes;
pub(crate) mod target;
pub(crate) mod types;
