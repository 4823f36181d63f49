//! The layout of a module's struct, found in the modules that are loaded: for kernels without BTF,
//! which i386 kernels are. The kernel shows the address of each struct
//! (`/sys/module/NAME/sections`), and name, address and length of each module (`/proc/modules`).
//!
//! Source: Linux, `include/linux/module.h`, before 6.4.

use std::fs;
use std::path::Path;

use linux::VirtualMemory;
use vmcore::{EM_386, ReadPhys};

/// Most bytes of a module's struct that are looked at.
const MOST_BYTES: u64 = 2048;
/// Most bytes from the start of a `module_layout` to its pointer to the module.
const MOST_LAYOUT: u64 = 64;
/// Most modules that are looked at.
const MOST_MODULES: usize = 512;
/// The section with the struct, before and after Linux 4.x with other linkers.
const SECTIONS: [&str; 2] = [".gnu.linkonce.this_module", "__this_module"];
/// Length of a symbol in bytes (`Elf_Sym`), with pointers of four and of eight bytes.
const SYMBOL: [u64; 2] = [16, 24];

/// A loaded module as the kernel's files show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedModule {
    name: String,
    /// Virtual address of its struct.
    at: u64,
    /// Virtual address and length of its text and data.
    base: u64,
    size: u64,
}

/// The modules that are live.
pub(crate) fn loaded(root: &Path) -> Vec<LoadedModule> {
    let text = fs::read_to_string(root.join("proc/modules")).unwrap_or_default();
    let module = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, size, _, _, "Live", base, ..] = words[..] else { return None };
        let sections = root.join("sys/module").join(name).join("sections");
        let at =
            SECTIONS.iter().find_map(|section| fs::read_to_string(sections.join(section)).ok())?;
        let (at, base) = (hex(&at)?, hex(base)?);
        Some(LoadedModule { name: name.to_owned(), at, base, size: size.parse().ok()? })
    };
    text.lines().filter_map(module).take(MOST_MODULES).collect()
}

/// The number of `0x…`; zero means that the kernel hides it.
fn hex(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()?;
    (number != 0).then_some(number)
}

/// Lines of VMCOREINFO with the offsets and the address of the list's head, which hold for all of
/// `modules`; or the reason why there are none.
pub(crate) fn find<M: ReadPhys>(
    memory: VirtualMemory<'_, M>,
    modules: &[LoadedModule],
    machine: u16,
) -> Result<String, &'static str> {
    if modules.is_empty() {
        return Err("no BTF, and no module is loaded or /sys/module hides it");
    }
    let word = if machine == EM_386 { 4 } else { 8 };
    let evidence = Evidence { memory, modules, word };
    // `enum module_state` comes first, then the list and the name.
    let (list, name) = (word, 3 * word);
    if !evidence.all(|module| evidence.is_named(module, name)) {
        return Err("no BTF, and the names of modules are not where they are expected");
    }
    let head = evidence.head(list).ok_or("no BTF, and the list of modules is no ring")?;
    let core = evidence.only(|module, at| evidence.is_layout(module, at));
    let core = core.ok_or("no BTF, and the text of modules is not described as before 6.4")?;
    // Each layout ends with a tree's node, which begins with a pointer to the module.
    let selves = (core + word..core + 2 * MOST_LAYOUT).step_by(word as usize);
    let mut selves = selves.filter(|at| {
        evidence.all(|module| evidence.value(module.at + at, word) == Some(module.at))
    });
    let length = selves.next().zip(selves.next()).map(|(core, init)| init - core);
    let init = core + length.ok_or("no BTF, and the text of modules is in no tree")?;
    if !evidence.all(|module| evidence.value(module.at + init, word) == Some(0)) {
        return Err("no BTF, and the start-up text of modules is not where it is expected");
    }
    let mut lines = format!(
        "SYMBOL(modules)={head:x}\nOFFSET(module.list)={list}\nOFFSET(module.name)={name}\n\
         OFFSET(module.core_layout)={core}\nOFFSET(module.init_layout)={init}\n\
         OFFSET(module_layout.base)=0\nOFFSET(module_layout.text_size)={}\n",
        word + 4
    );
    if let Some(kallsyms) = evidence.only(|module, at| evidence.is_kallsyms(module, at)) {
        lines += &format!(
            "OFFSET(module.kallsyms)={kallsyms}\nOFFSET(mod_kallsyms.symtab)=0\n\
             OFFSET(mod_kallsyms.num_symtab)={word}\nOFFSET(mod_kallsyms.strtab)={}\n",
            2 * word
        );
    }
    Ok(lines)
}

/// The modules' structs in memory.
struct Evidence<'a, M> {
    memory: VirtualMemory<'a, M>,
    modules: &'a [LoadedModule],
    /// Length of a pointer in bytes.
    word: u64,
}

impl<M: ReadPhys> Evidence<'_, M> {
    fn value(&self, at: u64, length: u64) -> Option<u64> {
        self.memory.value(at, length as usize).ok()
    }

    fn all(&self, holds: impl Fn(&LoadedModule) -> bool) -> bool {
        self.modules.iter().all(holds)
    }

    /// The only offset of a word for which this holds in all modules.
    fn only(&self, holds: impl Fn(&LoadedModule, u64) -> bool) -> Option<u64> {
        let mut places = (0..MOST_BYTES)
            .step_by(self.word as usize)
            .filter(|offset| self.all(|module| holds(module, module.at + offset)));
        let place = places.next()?;
        places.next().is_none().then_some(place)
    }

    fn is_named(&self, module: &LoadedModule, offset: u64) -> bool {
        let mut name = vec![0; module.name.len() + 1];
        let is_read = self.memory.read(module.at + offset, &mut name).is_ok();
        is_read && name.strip_prefix(module.name.as_bytes()) == Some(&[0])
    }

    /// The head of the list: the one member of the ring that is no module.
    fn head(&self, list: u64) -> Option<u64> {
        let start = self.modules.first()?.at + list;
        let is_known = |at: u64| self.modules.iter().any(|module| module.at + list == at);
        let (mut at, mut head) = (start, None);
        for _ in 0..=self.modules.len() {
            let next = self.value(at, self.word)?;
            if self.value(next.checked_add(self.word)?, self.word)? != at {
                return None;
            }
            if next == start {
                return head;
            }
            if !is_known(next) {
                head.is_none().then_some(())?;
                head = Some(next);
            }
            at = next;
        }
        None
    }

    /// Base and length, and after them the length of the text, a part of it.
    fn is_layout(&self, module: &LoadedModule, at: u64) -> bool {
        let text = self.value(at + self.word + 4, 4);
        self.value(at, self.word) == Some(module.base)
            && self.value(at + self.word, 4) == Some(module.size)
            && text.is_some_and(|text| (1..=module.size).contains(&text))
    }

    /// A pointer to what comes right after it: symbols, their number, their names, all of them
    /// within the module.
    fn is_kallsyms(&self, module: &LoadedModule, at: u64) -> bool {
        let word = |number| self.value(at + number * self.word, self.word);
        let is_within = |address: u64, length: u64| {
            let end = address.checked_add(length);
            address >= module.base && end.is_some_and(|end| end <= module.base + module.size)
        };
        let count = self.value(at + 2 * self.word, 4).filter(|count| *count > 0);
        let length = SYMBOL[usize::from(self.word == 8)];
        word(0) == Some(at + self.word)
            && word(1).zip(count).is_some_and(|(at, count)| is_within(at, count * length))
            && word(3).is_some_and(|at| is_within(at, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux::{KernelMemory, SegmentMap};
    use vmcore::fake::FakeMemory;
    use vmcore::{PhysAddr, Segment, SegmentKind};

    const START: u64 = 0xc000_0000;
    const HEAD: u64 = START + 0x100;

    /// Modules of Linux 6.1 for i386, as the build of Debian lays them out.
    struct Memory {
        bytes: Vec<u8>,
        modules: Vec<LoadedModule>,
    }

    impl Memory {
        fn new(names: &[&str]) -> Self {
            let module = |(index, name): (usize, &&str)| LoadedModule {
                name: (*name).to_owned(),
                at: START + 0x1000 + 0x800 * index as u64,
                base: START + 0x8000 + 0x4000 * index as u64,
                size: 0x4000,
            };
            let modules: Vec<_> = names.iter().enumerate().map(module).collect();
            let mut memory = Self { bytes: vec![0; 0x20000], modules: modules.clone() };
            let ring: Vec<u64> =
                [HEAD].into_iter().chain(modules.iter().map(|module| module.at + 4)).collect();
            for (index, node) in ring.iter().enumerate() {
                let next = ring[(index + 1) % ring.len()];
                memory.words(*node, &[next]);
                memory.words(next + 4, &[*node]);
            }
            for module in &modules {
                let at = module.at;
                let name = (at - START + 12) as usize;
                memory.bytes[name..name + module.name.len()]
                    .copy_from_slice(module.name.as_bytes());
                // `mkobj.mod`, then the layouts of the module's text and of its start-up.
                memory.words(at + 0xa0, &[at]);
                memory.words(at + 0x100, &[module.base, 0x4000, 0x2000, 0x3000, 0x3000, at]);
                memory.words(at + 0x140, &[0, 0, 0, 0, 0, at]);
                let symtab = module.base + 0x3100;
                memory.words(at + 0x1a0, &[at + 0x1a4, symtab, 3, symtab + 48, symtab + 60]);
            }
            memory
        }

        fn words(&mut self, at: u64, words: &[u64]) {
            let bytes: Vec<u8> =
                words.iter().flat_map(|word| (*word as u32).to_le_bytes()).collect();
            let start = (at - START) as usize;
            self.bytes[start..start + bytes.len()].copy_from_slice(&bytes);
        }

        fn find(&self) -> Result<String, &'static str> {
            let mem = FakeMemory::with(0, self.bytes.clone());
            let all = Segment {
                kind: SegmentKind::Load,
                source: PhysAddr::new(0),
                vaddr: START,
                paddr: PhysAddr::new(0),
                filesz: self.bytes.len() as u64,
                memsz: self.bytes.len() as u64,
                flags: 7,
            };
            let map = SegmentMap::new([Ok(all)]).expect("room");
            let memory = VirtualMemory::new(KernelMemory::new(&mem, &map), b"");
            find(memory, &self.modules, EM_386)
        }
    }

    const LINES: &str = "SYMBOL(modules)=c0000100\nOFFSET(module.list)=4\nOFFSET(module.name)=12\n\
        OFFSET(module.core_layout)=256\nOFFSET(module.init_layout)=320\n\
        OFFSET(module_layout.base)=0\nOFFSET(module_layout.text_size)=8\n\
        OFFSET(module.kallsyms)=416\nOFFSET(mod_kallsyms.symtab)=0\n\
        OFFSET(mod_kallsyms.num_symtab)=4\nOFFSET(mod_kallsyms.strtab)=8\n";

    #[test]
    fn the_layout_is_found() {
        assert_eq!(Memory::new(&["ext4", "jbd2", "crc16"]).find().as_deref(), Ok(LINES));
        assert_eq!(Memory::new(&["one"]).find().as_deref(), Ok(LINES));
        assert!(Memory::new(&[]).find().is_err_and(|why| why.contains("no module is loaded")));
    }

    #[test]
    fn contradictions_are_named() {
        for (offset, word, why) in [
            (4, 0, "no ring"),
            (12, 0x41, "names"),
            (0x104, 0x3000, "text of modules is not described"),
            (0x108, 0x5000, "text of modules is not described"),
            (0x114, 0, "in no tree"),
            (0x140, 5, "start-up text"),
        ] {
            let mut memory = Memory::new(&["ext4", "jbd2", "crc16"]);
            memory.words(memory.modules[1].at + offset, &[word]);
            let error = memory.find().expect_err("a contradiction");
            assert!(error.contains(why), "{offset:#x}: {error}");
        }
        let mut memory = Memory::new(&["ext4", "jbd2"]);
        memory.words(memory.modules[1].at + 0x1a8, &[1 << 20]);
        let lines = memory.find().expect("the rest");
        assert!(lines.contains("core_layout") && !lines.contains("kallsyms"), "{lines}");
    }

    #[test]
    fn the_kernels_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let text = "jbd2 131072 1 ext4, Live 0xf7f1a000\next4 765952 0 - Loading 0xf8000000 (E)\n\
            crc16 16384 1 ext4, Live 0xf7f00000 (E)\nhidden 16384 0 - Live 0x00000000\n";
        fs::create_dir_all(root.join("proc")).expect("a folder");
        fs::write(root.join("proc/modules"), text).expect("a file");
        for (name, section) in
            [("jbd2", SECTIONS[0]), ("crc16", SECTIONS[1]), ("hidden", SECTIONS[0])]
        {
            let sections = root.join("sys/module").join(name).join("sections");
            fs::create_dir_all(&sections).expect("a folder");
            fs::write(sections.join(section), "0xf7f36040\n").expect("a file");
        }
        let module = |name: &str, base, size| LoadedModule {
            name: name.to_owned(),
            at: 0xf7f3_6040,
            base,
            size,
        };
        let expected = [module("jbd2", 0xf7f1_a000, 131_072), module("crc16", 0xf7f0_0000, 16_384)];
        assert_eq!(loaded(root), expected);
        assert_eq!(loaded(&root.join("proc")), []);
    }
}
