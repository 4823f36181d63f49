//! Python environments below `target/`, with packages of pinned versions from PyPI. A Debian
//! without `python3-venv` has no pip for them: Debian's own package of it is unpacked then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use log::info;

use crate::apt::{self, Packages, RELEASE};
use crate::programs::{self, output_of};
use crate::workspace::entries;

/// Name of the file in an environment that has its packages.
const LABEL: &str = "requirements.txt";
/// Debian's package with pip as a wheel, and the wheel's folder in it.
const PIP: (&str, &str) = ("python3-pip-whl", "usr/share/python-wheels");
/// The likely cause where pip fails, and the next step.
const NEXT: &str = "packages cannot be fetched from PyPI; next step: give pip access to it, or to \
                    a mirror (PIP_INDEX_URL, PIP_FIND_LINKS)";

/// A folder with a Python of its own.
#[derive(Clone, Debug)]
pub(crate) struct Environment(PathBuf);

impl Environment {
    /// Makes sure that `folder` is an environment with these packages, lines as pip reads them.
    /// It is made anew if they are others.
    ///
    /// # Errors
    /// Python or PyPI cannot be reached; the text names the command to type.
    pub(crate) fn ensure(folder: PathBuf, packages: &str, mirror: Option<&str>) -> Result<Self> {
        let environment = Self(folder);
        if !environment.has(packages) {
            environment.create(mirror)?;
            environment.install(packages)?;
        }
        Ok(environment)
    }

    /// One of its programs.
    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.0.join("bin").join(name))
    }

    /// True if it was installed with these packages and its Python still starts. (A Python of the
    /// host that is gone takes its environments with it.)
    fn has(&self, packages: &str) -> bool {
        let label = fs::read_to_string(self.0.join(LABEL)).unwrap_or_default();
        label == packages && output_of(self.program("python").args(["-c", "import pip"])).is_ok()
    }

    fn create(&self, mirror: Option<&str>) -> Result<()> {
        programs::ensure(programs::PYTHON)?;
        if !imports("venv") {
            programs::install(&["python3-venv"])?;
        }
        info!("making a Python environment: {}", self.0.display());
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]);
        if imports("ensurepip") {
            output_of(venv.arg(&self.0))?;
            return Ok(());
        }
        output_of(venv.arg("--without-pip").arg(&self.0))?;
        let wheel = pip(mirror)?;
        let mut install = self.program("python");
        install.arg(wheel.join("pip")).args(["install", "--quiet", "--no-index"]).arg(&wheel);
        output_of(&mut install).context("installing pip by Debian's wheel of it")?;
        Ok(())
    }

    fn install(&self, packages: &str) -> Result<()> {
        let names: Vec<_> = packages.lines().filter(|line| line.contains("==")).collect();
        info!("fetching from PyPI: {}", names.join(", "));
        let label = self.0.join(LABEL);
        let fresh = label.with_extension("new");
        fs::write(&fresh, packages).with_context(|| format!("writing {}", fresh.display()))?;
        let mut pip = self.program("python");
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r"]).arg(&fresh);
        output_of(&mut pip).context(NEXT)?;
        fs::rename(&fresh, &label).with_context(|| format!("renaming {}", fresh.display()))
    }

    /// Installs a wheel of ours in the place of an earlier one, without a look at PyPI.
    ///
    /// # Errors
    /// pip refuses it.
    pub(crate) fn install_wheel(&self, wheel: &Path) -> Result<()> {
        let mut pip = self.program("python");
        pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]);
        output_of(pip.arg("--force-reinstall").arg(wheel))?;
        Ok(())
    }
}

/// True if the host's Python has the module. Debian's python3 lacks `ensurepip`.
fn imports(module: &str) -> bool {
    output_of(Command::new("python3").args(["-c", &format!("import {module}")])).is_ok()
}

/// Debian's wheel of pip, fetched if it is missing.
fn pip(mirror: Option<&str>) -> Result<PathBuf> {
    let (package, folder) = PIP;
    let packages = Packages {
        root: apt::folder("pip").join("root"),
        architecture: "amd64",
        suites: &[RELEASE],
        alone: &[package],
        ..Packages::default()
    };
    let find = |root: &Path| Ok(entries(&root.join(folder), "pip-", ".whl")?.pop());
    let wheel = packages.ensure(mirror, find).context(
        "this host's Python has no ensurepip, and Debian's wheel of pip cannot be fetched. Next \
         step: sudo apt-get install python3-venv",
    )?;
    ensure!(wheel.is_file(), "{} is no file", wheel.display());
    Ok(wheel)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// An environment whose Python is another program.
    fn environment(folder: &Path, label: Option<&str>, python: &str) -> Environment {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).unwrap();
        if let Some(label) = label {
            fs::write(folder.join(LABEL), label).unwrap();
        }
        let _ = fs::remove_file(bin.join("python"));
        symlink(python, bin.join("python")).unwrap();
        Environment(folder.to_path_buf())
    }

    #[test]
    fn an_environment_with_other_packages_or_a_dead_python_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Environment(folder.path().join("none")).has("a==1\n"));
        for (label, python, expected) in [
            (None, "/bin/true", false),
            (Some("a==1\n"), "/bin/true", true),
            (Some("a==2\n"), "/bin/true", false),
            (Some("a==1\n"), "/bin/false", false),
        ] {
            let found = environment(folder.path(), label, python).has("a==1\n");
            assert_eq!(found, expected, "{label:?}, {python}");
        }
    }

    /// A run that is broken off leaves no label of packages that are not there.
    #[test]
    fn packages_count_when_pip_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let broken = environment(folder.path(), None, "/bin/false");
        let error = format!("{:#}", broken.install("a==1\n").unwrap_err());
        assert!(error.contains("give pip access to it"), "{error}");
        let whole = environment(folder.path(), None, "/bin/true");
        assert!(!whole.has("a==1\n"));
        whole.install("a==1\n").unwrap();
        assert!(whole.has("a==1\n"));
    }
}
