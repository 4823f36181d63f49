//! The capture kernel's command line: the user's words, then the words that it needs.
//!
//! Source: paper, section 4.4 (`memmap=`, `elfcorehdr=`).

use cmdline::{Action, Compress, Options, PowerOff, Problem};
use handoff::boot_params::COMMAND_LINE_SIZE;
use vmcore::{ElfCoreHdr, PhysRange};

use crate::facts::dump_disks::DumpDisks;
use crate::facts::firmware::rsdp_word;
use crate::facts::system::System;
use crate::plan::error::PlanError;
use crate::plan::reuse::{is_key, virtio_mmio_words};
use crate::plan::target::{Target, check_disks};
use crate::plan::types::{PlanOptions, UserText};

/// The key that names the target.
const TARGET: &str = "kdump.target";

/// The one way to hide the words that follow.
const OPEN_QUOTE: &str = "a quotation mark in --append or --command-line is not closed";

/// The reason why `poweroff` will not work.
const NO_POWER_OFF: &str = "poweroff is asked for, but the ACPI tables (FACP, DSDT) do not say how \
                            to switch this machine off: the capture kernel will reboot instead";

/// The command line and its meaning for the capture kernel.
pub(crate) struct CommandLine {
    /// The text, without its NUL.
    pub(crate) text: String,
    /// Action after a failed capture.
    pub(crate) failure_action: Action,
    /// The target of the dump.
    pub(crate) target: Target,
    /// The words that the capture kernel will pass over, each with the reason.
    pub(crate) problems: Vec<String>,
}

impl CommandLine {
    /// Joins the options and the user's text, adds `memmap=` and `elfcorehdr=` at the end, where
    /// nothing can undo them, and reads the result as the capture kernel will.
    pub(crate) fn new(
        options: &PlanOptions,
        system: &System,
        memory: &[PhysRange],
        elfcorehdr: PhysRange,
    ) -> Result<Self, PlanError> {
        let target = Target::choose(options, system)?;
        let mut text = user_part(options, &target, system)?;
        if let Some(rsdp) = system.acpi_rsdp {
            push(&mut text, &rsdp_word(rsdp));
        }
        push(&mut text, &added_part(memory, elfcorehdr));
        // The NUL at its end counts.
        if text.len() >= COMMAND_LINE_SIZE {
            let limit = COMMAND_LINE_SIZE - 1;
            return Err(PlanError::CommandLineTooLong { excess: text.len() - limit, limit });
        }
        let mut problems = Vec::new();
        let mut bad_target = None;
        let read = Options::parse(text.as_bytes(), &mut |problem| {
            problems.push(problem.to_string());
            if is_key(problem.key, TARGET) {
                bad_target = Some(bad_target_error(&problem, &system.dump_disks));
            }
        });
        let block = ElfCoreHdr { addr: elfcorehdr.start(), size: Some(elfcorehdr.length()) };
        let seen = read.exactmap && read.memmap.iter().eq(memory.iter().copied());
        if !seen || read.elfcorehdr != Some(block) {
            let why = problems.pop().unwrap_or_else(|| OPEN_QUOTE.to_owned());
            return Err(PlanError::CommandLineHides { why });
        }
        if let Some(error) = bad_target {
            return Err(error);
        }
        let targets = read.targets.iter().map(|entry| &entry.target);
        problems.extend(check_disks(targets, &system.dump_disks, options.any_disk)?);
        let failure_action = read.failure_action;
        let wants_off = [read.final_action, failure_action].contains(&Action::PowerOff);
        if wants_off && read.poweroff.is_none() {
            problems.push(NO_POWER_OFF.to_owned());
        }
        drop(read);
        Ok(Self { text, failure_action, target, problems })
    }
}

/// Words of the options and of the user, in this order: of two equal keys the last one counts.
fn user_part(options: &PlanOptions, target: &Target, system: &System) -> Result<String, PlanError> {
    let (UserText::Append(user) | UserText::Whole(user)) = &options.text;
    if let Some(at) = user.bytes().position(|byte| byte.is_ascii_control()) {
        return Err(PlanError::CommandLineBytes { at });
    }
    let mut text = match options.text {
        UserText::Append(_) => option_words(options, target, system)?,
        UserText::Whole(_) => String::new(),
    };
    push(&mut text, user.trim());
    Ok(text)
}

fn option_words(
    options: &PlanOptions,
    target: &Target,
    system: &System,
) -> Result<String, PlanError> {
    let mut text = String::new();
    if let Some(target) = &target.value {
        push(&mut text, &target_word(target, &system.dump_disks)?);
    }
    if let Some(level) = options.level {
        push(&mut text, &format!("kdump.level={level}"));
    }
    if let Some(compress) = options.compress {
        push(&mut text, &format!("kdump.compress={}", compress_name(compress)));
    }
    if let Some(action) = options.final_action {
        push(&mut text, &format!("kdump.final_action={}", action_name(action)));
    }
    if let Some(action) = options.failure_action {
        push(&mut text, &format!("kdump.failure_action={}", action_name(action)));
    }
    if let Some(PowerOff { pm1a_control, sleep_type }) = system.power_off {
        push(&mut text, &format!("kdump.pm1a={pm1a_control:#x},{sleep_type}"));
    }
    if let Some(khz) = system.tsc_khz {
        push(&mut text, &format!("kdump.tsc_khz={khz}"));
    }
    push(&mut text, &system.iommus.word());
    push(&mut text, &virtio_mmio_words(&system.command_line));
    Ok(text)
}

/// `kdump.target=`, where the capture kernel has nothing against the value.
fn target_word(target: &str, disks: &DumpDisks) -> Result<String, PlanError> {
    let word = format!("{TARGET}={target}");
    let mut problem = target.contains(|c: char| c.is_whitespace() || c == '"').then(|| {
        let problem = format!("{target:?} has white space or quotation marks in it");
        PlanError::BadTarget { problem }
    });
    Options::parse(word.as_bytes(), &mut |found| problem = Some(bad_target_error(&found, disks)));
    problem.map_or(Ok(word), Err)
}

/// The reason why the capture kernel would skip a target, and the disks that there are: a
/// placeholder stands for one of their ids.
fn bad_target_error(problem: &Problem<'_>, disks: &DumpDisks) -> PlanError {
    let mut problem = problem.to_string().replace(", ignored", "");
    if !disks.found.is_empty() {
        problem = format!("{problem}; the dump disks of this machine are {}", disks.list());
    }
    PlanError::BadTarget { problem }
}

/// `memmap=` for each range and `elfcorehdr=`, all in KiB: they are whole pages.
fn added_part(memory: &[PhysRange], elfcorehdr: PhysRange) -> String {
    let mut text = "memmap=exactmap".to_owned();
    for range in memory {
        push(&mut text, &format!("memmap={}", size_at(*range)));
    }
    push(&mut text, &format!("elfcorehdr={}", size_at(elfcorehdr)));
    text
}

fn size_at(range: PhysRange) -> String {
    format!("{}K@{}K", range.length() / 1024, range.start().get() / 1024)
}

/// Adds words at the end.
fn push(text: &mut String, words: &str) {
    if !text.is_empty() && !words.is_empty() {
        text.push(' ');
    }
    text.push_str(words);
}

const fn compress_name(compress: Compress) -> &'static str {
    match compress {
        Compress::Auto => "auto",
        Compress::None => "none",
        Compress::Lz4 => "lz4",
    }
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::PowerOff => "poweroff",
        Action::Reboot => "reboot",
        Action::Halt => "halt",
    }
}
