//! Promises of the loader, checked from outside: one program, so that the helpers are shared.

mod amd64;
mod cli;
mod common;
mod images;
mod names;
mod pages;
mod parity;
mod plan;
mod properties;
mod ranges;
mod slot_images;
