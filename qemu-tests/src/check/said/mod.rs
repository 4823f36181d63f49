//! A kernel's words right before it died, beside what is read from its dump.

pub mod answers;
pub mod proc;
pub mod sections;
pub mod system;
pub mod table;
