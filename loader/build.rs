//! Puts the two images into the loader if it is given their paths.
//!
//! `cargo xtask build` sets the variables; a plain build leaves them unset and makes a loader that
//! asks for `--kernel` and `--purgatory`.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let kernel = image("CAPTURE_KERNEL", "KDUMP_CAPTURE_KERNEL")?;
    let purgatory = image("PURGATORY", "KDUMP_PURGATORY")?;
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("embedded.rs"), kernel + &purgatory)
}

/// The static `name`: the bytes of the file that the environment's `variable` names, or `None`.
fn image(name: &str, variable: &str) -> io::Result<String> {
    println!("cargo::rerun-if-env-changed={variable}");
    let value = match env::var_os(variable).filter(|path| !path.is_empty()) {
        None => "None".to_owned(),
        Some(path) => {
            let path = fs::canonicalize(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{variable}={}: {error}", path.display()))
            })?;
            println!("cargo::rerun-if-changed={}", path.display());
            format!("Some(include_bytes!({path:?}))")
        }
    };
    Ok(format!("static {name}: Option<&[u8]> = {value};\n"))
}
