//! Dynamic programs of unpacked packages, for an initramfs.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use goblin::elf::Elf;

use crate::first::initramfs::Packed;

/// Folders of libraries in Debian's packages, the architecture's own one first.
const FOLDERS: [&str; 6] = [
    "lib/i386-linux-gnu",
    "usr/lib/i386-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib",
    "usr/lib",
];

/// The program at `path` below `root`, its interpreter at the path that the program names, and each
/// library that one of them needs (DT_NEEDED), in `lib/`, where every interpreter looks.
///
/// # Errors
/// Fails if a file is missing or no ELF file; the text names it.
pub(crate) fn with_libraries(root: &Path, path: &str) -> Result<Vec<Packed>> {
    let mut files: Vec<Packed> = Vec::new();
    let mut seen = HashSet::new();
    let mut missing = vec![(path.to_string(), root.join(path))];
    while let Some((name, source)) = missing.pop() {
        let bytes = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        let elf = Elf::parse(&bytes).with_context(|| source.display().to_string())?;
        for library in &elf.libraries {
            if seen.insert(library.to_string()) {
                missing.push((format!("lib/{library}"), find(root, library)?));
            }
        }
        if let Some(interpreter) = elf.interpreter.and_then(|path| path.strip_prefix('/')) {
            missing.push((interpreter.to_string(), in_root(root, interpreter)));
        }
        files.push((name, bytes));
    }
    Ok(files)
}

/// The path of a library below `root`.
fn find(root: &Path, library: &str) -> Result<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| root.join(folder).join(library));
    let found = paths.into_iter().find(|path| path.exists());
    found.with_context(|| format!("no package below {} has {library}", root.display()))
}

/// Some packages have their files under /usr, which a whole system links to from the top.
fn in_root(root: &Path, path: &str) -> PathBuf {
    let [top, usr] = ["", "usr"].map(|folder| root.join(folder).join(path));
    if top.exists() { top } else { usr }
}
