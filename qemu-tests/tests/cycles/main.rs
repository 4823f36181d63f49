//! Crash-and-capture cycles as tests. `cargo xtask test` builds the images and runs them.

mod guest;
mod images;
mod linux;
mod memory;
