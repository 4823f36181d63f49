//! The sections of crashinfo that the kernel's words judge, and how far each may be from them.
//!
//! Between the words and the crash the first kernel runs `cat` for each file, saves its word on its
//! pages, prints stacks: so counters grow, and pages move between lists.

use anyhow::Result;
use serde_json::Value;

use crate::check::said::answers::{address, rows, text, values};
use crate::check::said::table::{Row, Rule, Rules, Table};
use crate::check::said::{proc, system};
use crate::first::said::Said;

/// A section, and what it must agree with.
pub struct Section {
    /// Its name and arguments.
    pub arguments: &'static [&'static str],
    /// The kernel's word.
    pub told: fn(&Said) -> Result<Table>,
    /// The answer.
    pub read: fn(&Value) -> Result<Table>,
    /// Tolerances.
    pub rules: Rules<'static>,
}

/// All of them.
pub const SECTIONS: [Section; 13] = [
    Section {
        arguments: &["ps"],
        told: told_tasks,
        read: |answer| {
            let tasks = rows(answer, "/data/tasks", &["pid"], &TASK)?;
            Ok(tasks.into_iter().map(in_kib).collect())
        },
        rules: Rules {
            // The first program waits for `cat`, and crashes the kernel then; it has other memory.
            fields: &[
                ("1.state", Rule::Free),
                ("1.rss", Rule::Near(256)),
                ("state", Rule::Or("R")),
            ],
            // `cat` reads its own state. The idle tasks have no file. Workers come and go.
            may_lack: Some(|key, row| {
                key == "0"
                    || ["cat", "crashinfo"].contains(&row["comm"].as_str())
                    || row["comm"].starts_with("kworker/")
            }),
        },
    },
    Section {
        arguments: &["mod"],
        told: told_modules,
        read: |answer| {
            let modules = rows(answer, "/data/modules", &["name"], &MODULE)?;
            Ok(modules.into_iter().map(as_in_proc).collect())
        },
        rules: Rules { fields: &[], may_lack: None },
    },
    Section {
        arguments: &["mount"],
        told: |said| proc::mounts(&said.text("self_mountinfo")?),
        read: |answer| rows(answer, "/data/mounts", &["id"], &MOUNT),
        rules: Rules { fields: &[], may_lack: None },
    },
    Section {
        arguments: &["swap"],
        told: |said| {
            let names = ["kind", "size", "used", "priority"];
            let mut areas = proc::columns(&said.text("swaps")?, &names);
            areas.remove("Filename");
            Ok(areas)
        },
        read: |answer| rows(answer, "/data/areas", &["file"], &SWAP),
        rules: Rules { fields: &[], may_lack: None },
    },
    Section {
        arguments: &["kmem", "-i"],
        told: |said| Ok(proc::values(&said.text("meminfo")?)),
        read: |answer| values(answer, "/data/memory/rows"),
        rules: Rules { fields: MEMORY, may_lack: Some(|key, _| NO_MEMORY.contains(&key)) },
    },
    Section {
        arguments: &["kmem", "-z"],
        told: told_zones,
        read: |answer| rows(answer, "/data/zones/zones", &["node", "name"], &ZONE),
        rules: Rules {
            fields: &[("free", Rule::Near(256)), ("blocks", Rule::Free)],
            may_lack: None,
        },
    },
    Section {
        arguments: &["kmem", "-s"],
        told: |said| Ok(proc::slabs(&said.text("slabinfo")?)),
        read: |answer| {
            let caches = rows(answer, "/data/slabs/caches", &["name"], &SLAB)?;
            Ok(caches.into_iter().map(in_pages).collect())
        },
        rules: Rules { fields: SLABS, may_lack: None },
    },
    Section {
        arguments: &["irq"],
        told: |said| Ok(proc::interrupts(&said.text("interrupts")?)),
        read: read_interrupts,
        // /proc leaves out counters of interrupts that the machine does not have.
        rules: Rules { fields: COUNTS, may_lack: Some(|_, row| is_zero(row)) },
    },
    Section {
        arguments: &["irq", "-b"],
        told: |said| Ok(proc::interrupts(&said.text("softirqs")?)),
        read: |answer| counters(answer, "/data/softirqs"),
        rules: Rules { fields: COUNTS, may_lack: None },
    },
    Section {
        arguments: &["sys"],
        told: system::told,
        read: system::read,
        rules: Rules { fields: system::RULES, may_lack: None },
    },
    Section {
        arguments: &["runq"],
        told: system::told_queues,
        read: |answer| rows(answer, "/data/queues", &["cpu"], &[("switches", "switches")]),
        rules: Rules { fields: COUNTS, may_lack: None },
    },
    Section {
        arguments: &["dev", "-d"],
        told: |said| Ok(proc::disks(&said.text("diskstats")?)),
        read: |answer| {
            let disks = rows(answer, "/data/disks/disks", &["name"], &DISK)?;
            Ok(disks.into_iter().map(|row| by_place(row, "counts")).collect())
        },
        // Only some versions show disks without contents.
        rules: Rules { fields: &[], may_lack: Some(|_, row| is_unused(row)) },
    },
    Section {
        arguments: &["net"],
        told: |said| {
            let mut interfaces = proc::interfaces(&said.text("net_dev")?);
            proc::add_addresses(&said.text("addresses")?, &mut interfaces);
            Ok(interfaces)
        },
        read: |answer| {
            let interfaces = rows(answer, "/data/interfaces", &["name"], &INTERFACE)?;
            Ok(interfaces.into_iter().map(|row| by_place(row, "counts")).collect())
        },
        rules: Rules { fields: PACKETS, may_lack: None },
    },
];

impl Section {
    /// True for one that can be compared on the running kernel: its memory and its load are those of
    /// crashinfo, too.
    pub fn is_live(&self) -> bool {
        !["kmem", "sys"].contains(&self.arguments[0])
    }
}

/// The arguments of each live one, in a line.
pub fn lines() -> String {
    let live = SECTIONS.iter().filter(|section| section.is_live());
    live.map(|section| section.arguments.join(" ") + "\n").collect()
}

const TASK: [(&str, &str); 7] = [
    ("tgid", "tgid"),
    ("ppid", "ppid"),
    ("comm", "comm"),
    ("state", "state"),
    ("uid", "uid"),
    ("vsz", "virtual_bytes"),
    ("rss", "resident_bytes"),
];
const MODULE: [(&str, &str); 6] = [
    ("size", "size"),
    ("references", "references"),
    ("used_by", "used_by"),
    ("state", "state"),
    ("address", "address"),
    ("taints", "taints"),
];
const SLAB: [(&str, &str); 6] = [
    ("active", "active_objects"),
    ("objects", "objects"),
    ("size", "size"),
    ("per_slab", "objects_per_slab"),
    ("order", "order"),
    ("slabs", "slabs"),
];
/// Objects that the programs from the kernel's word to the crash have taken and given back.
const SLABS: &[(&str, Rule)] = &[
    ("active", Rule::Near(64)),
    ("objects", Rule::Near(64)),
    ("slabs", Rule::Near(4)),
    // Each page that goes to /dev/mem is mapped, and its place is given back late.
    ("vmap_area.active", Rule::Near(2048)),
    ("vmap_area.objects", Rule::Near(2048)),
    ("vmap_area.slabs", Rule::Near(32)),
];
/// Interrupts, softirqs and switches of tasks go on up to the crash.
const COUNTS: &[(&str, Rule)] = &[
    ("cpu0", Rule::Grows(20_000)),
    ("cpu1", Rule::Grows(20_000)),
    ("switches", Rule::Grows(20_000)),
];
const DISK: [(&str, &str); 3] = [("major", "major"), ("minor", "minor"), ("counts", "diskstats")];
const INTERFACE: [(&str, &str); 4] =
    [("index", "index"), ("mtu", "mtu"), ("addresses", "addresses"), ("counts", "proc_net_dev")];
/// Bytes and packets, in and out. IPv6 asks for neighbours and routers by itself, and ten sockets of
/// TCP ask again and again for what nobody answers, within seconds.
const PACKETS: &[(&str, Rule)] = &[
    ("0", Rule::Grows(8192)),
    ("1", Rule::Grows(80)),
    ("8", Rule::Grows(8192)),
    ("9", Rule::Grows(80)),
];
const MOUNT: [(&str, &str); 7] = [
    ("parent", "parent"),
    ("device", "number"),
    ("root", "root"),
    ("place", "path"),
    ("options", "options"),
    ("type", "kind"),
    ("source", "device"),
];
const SWAP: [(&str, &str); 4] =
    [("kind", "kind"), ("size", "size_kib"), ("used", "used_kib"), ("priority", "priority")];
const ZONE: [(&str, &str); 8] = [
    ("free", "free"),
    ("min", "min"),
    ("low", "low"),
    ("high", "high"),
    ("spanned", "spanned"),
    ("present", "present"),
    ("managed", "managed"),
    ("blocks", "free_blocks"),
];
/// In KiB. The counters of pages that /proc shows lack what each CPU has not yet added to them, up
/// to 125 pages (Linux, `calculate_normal_threshold`); the dump has that. The programs that run from
/// there to the crash take and give back pages, and some of it stays in lists of CPUs and slabs.
const MEMORY: &[(&str, Rule)] = &[
    ("MemFree.value", Rule::Near(1000)),
    ("LowFree.value", Rule::Near(1000)),
    ("HighFree.value", Rule::Near(1000)),
    ("MemAvailable.value", Rule::Near(1000)),
    ("Active.value", Rule::Near(64)),
    ("Inactive.value", Rule::Near(64)),
    ("Active(anon).value", Rule::Near(64)),
    ("Inactive(anon).value", Rule::Near(64)),
    ("AnonPages.value", Rule::Near(64)),
    ("KReclaimable.value", Rule::Near(256)),
    ("SReclaimable.value", Rule::Near(256)),
    ("SUnreclaim.value", Rule::Near(256)),
    ("Slab.value", Rule::Near(512)),
    ("PageTables.value", Rule::Near(64)),
    ("KernelStack.value", Rule::Near(64)),
    ("Mapped.value", Rule::Near(64)),
    ("Dirty.value", Rule::Near(64)),
    ("Writeback.value", Rule::Near(64)),
    ("VmallocUsed.value", Rule::Near(64)),
];

/// Rows that have one value on every machine of today, or that the dump does not tell.
const NO_MEMORY: [&str; 7] =
    ["NFS_Unstable", "Bounce", "WritebackTmp", "VmallocTotal", "VmallocChunk", "Zswap", "Zswapped"];

/// Bytes of a name in `task_struct` (Linux, `TASK_COMM_LEN` less one).
const MOST_COMM: usize = 15;

/// In /proc alone a worker's name goes on with its work (`wq_worker_comm`), and some threads of the
/// kernel have longer names. The status lacks up to 64 faults of each thread, of up to 16 pages
/// (Linux up to 6.1); smaps_rollup counts what is mapped.
fn told_tasks(said: &Said) -> Result<Table> {
    let mut tasks = proc::tasks(&said.text("status")?)?;
    let resident = proc::resident(&said.text("smaps_rollup")?);
    for (key, row) in &mut tasks {
        let comm = &row["comm"];
        let is_worker = comm.starts_with("kworker/") && !comm.starts_with("kworker/R");
        let end = comm.find(['-', '+']).filter(|_| is_worker);
        let comm = comm[..end.unwrap_or(comm.len()).min(MOST_COMM)].to_string();
        row.insert("comm".into(), comm);
        if let Some(kib) = resident.get(&row["tgid"]).or(resident.get(key)) {
            row.insert("rss".into(), kib.clone());
        }
    }
    Ok(tasks)
}

/// Sizes in KiB, 0 for a task without memory of its own.
fn in_kib((key, mut row): (String, Row)) -> (String, Row) {
    for name in ["vsz", "rss"] {
        let bytes: u64 = row.get(name).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        row.insert(name.into(), (bytes / 1024).to_string());
    }
    (key, row)
}

/// The pages of a slab by its order.
fn in_pages((key, mut row): (String, Row)) -> (String, Row) {
    let order = row.remove("order").and_then(|order| order.parse::<u32>().ok());
    let pages = order.and_then(|order| 1_u64.checked_shl(order));
    row.extend(pages.map(|pages| ("pages".into(), pages.to_string())));
    (key, row)
}

/// Counters by their names.
fn counters(answer: &Value, place: &str) -> Result<Table> {
    let counters = rows(answer, place, &["name"], &[("counts", "counts"), ("text", "text")])?;
    Ok(counters.into_iter().map(by_cpu).collect())
}

/// Interrupts by their numbers, with counters and errors, as in /proc/interrupts.
fn read_interrupts(answer: &Value) -> Result<Table> {
    let members = ["chip", "hardware", "trigger", "handlers", "counts"].map(|name| (name, name));
    let mut table = counters(answer, "/data/counters")?;
    for (key, mut row) in rows(answer, "/data/irqs", &["number"], &members)?.into_iter().map(by_cpu)
    {
        let mut text = |name: &str| row.remove(name).unwrap_or_default();
        let (chip, hardware, trigger) = (text("chip"), text("hardware"), text("trigger"));
        let handlers = text("handlers").replace(',', ", ");
        row.insert("text".into(), format!("{chip} {hardware}-{trigger} {handlers}"));
        table.insert(key, row);
    }
    for (key, name) in [("ERR", "errors"), ("MIS", "mismatched")] {
        let count = answer.pointer("/data").and_then(|data| text(data.get(name)?));
        let row = count.map(|count| [("cpu0".to_string(), count), ("text".into(), String::new())]);
        table.extend(row.map(|row| (key.to_string(), Row::from(row))));
    }
    Ok(table)
}

/// A field for each number of the list in the field `name`.
fn by_place((key, mut row): (String, Row), name: &str) -> (String, Row) {
    let counts = row.remove(name).unwrap_or_default();
    row.extend(proc::by_place(counts.split(',').filter(|count| !count.is_empty())));
    let addresses = row.get("addresses").map(|addresses| addresses.replace(',', " "));
    row.extend(addresses.map(|addresses| ("addresses".into(), addresses)));
    (key, row)
}

/// True if a disk's counters are all zero.
fn is_unused(row: &Row) -> bool {
    row.iter().all(|(name, count)| ["major", "minor"].contains(&name.as_str()) || count == "0")
}

/// True if nothing was counted on any CPU.
fn is_zero(row: &Row) -> bool {
    row.iter().all(|(name, count)| !name.starts_with("cpu") || count == "0")
}

/// A field for each CPU.
fn by_cpu((key, mut row): (String, Row)) -> (String, Row) {
    let counts = row.remove("counts").unwrap_or_default();
    for (cpu, count) in counts.split(',').filter(|count| !count.is_empty()).enumerate() {
        row.insert(format!("cpu{cpu}"), count.to_string());
    }
    (key, row)
}

/// Modules with their addresses and states as crashinfo has them.
fn told_modules(said: &Said) -> Result<Table> {
    let mut modules = proc::modules(&said.text("modules")?);
    for row in modules.values_mut() {
        let address = address(&row["address"]).to_string();
        row.insert("address".into(), address);
        let state = row["state"].to_lowercase();
        row.insert("state".into(), state);
    }
    Ok(modules)
}

/// As in /proc/modules: `-` for no user, a comma after each.
fn as_in_proc((key, mut row): (String, Row)) -> (String, Row) {
    let users = row.get("used_by").filter(|users| !users.is_empty());
    let users = users.map_or_else(|| "-".into(), |users| format!("{users},"));
    row.insert("used_by".into(), users);
    let address = row.get("address").map(|text| address(text).to_string());
    row.extend(address.map(|address| ("address".into(), address)));
    (key, row)
}

/// Zones that have pages, with their free blocks.
fn told_zones(said: &Said) -> Result<Table> {
    let mut zones = proc::zones(&said.text("zoneinfo")?);
    for (key, blocks) in proc::free_blocks(&said.text("buddyinfo")?) {
        let counts = (0..blocks.len()).map(|order| blocks[&order.to_string()].clone());
        let counts: Vec<_> = counts.collect();
        zones.entry(key).or_default().insert("blocks".into(), counts.join(","));
    }
    zones.retain(|_, zone| zone.get("present").is_some_and(|pages| pages != "0"));
    Ok(zones)
}
