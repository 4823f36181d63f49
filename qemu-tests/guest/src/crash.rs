//! The crash path: registers into the note, then the jump (paper, section 3.3).

#![expect(unsafe_code, reason = "symbols that the host looks up, registers, and the jump out")]

use boot_stub::console::println;
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;

/// What the host looks for in the dump, at the address of the symbol.
#[unsafe(no_mangle)]
pub(crate) static GUEST_BANNER: GuestText = GuestText(*b"kdump-rs test guest 0.1\0");

/// NUL-terminated text.
#[repr(transparent)]
pub(crate) struct GuestText([u8; 24]);

impl core::fmt::Display for GuestText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = core::str::from_utf8(&self.0).unwrap_or("?");
        f.write_str(text.trim_end_matches('\0'))
    }
}

/// `elf_prstatus` of i386, 144 bytes (Linux `include/linux/elfcore.h`).
#[repr(C)]
struct Prstatus {
    head: [u32; 6],
    pid: u32,
    middle: [u32; 11],
    registers: Registers,
    fpvalid: u32,
}

/// The general registers in the order of `elf_gregset_t`.
#[repr(C)]
struct Registers {
    ebx: u32,
    ecx: u32,
    edx: u32,
    esi: u32,
    edi: u32,
    ebp: u32,
    eax: u32,
    ds: u32,
    es: u32,
    fs: u32,
    gs: u32,
    orig_eax: u32,
    eip: u32,
    cs: u32,
    eflags: u32,
    esp: u32,
    ss: u32,
}

/// One note of a CPU in its 1 KiB area, with the final null note behind it.
#[repr(C, align(1024))]
struct NoteArea {
    name_size: u32,
    desc_size: u32,
    kind: u32,
    name: [u8; 8],
    prstatus: Prstatus,
    null_note: [u32; 3],
}

#[repr(transparent)]
struct Notes(UnsafeCell<NoteArea>);
// SAFETY: one CPU, and only the crash path touches it.
unsafe impl Sync for Notes {}

/// Where the host finds the note of CPU 0.
#[unsafe(no_mangle)]
static GUEST_CRASH_NOTES: Notes = Notes(UnsafeCell::new(NoteArea {
    name_size: 5,
    desc_size: size_of::<Prstatus>() as u32,
    kind: 1, // NT_PRSTATUS
    name: *b"CORE\0\0\0\0",
    prstatus: Prstatus {
        head: [0; 6],
        pid: 0,
        middle: [0; 11],
        registers: Registers {
            ebx: 0,
            ecx: 0,
            edx: 0,
            esi: 0,
            edi: 0,
            ebp: 0,
            eax: 0,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
            orig_eax: 0,
            eip: 0,
            cs: 0,
            eflags: 0,
            esp: 0,
            ss: 0,
        },
        fpvalid: 0,
    },
    null_note: [0; 3],
}));

const _: () = assert!(offset_of!(Prstatus, registers) == 72 && size_of::<Prstatus>() == 144);

/// The address after `kdump.entry=0x` on the command line.
pub(crate) fn entry_of(command_line: &str) -> Option<u32> {
    let word = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("kdump.entry=0x"))?;
    u32::from_str_radix(word, 16).ok()
}

/// Dies: saves the registers of this very function and jumps to purgatory at `entry`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn guest_panic(entry: u32) -> ! {
    println!("guest: panic");
    // SAFETY: `save_registers` fills the registers of the note, which nobody else uses.
    unsafe { save_registers(&raw mut (*GUEST_CRASH_NOTES.0.get()).prstatus.registers) };
    // SAFETY: paging is off, segments are flat, and the host has placed purgatory at `entry`.
    unsafe { asm!("jmp {entry}", entry = in(reg) entry, options(noreturn)) }
}

/// Stores the registers as they are right after the call returns.
#[unsafe(naked)]
unsafe extern "C" fn save_registers(into: *mut Registers) {
    naked_asm!(
        "push eax",
        "mov eax, [esp + 8]",
        "mov [eax + {ebx}], ebx",
        "mov [eax + {ecx}], ecx",
        "mov [eax + {edx}], edx",
        "mov [eax + {esi}], esi",
        "mov [eax + {edi}], edi",
        "mov [eax + {ebp}], ebp",
        "mov [eax + {ds}], ds",
        "mov [eax + {es}], es",
        "mov [eax + {fs}], fs",
        "mov [eax + {gs}], gs",
        "mov [eax + {cs}], cs",
        "mov [eax + {ss}], ss",
        "pop dword ptr [eax + {eax}]",
        "pushfd",
        "pop dword ptr [eax + {eflags}]",
        // What the caller will have: its return address, and the stack without it.
        "mov ecx, [esp]",
        "mov [eax + {eip}], ecx",
        "lea ecx, [esp + 4]",
        "mov [eax + {esp_}], ecx",
        "ret",
        ebx = const offset_of!(Registers, ebx),
        ecx = const offset_of!(Registers, ecx),
        edx = const offset_of!(Registers, edx),
        esi = const offset_of!(Registers, esi),
        edi = const offset_of!(Registers, edi),
        ebp = const offset_of!(Registers, ebp),
        eax = const offset_of!(Registers, eax),
        ds = const offset_of!(Registers, ds),
        es = const offset_of!(Registers, es),
        fs = const offset_of!(Registers, fs),
        gs = const offset_of!(Registers, gs),
        cs = const offset_of!(Registers, cs),
        ss = const offset_of!(Registers, ss),
        eflags = const offset_of!(Registers, eflags),
        eip = const offset_of!(Registers, eip),
        esp_ = const offset_of!(Registers, esp),
    )
}
