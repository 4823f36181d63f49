//! The output of `kdump-collector info` as text for people.

use std::fmt;

use super::{Cpu, Cut, DiskInfo, DumpInfo, Info, KdumpInfo, LeftOut, Load, ViewInfo, VmcoreInfo};
use crate::readers::Readers;

/// Most functions of the CPU that crashed.
const FUNCTIONS: usize = 8;

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(disk) = &self.disk {
            write!(f, "{disk}")?;
        }
        self.received.as_ref().map_or(Ok(()), |received| write!(f, "{received}"))?;
        self.vmcore.as_ref().map_or(Ok(()), |vmcore| write!(f, "{vmcore}"))
    }
}

impl fmt::Display for DiskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, layout, dumps, refused, needed, .. } = self;
        let count = match dumps.len() {
            1 => "1 dump".to_owned(),
            count => format!("{count} dumps"),
        };
        writeln!(f, "dump disk    id {id}, version {layout}, {count}")?;
        dumps.iter().try_for_each(|dump| write!(f, "{dump}"))?;
        if *refused > 0 {
            writeln!(f, "no room      captures: {refused}, the last one needed {needed} bytes")?;
        }
        Ok(())
    }
}

impl fmt::Display for DumpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, state, view, length, there, .. } = self;
        let stage = self.stage.as_deref().unwrap_or("none");
        let from = self.start.map_or(String::new(), |start| format!(" from {start} on"));
        let whole = match there == length {
            true => format!("{length} bytes"),
            false => format!("{there} of {length} bytes are there"),
        };
        let codec = self.codec.filter(|codec| *codec != "none");
        let codec = codec.map_or(String::new(), |codec| format!(", {codec}"));
        let checksums = if self.checksums { ", with checksums" } else { "" };
        writeln!(
            f,
            "dump {number:<8}{state}, last stage {stage}, {view}{from}, {whole}{codec}{checksums}"
        )?;
        if let Some(level) = self.level.filter(|level| *level > 0) {
            let raised =
                if self.level_raised { ": the disk had no room for all memory" } else { "" };
            writeln!(f, "             dump level {level}{raised}")?;
        }
        if self.no_room {
            writeln!(f, "             the disk had no room for more")?;
        }
        if self.pages.keys().any(|class| *class != "kept") {
            let pages: Vec<_> =
                self.pages.iter().map(|(class, count)| format!("{count} {class}")).collect();
            writeln!(f, "             pages: {}", pages.join(", "))?;
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "             {problem}")?;
        }
        self.views.iter().try_for_each(|ViewInfo { name, length, start }| {
            let from = start.map_or(String::new(), |start| format!(" from {start} on"));
            writeln!(f, "             small view {name}{from}, {length} bytes")
        })
    }
}

impl fmt::Display for VmcoreInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: Option<String>| {
            writeln!(f, "{name:13}{}", value.as_deref().unwrap_or("not known"))
        };
        let format = if self.kdump.is_some() { self.format } else { self.class };
        let form = if self.flattened { ", flattened" } else { "" };
        writeln!(f, "vmcore       {format}{form}, {}, {} bytes", self.machine, self.length)?;
        self.kdump.as_ref().map_or(Ok(()), |kdump| write!(f, "{kdump}"))?;
        self.cut.as_ref().map_or(Ok(()), |cut| write!(f, "{cut}"))?;
        if self.origin.is_some() {
            line(f, "written by", Some("QEMU (dump-guest-memory)".to_owned()))?;
        }
        if !self.vmcoreinfo {
            line(f, "VMCOREINFO", Some(self.without_vmcoreinfo().to_owned()))?;
        }
        line(f, "kernel", self.osrelease.clone())?;
        line(f, "crash time", self.crash_time.map(vmcore::utc_date))?;
        line(f, "page size", self.page_size.map(|size| size.to_string()))?;
        line(f, "offset", self.kernel_offset.map(|offset| offset.to_string()))?;
        if let Some(functions) = &self.crashed_in {
            let first: Vec<_> = functions.iter().take(FUNCTIONS).map(String::as_str).collect();
            let more = if functions.len() > FUNCTIONS { " < ..." } else { "" };
            line(f, "crashed in", Some(first.join(" < ") + more))?;
            line(f, "", Some(self.readers.backtrace.clone()))?;
        }
        self.left_out.iter().try_for_each(|left| write!(f, "{left}"))?;
        write!(f, "{}", self.readers)?;
        let [offset, paddr, vaddr] = ["offset", "physical", "virtual"];
        writeln!(f, "\n{offset:>14} {paddr:>14} {vaddr:>18} {:>14} {:>14}", "filesz", "memsz")?;
        for Load { offset, paddr, vaddr, filesz, memsz } in &self.loads {
            writeln!(f, "{offset:>14} {paddr:>14} {vaddr:>18} {filesz:>14} {memsz:>14}")?;
        }
        self.cpus.iter().enumerate().try_for_each(|(index, cpu)| {
            writeln!(f, "\nregisters {index}, pid {}", cpu.pid)?;
            write!(f, "{cpu}")
        })
    }
}

impl fmt::Display for KdumpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dump_level, codecs, kept, left_out, incomplete } = self;
        let codecs: String = codecs.iter().map(|codec| format!(", {codec}")).collect();
        writeln!(f, "level        {dump_level}{codecs}")?;
        writeln!(f, "pages        {kept} kept, {left_out} left out, zero here")?;
        match incomplete {
            true => writeln!(f, "incomplete   its writer did not get to the end"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (Some(start), Some(end)) => {
                writeln!(f, "left out     {start}..{end}, {}", self.reason)
            }
            _ => writeln!(f, "left out     {}", self.reason),
        }
    }
}

impl VmcoreInfo {
    /// Consequence of a missing VMCOREINFO note.
    const fn without_vmcoreinfo(&self) -> &'static str {
        match self.origin {
            Some(_) => {
                "none: its machine had no `-device vmcoreinfo`, or its kernel did not fill it"
            }
            None => "none: neither release nor log of the kernel are known",
        }
    }
}

/// Most ranges that the terminal output names; --json has all of them.
const NAMED: usize = 20;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whole, missing, memory } = self;
        let there = whole - missing;
        writeln!(
            f,
            "cut          {there} of {whole} bytes are there, {missing} are missing: copy it again"
        )?;
        for (start, end) in memory.iter().take(NAMED) {
            writeln!(f, "missing      physical {start} up to {end}")?;
        }
        match memory.len().checked_sub(NAMED) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "missing      and {more} ranges more, see --json"),
        }
    }
}

impl fmt::Display for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vmlinux, package, build_id, fetch, gdb, crash, drgn, notes, .. } = self;
        for (name, value) in [("analysis", &self.crashinfo), ("build id", build_id)] {
            value.as_ref().map_or(Ok(()), |value| writeln!(f, "{name:<12} {value}"))?;
        }
        match package {
            Some(package) => writeln!(f, "vmlinux      {vmlinux} ({package})")?,
            None => writeln!(f, "vmlinux      that of this kernel, with debug information")?,
        }
        fetch.iter().try_for_each(|command| writeln!(f, "             {command}"))?;
        writeln!(f, "             {gdb}\n             {crash}\n             {drgn}")?;
        notes.iter().try_for_each(|note| writeln!(f, "             {note}"))
    }
}

/// Four registers on a line.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registers.chunks(4).try_for_each(|row| {
            for (name, value) in row {
                write!(f, "{name:>9} {value:<18}")?;
            }
            writeln!(f)
        })
    }
}
