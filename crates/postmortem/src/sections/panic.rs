//! The crash in short.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block};
use crate::subsystems::panic::{self, Panic};
use crate::{Error, Kernel};

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Its part of the first page.
pub(super) const PART: Part =
    Part { name: "panic", read: |kernel, progress| Arguments {}.answer(kernel, progress) };

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        let panic = panic::read(kernel)?;
        let mut answer = Answer::new("Panic", &panic)?.with(Block::Facts(facts(&panic)));
        let stacks = [&panic.stack, &panic.hung].into_iter().flatten();
        answer.blocks.extend(stacks.map(|stack| Block::Text(stack.to_string())));
        answer.warnings = panic::warnings(&panic);
        answer.missing.clone_from(&panic.missing);
        Ok(answer)
    }
}

fn facts(panic: &Panic) -> Vec<(&'static str, String)> {
    let mut facts = vec![("KIND", panic.kind.name().to_owned())];
    let mut fact = |name, value: Option<String>| {
        facts.extend(value.map(|value| (name, value)));
    };
    fact("PANIC", panic.message.clone());
    fact("OOPS", panic.oops.clone());
    fact("PLACE", panic.place.clone());
    fact("CPU", panic.cpu.map(|cpu| cpu.to_string()));
    fact("PID", panic.pid.map(|pid| pid.to_string()));
    fact("COMMAND", panic.comm.clone());
    fact("TASK", panic.task.map(|task| task.to_string()));
    fact("FUNCTION", panic.function.clone());
    let fingerprint = panic.fingerprint.as_ref().map(|found| {
        format!("{} ({}: {})", found.hash, panic.kind.name(), found.functions.join(" < "))
    });
    fact("FINGERPRINT", fingerprint);
    facts
}
