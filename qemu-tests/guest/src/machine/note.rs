//! Crash notes: the registers of each CPU as NT_PRSTATUS in an area of its own (paper, section
//! 3.3).

#![expect(unsafe_code, reason = "notes that the host finds by symbol, and registers")]

use crate::machine::cpus::MAX_CPUS;
use boot_stub::exceptions::Fault;
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use vmcore::{PhysAddr, PhysRange};

const NT_PRSTATUS: u32 = 1;

/// The general registers in the order of `elf_gregset_t`.
#[repr(C)]
pub(crate) struct Registers {
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

/// `elf_prstatus` of i386, 144 bytes (Linux `include/linux/elfcore.h`).
#[repr(C)]
struct Prstatus {
    head: [u32; 6],
    pid: u32,
    middle: [u32; 11],
    registers: Registers,
    fpvalid: u32,
}

/// One note of a CPU in its 1 KiB area, followed by the final null note. All zeros, the null note
/// first, until the CPU has saved its registers.
#[repr(C, align(1024))]
struct NoteArea {
    name_size: u32,
    desc_size: u32,
    kind: u32,
    name: [u8; 8],
    prstatus: Prstatus,
    null_note: [u32; 3],
}

const _: () = assert!(offset_of!(Prstatus, registers) == 72 && size_of::<Prstatus>() == 144);
const _: () = assert!(size_of::<NoteArea>() == 1024);

// SAFETY: all of it is integers, and zero is a value of each.
const EMPTY: NoteArea = unsafe { core::mem::zeroed() };

#[repr(transparent)]
struct NoteAreas([UnsafeCell<NoteArea>; MAX_CPUS]);
// SAFETY: each area is touched by its own CPU only, in its crash path.
unsafe impl Sync for NoteAreas {}

/// Place of the notes for the host: CPU after CPU, 1 KiB each.
#[unsafe(no_mangle)]
static GUEST_CRASH_NOTES: NoteAreas = NoteAreas([const { UnsafeCell::new(EMPTY) }; MAX_CPUS]);

/// The areas of the first `cpus` CPUs (physical).
pub(crate) fn areas(cpus: u32) -> impl Iterator<Item = PhysRange> {
    let areas = GUEST_CRASH_NOTES.0.iter().take(cpus as usize);
    areas.filter_map(|area| {
        PhysRange::new(PhysAddr::new(area.get() as u64), size_of::<NoteArea>() as u64).ok()
    })
}

/// Writes all of the note of `cpu` but its registers, and says where those go.
///
/// # Safety
/// To be called by that CPU, which keeps the pointer to itself.
pub(crate) unsafe fn begin(cpu: usize) -> *mut Registers {
    let area = GUEST_CRASH_NOTES.0[cpu].get();
    // SAFETY: the area is this CPU's own, as the caller vouches.
    unsafe {
        (*area).name_size = 5;
        (*area).desc_size = size_of::<Prstatus>() as u32;
        (*area).kind = NT_PRSTATUS;
        (*area).name = *b"CORE\0\0\0\0";
        // gdb distinguishes the CPUs by this.
        (*area).prstatus.pid = cpu as u32 + 1;
        &raw mut (*area).prstatus.registers
    }
}

/// Saves the registers that `cpu` had when it was interrupted.
///
/// # Safety
/// To be called by that CPU.
pub(crate) unsafe fn save(cpu: usize, fault: &Fault) {
    // SAFETY: as the caller vouches. Interrupts change no segment register but CS, and a change of
    // task none at all, as both tasks have the same.
    unsafe {
        let registers = begin(cpu);
        save_registers(registers);
        let [edi, esi, ebp, esp, ebx, edx, ecx, eax] = fault.registers;
        let Fault { eip, cs, eflags, .. } = *fault;
        let now = registers.read();
        registers.write(Registers {
            ebx,
            ecx,
            edx,
            esi,
            edi,
            ebp,
            eax,
            eip,
            cs,
            eflags,
            esp,
            ..now
        });
    }
}

/// Stores the registers as they are right after the call returns.
///
/// # Safety
/// `into` must be this CPU's to write.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn save_registers(into: *mut Registers) {
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
        // State of the caller after the return: its return address, and the stack without it.
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
