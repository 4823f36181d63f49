//! A small machine, made by hand, and everything that can be wrong with its vmcore.

use std::ops::Range;
use std::path::PathBuf;

use super::*;
use crate::check::contents::claims_equal_memory;
use crate::check::core_file::{CoreFile, Load};
use crate::check::coverage::is_alias;
use crate::check::dead_kernel::{DeadKernel, Function, Vmcoreinfo};
use crate::check::truth::Truth;
use crate::host::memory::{Digests, GuestMemory, PAGE};

const MIB: u64 = 1 << 20;
const SLOT: Range<u64> = 2 * MIB..3 * MIB;
const BASE: u64 = 0xc000_0000;
const TEXT: Range<u64> = BASE + 0x11_0000..BASE + 0x12_0000;
const BANNER: &[u8] = b"Linux version 6.1 of the test";
const BANNER_AT: u64 = 0x13_0010;
const NOTES_AT: [u64; 2] = [0x14_0ff0, 0x15_0000];
const INFO_AT: u64 = 0x18_0000;
const INFO: &[u8] = b"OSRELEASE=6.1\n";
const STACK_AT: u64 = 0x16_1f80;
const NOTE: usize = 12 + 8 + 144;

/// 4 MiB of RAM, a kernel in it that has died, and a vmcore of it.
struct World {
    folder: tempfile::TempDir,
    memory: GuestMemory,
    dead: DeadKernel,
    loads: Vec<Range<u64>>,
    notes: Vec<Vec<u8>>,
    /// Bytes of the vmcore to change, by physical address.
    flips: Vec<u64>,
    /// Pages that are left out, of the first PT_LOAD: their addresses are their offsets as well.
    left: Vec<Range<u64>>,
    /// Memory changes between the moments: (after T0, after T1).
    strays: (Option<u64>, Option<u64>),
    /// See [`Evidence::is_stock`].
    is_stock: bool,
    /// True if digests were taken at T0, T1 and T2.
    is_watched: bool,
}

fn function(name: &str, start: u64) -> Function {
    (name.to_string(), BASE + start..BASE + start + 0x100)
}

/// A PRSTATUS note as i386 Linux lays it out: eip at 72 + 12 * 4, esp at 72 + 15 * 4.
fn prstatus_note(eip: u64, esp: u64) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [5_u32, 144, 1] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"CORE\0\0\0\0");
    note.resize(NOTE, 0);
    note[20 + 120..][..4].copy_from_slice(&(eip as u32).to_le_bytes());
    note[20 + 132..][..4].copy_from_slice(&(esp as u32).to_le_bytes());
    note
}

/// A VMCOREINFO note as Linux writes it: a name of 11 bytes, type 0.
fn info_note(text: &[u8]) -> Vec<u8> {
    note(b"VMCOREINFO\0", text)
}

fn note(name: &[u8], text: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name.len() as u32, text.len() as u32, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(name);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend(text);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = GuestMemory::create(4 * MIB, folder.path()).unwrap();
        for page in 0..4 * MIB / PAGE {
            memory.write(page * PAGE + page % PAGE, &page.to_le_bytes()).unwrap();
        }
        let mut notes = vec![
            prstatus_note(BASE + 0x11_0010, BASE + STACK_AT),
            prstatus_note(BASE + 0x11_0800, BASE + 0x17_0000),
        ];
        for (note, at) in notes.iter().zip(NOTES_AT) {
            memory.write(at, note).unwrap();
        }
        notes.push(info_note(&[INFO, b"KERNELOFFSET=12000000\n"].concat()));
        memory.write(BANNER_AT, BANNER).unwrap();
        for (slot, address) in [(0, 0x11_0240_u64), (3, 0x11_0350)] {
            let word = (BASE + address) as u32;
            memory.write(STACK_AT + slot * 4, &word.to_le_bytes()).unwrap();
        }
        memory.write(INFO_AT, &info_note(INFO)).unwrap();
        let dead = DeadKernel {
            slot: SLOT,
            system_ram: vec![0x1000..0x9_fc00, MIB..4 * MIB - 0x2_3000],
            holes: Vec::new(),
            crash_notes: NOTES_AT.to_vec(),
            vmcoreinfo: Some(Vmcoreinfo {
                note: INFO_AT,
                kernel_offset: Some(0x1200_0000),
                is_merged: true,
            }),
            register_patterns: vec![Some([0; 7]); 2],
            arriving: Vec::new(),
            several_die: false,
            text: TEXT,
            virtual_base: BASE,
            page_tables: None,
            runs_anything: false,
            banner: Some((BASE + BANNER_AT, BANNER.to_vec())),
            oops_stack: None,
            unchecked: Default::default(),
            recorders: vec![function("__crash_kexec", 0x11_0000)],
            callers: vec![function("panic", 0x11_0200), function("sysrq", 0x11_0300)],
        };
        let loads = vec![0x1000..0x9_fc00, MIB..2 * MIB, 3 * MIB..4 * MIB - 0x2_3000];
        Self {
            folder,
            memory,
            dead,
            loads,
            notes,
            flips: Vec::new(),
            left: Vec::new(),
            strays: (None, None),
            is_stock: false,
            is_watched: true,
        }
    }

    /// An ELF32 core of memory as it is.
    fn write_core(&self) -> PathBuf {
        let notes = self.notes.concat();
        let headers = 52 + 32 * (1 + self.loads.len());
        let mut offset = (headers + notes.len()).next_multiple_of(PAGE as usize) as u64;
        let mut core = elf_header(1 + self.loads.len());
        core.extend(program_header(4, headers as u64, 0, 0, notes.len() as u64));
        let mut bodies = Vec::new();
        for load in &self.loads {
            let mut body = vec![0; (load.end - load.start) as usize];
            self.memory.read(load.start, &mut body).unwrap();
            for left in self.left.iter().filter(|left| load.contains(&left.start)) {
                body[(left.start - load.start) as usize..(left.end - load.start) as usize].fill(0);
            }
            for flip in self.flips.iter().filter(|flip| load.contains(flip)) {
                body[(flip - load.start) as usize] ^= 0x40;
            }
            let length = body.len() as u64;
            core.extend(program_header(1, offset, BASE + load.start, load.start, length));
            body.resize(body.len().next_multiple_of(PAGE as usize), 0);
            offset += body.len() as u64;
            bodies.push(body);
        }
        core.extend(notes);
        core.resize(core.len().next_multiple_of(PAGE as usize), 0);
        core.extend(bodies.concat());
        let path = self.folder.path().join("vmcore");
        std::fs::write(&path, core).unwrap();
        path
    }

    fn stray(&self, at: Option<u64>) -> Digests {
        if let Some(at) = at {
            let mut byte = [0];
            self.memory.read(at, &mut byte).unwrap();
            self.memory.write(at, &[!byte[0]]).unwrap();
        }
        self.memory.digests().unwrap()
    }

    /// The names of the checks that fail, with their words.
    fn failures(&self) -> Vec<Check> {
        let purgatory = Some(self.memory.digests().unwrap());
        let quiesced = Some(self.stray(self.strays.0));
        let path = self.write_core();
        let end = Some(self.stray(self.strays.1));
        let exit = self.memory.digests().unwrap();
        let truth = match self.is_watched {
            true => Truth { purgatory, quiesced, end, exit },
            false => Truth { purgatory: None, quiesced: None, end: None, exit },
        };
        let core = CoreFile::open(&path).unwrap();
        let evidence = Evidence {
            core: &core,
            memory: &self.memory,
            truth: &truth,
            dead: &self.dead,
            left: &self.left,
            is_stock: self.is_stock,
        };
        vmcore_checks(&evidence).into_iter().filter(|check| !check.pass).collect()
    }

    #[track_caller]
    fn fails(&self, name: &str, words: &str) {
        let failures = self.failures();
        let found = failures.iter().find(|check| check.name == name);
        let detail = &found.unwrap_or_else(|| panic!("{name} holds: {failures:?}")).detail;
        assert!(detail.contains(words), "{detail}");
    }

    #[track_caller]
    fn fails_only(&self, name: &str, words: &str) {
        self.fails(name, words);
        let failures = self.failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
    }
}

fn elf_header(headers: usize) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
    bytes.resize(16, 0);
    // ET_CORE, EM_386
    bytes.extend([4, 0, 3, 0, 1, 0, 0, 0]);
    for word in [0_u32, 52, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, headers as u16, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes
}

fn program_header(kind: u32, offset: u64, vaddr: u64, paddr: u64, size: u64) -> Vec<u8> {
    let words = [kind, offset as u32, vaddr as u32, paddr as u32, size as u32, size as u32, 7, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn an_honest_vmcore_passes_every_check() {
    let failures = World::new().failures();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn one_wrong_byte_is_found_on_whole_and_on_partial_pages() {
    let mut world = World::new();
    world.flips = vec![0x35_0123];
    world.fails_only("vmcore_equals_memory", "the first at 0x350000");
    world.flips = vec![0x9_fbff];
    world.fails_only("vmcore_equals_memory", "1 pages differ from T1, the first at 0x9f000");
}

#[test]
fn pages_that_are_left_out_are_whole_and_zero_and_the_others_are_right() {
    let mut world = World::new();
    world.left = vec![0x5000..0x6000, 0x8000..0x9000];
    assert!(world.failures().is_empty());
    world.flips = vec![0x6000];
    world.fails_only("vmcore_equals_memory", "1 pages differ from T1, the first at 0x6000");
    world.flips = vec![0x8123];
    world.fails_only("vmcore_equals_memory", "the page at 0x8000 is left out and not zero");
    world.flips.clear();
    world.left[1].end -= 0x800;
    world.fails_only("vmcore_equals_memory", "a part of a page is left out at 0x8000");
}

#[test]
fn a_stock_linux_may_use_low_memory_where_nobody_saw_what_it_was() {
    let mut world = World::new();
    world.flips = vec![0x5123];
    (world.is_stock, world.is_watched) = (true, false);
    assert!(world.failures().is_empty());
    world.flips = vec![0x5123, 0x35_0123];
    world.fails_only("vmcore_equals_memory", "1 pages differ from memory after the end, the first");
    world.flips = vec![0x5123];
    (world.is_stock, world.is_watched) = (true, true);
    world.fails_only("vmcore_equals_memory", "the first at 0x5000");
    (world.is_stock, world.is_watched) = (false, false);
    world.fails_only("vmcore_equals_memory", "the first at 0x5000");
}

#[test]
fn a_write_outside_the_slot_is_found_and_one_inside_is_not() {
    let mut world = World::new();
    world.strays = (Some(0x35_0123), None);
    world.fails_only("memory_kept_t0_t1", "the first at 0x350000");
    world.strays = (None, Some(0x35_0123));
    world.fails_only("memory_kept_t1_t2", "the first at 0x350000");
    world.strays = (Some(SLOT.start), Some(SLOT.end - 1));
    assert!(world.failures().is_empty());
}

#[test]
fn dma_may_arrive_in_its_page_until_devices_are_quiet() {
    let mut world = World::new();
    world.dead.arriving = vec![0x35_0000];
    world.strays = (Some(0x35_0123), None);
    assert!(world.failures().is_empty());
    world.strays = (Some(0x35_1123), None);
    world.fails_only("memory_kept_t0_t1", "the first at 0x351000");
    world.strays = (None, Some(0x35_0123));
    world.fails_only("memory_kept_t1_t2", "the first at 0x350000");
}

#[test]
fn a_partial_page_that_changed_after_t1_cannot_be_compared_and_says_so() {
    let mut world = World::new();
    world.strays = (None, Some(0x9_f000));
    world.fails("vmcore_equals_memory", "has changed since T1");
}

#[test]
fn missing_ram_is_found() {
    let mut world = World::new();
    world.loads[1].end -= PAGE;
    world.fails_only("coverage", "0x1ff000-0x200000 is RAM and not in the vmcore");
    let mut world = World::new();
    world.loads[0].end = 0x9_f000;
    world.fails_only("coverage", "0x9f000-0x9fc00 is System RAM to the dead kernel");
}

#[test]
fn the_slot_in_the_vmcore_and_doubled_ram_are_found() {
    let mut world = World::new();
    world.loads[1].end += PAGE;
    world.fails_only("coverage", "0x200000-0x201000 is in the vmcore but slot or no RAM");
    let mut world = World::new();
    world.loads.push(0x10_0000..0x10_1000);
    world.fails_only("coverage", "overlap");
}

#[test]
fn ram_that_does_not_exist_is_found() {
    let mut world = World::new();
    world.dead.slot = 5 * MIB..6 * MIB;
    world.fails("coverage", "is RAM and not in the vmcore");
}

#[test]
fn notes_must_be_the_dead_kernels() {
    let mut world = World::new();
    world.notes.remove(1);
    world.fails("prstatus_notes", "1 PRSTATUS notes for 2 CPUs");
    let mut world = World::new();
    world.notes[1][60] ^= 1;
    world.fails_only("prstatus_notes", "the note of CPU 1");
    let mut world = World::new();
    world.notes.swap(0, 1);
    world.fails_only("prstatus_notes", "the note of CPU 0");
}

#[test]
fn one_vmcoreinfo_says_how_far_the_kernel_has_moved() {
    let mut world = World::new();
    world.notes[2] = info_note(INFO);
    world.fails_only("vmcoreinfo", "0 lines with a KERNELOFFSET");
    world.notes[2] = info_note(&[INFO, b"KERNELOFFSET=11000000\n"].concat());
    world.fails_only("vmcoreinfo", "1 lines with a KERNELOFFSET");
    world.notes[2] = info_note(b"OSRELEASE=6.2\nKERNELOFFSET=12000000\n");
    world.fails_only("vmcoreinfo", "not what memory holds");
    let mut world = World::new();
    world.notes.push(world.notes[2].clone());
    world.fails_only("vmcoreinfo", "more than one");
    world.notes.truncate(2);
    world.fails_only("vmcoreinfo", "no VMCOREINFO note");
}

#[test]
fn a_vmcoreinfo_to_which_nobody_adds_is_the_dead_kernels() {
    let mut world = World::new();
    let addition = note(b"KDUMP-RS\0", b"KERNELOFFSET=12000000\n");
    world.notes.push(addition);
    world.fails_only("vmcoreinfo", "a note of an unknown name");
    world.dead.vmcoreinfo =
        Some(Vmcoreinfo { note: INFO_AT, kernel_offset: None, is_merged: false });
    world.fails_only("vmcoreinfo", "1 lines with a KERNELOFFSET");
    world.notes[2] = info_note(INFO);
    assert_eq!(world.failures(), []);
}

#[test]
fn a_load_may_share_the_bytes_of_another() {
    let load = |offset, paddr, filesz| Load { offset, paddr, vaddr: 0, filesz, memsz: filesz };
    let whole = load(0x1000, 0x10_0000, 0x8000);
    assert!(is_alias(&load(0x3000, 0x10_2000, 0x1000), &whole, false));
    assert!(!is_alias(&whole, &whole, false), "one of two that are alike must count");
    assert!(!is_alias(&load(0x3000, 0x10_3000, 0x1000), &whole, false), "other memory");
    assert!(!is_alias(&load(0x9000, 0x10_8000, 0x1000), &whole, false), "other bytes");
    assert!(is_alias(&load(0x9000, 0x10_2000, 0x1000), &whole, true), "a copy");
    assert!(!is_alias(&load(0x9000, 0x10_8000, 0x1000), &whole, true), "a copy of nothing");
    assert!(!is_alias(&whole, &whole, true));
}

#[test]
fn registers_must_point_into_the_kernel() {
    let mut world = World::new();
    world.dead.text.start = BASE + 0x11_0011;
    world.fails_only("registers", "CPU 0 was at 0xc0110010");
    let mut world = World::new();
    world.notes[1] = prstatus_note(TEXT.start, BASE + 8 * MIB);
    world.memory.write(NOTES_AT[1], &world.notes[1]).unwrap();
    world.fails("registers", "CPU 1 had its stack at 0xc0800000");
}

#[test]
fn registers_must_hold_what_was_loaded() {
    // ebx comes first and eax last, at 72 and 96 of the 144 bytes.
    for (register, name, at) in [(0, "ebx", 20 + 72), (6, "eax", 20 + 96)] {
        let mut world = World::new();
        world.dead.register_patterns[1].as_mut().unwrap()[register] = 0x5601_5a5a;
        world.fails_only("register_pattern", &format!("CPU 1 had {name} = 0x0, not 0x56015a5a"));
        world.notes[1][at..][..4].copy_from_slice(&0x5601_5a5a_u32.to_le_bytes());
        world.memory.write(NOTES_AT[1], &world.notes[1]).unwrap();
        assert!(world.failures().is_empty());
    }
    let mut world = World::new();
    world.dead.register_patterns.push(Some([0; 7]));
    world.fails_only("register_pattern", "2 PRSTATUS notes for 3 CPUs");
    let mut world = World::new();
    world.dead.register_patterns = vec![None, Some([1; 7])];
    world.fails_only("register_pattern", "CPU 1 had ebx = 0x0, not 0x1");
}

#[test]
fn gdb_must_read_the_banner() {
    let mut world = World::new();
    world.dead.banner.as_mut().unwrap().1[6] = b'V';
    world.fails_only("banner", "gdb reads at 0xc0130010: Linux version 6.1 of the test");
    let mut world = World::new();
    world.dead.banner.as_mut().unwrap().0 = BASE + SLOT.start;
    world.fails_only("banner", "gdb reads nothing");
}

#[test]
fn one_cpu_must_have_panicked_and_its_stack_must_show_it() {
    let mut world = World::new();
    world.dead.recorders = vec![function("__crash_kexec", 0x11_0400)];
    world.fails_only("panic_path", "no CPU was in a function that panics");
    let mut world = World::new();
    world.dead.recorders.push(function("crash_kexec", 0x11_0800));
    world.fails_only("panic_path", "more than one CPU");
    world.dead.several_die = true;
    assert!(world.failures().is_empty());
    let mut world = World::new();
    world.dead.callers.push(function("lunch", 0x11_0500));
    world.fails_only("panic_path", "no return address into lunch");
}

#[test]
fn a_vmcore_cut_short_does_not_open() {
    let world = World::new();
    let path = world.write_core();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(2 * MIB).unwrap();
    let error = CoreFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("leaves the vmcore"), "{error}");
    file.set_len(20).unwrap();
    assert!(CoreFile::open(&path).is_err());
}

/// Checks a collector's claims about the world's vmcore, of which `missing` (start and length in
/// the file) has not come.
fn claims(world: &World, missing: &[(u64, u64)]) -> Result<String> {
    let path = world.write_core();
    let view = crate::line::collector_process::ReceivedView {
        view: "vmcore".into(),
        bytes: std::fs::metadata(&path).unwrap().len(),
        sha256: None,
        missing: missing.to_vec(),
        left: Vec::new(),
        pages: None,
        differs: Vec::new(),
    };
    let exit = world.memory.digests().unwrap();
    let truth = Truth { purgatory: None, quiesced: Some(exit.clone()), end: None, exit };
    claims_equal_memory(&path, &view, &world.memory, &truth)
}

/// The wrong byte is in the second PT_LOAD, at an odd place of its page.
#[test]
fn a_wrong_byte_must_be_in_a_range_that_is_named() {
    let mut world = World::new();
    let whole = claims(&world, &[]).unwrap();
    assert!(whole.contains(" 0 are named as missing"), "{whole}");
    let wrong = MIB + 5 * PAGE + 77;
    world.flips.push(wrong);
    let error = claims(&world, &[]).unwrap_err().to_string();
    assert!(error.contains(&format!("the first at {:#x}", wrong - 77)), "{error}");
    let core = CoreFile::open(&world.write_core()).unwrap();
    let load = core.loads.iter().find(|load| load.paddr == MIB).unwrap();
    let offset = load.offset + (wrong - MIB);
    assert!(claims(&world, &[(offset, 1)]).is_ok());
    for beside in [offset - 1, offset + 1] {
        assert!(claims(&world, &[(beside, 1)]).is_err());
    }
}

#[test]
fn what_the_kernel_does_not_say_is_not_checked_and_says_so() {
    let mut world = World::new();
    (world.dead.banner, world.dead.recorders) = (None, Vec::new());
    world.fails("banner", "not known");
    world.fails("panic_path", "no CPU was in a function");
    for name in [dead_kernel::BANNER, dead_kernel::PANIC_PATH] {
        world.dead.unchecked.insert(name, "it has no symbols".into());
    }
    assert_eq!(world.failures(), []);
}

#[test]
fn the_stack_pointer_of_an_oops_is_one_cpus() {
    let mut world = World::new();
    world.dead.recorders = Vec::new();
    world.dead.oops_stack = Some(BASE + STACK_AT);
    assert_eq!(world.failures(), []);
    world.dead.oops_stack = Some(BASE + STACK_AT + 4);
    world.fails_only("panic_path", "no CPU has the stack pointer of the oops");
}

#[test]
fn a_cpu_may_be_elsewhere_only_where_anything_runs() {
    const CS: usize = 20 + 124;
    let mut world = World::new();
    let elsewhere = |user: u8| {
        let mut note = prstatus_note(BASE + 0x1f0_0010, BASE + 0x17_0000);
        note[CS] = 0x60 | user;
        note
    };
    let put = |world: &mut World, user| {
        world.notes[1] = elsewhere(user);
        world.memory.write(NOTES_AT[1], &world.notes[1]).unwrap();
    };
    for user in [0, 3] {
        put(&mut world, user);
        world.dead.runs_anything = false;
        world.fails_only("registers", "not in kernel text");
        world.dead.runs_anything = true;
        assert_eq!(world.failures(), []);
    }
    // A program may not pass for the kernel: its address is below all of the kernel's.
    world.notes[1] = prstatus_note(0x8048_0000 >> 4, BASE + 0x17_0000);
    world.memory.write(NOTES_AT[1], &world.notes[1]).unwrap();
    world.fails_only("registers", "not in kernel text");
}
