//! Links the capture kernel with its own script.

use std::env;

fn main() {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = env::var("DEP_BOOT_STUB_DIR").expect("boot-stub tells where its scripts are");
        println!("cargo::rustc-link-arg-bins=-T{dir}/capture-kernel.ld");
    }
}
