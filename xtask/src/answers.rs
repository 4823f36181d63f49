//! crashinfo's answers beside the lists of drgn and crash, which have the debug information: tasks,
//! modules, mounts, and memory as a whole.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use qemu_tests::check::crashinfo::Crashinfo;
use qemu_tests::check::said::answers::{address, rows, values};
use qemu_tests::check::said::proc::row;
use qemu_tests::check::said::table::{Row, Rule, Rules, Table, compare};

use crate::stacks::{Listing, NAMES};

/// Members of a task of crashinfo, of a module, and of a mount.
const TASK: [(&str, &str); 7] = [
    ("ppid", "ppid"),
    ("cpu", "cpu"),
    ("address", "address"),
    ("state", "state"),
    ("vsz", "virtual_bytes"),
    ("rss", "resident_bytes"),
    ("comm", "comm"),
];
const MODULE: [(&str, &str); 3] = [("module", "module"), ("base", "address"), ("size", "size")];
const MOUNT: [(&str, &str); 3] = [("super", "super_block"), ("type", "kind"), ("path", "path")];
/// States of crash and of /proc.
const STATES: [(&str, &str); 7] =
    [("RU", "R"), ("IN", "S"), ("UN", "D"), ("ST", "T"), ("ZO", "Z"), ("ID", "I"), ("PA", "P")];
/// Rows of `kmem -i` of crash, in pages, and of /proc/meminfo.
const MEMORY: [(&str, &str); 8] = [
    ("TOTAL MEM", "MemTotal"),
    ("FREE", "MemFree"),
    ("BUFFERS", "Buffers"),
    ("CACHED", "Cached"),
    ("SLAB", "Slab"),
    ("TOTAL SWAP", "SwapTotal"),
    ("SWAP FREE", "SwapFree"),
    ("COMMIT LIMIT", "CommitLimit"),
];
/// A CPU keeps up to 125 pages of each counter to itself (Linux, `calculate_normal_threshold`).
/// crash adds these to the number of free pages, which /proc does not, and not to the pages of the
/// slab (two counters) and of files, where crashinfo does.
const RULES: &[(&str, Rule)] = &[
    ("MemFree.pages", Rule::Near(250)),
    ("Slab.pages", Rule::Near(500)),
    ("Cached.pages", Rule::Near(250)),
];

/// Checks that crashinfo finds the same in `dump` as drgn and crash.
pub(crate) fn same(
    crashinfo: &Crashinfo,
    dump: &Path,
    lists: &[Result<Listing>; NAMES.len()],
) -> Result<String> {
    let text = |place: usize| {
        let list = lists[place].as_ref().map(|list| list.text.as_str());
        list.map_err(|_| anyhow!("there is no list of {}", NAMES[place]))
    };
    let ours = |section: &[&str]| crashinfo.answer(dump, section);
    let tasks = our_tasks(rows(&ours(&["ps"])?, "/data/tasks", &["pid"], &TASK)?);
    let agree = |name: &str, told: Table, read: &Table| {
        let rules = Rules { fields: RULES, may_lack: None };
        compare(&told, read, rules).with_context(|| name.to_string())
    };
    agree("tasks of drgn", drgn_tasks(text(0)?), &tasks)?;
    let crash = text(1)?;
    agree("tasks of crash", crash_tasks(crash), &tasks)?;
    let modules = in_hex(rows(&ours(&["mod"])?, "/data/modules", &["name"], &MODULE)?);
    agree("mod of crash", crash_modules(crash), &modules)?;
    let mounts = rows(&ours(&["mount"])?, "/data/mounts", &["mount"], &MOUNT)?;
    let hex_keys = |(key, row): (String, Row)| (address(&key).to_string(), row);
    let mounts = in_hex(mounts.into_iter().map(hex_keys).collect());
    agree("mount of crash", crash_mounts(crash), &mounts)?;
    let memory = in_pages(&values(&ours(&["kmem", "-i"])?, "/data/memory/rows")?);
    agree("kmem -i of crash", crash_memory(crash), &memory)?;
    let (tasks, modules, mounts) = (tasks.len(), modules.len(), mounts.len());
    Ok(format!("{tasks} tasks, {modules} modules, {mounts} mounts"))
}

/// Tasks without the idle ones, of which several have one number; sizes in KiB.
fn our_tasks(mut tasks: Table) -> Table {
    tasks.remove("0");
    for row in tasks.values_mut() {
        for name in ["vsz", "rss"] {
            let bytes = row.get(name).and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
            row.insert(name.into(), (bytes / 1024).to_string());
        }
        let address = row.get("address").map(|text| address(text).to_string());
        row.extend(address.map(|address| ("address".into(), address)));
    }
    tasks
}

/// Lines `PID NAME STATE CPU N` of drgn's script.
fn drgn_tasks(text: &str) -> Table {
    let line = |line: &str| {
        let (rest, cpu) = line.rsplit_once(" CPU ")?;
        let (rest, state) = rest.rsplit_once(' ')?;
        let (pid, comm) = rest.split_once(' ')?;
        pid.parse::<u32>().ok()?;
        Some((pid.to_string(), row([("comm", comm), ("state", state), ("cpu", cpu)])))
    };
    let lines = text.lines().take_while(|line| !line.starts_with("crashed:"));
    lines.filter_map(line).collect()
}

/// Lines of crash's `ps`, without the idle tasks; threads of the kernel are in brackets.
fn crash_tasks(text: &str) -> Table {
    let line = |line: &str| {
        let mut words = line.trim_start_matches('>').split_whitespace();
        let mut word = || words.next();
        let (pid, ppid, cpu, address) = (word()?, word()?, word()?, word()?);
        let (state, _, vsz, rss) = (word()?, word()?, word()?, word()?);
        let is_task = pid.parse::<u32>().is_ok_and(|pid| pid != 0) && address.len() == 16;
        let state = STATES.iter().find(|(name, _)| *name == state).filter(|_| is_task)?.1;
        let comm = words.collect::<Vec<_>>().join(" ");
        let comm = comm.strip_prefix('[').and_then(|comm| comm.strip_suffix(']')).unwrap_or(&comm);
        let fields = [
            ("ppid", ppid),
            ("cpu", cpu),
            ("address", address),
            ("state", state),
            ("vsz", vsz),
            ("rss", rss),
            ("comm", comm),
        ];
        Some((pid.to_string(), row(fields)))
    };
    text.lines().filter_map(line).collect()
}

/// The lines after the heading that begins with `first`, up to one that is none of its table.
fn under<'a>(text: &'a str, first: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let lines = text.lines().skip_while(move |line| !line.trim_start().starts_with(first));
    let words = lines.skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.take_while(|words| {
        words.first().is_some_and(|word| word.len() == 16 && u64::from_str_radix(word, 16).is_ok())
    })
}

fn crash_modules(text: &str) -> Table {
    let module = |words: Vec<&str>| match *words.as_slice() {
        [module, name, base, size, ..] => {
            let fields = [("module", module), ("base", base), ("size", size)];
            Some((name.to_string(), row(fields)))
        }
        _ => None,
    };
    under(text, "MODULE ").filter_map(module).collect()
}

/// Names of devices and folders can have spaces: the last word of the path counts.
fn crash_mounts(text: &str) -> Table {
    let mount = |words: Vec<&str>| match *words.as_slice() {
        [mount, super_block, kind, .., path] => {
            let fields = [("super", super_block), ("type", kind), ("path", path)];
            Some((mount.to_string(), row(fields)))
        }
        _ => None,
    };
    under(text, "MOUNT ").filter_map(mount).collect()
}

fn crash_memory(text: &str) -> Table {
    let line = |line: &str| {
        let line = line.trim_start();
        let (name, row_name) = MEMORY
            .iter()
            .find(|(name, _)| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("  ")))?;
        let pages = line[name.len()..].split_whitespace().next()?;
        Some(((*row_name).to_string(), row([("pages", pages)])))
    };
    let lines = text.lines().skip_while(|line| !line.contains("PERCENTAGE"));
    lines.take_while(|line| !line.starts_with('[')).filter_map(line).collect()
}

/// The same rows of /proc/meminfo in pages.
fn in_pages(memory: &Table) -> Table {
    let row = |(_, name): &(&str, &str)| {
        let kib: u64 = memory.get(*name)?.get("value")?.parse().ok()?;
        Some(((*name).to_string(), row([("pages", &*(kib / 4).to_string())])))
    };
    MEMORY.iter().filter_map(row).collect()
}

/// Addresses as crash shows them, and the last word of a path.
fn in_hex(mut table: Table) -> Table {
    for row in table.values_mut() {
        for name in ["module", "base", "super"] {
            let address = row.get(name).map(|text| address(text).to_string());
            row.extend(address.map(|address| (name.to_string(), address)));
        }
        let path = row.get("path").and_then(|path| path.split_whitespace().last());
        let path = path.map(str::to_owned);
        row.extend(path.map(|path| ("path".to_string(), path)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: &str = "      PID    PPID  CPU       TASK        ST  %MEM      VSZ      RSS  COMM\n\
        \u{20}       0       0   1  ffff8a23c3250000  RU   0.0        0        0  [swapper/1]\n\
        >       1       0   0  ffff8a23c31fe100  RU   0.7     2260     1844  a b\n\
        \u{20}       2       0   1  ffff8a23c31f8000  ID   0.0        0        0  [kthreadd]\n\
        PID: 1        TASK: ffff8a23c31fe100  CPU: 0    COMMAND: \"a b\"\n\
        \u{20}#0 [ffffa] panic at ffffffff87573b3a\n\
        \u{20}    MODULE       NAME                  BASE          SIZE  OBJECT FILE\n\
        ffffffffc02292c0  loop            ffffffffc0223000   32768  (not loaded)  [CONFIG]\n\
        \u{20}    MOUNT           SUPERBLK     TYPE   DEVNAME   DIRNAME\n\
        ffff8a23c31ca780 ffff8a23c305a800 rootfs rootfs    /         \n\
        ffff8a23c3b2a140 ffff8a23c4bad000 tmpfs  two words /run/words/a b\n\
        \u{20}                PAGES        TOTAL      PERCENTAGE\n\
        \u{20}   TOTAL MEM    42898     167.6 MB         ----\n\
        \u{20}        FREE    31488       123 MB   73% of TOTAL MEM\n\
        \u{20}   HUGE FREE        0            0    0% of TOTAL HUGE\n\
        [    0.000000] Linux version\n";

    #[test]
    fn lists_of_crash_are_read() {
        let tasks = crash_tasks(CRASH);
        let one = &tasks["1"];
        assert_eq!((tasks.len(), one["state"].as_str(), one["comm"].as_str()), (2, "R", "a b"));
        assert_eq!((one["rss"].as_str(), tasks["2"]["comm"].as_str()), ("1844", "kthreadd"));
        let (modules, mounts) = (crash_modules(CRASH), crash_mounts(CRASH));
        assert_eq!((modules.len(), modules["loop"]["base"].as_str()), (1, "ffffffffc0223000"));
        assert_eq!((mounts.len(), mounts["ffff8a23c3b2a140"]["path"].as_str()), (2, "b"));
        let memory = crash_memory(CRASH);
        assert_eq!((memory.len(), memory["MemFree"]["pages"].as_str()), (2, "31488"));
    }

    #[test]
    fn lists_of_drgn_are_read() {
        let text = "1 a (b) c R CPU 0\n  #0 panic pc 0x1 sp 0x2\n2 kthreadd S CPU 1\ncrashed: 1\n";
        let tasks = drgn_tasks(text);
        assert_eq!((tasks.len(), tasks["1"]["comm"].as_str()), (2, "a (b) c"));
        assert_eq!((tasks["2"]["state"].as_str(), tasks["2"]["cpu"].as_str()), ("S", "1"));
    }

    #[test]
    fn our_numbers_are_as_theirs() {
        let task = row([("vsz", "2314240"), ("address", "0xffff8a23c31fe100")]);
        let tasks = our_tasks(Table::from([("0".into(), Row::new()), ("1".into(), task)]));
        assert_eq!(
            (tasks.len(), tasks["1"]["vsz"].as_str(), tasks["1"]["rss"].as_str()),
            (1, "2260", "0")
        );
        let module = row([("base", "0xffffffffc0223000"), ("path", "/a b")]);
        let table = in_hex(Table::from([("x".into(), module)]));
        assert_eq!(
            (table["x"]["base"].as_str(), table["x"]["path"].as_str()),
            ("ffffffffc0223000", "b")
        );
        let memory = Table::from([("MemFree".into(), row([("value", "400")]))]);
        assert_eq!(in_pages(&memory)["MemFree"]["pages"], "100");
    }
}
