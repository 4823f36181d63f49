//! Modules of a Debian kernel with all those that they need, in load order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::first::virtio_modules::folder;

/// The field of a module's `.modinfo` that names those that it needs, after the end of another.
const NEEDS: &[u8] = b"\0depends=";
/// The longest chain of modules that need each other.
const MOST_LEVELS: usize = 16;

/// `modules` of the bzImage at `kernel`, each after those that it needs, as paths below the
/// package's folder of modules. All are files of the package, which are not compressed up to
/// Debian 12.
///
/// # Errors
/// A module is not there or cannot be read.
pub fn with_needed(kernel: &Path, modules: &[&str]) -> Result<Vec<String>> {
    let root = folder(kernel)?;
    let mut paths = BTreeMap::new();
    collect(&root, &mut paths)?;
    let mut tree = Tree { paths, order: Vec::new() };
    for module in modules {
        tree.add(&name(Path::new(module)), 0).with_context(|| module.to_string())?;
    }
    let relative = |path: PathBuf| {
        let path = path.strip_prefix(&root).context("a module outside of the folder")?;
        Ok(path.display().to_string())
    };
    tree.order.into_iter().map(relative).collect()
}

/// All modules of a package, and those that are taken.
struct Tree {
    paths: BTreeMap<String, PathBuf>,
    order: Vec<PathBuf>,
}

impl Tree {
    fn add(&mut self, name: &str, level: usize) -> Result<()> {
        ensure!(level < MOST_LEVELS, "{name}: modules that need each other");
        let path = self.paths.get(name).with_context(|| format!("no module {name}"))?.clone();
        if self.order.contains(&path) {
            return Ok(());
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        for needed in needed(&bytes) {
            self.add(&needed, level + 1)?;
        }
        self.order.push(path);
        Ok(())
    }
}

/// Modules by their names, in `folder` and below.
fn collect(folder: &Path, paths: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            paths.insert(name(&path), path);
        }
    }
    Ok(())
}

/// The name of a module, in which both dashes are one.
fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_")
}

/// Names of the modules that a module needs.
fn needed(module: &[u8]) -> Vec<String> {
    let start = module.windows(NEEDS.len()).position(|bytes| bytes == NEEDS);
    let rest = start.map_or(&[][..], |start| &module[start + NEEDS.len()..]);
    let list = String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default());
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_follows_those_that_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("boot/vmlinuz-6");
        let root = folder.path().join("lib/modules/6/kernel");
        for (path, needs) in [
            ("drivers/sd_mod.ko", "scsi_mod,t10-pi"),
            ("drivers/scsi_mod.ko", "scsi_common"),
            ("drivers/scsi_common.ko", ""),
            ("block/t10-pi.ko", "scsi_common"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("ELF\0license=x\0depends={needs}\0name=y\0")).unwrap();
        }
        let found = with_needed(&kernel, &["drivers/sd_mod.ko", "block/t10-pi.ko"]).unwrap();
        let expected = [
            "drivers/scsi_common.ko",
            "drivers/scsi_mod.ko",
            "block/t10-pi.ko",
            "drivers/sd_mod.ko",
        ];
        assert_eq!(found, expected);
        assert!(with_needed(&kernel, &["drivers/other.ko"]).is_err());
    }
}
