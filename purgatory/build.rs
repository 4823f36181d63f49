//! Links purgatory with its own script: at 0, relocations and symbols kept, no debug information.

use std::env;

fn main() {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = env::var("DEP_BOOT_STUB_DIR").expect("boot-stub tells where its scripts are");
        println!("cargo::rerun-if-changed={dir}/purgatory.ld");
        println!("cargo::rustc-link-arg-bins=-T{dir}/purgatory.ld");
        println!("cargo::rustc-link-arg-bins=--emit-relocs");
        println!("cargo::rustc-link-arg-bins=--strip-debug");
        // The file travels in the loader: no page padding, no names that nobody looks up.
        println!("cargo::rustc-link-arg-bins=--nmagic");
        println!("cargo::rustc-link-arg-bins=--discard-all");
    }
}
