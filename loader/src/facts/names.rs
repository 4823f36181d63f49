//! Lines for VMCOREINFO that backtraces need and the kernel omits: symbols, offsets in tasks and
//! modules, symbol tables of kernels before 6.0.
//!
//! No line changes while the kernel runs: a load of the same facts is no change.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::mpsc;
use std::{process, thread};

use linux::{Btf, Kallsyms, MOST_IMAGE, Modules, Symbol, Symbols, TaskLayout, Tasks};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use vmcore::{EM_386, EM_X86_64, vmcoreinfo_get};

use crate::facts::live_memory::LiveMemory;
use crate::facts::memory::linear_map;
use crate::facts::name_lines::{Names, SEARCH, has_cpu_variables};
use crate::facts::per_cpu_evidence::CpuVariables;
use crate::facts::system::{Machine, System};
use crate::facts::{kallsyms, module_evidence, per_cpu_evidence};

/// A key of each group that is known if the group is.
const A_TASK_KEY: &str = "OFFSET(task_struct.thread.sp)";
const A_MODULE_KEY: &str = "OFFSET(module.list)";
/// Number of times that memory is searched: tasks come and go meanwhile.
const TRIES: u32 = 5;
/// Most tasks that are looked at for this one.
const MOST_TASKS: usize = 1 << 20;

impl System {
    /// Finds lines for backtraces, for [`Self::names`]. `root` is that of [`Self::read`]. `known`
    /// are those that an earlier search in this boot found: only the missing ones are looked for.
    pub fn find_names(&mut self, root: &Path, known: Option<Names>) {
        let known = known.filter(Names::is_usable);
        let is_whole = known.as_ref().is_some_and(Names::is_whole);
        self.names = match known {
            Some(names) if is_whole => Some(names),
            known => Some(Search::new(root, self).names(known.as_ref())),
        };
    }
}

/// A search for lines.
struct Search<'a> {
    root: &'a Path,
    machine: Option<Machine>,
    live: Result<LiveMemory, String>,
    /// The CPUs' crash notes in the linear mapping; empty if one is not known.
    cpus: Vec<CpuVariables>,
    /// One past the image's last byte, if it is known.
    image_end: Option<u64>,
    /// VMCOREINFO of the kernel.
    text: Vec<u8>,
    /// The lines that have been found.
    symbol_lines: String,
    offset_lines: String,
}

impl<'a> Search<'a> {
    fn new(root: &'a Path, system: &System) -> Self {
        let live = LiveMemory::open(root, system).map_err(|error| error.to_string());
        let mut text = live.as_ref().map_or_else(|_| Vec::new(), |live| live.vmcoreinfo.clone());
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Self {
            root,
            machine: system.machine,
            live,
            cpus: cpus(system).unwrap_or_default(),
            image_end: image_end(system),
            text,
            symbol_lines: String::new(),
            offset_lines: String::new(),
        }
    }

    /// The lines: `known` ones, and those that are found.
    fn names(mut self, known: Option<&Names>) -> Names {
        let (mut hidden, mut symbols) = (false, Ok(()));
        match known.filter(|names| names.symbols.is_ok()) {
            Some(names) => self.add_lines(&names.lines),
            None => {
                let found = self.symbols();
                hidden = found == Err(Missing::Hidden);
                symbols = found.map_err(|missing| missing.to_string()).and_then(|()| self.tables());
            }
        }
        let btf = fs::read(self.root.join("sys/kernel/btf/vmlinux")).unwrap_or_default();
        let btf = Btf::parse(&btf);
        if let Some(btf) = btf {
            let keys = TaskLayout::KEYS.iter().chain(&["SIZE(task_struct)", "SIZE(module)"]);
            for key in keys.chain(&Modules::KEYS) {
                if let Some(value) = btf.value(key) {
                    self.add(key, &value.to_string());
                }
            }
        }
        let tasks = if self.has(A_TASK_KEY) { Ok(()) } else { self.tasks_by_evidence() };
        self.current_task();
        let modules = if self.has(A_MODULE_KEY) { Ok(()) } else { self.modules_by_evidence() };
        let lines = self.symbol_lines + &self.offset_lines;
        Names { search: SEARCH, lines, hidden, symbols, tasks, modules }
    }

    /// Adds a line, if its key is new.
    fn add(&mut self, key: &str, value: &str) {
        if !self.has(key) {
            let is_symbol = key.starts_with("SYMBOL(");
            let lines = if is_symbol { &mut self.symbol_lines } else { &mut self.offset_lines };
            // A string takes all that is written to it.
            let _ = writeln!(lines, "{key}={value}");
        }
    }

    fn has(&self, key: &str) -> bool {
        let has = |text| vmcoreinfo_get(text, key).is_some();
        has(&self.text) || has(self.symbol_lines.as_bytes()) || has(self.offset_lines.as_bytes())
    }

    fn add_symbol(&mut self, name: &str, address: u64) {
        self.add(&format!("SYMBOL({name})"), &format!("{address:x}"));
    }

    /// Symbols of `/proc/kallsyms`.
    fn symbols(&mut self) -> Result<(), Missing> {
        let file = File::open(self.root.join("proc/kallsyms")).map_err(|_| Missing::NoFile)?;
        let names = Symbol::ALL.map(Symbol::name);
        let found = kallsyms::addresses(BufReader::new(file), &names).ok_or(Missing::Hidden)?;
        for (name, address) in names.iter().zip(found) {
            if let Some(address) = address {
                self.add_symbol(name, address);
            }
        }
        Ok(())
    }

    /// The symbol tables, which kernels name since 6.0.
    fn tables(&mut self) -> Result<(), String> {
        if self.has("SYMBOL(kallsyms_names)") || (self.live.is_err() && self.is_since_6_0()) {
            return Ok(());
        }
        let live = self.live.as_ref().map_err(String::clone)?;
        let found = Kallsyms::search(live.memory(), &live.vmcoreinfo);
        let tables = *found.map_err(|error| error.to_string())?.tables();
        tables.symbols().for_each(|(name, address)| self.add_symbol(name, address));
        Ok(())
    }

    fn is_since_6_0(&self) -> bool {
        let release = fs::read_to_string(self.root.join("proc/sys/kernel/osrelease"));
        let major = release.ok().and_then(|text| text.split_once('.')?.0.parse::<u32>().ok());
        major.is_some_and(|major| major >= 6)
    }

    /// Offsets in tasks without BTF, which i386 kernels never have.
    fn tasks_by_evidence(&mut self) -> Result<(), String> {
        let live = self.live.as_ref().map_err(String::clone)?;
        // A second thread of this process shows where threads are listed.
        let (end, wait) = mpsc::channel::<()>();
        let second = thread::spawn(move || wait.recv().is_ok());
        let text = [&self.text, self.symbol_lines.as_bytes()].concat();
        let find = || {
            let symbols = Symbols::of(&text).map_err(|error| error.to_string())?;
            let (memory, machine) = (live.memory(), elf_machine(self.machine));
            let tasks = Tasks::by_evidence(memory, &text, &symbols, machine, &mut || true);
            let tasks = tasks.map_err(|error| error.to_string())?;
            Ok((tasks.init_task(), *tasks.layout()))
        };
        let found = (1..TRIES).fold(find(), |found, _| found.or_else(|_: String| find()));
        drop(end);
        // It only waits.
        let _ = second.join();
        let (init_task, layout) = found?;
        self.add_symbol("init_task", init_task);
        self.add_lines(&layout.to_string());
        Ok(())
    }

    /// The variables of CPUs, which i386 kernels without `CONFIG_KALLSYMS_ALL` do not show. Of one
    /// CPU the task is known anyway: it is the one that crashed.
    fn current_task(&mut self) -> Option<()> {
        // The variables of one CPU look like many others.
        if has_cpu_variables(|key| self.has(key)) || self.cpus.len() < 2 {
            return None;
        }
        let live = self.live.as_ref().ok()?;
        let machine = elf_machine(self.machine);
        let lines = [&self.text, self.symbol_lines.as_bytes(), self.offset_lines.as_bytes()];
        let text = lines.concat();
        let symbols = Symbols::of(&text).ok()?;
        let tasks = Tasks::find(live.memory(), &text, &symbols, machine).ok()?;
        let mut task = None;
        tasks.each(MOST_TASKS, &mut |other| {
            task = (other.pid == process::id()).then_some(other.at);
            task.is_none()
        });
        let word = if machine == EM_386 { 4 } else { 8 };
        let text = symbols.get(Symbol::Text)?;
        let most = text.saturating_add(MOST_IMAGE);
        let image = text..self.image_end.map_or(most, |end| end.min(most));
        let search = per_cpu_evidence::Search { memory: live.memory(), word, image, task: task? };
        let before = sched_getaffinity(None).ok()?;
        let found = search.symbols(&self.cpus, |cpu| {
            let mut only = CpuSet::new();
            only.set(cpu as usize);
            sched_setaffinity(None, &only).is_ok()
        });
        // This thread has run there before.
        let _ = sched_setaffinity(None, &before);
        let (table, variable) = found?;
        self.add_symbol(Symbol::PerCpuOffset.name(), table);
        self.add_symbol(Symbol::CurrentTask.name(), variable);
        Some(())
    }

    fn modules_by_evidence(&mut self) -> Result<(), String> {
        let live = self.live.as_ref().map_err(String::clone)?;
        let modules = module_evidence::loaded(self.root);
        let found = module_evidence::find(live.memory(), &modules, elf_machine(self.machine));
        let lines = found.map_err(str::to_owned)?;
        self.add_lines(&lines);
        Ok(())
    }

    fn add_lines(&mut self, lines: &str) {
        lines.lines().filter_map(|line| line.split_once('=')).for_each(|(key, value)| {
            self.add(key, value);
        });
    }
}

/// The CPUs' crash notes in the linear mapping. A CPU's number is its place in the list.
fn cpus(system: &System) -> Option<Vec<CpuVariables>> {
    let map = linear_map(system).ok()?;
    let cpus = system.cpus.iter().zip(0..);
    let cpus = cpus.map(|(notes, cpu)| {
        let start = notes.area.filter(|area| notes.cpu == cpu && area.end() <= map.end)?.start();
        Some(CpuVariables { cpu, notes: map.page_offset.checked_add(start.get())? })
    });
    cpus.collect()
}

/// One past the last virtual address of the kernel's image.
fn image_end(system: &System) -> Option<u64> {
    if let Some(image) = system.kcore.image {
        return image.vaddr.checked_add(image.range.length());
    }
    let bss = system.memory.kernel_bss?;
    linear_map(system).ok()?.page_offset.checked_add(bss.end().get())
}

/// The reason for missing symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Missing {
    #[error("/proc/kallsyms is missing (CONFIG_KALLSYMS)")]
    NoFile,
    #[error("/proc/kallsyms hides them (kernel.kptr_restrict is 2, or this is not root)")]
    Hidden,
}

const fn elf_machine(machine: Option<Machine>) -> u16 {
    match machine {
        Some(Machine::X86_64) => EM_X86_64,
        Some(Machine::I386) | None => EM_386,
    }
}
