//! `bench --analysis`: Python programs that read many objects of the same dump, by our API and by
//! drgn's. drgn has the kernel's debug information, ours has none.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use log::info;
use qemu_tests::Interrupt;

use super::ratio::{ratio, spread};
use crate::environment::Environment;

/// The programs: see there for their arguments and their output.
const PROGRAMS: [(&str, &str); 2] =
    [("kdump", include_str!("objects_kdump.py")), ("drgn", include_str!("objects_drgn.py"))];
/// Kinds and numbers of the objects.
const OBJECTS: [(&str, usize); 3] =
    [("tasks", 100_000), ("dentries", 100_000), ("sockets", 10_000)];
/// Goal: drgn's time by ours.
const GOAL: f64 = 1.0;

/// Times of both programs in milliseconds, for each kind of object.
#[derive(Debug, Default)]
pub(super) struct Objects {
    times: [[Vec<f64>; PROGRAMS.len()]; OBJECTS.len()],
}

impl Objects {
    /// Runs both programs once for each kind.
    ///
    /// # Errors
    /// A program fails, or they find different objects.
    pub(super) fn round(
        &mut self,
        environment: &Environment,
        dump: &Path,
        vmlinux: &Path,
        interrupt: &Interrupt,
    ) -> Result<()> {
        for (times, (kind, count)) in self.times.iter_mut().zip(OBJECTS) {
            let mut answers = Vec::new();
            for (times, (name, script)) in times.iter_mut().zip(PROGRAMS) {
                ensure!(!interrupt.is_set(), "interrupted");
                info!("{count} {kind} by {name}");
                let mut python = environment.program("python");
                python.args(["-c", script]).arg(dump);
                if name == "drgn" {
                    python.arg(vmlinux);
                }
                let (answer, seconds) = run(python.args([kind, &count.to_string()]))
                    .with_context(|| format!("{kind} by {name}"))?;
                times.push(seconds * 1e3);
                answers.push(answer);
            }
            ensure!(answers[0] == answers[1], "{kind}: kdump and drgn have found others");
        }
        Ok(())
    }

    /// Lines with the times, and the ratios with their goal.
    ///
    /// # Errors
    /// There was no round.
    pub(super) fn text(&self) -> Result<String> {
        let mut text = String::from("milliseconds for objects in Python, after the opening\n");
        for (times, (kind, count)) in self.times.iter().zip(OBJECTS) {
            let name = |at: usize| format!("{}, {count} {kind}", PROGRAMS[at].0);
            for (at, times) in times.iter().enumerate() {
                text.push_str(&format!("{:<24} {}\n", name(at), spread(times, 0)?.1));
            }
            text.push_str(&ratio([&name(1), &name(0)], [&times[1], &times[0]], GOAL)?);
        }
        Ok(text)
    }
}

/// The answer of a program, and its seconds, which are its last line.
fn run(program: &mut Command) -> Result<(String, f64)> {
    let output = program.output().context("cannot start Python")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{last}");
    let text = String::from_utf8_lossy(&output.stdout);
    seconds(&text).context("the program has printed no seconds")
}

fn seconds(text: &str) -> Option<(String, f64)> {
    let (answer, seconds) = text.trim_end().rsplit_once("\nseconds ")?;
    Some((answer.to_owned(), seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_seconds() {
        let answer = seconds("1 127.0.0.1\n2\nseconds 0.25\n");
        assert_eq!(answer, Some(("1 127.0.0.1\n2".to_owned(), 0.25)));
        assert_eq!(seconds("1 127.0.0.1\n"), None);
        assert_eq!(seconds("1\nseconds x\n"), None);
    }

    #[test]
    fn drgn_s_time_is_divided_by_ours() {
        let mut objects = Objects::default();
        assert!(objects.text().is_err());
        for (times, factor) in objects.times.iter_mut().zip([4.0, 1.0, 0.5]) {
            *times = [vec![100.0, 200.0], vec![100.0 * factor, 200.0 * factor]];
        }
        let text = objects.text().expect("two rounds");
        let line = |goal: &str| text.lines().any(|line| line.ends_with(goal));
        assert!(line("drgn, 100000 tasks ÷ kdump, 100000 tasks: 4.0 (4.0 … 4.0), goal 1: met"));
        assert!(text.contains("dentries: 1.0 (1.0 … 1.0), goal 1: met"), "{text}");
        assert!(text.contains("sockets: 0.5 (0.5 … 0.5), goal 1: missed"), "{text}");
    }
}
