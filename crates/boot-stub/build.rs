//! Tells the build scripts of the images where the linker scripts are.

fn main() {
    println!("cargo::metadata=dir={}/link", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=link");
}
