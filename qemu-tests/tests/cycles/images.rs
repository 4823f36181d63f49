//! The images as paths in the environment; `cargo xtask test` builds them and sets the variables.

use std::path::{Path, PathBuf};

use qemu_tests::{Config, FirstKernel, Interrupt, Report};

/// The path in an environment variable.
pub(crate) fn image(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`")).into()
}

/// A cycle on 64 MiB and one CPU with the slot of the paper.
pub(crate) fn config(first_kernel: FirstKernel, out: &Path) -> Config {
    Config {
        first_kernel,
        capture_kernel: image("KDUMP_CAPTURE_KERNEL"),
        capture_kernel_symbols: image("KDUMP_CAPTURE_KERNEL_SYMBOLS"),
        purgatory: image("KDUMP_PURGATORY"),
        memory: 64 << 20,
        cpus: 1,
        slot: "32M@16M".to_string(),
        out: out.to_path_buf(),
        append: String::new(),
        first_append: String::new(),
        truth: true,
        fault: None,
        interrupt: Interrupt::default(),
    }
}

/// The names of the checks that did not hold.
pub(crate) fn failed(report: &Report) -> Vec<&str> {
    report.failures().map(|check| check.name.as_str()).collect()
}
