//! drgn: from PyPI, one version, in a Python environment under `target/drgn`. Its wheels bring
//! libkdumpfile along, which it reads kdump-compressed dumps with.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::Banner;
use serde_json::Value;

use crate::environment::Environment;
use crate::programs::output_of;
use crate::workspace::target_dir;

/// The version that is asked for.
const VERSION: &str = "0.3.0";
/// Prints drgn's version, where it can read kdump-compressed dumps.
const PROBE: &str = "import drgn; print(drgn.__version__ if drgn._with_libkdumpfile else '')";
/// Opens a dump; see the script.
const SCRIPT: &str = include_str!("read_dump.py");

/// drgn, installed.
pub(crate) struct Drgn {
    environment: Environment,
}

/// Values that drgn finds in a dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The dump's only VMCOREINFO.
    pub vmcoreinfo: String,
    /// drgn's word for the architecture.
    pub architecture: String,
}

impl Drgn {
    /// Makes sure that it is there.
    ///
    /// # Errors
    /// Fails if Python or PyPI cannot be reached, or it does not run; the text names the command to
    /// type.
    pub(crate) fn ensure(mirror: Option<&str>) -> Result<Self> {
        let folder = target_dir().join("drgn");
        let packages = format!("drgn=={VERSION}\n");
        let environment = Environment::ensure(folder.clone(), &packages, mirror)?;
        let drgn = Self { environment };
        let probed = output_of(drgn.python().args(["-c", PROBE]))?;
        let broken = "drgn was installed and cannot read kdump-compressed dumps";
        ensure!(probed.trim() == VERSION, "{broken}; next step: remove {}", folder.display());
        Ok(drgn)
    }

    /// Its Python.
    pub(crate) fn python(&self) -> Command {
        self.environment.program("python")
    }

    /// Opens a dump and compares it with the kernel's own name for itself.
    ///
    /// # Errors
    /// Fails if drgn refuses the dump, or finds something else.
    pub(crate) fn read(&self, dump: &Path, banner: &Banner) -> Result<Found> {
        let mut script = self.python();
        script.args(["-c", SCRIPT]).arg(dump);
        script.args([banner.address.to_string(), banner.text.len().to_string()]);
        let output = script.output().context("cannot start Python")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim_end().lines().last().unwrap_or_default();
        ensure!(output.status.success(), "{last}");
        let found = serde_json::from_slice(&output.stdout).context("what the script printed")?;
        judge(&found, banner)
    }
}

/// Compares the dump with the kernel that has this banner.
fn judge(found: &Value, banner: &Banner) -> Result<Found> {
    let text = |key: &str| found[key].as_str().with_context(|| format!("drgn has no {key}"));
    ensure!(found["is_linux"] == true, "drgn does not take it for a Linux");
    let vmcoreinfo = text("vmcoreinfo")?;
    let release = release(&banner.text)?;
    let said = value_of(vmcoreinfo, "OSRELEASE");
    ensure!(said == Some(release), "OSRELEASE is {said:?}, and /proc/version has {release}");
    let expected: String = banner.text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let address = banner.address;
    ensure!(text("memory")? == expected, "at {address:#x} there is another text than the banner");
    let architecture = text("architecture")?.to_string();
    Ok(Found { vmcoreinfo: vmcoreinfo.to_string(), architecture })
}

/// The release in a Linux's banner.
///
/// # Errors
/// Fails if it is no such banner.
pub(crate) fn release(banner: &str) -> Result<&str> {
    let rest = banner.strip_prefix("Linux version ").context("the first kernel is not a Linux")?;
    rest.split(' ').next().context("/proc/version is short")
}

/// The text after `KEY=` in VMCOREINFO.
pub(crate) fn value_of<'a>(vmcoreinfo: &'a str, key: &str) -> Option<&'a str> {
    vmcoreinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn banner() -> Banner {
        Banner { address: 0xc100_0000, text: "Linux version 6.1 (a)".into() }
    }

    fn found(info: &str, memory: &[u8]) -> Value {
        let memory: String = memory.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"is_linux": true, "architecture": "I386", "vmcoreinfo": info, "memory": memory})
    }

    #[test]
    fn a_dump_of_the_kernel_that_died_is_known() {
        let good = found("OSRELEASE=6.1\nPAGESIZE=4096\n", b"Linux version 6.1 (a)");
        let judged = judge(&good, &banner()).expect("it is the one");
        assert_eq!(judged.architecture, "I386");
        assert_eq!(value_of(&judged.vmcoreinfo, "PAGESIZE"), Some("4096"));
    }

    #[test]
    fn a_dump_of_another_kernel_is_told() {
        let says = |found: Value| judge(&found, &banner()).expect_err("not the one").to_string();
        let text = b"Linux version 6.1 (a)";
        assert!(says(found("OSRELEASE=6.2\n", text)).contains("OSRELEASE is Some(\"6.2\")"));
        assert!(says(found("PAGESIZE=4096\n", text)).contains("OSRELEASE is None"));
        assert!(says(found("OSRELEASE=6.1\n", b"Linux version 6.1 (b)")).contains("another text"));
        let mut no_linux = found("OSRELEASE=6.1\n", text);
        no_linux["is_linux"] = json!(false);
        assert!(says(no_linux).contains("not take it for a Linux"));
        assert!(says(json!({"is_linux": true})).contains("no vmcoreinfo"));
    }

    #[test]
    fn a_release_is_read() {
        assert_eq!(release("Linux version 6.1.0-50-amd64 (debian)").unwrap(), "6.1.0-50-amd64");
        assert!(release("kdump-rs test guest").is_err());
    }
}
