//! The first kernel's facts about itself before it died: the `first-kernel:` lines of `/init`.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail};

/// One line of /proc/iomem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Physical addresses, half-open.
    pub range: Range<u64>,
    /// The kernel's word for it.
    pub name: String,
}

/// Facts reported so far.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// /proc/version.
    pub version: String,
    /// /proc/cmdline.
    pub command_line: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// /proc/iomem, in its order, nesting ignored.
    pub iomem: Vec<Resource>,
    /// Physical address of each CPU's crash note, by CPU number.
    pub crash_notes: BTreeMap<usize, u64>,
    /// Physical address of its VMCOREINFO note; zero until it is reported.
    pub vmcoreinfo: u64,
    /// Virtual addresses from a symbol to the next one.
    pub symbols: BTreeMap<String, Range<u64>>,
    /// `kdump-loader plan --json`.
    plan: String,
    /// Length of /proc/vmcore, from a stock capture kernel.
    pub dump_bytes: Option<u64>,
    /// Bytes that the capture kernel has sent for the pages that a dump level keeps.
    pub bytes_out: Option<u64>,
    /// Purgatory's entry (physical), from another loader than ours.
    entry: Option<u64>,
    /// Its death, in its own words.
    pub death: Death,
}

/// Facts that the first kernel printed as it died.
#[derive(Clone, Debug, Default)]
pub struct Death {
    /// The line of its panic, or else of the last oops: of a death by `panic_on_oops` there is no
    /// other.
    pub line: Option<String>,
    /// There was a panic.
    pub panicked: bool,
    /// The stack pointer that its last oops showed (virtual).
    pub stack_pointer: Option<u64>,
}

impl Facts {
    /// Takes one fact: the text after `first-kernel: `. Unknown facts are ignored.
    ///
    /// # Errors
    /// Fails if a known fact cannot be read; the text repeats it.
    pub fn take(&mut self, fact: &str) -> Result<()> {
        let (key, value) = fact.split_once(' ').unwrap_or((fact, ""));
        let read = match key {
            "version" => {
                self.version = value.to_string();
                Some(())
            }
            "cpus" => value.parse().ok().map(|cpus| self.cpus = cpus),
            "iomem" => resource(value).map(|resource| self.iomem.push(resource)),
            "vmcoreinfo" => {
                let address = value.split(' ').next().and_then(hex);
                address.map(|address| self.vmcoreinfo = address)
            }
            "crash_notes" => self.take_crash_notes(value),
            "symbol" => self.take_symbol(value),
            "dump_bytes" => value.parse().ok().map(|bytes| self.dump_bytes = Some(bytes)),
            "entry" => hex(value).map(|entry| self.entry = Some(entry)),
            "cmdline" => {
                self.command_line = value.to_string();
                Some(())
            }
            "plan" => {
                self.plan.push_str(value);
                Some(())
            }
            _ => Some(()),
        };
        read.with_context(|| format!("the first kernel said what cannot be read: {fact}"))
    }

    fn take_crash_notes(&mut self, value: &str) -> Option<()> {
        let (cpu, address) = value.split_once(' ')?;
        self.crash_notes.insert(cpu.parse().ok()?, hex(address)?);
        Some(())
    }

    fn take_symbol(&mut self, value: &str) -> Option<()> {
        let mut words = value.split(' ');
        let (start, end, name) = (words.next()?, words.next()?, words.next()?);
        self.symbols.insert(name.to_string(), hex(start)?..hex(end)?);
        Some(())
    }

    /// RAM in /proc/iomem, hot-added memory included.
    pub fn system_ram(&self) -> Vec<Range<u64>> {
        let is_ram = |name: &str| name == "System RAM" || name.starts_with("System RAM (");
        let ram = self.iomem.iter().filter(|resource| is_ram(&resource.name));
        ram.map(|resource| resource.range.clone()).collect()
    }

    /// Ranges with this name in /proc/iomem.
    pub fn resources(&self, name: &str) -> Vec<Range<u64>> {
        let named = self.iomem.iter().filter(|resource| resource.name == name);
        named.map(|resource| resource.range.clone()).collect()
    }

    /// The crashkernel reservation.
    ///
    /// # Errors
    /// Fails if /proc/iomem has no reservation.
    pub fn slot(&self) -> Result<Range<u64>> {
        let slots = self.resources("Crash kernel");
        slots.into_iter().next().context(
            "the first kernel has reserved no slot. Likely cause: its crashkernel= does not fit \
             this guest's memory. Next step: another --slot or more --memory",
        )
    }

    /// A symbol of the first kernel and where the next one starts (virtual addresses).
    ///
    /// # Errors
    /// Fails if its /proc/kallsyms did not show the symbol.
    pub fn symbol(&self, name: &str) -> Result<Range<u64>> {
        match self.symbols.get(name) {
            Some(range) if range.start != 0 => Ok(range.clone()),
            _ => bail!("the first kernel's /proc/kallsyms does not show {name}"),
        }
    }

    /// Returns purgatory's entry (physical), from the loader's output.
    ///
    /// # Errors
    /// Fails if there is no plan, or no entry in it.
    pub fn purgatory_entry(&self) -> Result<u64> {
        if let Some(entry) = self.entry {
            return Ok(entry);
        }
        let plan: serde_json::Value = serde_json::from_str(&self.plan)
            .context("`kdump-loader plan --json` printed no JSON")?;
        plan["purgatory_entry"].as_u64().context("the loader's plan has no purgatory_entry")
    }
}

/// A number in hexadecimal, with or without `0x`.
fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

fn resource(line: &str) -> Option<Resource> {
    let (range, name) = line.trim().split_once(" : ")?;
    let (first, last) = range.split_once('-')?;
    let end = hex(last)?.checked_add(1)?;
    Some(Resource { range: hex(first)?..end, name: name.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as Debian's 6.1 i386 kernel prints them.
    fn sample() -> Facts {
        let mut facts = Facts::default();
        for fact in [
            "version Linux version 6.1.0",
            "cpus 2",
            "iomem 00001000-0009fbff : System RAM",
            "iomem 00100000-1ffdffff : System RAM",
            "iomem   01000000-02ffffff : Crash kernel",
            "vmcoreinfo 0x0000000001182000 1024",
            "crash_notes 0 35acae00",
            "symbol c7000000 c7000050 _stext",
            "plan {",
            "plan   \"purgatory_entry\": 50196480 }",
            "ocean deep",
        ] {
            facts.take(fact).unwrap();
        }
        facts
    }

    #[test]
    fn a_first_kernels_words_are_understood() {
        let facts = sample();
        assert_eq!(facts.cpus, 2);
        assert_eq!(facts.slot().unwrap(), 0x100_0000..0x300_0000);
        assert_eq!(facts.system_ram(), [0x1000..0x9_fc00, 0x10_0000..0x1ffe_0000]);
        assert_eq!(facts.crash_notes[&0], 0x35ac_ae00);
        assert_eq!(facts.vmcoreinfo, 0x118_2000);
        assert_eq!(facts.symbol("_stext").unwrap(), 0xc700_0000..0xc700_0050);
        assert_eq!(facts.purgatory_entry().unwrap(), 0x2fd_f000);
    }

    #[test]
    fn what_is_missing_or_garbled_is_said() {
        let mut facts = Facts::default();
        assert!(facts.slot().unwrap_err().to_string().contains("no slot"));
        assert!(facts.symbol("panic").is_err());
        assert!(facts.purgatory_entry().is_err());
        for fact in ["cpus two", "iomem 1-x : System RAM", "crash_notes 0", "symbol c0 panic"] {
            assert!(facts.take(fact).is_err(), "{fact}");
        }
        assert!(facts.take("iomem 0-ffffffffffffffff : all").is_err());
    }

    #[test]
    fn hot_added_memory_is_ram() {
        let mut facts = sample();
        facts.take("iomem 100000000-11fffffff : virtio0").unwrap();
        facts.take("iomem   100000000-10fffffff : System RAM (virtio_mem)").unwrap();
        assert_eq!(facts.system_ram().last(), Some(&(0x1_0000_0000..0x1_1000_0000)));
    }

    #[test]
    fn hidden_symbols_count_as_missing() {
        let mut facts = Facts::default();
        facts.take("symbol 00000000 00000000 panic").unwrap();
        assert!(facts.symbol("panic").is_err());
    }
}
