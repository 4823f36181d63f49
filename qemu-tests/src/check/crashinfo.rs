//! crashinfo's answers from a dump, beside the kernel's words right before it died. The program runs
//! as users run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::check::said::sections::{SECTIONS, Section};
use crate::check::said::table::compare;
use crate::first::said::Said;
use crate::report::Check;

/// The program, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crashinfo {
    /// Its path.
    pub program: PathBuf,
    /// A vmlinux with debug information, for a kernel without BTF.
    pub debug_vmlinux: Option<PathBuf>,
    /// True if the first kernel runs it as well, on its own /proc/kcore.
    pub is_live: bool,
}

impl Crashinfo {
    /// Its answer about the dump at `path`; the first page without a section.
    ///
    /// # Errors
    /// It fails, or it prints no JSON.
    pub fn answer(&self, path: &Path, section: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        if let Some(vmlinux) = &self.debug_vmlinux {
            command.arg("-s").arg(vmlinux);
        }
        command.arg("--json").arg(path).args(section);
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}", said.trim_end());
        serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?}: its JSON"))
    }

    /// The fingerprint of the crash in the dump at `path`.
    ///
    /// # Errors
    /// As for [`Self::answer`]; or the first page has none.
    pub fn fingerprint(&self, path: &Path) -> Result<Value> {
        let page = self.answer(path, &[])?;
        let found = page.pointer("/data/panic/fingerprint").cloned();
        found.with_context(|| format!("a first page without a fingerprint: {page}"))
    }

    /// Checks all sections on the dump at `path`, and those of the running kernel.
    pub fn checks(&self, path: &Path, said: &Said) -> Vec<Check> {
        let of_dump = |section: &Section| self.answer(path, section.arguments);
        let mut checks = vec![Check::new("crashinfo", all_agree(said, |_| true, of_dump))];
        if self.is_live {
            let of_running = |section: &Section| {
                let text = said.text(&format!("live {}", section.arguments.join(" ")))?;
                serde_json::from_str(&text).with_context(|| format!("JSON in {text:?}"))
            };
            checks
                .push(Check::new("crashinfo_live", all_agree(said, Section::is_live, of_running)));
        }
        checks
    }
}

/// Checks that the answers of all sections agree with what the kernel `said`.
fn all_agree(
    said: &Said,
    is_asked: fn(&Section) -> bool,
    answer: impl Fn(&Section) -> Result<Value>,
) -> Result<String> {
    let judged = SECTIONS.iter().filter(|section| is_asked(section)).map(|section| {
        let name = section.arguments.join(" ");
        match answer(section).and_then(|answer| agrees(section, &answer, said)) {
            Ok(found) => Ok(format!("{name}: {found}")),
            Err(error) => Err(format!("{name}: {error:#}")),
        }
    });
    let (right, wrong): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(right.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// Checks one answer. A hole in it is an error here: the whole memory is there.
fn agrees(section: &Section, answer: &Value, said: &Said) -> Result<String> {
    let missing = answer.get("missing").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(missing == 0, "the answer has holes: {}", answer["missing"]);
    compare(&(section.told)(said)?, &(section.read)(answer)?, section.rules)
}
