//! A package index of Debian, as `apt-cache dumpavail` prints it (deb-control(5), one stanza a
//! package): names, versions, sizes, and what depends on what.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// The packages of an index, by name.
pub(crate) struct PackageIndex<'t>(BTreeMap<&'t str, Package<'t>>);

/// One package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package<'t> {
    /// Its name.
    pub name: &'t str,
    /// The version that apt would take.
    pub version: &'t str,
    /// What is fetched, in bytes.
    pub size: u64,
    /// What that is when unpacked, in bytes, as its maker estimated it.
    pub unpacked_size: u64,
    depends: &'t str,
}

impl<'t> PackageIndex<'t> {
    /// Reads `text`; stanzas without a name are passed over.
    pub(crate) fn parse(text: &'t str) -> PackageIndex<'t> {
        let packages = text.split("\n\n").map(Package::parse);
        let named = packages.filter(|package| !package.name.is_empty());
        PackageIndex(named.map(|package| (package.name, package)).collect())
    }

    /// The package called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Package<'t>> {
        self.0.get(name).with_context(|| format!("the index has no package {name}"))
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'t str> {
        self.0.keys().copied()
    }
}

impl<'t> Package<'t> {
    fn parse(stanza: &'t str) -> Package<'t> {
        let mut package = Package::default();
        for (field, value) in stanza.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match field {
                "Package" => package.name = value,
                "Version" => package.version = value,
                "Depends" => package.depends = value,
                "Size" => package.size = value.parse().unwrap_or_default(),
                "Installed-Size" => {
                    let kib: u64 = value.parse().unwrap_or_default();
                    package.unpacked_size = kib.saturating_mul(1024);
                }
                _ => {}
            }
        }
        package
    }

    /// What it depends on: for each thing needed, the names of the packages that serve.
    pub(crate) fn depends(&self) -> impl Iterator<Item = Vec<&'t str>> {
        // `name:any (>= version) [architectures] <profiles>`
        let name = |word: &'t str| word.trim().split([' ', ':', '(', '[', '<']).next();
        let groups = self.depends.split(',').filter(|group| !group.trim().is_empty());
        groups.map(move |group| group.split('|').filter_map(name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_become_packages() {
        let text = "Package: a\nVersion: 1:2.3-4\nInstalled-Size: 10\nSize: 5000\n\
                    Depends: b (= 1), c:any | d (>= 2) , e\nDescription: x\n Depends: no\n\n\
                    Package: f\nVersion: 6\n";
        let index = PackageIndex::parse(text);
        assert_eq!(index.names().collect::<Vec<_>>(), ["a", "f"]);
        let a = index.get("a").unwrap();
        assert_eq!((a.version, a.size, a.unpacked_size), ("1:2.3-4", 5000, 10240));
        assert_eq!(a.depends().collect::<Vec<_>>(), [vec!["b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(index.get("f").unwrap().depends().count(), 0);
        assert!(index.get("b").unwrap_err().to_string().contains("no package b"));
    }
}
