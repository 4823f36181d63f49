//! `crashinfo`: what a dump says, without a debug file.

fn main() {}
