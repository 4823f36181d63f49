//! The stacks of a dump as our programs find them. This file alone uses the product's code; the
//! judge has its own.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use collector::{BacktraceFormat, Callers, LogFormat, LogPart, Stacks, VmcoreFile};
use serde::Deserialize;

use crate::check::call_trace::Shown;
use crate::check::stacks::Found;

/// An object in the output of `kdump-collector backtrace --json`.
#[derive(Deserialize)]
struct Object {
    cpu: Option<u32>,
    pid: Option<u32>,
    comm: Option<String>,
    #[serde(default)]
    crashed: bool,
    end: String,
    frames: Vec<ObjectFrame>,
}

#[derive(Deserialize)]
struct ObjectFrame {
    address: String,
    name: Option<String>,
    offset: Option<u64>,
    size: Option<u64>,
    module: Option<String>,
    sure: bool,
}

impl From<Object> for Found {
    fn from(object: Object) -> Self {
        let Object { cpu, pid, comm, crashed, end, frames } = object;
        Self {
            // A task that is not known is none that the kernel has shown.
            pid: pid.unwrap_or(u32::MAX),
            comm: comm.unwrap_or_default(),
            cpu,
            has_crashed: crashed,
            frames: frames.into_iter().map(Shown::from).collect(),
            is_whole: ["complete", "user"].contains(&end.as_str()),
        }
    }
}

impl From<ObjectFrame> for Shown {
    fn from(frame: ObjectFrame) -> Self {
        let ObjectFrame { address, name, offset, size, module, sure } = frame;
        let module = module.map(|module| format!(" [{module}]")).unwrap_or_default();
        let text = match (name, offset, size) {
            (Some(name), Some(offset), Some(size)) => {
                format!("{name}+{offset:#x}/{size:#x}{module}")
            }
            _ => address,
        };
        Self { text, is_guess: !sure }
    }
}

/// The stacks of all CPUs in the vmcore at `path`, the CPU that crashed first.
///
/// # Errors
/// The collector finds none.
pub fn cpus(path: &Path) -> Result<Vec<Found>> {
    found(path, Stacks::Cpus)
}

/// The stacks of all tasks but the idle ones.
///
/// # Errors
/// The collector finds none.
pub fn tasks(path: &Path) -> Result<Vec<Found>> {
    found(path, Stacks::Tasks)
}

fn found(path: &Path, wanted: Stacks) -> Result<Vec<Found>> {
    let mut lines = Vec::new();
    let out = (BacktraceFormat::Json, &mut lines as &mut dyn Write);
    collector::backtrace_of(path, None, wanted, out, &mut |_, _| ())
        .context("the collector's backtraces")?;
    let objects = serde_json::Deserializer::from_slice(&lines).into_iter::<Object>();
    let found: Result<Vec<_>, _> = objects.map(|object| object.map(Found::from)).collect();
    found.context("the collector's backtraces as JSON")
}

/// The dead kernel's log, without the writers of its lines.
///
/// # Errors
/// The collector finds none.
pub fn log(path: &Path) -> Result<String> {
    let (vmcore, mut log) = (VmcoreFile::open(path)?, Vec::new());
    collector::dmesg(&vmcore, LogPart::All, LogFormat::Text(Callers::Never), &mut log)?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}
