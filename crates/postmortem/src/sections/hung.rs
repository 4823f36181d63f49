//! Tasks that hang.

use clap::Args;

use super::section::{Part, Progress, Section};
use crate::report::{Answer, Block, duration};
use crate::subsystems::hung::{self, Hung};
use crate::subsystems::tasks;
use crate::{Error, Kernel};

/// Most frames of each task.
const MOST_FRAMES: usize = 12;
/// The same on the first page, and the most tasks there.
const FEW: usize = 4;

/// There are none.
#[derive(Args, Clone, Debug)]
pub struct Arguments {}

/// Its part of the first page.
pub(super) const PART: Part = Part { name: "hung", read: |kernel, _| answer(kernel, FEW, FEW) };

impl Section for Arguments {
    fn answer(&self, kernel: &Kernel<'_>, _: Progress<'_>) -> Result<Answer, Error> {
        answer(kernel, usize::MAX, MOST_FRAMES)
    }
}

fn answer(kernel: &Kernel<'_>, tasks: usize, frames: usize) -> Result<Answer, Error> {
    let found = tasks::read(kernel)?;
    let hung = hung::read(kernel, &found)?;
    let title = format!("Tasks that hang: {}", hung.tasks.len());
    let mut answer = Answer::new(title, &hung)?;
    answer.warnings = hung::warnings(&hung);
    answer.missing.clone_from(&hung.missing);
    let text = text(&hung, tasks, frames);
    Ok(if text.is_empty() { answer } else { answer.with(Block::Text(text)) })
}

fn text(hung: &Hung, tasks: usize, frames: usize) -> String {
    let mut text = String::new();
    for task in hung.tasks.iter().take(tasks) {
        let since = task.since_ns.map_or_else(|| "an unknown time".to_owned(), duration);
        text += &format!("{} (pid {}) for {since}\n", task.comm, task.pid);
        task.frames.iter().take(frames).for_each(|frame| text += &format!(" {frame}\n"));
    }
    text
}
