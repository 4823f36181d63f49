//! Lines for backtraces, from made-up files of a kernel.

use std::fs;

use loader::{Names, System};

use crate::common::{fixture, fixture_folder, plan_for, segment};

const KALLSYMS: &str = "0000000000000000 A fixed_percpu_data\n000000000001fb00 D current_task\n\
    ffffffff81000000 T _stext\nffffffff81e01000 T _etext\nffffffff82415900 D init_task\n\
    ffffffff82666a80 D __per_cpu_offset\nffffffffc0000000 t _etext\t[ext4]\n";
const SYMBOLS: &str = "SYMBOL(_etext)=ffffffff81e01000\n\
    SYMBOL(__per_cpu_offset)=ffffffff82666a80\nSYMBOL(current_task)=1fb00\n\
    SYMBOL(init_task)=ffffffff82415900\n";
/// A kernel that names its symbol tables itself.
const RELEASE: (&str, &[u8]) = ("proc/sys/kernel/osrelease", b"6.1.0-50-amd64\n");
const BTF: &str = "sys/kernel/btf/vmlinux";
const OFFSETS: &str = "OFFSET(task_struct.pid)=16\nOFFSET(task_struct.thread.sp)=40\n\
    SIZE(task_struct)=64\nSIZE(module)=128\nOFFSET(module.list)=8\nOFFSET(module.name)=24\n";
const VMCOREINFO: &str = "OSRELEASE=6.1.0\nSYMBOL(_stext)=ffffffff81000000\n\
    SYMBOL(kallsyms_names)=ffffffff82000000\n";

/// BTF as its description has it: of two structs, and of one within the first.
fn btf() -> Vec<u8> {
    let mut strings = vec![0];
    let mut name = |name: &str| {
        strings.extend(name.bytes().chain([0]));
        (strings.len() - name.len() - 1) as u32
    };
    // Name, kind and number of members, size; members: name, type, offset in bits.
    let types = [
        vec![name("int"), 1 << 24, 4, 32],
        vec![name("thread_struct"), 4 << 24 | 1, 16, name("sp"), 1, 64],
        vec![name("task_struct"), 4 << 24 | 2, 64, name("pid"), 1, 128, name("thread"), 2, 256],
        vec![name("module"), 4 << 24 | 2, 128, name("list"), 1, 64, name("name"), 1, 192],
    ];
    let types: Vec<u8> = types.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
    let lengths = [24, 0, types.len(), types.len(), strings.len()];
    let header = lengths.iter().flat_map(|length| (*length as u32).to_le_bytes());
    let header: Vec<u8> = [0x9f, 0xeb, 1, 0].into_iter().chain(header).collect();
    [header, types, strings].concat()
}

/// The front of `/proc/kcore`: headers of an x86_64 core file with this text in its notes.
fn kcore(vmcoreinfo: &str) -> Vec<u8> {
    let note = vmcore::note_of_text(vmcore::NAME_VMCOREINFO, vmcoreinfo.as_bytes());
    let note = note.expect("room");
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(120, 0);
    (file[16], file[18], file[20], file[32]) = (4, 62, 1, 64);
    (file[52], file[54], file[56]) = (64, 56, 1);
    (file[64], file[72]) = (4, 120);
    file[96..104].copy_from_slice(&(note.len() as u64).to_le_bytes());
    [file, note].concat()
}

/// The lines for a kernel with these files.
fn names(files: &[(&str, &[u8])]) -> Names {
    names_after(files, None)
}

/// The same after an earlier search found `known`.
fn names_after(files: &[(&str, &[u8])], known: Option<Names>) -> Names {
    let folder = tempfile::tempdir().expect("a folder");
    let iomem = ("proc/iomem", &b"00100000-00ffffff : System RAM\n"[..]);
    for (name, bytes) in [&[iomem], files].concat() {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let mut system = System::read(folder.path()).expect("a system");
    system.find_names(folder.path(), known);
    system.names.expect("an answer")
}

#[test]
fn symbols_come_first_and_only_new_keys() {
    let (kallsyms, btf) = (("proc/kallsyms", KALLSYMS.as_bytes()), btf());
    let btf = ("sys/kernel/btf/vmlinux", &btf[..]);
    let known = kcore(&(VMCOREINFO.to_owned() + "OFFSET(task_struct.pid)=16\n"));
    let found = names(&[kallsyms, btf, ("proc/kcore", &known)]);
    let offsets = OFFSETS.replace("OFFSET(task_struct.pid)=16\n", "");
    assert_eq!(found.lines, SYMBOLS.to_owned() + &offsets);
    assert_eq!(found.to_string(), "symbols, task and module offsets of the running kernel");
    // Without VMCOREINFO all keys may be new, and the kernel's release tells if it has tables.
    let release = |text| names(&[kallsyms, btf, ("proc/sys/kernel/osrelease", text)]);
    let found = release(b"6.1.0-50-amd64\n");
    assert_eq!(found.lines, format!("SYMBOL(_stext)=ffffffff81000000\n{SYMBOLS}{OFFSETS}"));
    assert_eq!(found.to_string(), "symbols, task and module offsets of the running kernel");
    let text = release(b"5.10.0-32-amd64\n").to_string();
    assert!(
        text.starts_with("task offsets and module offsets of the running kernel; no symbols: ")
    );
    assert!(text.contains("/proc/kcore cannot be opened"), "{text}");
}

#[test]
fn missing_parts_have_a_reason() {
    let hidden = KALLSYMS.replace("ffffffff8", "000000000").replace("1fb00", "00000");
    let hidden = hidden.replace("2415900", "0000000").replace("2666a80", "0000000");
    let hidden = hidden.replace("1e01000", "0000000").replace("1000000", "0000000");
    let found = names(&[("proc/kallsyms", hidden.as_bytes()), ("proc/kcore", &kcore(VMCOREINFO))]);
    assert!(found.hidden);
    assert_eq!(found.lines, "");
    let text = found.to_string();
    assert!(text.starts_with("nothing of the running kernel; no symbols: /proc/kallsyms hides"));
    assert!(text.contains("; no task offsets: the kernel's tasks cannot be found"), "{text}");
    assert!(text.contains("; no module offsets: no BTF, and no module is loaded"), "{text}");
    let text = names(&[]).to_string();
    assert!(text.contains("no symbols: /proc/kallsyms is missing"), "{text}");
}

#[test]
fn the_plan_has_the_lines() {
    let mut system = fixture("i386-512m");
    let planned = |system: &System| {
        let plan = plan_for(system).expect("a plan");
        let block = segment(&plan, "elfcorehdr");
        let has = |text: &[u8]| block.windows(text.len()).any(|window| window == text);
        (plan.to_string(), has(b"KERNELOFFSET="), has(b"SYMBOL(_stext)=d3000040\n"))
    };
    let (text, offset, symbol) = planned(&system);
    assert!(!text.contains("backtraces") && offset && !symbol);
    system.find_names(&fixture_folder("i386-512m"), None);
    let (text, offset, symbol) = planned(&system);
    assert!(text.contains("backtraces     nothing of the running kernel; no symbols: "), "{text}");
    assert!(offset && symbol);
}

#[test]
fn a_reload_finds_the_same() {
    let btf = btf();
    let files = [RELEASE, ("proc/kallsyms", KALLSYMS.as_bytes()), (BTF, &btf)];
    let whole = names(&files);
    assert_eq!(names(&files), whole);
    // Nothing is read again if all is known.
    assert_eq!(names_after(&[], Some(whole)), names(&files));
}

/// Symbols were there, tasks and modules were not: only these are looked for.
#[test]
fn a_reload_looks_for_what_was_missing() {
    let (kallsyms, btf) = (("proc/kallsyms", KALLSYMS.as_bytes()), btf());
    let btf = (BTF, &btf[..]);
    let all = || names(&[RELEASE, kallsyms, btf]);
    let before = names(&[RELEASE, kallsyms]);
    assert!(before.to_string().starts_with("symbols of the running kernel; no task offsets"));
    assert_eq!(names_after(&[btf], Some(before)), all());
    let hidden = names(&[btf]);
    assert_eq!(names_after(&[RELEASE, kallsyms, btf], Some(hidden)), all());
    let mut damaged = all();
    damaged.lines = "x\n".to_owned();
    assert_eq!(names_after(&[RELEASE, kallsyms, btf], Some(damaged)), all());
}
