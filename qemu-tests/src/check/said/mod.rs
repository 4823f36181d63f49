//! What a kernel said right before it died, beside what is read from its dump.

pub mod proc;
pub mod table;
