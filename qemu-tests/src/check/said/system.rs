//! The machine as a whole: the kernel's words and those of crashinfo's `sys` and `runq`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::check::said::answers::text;
use crate::check::said::proc::row;
use crate::check::said::table::{Row, Rule, Table};
use crate::first::said::Said;

/// The only row.
const KEY: &str = "system";
/// Each five seconds the load averages change. The crash comes within a minute.
pub const RULES: &[(&str, Rule)] = &[
    ("load1", Rule::Near(30)),
    ("load5", Rule::Near(10)),
    ("load15", Rule::Near(5)),
    ("uptime", Rule::Grows(60_000)),
];

/// The words of /proc: loads in hundredths, times in milliseconds.
///
/// # Errors
/// The kernel has not said something.
pub fn told(said: &Said) -> Result<Table> {
    let line = |name: &str| Ok::<_, anyhow::Error>(said.text(name)?.trim_end().to_string());
    let version = line("version")?;
    let release = version.split(' ').nth(2).context("a version without a release")?.to_string();
    let mut told = row([
        ("release", &*release),
        ("command_line", line("cmdline")?.trim_end()),
        ("boot_id", &line("sys_kernel_random_boot_id")?),
        ("hostname", &line("sys_kernel_hostname")?),
        ("taint_mask", &line("sys_kernel_tainted")?),
    ]);
    let (loads, uptime) = (line("loadavg")?, line("uptime")?);
    let times = ["load1", "load5", "load15"].into_iter().zip(loads.split(' '));
    for (name, time) in times {
        told.insert(name.into(), scaled(time, 100.0)?);
    }
    let uptime = uptime.split(' ').next().unwrap_or_default();
    told.insert("uptime".into(), scaled(uptime, 1000.0)?);
    Ok(Table::from([(KEY.to_string(), told)]))
}

fn scaled(number: &str, by: f64) -> Result<String> {
    let number: f64 = number.parse().with_context(|| format!("a number: {number}"))?;
    Ok(format!("{:.0}", number * by))
}

/// The same of an answer of `sys`.
///
/// # Errors
/// It has no data.
pub fn read(answer: &Value) -> Result<Table> {
    let data = answer.get("data").context("an answer without data")?;
    let names = ["release", "command_line", "boot_id", "hostname", "taint_mask"];
    let texts = names
        .into_iter()
        .filter_map(|name| Some((name.to_string(), text(data.get(name)?)?.trim_end().to_string())));
    let mut read: Row = texts.collect();
    for (place, name) in ["load1", "load5", "load15"].into_iter().enumerate() {
        let load = data.pointer(&format!("/load/{place}")).and_then(Value::as_f64);
        read.extend(load.map(|load| (name.to_string(), format!("{:.0}", load * 100.0))));
    }
    let uptime = data.get("uptime_ns").and_then(Value::as_u64);
    read.extend(uptime.map(|uptime| ("uptime".to_string(), (uptime / 1_000_000).to_string())));
    Ok(Table::from([(KEY.to_string(), read)]))
}

/// Switches of tasks by CPU (debugfs's sched/debug; up to 5.12 /proc/sched_debug).
///
/// # Errors
/// The kernel has said neither.
pub fn told_queues(said: &Said) -> Result<Table> {
    let words = said.text("_sys_kernel_debug_sched_debug").or_else(|_| said.text("sched_debug"))?;
    let queue = |part: &str| {
        let (cpu, rest) = part.split_once(',')?;
        let mut lines = rest.lines().filter_map(|line| line.split_once(':'));
        let (_, switches) = lines.find(|(name, _)| name.trim() == ".nr_switches")?;
        Some((cpu.to_string(), row([("switches", switches.trim())])))
    };
    Ok(words.split("\ncpu#").skip(1).filter_map(queue).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_the_same_fields() {
        let files = [
            ("version", "Linux version 6.1.0-50-amd64 (debian-kernel) #1\n"),
            ("cmdline", "console=ttyS0 panic=-1  \n"),
            ("sys_kernel_random_boot_id", "f510c462-d2d0-4a4f-aaae-eec1f17e20e0\n"),
            ("sys_kernel_hostname", "(none)\n"),
            ("sys_kernel_tainted", "512\n"),
            ("loadavg", "0.31 0.07 0.02 2/68 201\n"),
            ("uptime", "10.42 12.00\n"),
            (
                "sched_debug",
                "Sched\n\ncpu#0, 2594.040 MHz\n  .nr_running : 1\n  .nr_switches : 1666\n\n\
                 cpu#1, 1 MHz\n  .nr_switches   : 1188\n",
            ),
        ];
        let text: String = files.iter().map(|(name, text)| format!("=== {name}\n{text}")).collect();
        let said = Said::parse(format!("{text}=== end\n").as_bytes()).unwrap();
        let answer = r#"{"data": {"release": "6.1.0-50-amd64", "command_line": "console=ttyS0 panic=-1 ",
            "boot_id": "f510c462-d2d0-4a4f-aaae-eec1f17e20e0", "hostname": "(none)", "other": 7,
            "taint_mask": 512, "load": [0.31, 0.07, 0.02], "uptime_ns": 10420000999}}"#;
        let read = read(&serde_json::from_str(answer).unwrap()).unwrap();
        assert_eq!(told(&said).unwrap(), read);
        assert_eq!(read[KEY].len(), 9);
        let queues = told_queues(&said).unwrap();
        assert_eq!((queues["0"]["switches"].as_str(), queues.len()), ("1666", 2));
    }
}
