//! The loader's record of a load, kept for later queries.

use std::time::{SystemTime, UNIX_EPOCH};

use cmdline::Options;
use serde::{Deserialize, Serialize};

use crate::facts::name_lines::Names;
use crate::plan::machine::Facts;
use crate::plan::types::Plan;

/// The record of a load.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// Time of the load, in seconds since the beginning of 1970.
    pub at: u64,
    /// The version of the loader.
    pub loader: String,
    /// The loader's arguments.
    pub arguments: Vec<String>,
    /// The target of the dump, as text for the user.
    pub target: String,
    /// True if there is no target.
    pub no_target: bool,
    /// The capture kernel's command line.
    pub command_line: String,
    /// The facts that the plan was made for.
    pub facts: Facts,
    /// Preparations for backtraces, as a line of text.
    #[serde(default)]
    pub backtraces: Option<String>,
    /// The lines for them: the next load in this boot need not look for these.
    #[serde(default)]
    pub names: Option<Names>,
}

impl Record {
    /// The record of loading this plan now, by a loader with these arguments, which found these
    /// lines for backtraces.
    pub fn new(
        plan: &Plan,
        arguments: impl IntoIterator<Item = String>,
        names: Option<Names>,
    ) -> Self {
        Self {
            at: now(),
            loader: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: arguments.into_iter().collect(),
            target: plan.target.clone(),
            no_target: plan.no_target,
            command_line: plan.command_line.clone(),
            facts: Facts::of_plan(plan),
            backtraces: plan.backtraces.clone(),
            names,
        }
    }

    /// The rate of the time stamp counter on the command line, in kHz.
    pub(crate) fn tsc_khz(&self) -> Option<u32> {
        Options::parse(self.command_line.as_bytes(), &mut |_| ()).tsc_khz
    }

    /// The command that would load the same again.
    pub(crate) fn command(&self) -> String {
        let words = self.arguments.iter().map(|word| quoted(word));
        ["kdump-loader".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Seconds since the beginning of 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A load with a target on a machine of 512 MiB.
    pub(crate) fn record() -> Record {
        Record {
            at: 1_795_273_842,
            loader: "0.1.0".to_owned(),
            arguments: ["load", "--append", "a b"].map(str::to_owned).to_vec(),
            target: "serial".to_owned(),
            no_target: false,
            command_line: "kdump.target=serial a b memmap=exactmap".to_owned(),
            facts: crate::plan::machine::tests::facts(),
            backtraces: Some("symbols of the running kernel; no BTF".to_owned()),
            names: Some(crate::facts::name_lines::tests::whole()),
        }
    }

    #[test]
    fn an_older_record_has_no_backtraces() {
        let mut json = serde_json::to_value(record()).expect("JSON");
        for key in ["backtraces", "names"] {
            json.as_object_mut().expect("an object").remove(key);
        }
        let older: Record = serde_json::from_value(json).expect("a record");
        assert_eq!(older, Record { backtraces: None, names: None, ..record() });
    }

    /// As sh(1) reads them.
    #[test]
    fn the_command_can_be_given_to_a_shell() {
        assert_eq!(record().command(), "kdump-loader load --append 'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("disk:id=00ff,serial:port=0+none"), "disk:id=00ff,serial:port=0+none");
    }
}
