//! The texts of /proc as tables. See Linux, Documentation/filesystems/proc.rst.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::check::said::table::{Row, Table};

/// A row of a table.
pub fn row<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Lines `NAME: VALUE kB` or `NAME VALUE`, as in meminfo and vmstat: a row each, with `value`.
pub fn values(text: &str) -> Table {
    let line = |line: &str| {
        let (name, rest) = line.split_once([':', ' '])?;
        Some((name.to_string(), row([("value", rest.split_whitespace().next()?)])))
    };
    text.lines().filter_map(line).collect()
}

/// Lines of fields with spaces between, the first of which is the key. A `-` names none.
pub fn columns(text: &str, names: &[&str]) -> Table {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let key = words.next()?.to_string();
        let fields = names.iter().copied().zip(words).filter(|(name, _)| *name != "-");
        Some((key, row(fields)))
    };
    text.lines().filter_map(line).collect()
}

/// The status of all threads by their number, one after the other.
///
/// # Errors
/// One lacks something that every thread has.
pub fn tasks(text: &str) -> Result<Table> {
    let mut tasks = Table::new();
    for status in text.split("Name:\t").skip(1) {
        let (name, rest) = status.split_once('\n').context("a name without an end")?;
        let field = |wanted: &str| {
            let mut lines = rest.lines().filter_map(|line| line.split_once(":\t"));
            Some(lines.find(|(name, _)| *name == wanted)?.1.split_whitespace().next()?.to_string())
        };
        let needed = |wanted: &str| field(wanted).with_context(|| format!("{name}: no {wanted}"));
        let mut row = row([("comm", &*unescaped(name))]);
        for (wanted, name) in
            [("State", "state"), ("Tgid", "tgid"), ("PPid", "ppid"), ("Uid", "uid")]
        {
            row.insert(name.into(), needed(wanted)?);
        }
        for (wanted, name) in [("VmSize", "vsz"), ("VmRSS", "rss")] {
            row.insert(name.into(), field(wanted).unwrap_or_else(|| "0".into()));
        }
        tasks.insert(needed("Pid")?, row);
    }
    Ok(tasks)
}

/// Resident memory in KiB by the number of the process: the parts of smaps_rollup files, each after
/// a line with the file's name as `head -v` shows it.
pub fn resident(text: &str) -> BTreeMap<String, String> {
    let part = |part: &str| {
        let (file, rest) = part.split_once(" <==")?;
        let line = rest.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        let kib = line.split_whitespace().next()?;
        Some((file.split('/').next()?.to_string(), kib.to_string()))
    };
    text.split("==> ").filter_map(part).collect()
}

/// Octal escapes of /proc as the characters that they stand for, and `\\` and `\n` of names.
pub fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (rest, _) = match (*first, octal, after) {
            (b'\\', Some(byte), [_, _, _, after @ ..]) => (after, bytes.push(byte)),
            (b'\\', None, [b'n', after @ ..]) => (after, bytes.push(b'\n')),
            (b'\\', None, [next, after @ ..]) => (after, bytes.push(*next)),
            (byte, ..) => (after, bytes.push(byte)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Mounts of a namespace by their number (/proc/PID/mountinfo).
///
/// # Errors
/// A line is not as all are.
pub fn mounts(text: &str) -> Result<Table> {
    let line = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let [id, parent, device, root, place, options] =
            *mount.split(' ').collect::<Vec<_>>().first_chunk()?;
        let [kind, source] = *system.split(' ').collect::<Vec<_>>().first_chunk()?;
        let (root, place, source) = (unescaped(root), unescaped(place), unescaped(source));
        let fields = [
            ("parent", parent),
            ("device", device),
            ("root", &*root),
            ("place", &*place),
            ("options", options),
            ("type", kind),
            ("source", &*source),
        ];
        Some((id.to_string(), row(fields)))
    };
    text.lines().map(|text| line(text).with_context(|| format!("a mount: {text}"))).collect()
}

/// Interrupts by their number or name, with the sum of each CPU's count, and what follows.
pub fn interrupts(text: &str) -> Table {
    let cpus = text.lines().next().unwrap_or_default().split_whitespace().count();
    let line = |line: &str| {
        let (key, rest) = line.split_once(':')?;
        let words: Vec<_> = rest.split_whitespace().collect();
        let is_count = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let counts = words.iter().take(cpus).take_while(is_count).count();
        let mut row = row([("text", &*words[counts..].join(" "))]);
        for (cpu, count) in words[..counts].iter().enumerate() {
            row.insert(format!("cpu{cpu}"), count.to_string());
        }
        Some((key.trim().to_string(), row))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Modules by name. Taints are in brackets after the address.
pub fn modules(text: &str) -> Table {
    let names = ["size", "references", "used_by", "state", "address", "taints"];
    columns(text, &names)
        .into_iter()
        .map(|(key, mut row)| {
            let taints = row.remove("taints").unwrap_or_default();
            row.insert("taints".into(), taints.trim_matches(['(', ')']).into());
            (key, row)
        })
        .collect()
}

/// Caches of objects by name (/proc/slabinfo, version 2.1).
pub fn slabs(text: &str) -> Table {
    let lines =
        text.lines().filter(|line| !line.starts_with(['#']) && !line.contains(" - version"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let names = [
        "active", "objects", "size", "per_slab", "pages", "-", "-", "-", "-", "-", "-", "-", "-",
        "slabs",
    ];
    columns(&text, &names)
}

/// Disks by name, with their counters by place (Linux, Documentation/admin-guide/iostats.rst).
pub fn disks(text: &str) -> Table {
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (numbers, rest) = words.split_first_chunk::<2>()?;
        let (name, counts) = rest.split_first()?;
        let mut row = by_place(counts.iter().copied());
        row.extend(
            ["major", "minor"].into_iter().zip(numbers).map(|(a, b)| (a.into(), (*b).into())),
        );
        Some((name.to_string(), row))
    };
    text.lines().filter_map(line).collect()
}

/// Network interfaces by name, with the counters of /proc/net/dev by place.
pub fn interfaces(text: &str) -> Table {
    let line = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        Some((name.trim().to_string(), by_place(counts.split_whitespace())))
    };
    text.lines().skip(2).filter_map(line).collect()
}

/// Fields whose names are their places: `0`, `1` …
pub fn by_place<'a>(values: impl Iterator<Item = &'a str>) -> Row {
    values.enumerate().map(|(place, value)| (place.to_string(), value.to_string())).collect()
}

/// Adds number, MTU and addresses to the interfaces: the output of `ip addr`.
pub fn add_addresses(text: &str, interfaces: &mut Table) {
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words.as_slice() {
            [index, of, _, "mtu", mtu, ..] if !line.starts_with(' ') => {
                name = of.trim_end_matches(':').split('@').next().unwrap_or_default().to_string();
                let fields = row([("index", index.trim_end_matches(':')), ("mtu", mtu)]);
                interfaces.entry(name.clone()).or_default().extend(fields);
            }
            ["inet" | "inet6", address, ..] => {
                let row = interfaces.entry(name.clone()).or_default();
                let addresses = row.entry("addresses".into()).or_default();
                *addresses = format!("{addresses} {address}").trim().to_string();
            }
            _ => {}
        }
    }
}

/// Counters of zones by `NODE ZONE` (/proc/zoneinfo).
pub fn zones(text: &str) -> Table {
    let (mut zones, mut key) = (Table::new(), String::new());
    for line in text.lines() {
        if let Some((node, zone)) = line.strip_prefix("Node ").and_then(|l| l.split_once(", zone"))
        {
            key = format!("{node} {}", zone.trim());
            zones.insert(key.clone(), Row::new());
            continue;
        }
        let words = line.split_whitespace().collect::<Vec<_>>();
        let (name, value) = match *words.as_slice() {
            ["pages", "free", value] => ("free", value),
            [name @ ("min" | "low" | "high" | "spanned" | "present" | "managed"), value] => {
                (name, value)
            }
            _ => continue,
        };
        if let Some(zone) = zones.get_mut(&key) {
            zone.insert(name.into(), value.into());
        }
    }
    zones
}

/// Free blocks of each order, by `NODE ZONE` (/proc/buddyinfo).
pub fn free_blocks(text: &str) -> Table {
    let line = |line: &str| {
        let (node, rest) = line.strip_prefix("Node ")?.split_once(", zone")?;
        let mut words = rest.split_whitespace();
        let key = format!("{node} {}", words.next()?);
        let counts = words.enumerate().map(|(order, count)| (order.to_string(), count.to_string()));
        Some((key, counts.collect()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of a row, in their order.
    fn fields<'a>(table: &'a Table, key: &str, names: &str) -> Vec<&'a str> {
        names.split(' ').map(|name| table[key].get(name).map_or("-", String::as_str)).collect()
    }

    #[test]
    fn values_end_at_their_unit() {
        let text = "MemTotal:         171592 kB\nHugePages_Total:       0\nActive(file):  12 kB\n";
        let table = values(text);
        assert_eq!(fields(&table, "MemTotal", "value"), ["171592"]);
        assert_eq!(fields(&table, "Active(file)", "value"), ["12"]);
        assert_eq!(values("nr_free_pages 31423\n")["nr_free_pages"]["value"], "31423");
    }

    #[test]
    fn tasks_have_names_as_they_are() {
        let text = "Name:\tinit\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t1\nNgid:\t0\nPid:\t1\n\
                    PPid:\t0\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nVmSize:\t    2260 kB\nVmRSS:\t    \
                    1832 kB\nThreads:\t1\nName:\ta \"(b) c\\\\d\nState:\tZ (zombie)\nTgid:\t150\n\
                    Pid:\t151\nPPid:\t1\nUid:\t1234\t1234\t1234\t1234\n";
        let table = tasks(text).unwrap();
        let names = "comm state tgid ppid uid vsz rss";
        assert_eq!(fields(&table, "1", names), ["init", "S", "1", "0", "0", "2260", "1832"]);
        let other = ["a \"(b) c\\d", "Z", "150", "1", "1234", "0", "0"];
        assert_eq!(fields(&table, "151", names), other);
        assert!(tasks("Name:\tinit\nPid:\t1\n").is_err());
    }

    #[test]
    fn resident_memory_is_by_process() {
        let text = "==> 1/smaps_rollup <==\n00400000-7ffe00000000 ---p 00000000 00:00 0  [rollup]\n\
                    Rss:                1832 kB\nPss: 7 kB\n\n==> 2/smaps_rollup <==\n\n==> \
                    139/smaps_rollup <==\n0-1 ---p\nRss:  4 kB\n";
        let found: Vec<_> = resident(text).into_iter().collect();
        let expected = [("1", "1832"), ("139", "4")].map(|(a, b)| (a.to_string(), b.to_string()));
        assert_eq!(found, expected);
    }

    #[test]
    fn mounts_are_unescaped() {
        let text = "26 1 0:22 / /run/words/a\\040b rw,nosuid,noexec,relatime - tmpfs two\\040words \
                    rw,inode64\n27 1 0:21 /part /run/words/bound ro,relatime shared:3 - tmpfs words \
                    rw,size=8192k,mode=700,inode64\n";
        let table = mounts(text).unwrap();
        let names = "parent device root place options type source";
        let first = ["1", "0:22", "/", "/run/words/a b", "rw,nosuid,noexec,relatime", "tmpfs"];
        assert_eq!(fields(&table, "26", names)[..6], first);
        assert_eq!(fields(&table, "26", "source"), ["two words"]);
        let second = ["1", "0:21", "/part", "/run/words/bound", "ro,relatime", "tmpfs", "words"];
        assert_eq!(fields(&table, "27", names), second);
        assert!(mounts("26 1 0:22 /").is_err());
    }

    #[test]
    fn interrupts_have_a_count_for_each_cpu() {
        let text = "           CPU0       CPU1       \n  4:          0        757   IO-APIC   4-edge  \
                    \x20   ttyS0\nNMI:          0          1   Non-maskable interrupts\nERR:       \
                    \x20  7\n";
        let table = interrupts(text);
        assert_eq!(fields(&table, "4", "cpu0 cpu1 text"), ["0", "757", "IO-APIC 4-edge ttyS0"]);
        assert_eq!(fields(&table, "NMI", "cpu0 cpu1"), ["0", "1"]);
        assert_eq!(fields(&table, "ERR", "cpu0 cpu1 text"), ["7", "-", ""]);
    }

    #[test]
    fn modules_have_taints_or_none() {
        let text = "ext4 991232 1 - Live 0xffffffffc062f000\ncrc16 16384 1 ext4,jbd2, Live \
                    0xffffffffc05e5000 (OE)\n";
        let (table, names) = (modules(text), "size references used_by state address taints");
        let ext4 = ["991232", "1", "-", "Live", "0xffffffffc062f000", ""];
        assert_eq!(fields(&table, "ext4", names), ext4);
        assert_eq!(fields(&table, "crc16", "used_by taints"), ["ext4,jbd2,", "OE"]);
    }

    #[test]
    fn slabs_and_disks_have_their_columns() {
        let text = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize>\n\
                    ext4_inode_cache      26     27   1192   13    4 : tunables    0    0    0 : \
                    slabdata      1      2      0\nsighand_cache 1 2 3 4 5 : tunables 0 0 0 : \
                    slabdata 6 7 0\n";
        let (table, names) = (slabs(text), "active objects size per_slab pages slabs");
        let cache = ["26", "27", "1192", "13", "4", "2"];
        assert_eq!(fields(&table, "ext4_inode_cache", names), cache);
        assert_eq!(table.len(), 2);
        let table = disks("   7       0 loop0 44 31 372 48 13 44 1350 30 1 40 82 0 0 0 0 4 3\n");
        let disk = ["7", "0", "44", "31", "372", "3", "-"];
        assert_eq!(fields(&table, "loop0", "major minor 0 1 2 16 17"), disk);
    }

    #[test]
    fn interfaces_have_counters_and_addresses() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    \
                    packets errs drop fifo colls carrier compressed\n    lo:     786      11    1    \
                    2    0     0          0         0      785      10    3    4    0     0       0  \
                    \x20       0\n";
        let mut table = interfaces(text);
        assert_eq!(
            fields(&table, "lo", "0 1 2 3 8 9 15 16"),
            "786 11 1 2 785 10 0 -".split(' ').collect::<Vec<_>>()
        );
        let text = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue qlen 1000\n    \
                    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n    inet 127.0.0.1/8 scope \
                    host lo\n       valid_lft forever preferred_lft forever\n    inet6 ::1/128 scope \
                    host \n2: dummy0@x: <UP> mtu 1434 qdisc noqueue qlen 1000\n";
        add_addresses(text, &mut table);
        let lo = ["1", "65536", "127.0.0.1/8 ::1/128"];
        assert_eq!(fields(&table, "lo", "index mtu addresses"), lo);
        assert_eq!(fields(&table, "dummy0", "index mtu addresses"), ["2", "1434", "-"]);
    }

    #[test]
    fn zones_have_a_key_of_two_parts() {
        let text = "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 675\n  pages \
                    free     3808\n        boost    0\n        min      38\n        low      47\n     \
                    \x20  high     56\n        spanned  4095\n        present  3998\n        managed  \
                    3840\n      nr_free_pages 3808\nNode 0, zone    DMA32\n  pages free     27615\n";
        let table = zones(text);
        let names = "free min low high spanned present managed";
        let dma = ["3808", "38", "47", "56", "4095", "3998", "3840"];
        assert_eq!(fields(&table, "0 DMA", names), dma);
        assert_eq!(fields(&table, "0 DMA32", "free min"), ["27615", "-"]);
        let table = free_blocks("Node 0, zone      DMA      0      1      3 \n");
        assert_eq!(fields(&table, "0 DMA", "0 1 2 3"), ["0", "1", "3", "-"]);
    }
}
