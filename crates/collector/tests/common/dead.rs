//! A dead i386 Linux with symbols and a stack, put together by hand.

use super::linux::{VMCOREINFO, notes, put, put_log, words};

/// Bytes of a page, and the first address of the memory.
const PAGE: usize = 0x1000;
const BASE: u32 = 0xc010_0000;
/// Offsets in the memory: text, tables of symbols, and the stack of 8 KiB.
const TEXT: usize = PAGE;
const TABLES: usize = 2 * PAGE;
const STACK: usize = 4 * PAGE;
/// Bytes of memory, and its place in the vmcore.
const LENGTH: usize = 6 * PAGE;
pub const MEMORY: usize = PAGE;

/// The functions of its text, and the end of it.
const SYMBOLS: [(u32, &str); 5] = [
    (BASE + 0x1000, "T_stext"),
    (BASE + 0x1100, "tsysrq_crash"),
    (BASE + 0x1200, "Tpanic"),
    (BASE + 0x1300, "tkthread"),
    (BASE + 0x2000, "T_etext"),
];

/// The backtrace as the kernel itself would print it: `panic` was called by `sysrq_crash`, and that
/// by `kthread`.
pub const FRAMES: [&str; 3] = ["panic+0x10/0x100", "sysrq_crash+0x20/0x100", "kthread+0x20/0xd00"];

/// Places of the tables from [`TABLES`] on.
const OFFSETS: usize = 0;
const BASE_OF_OFFSETS: usize = 0x20;
const COUNT: usize = 0x24;
const NAMES: usize = 0x40;
const TOKENS: usize = 0x100;
const INDEX: usize = TOKENS + 512;

fn vmcoreinfo() -> String {
    let at = |place: usize| BASE as usize + TABLES + place;
    let tables = [
        ("names", NAMES),
        ("num_syms", COUNT),
        ("token_table", TOKENS),
        ("token_index", INDEX),
        ("offsets", OFFSETS),
        ("relative_base", BASE_OF_OFFSETS),
    ];
    let lines = tables.map(|(name, place)| format!("SYMBOL(kallsyms_{name})={:x}\n", at(place)));
    let text = (BASE as usize + TEXT, BASE as usize + TABLES);
    let text = format!("SYMBOL(_stext)={:x}\nSYMBOL(_etext)={:x}\n", text.0, text.1);
    format!("{VMCOREINFO}SIZE(list_head)=8\n{text}{}", lines.concat())
}

/// kallsyms (Linux, `scripts/kallsyms.c`): each token is one character.
fn put_symbols(memory: &mut [u8]) {
    put(memory, TABLES + BASE_OF_OFFSETS, &words(&[BASE, SYMBOLS.len() as u32]));
    let mut name_at = TABLES + NAMES;
    for (index, (address, name)) in SYMBOLS.iter().enumerate() {
        put(memory, TABLES + OFFSETS + 4 * index, &words(&[address - BASE]));
        put(memory, name_at, &[name.len() as u8]);
        put(memory, name_at + 1, name.as_bytes());
        name_at += 1 + name.len();
    }
    for token in 0..256 {
        memory[TABLES + TOKENS + 2 * token] = token as u8;
        put(memory, TABLES + INDEX + 2 * token, &(2 * token as u16).to_le_bytes());
    }
}

/// A call of `panic` before `sysrq_crash+0x20`, and one of `sysrq_crash` before `kthread+0x20`; the
/// frames of both, the outer one right below where the registers of a thread of the kernel would be
/// (none: the segment is zero).
fn put_stack(memory: &mut [u8]) {
    memory[TEXT..TABLES].fill(0x90);
    let call = |memory: &mut [u8], at: u32, target: u32| {
        let offset = (at - BASE) as usize;
        put(memory, offset - 5, &[0xe8]);
        put(memory, offset - 4, &words(&[target.wrapping_sub(at)]));
    };
    let [_, (sysrq, _), (panic, _), (kthread, _), _] = SYMBOLS;
    call(memory, sysrq + 0x20, panic);
    call(memory, kthread + 0x20, sysrq);
    let outer = STACK + 2 * PAGE - 8 - 68 - 8;
    put(memory, outer, &words(&[0, kthread + 0x20]));
    put(memory, outer - 0x40, &words(&[BASE + outer as u32, sysrq + 0x20]));
}

/// The notes of a CPU that was in `panic`. Registers of i386's `user_regs_struct` are at 92.
fn notes_of_panic() -> Vec<u8> {
    let mut notes = notes(&vmcoreinfo());
    let inner = BASE + (STACK + 2 * PAGE - 8 - 68 - 8 - 0x40) as u32;
    let register = |index: usize| 92 + 4 * index;
    put(&mut notes, register(5), &words(&[inner]));
    put(&mut notes, register(12), &words(&[BASE + 0x1210, 0x60]));
    put(&mut notes, register(15), &words(&[inner - 0x20]));
    notes
}

/// Its vmcore: an ELF32 core with the notes at 116 and the memory in one PT_LOAD.
pub fn vmcore() -> Vec<u8> {
    let notes = notes_of_panic();
    assert!(116 + notes.len() <= MEMORY, "{}", notes.len());
    let mut file = vec![0; MEMORY + LENGTH];
    put(&mut file, 0, b"\x7fELF\x01\x01\x01");
    put(&mut file, 16, &words(&[3 << 16 | 4, 1, 0, 52, 0, 0, 32 << 16 | 52, 2]));
    put(&mut file, 52, &words(&[4, 116, 0, 0, notes.len() as u32, notes.len() as u32, 0, 0]));
    let length = LENGTH as u32;
    let load = [1, MEMORY as u32, BASE, 0x10_0000, length, length, 7, 0];
    put(&mut file, 84, &words(&load));
    put(&mut file, 116, &notes);
    let memory = &mut file[MEMORY..];
    put_log(memory);
    put_symbols(memory);
    put_stack(memory);
    file
}
