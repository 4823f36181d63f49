//! Double faults, on a stack of their own.
//!
//! When the stack itself is what failed, an interrupt gate cannot even push its frame, and the CPU
//! resets without a word. So vector 8 gets a task gate: the CPU takes all state from a second task
//! state segment, and leaves what it had in the first. (Intel manual, volume 3, 8.2 and 6.12.2)

#![expect(unsafe_code, reason = "task state segments, and a stack of assembly's kind")]

use crate::console::{current_stage, println};
use crate::entry::{CODE_DESCRIPTOR, CODE_SELECTOR, DATA_DESCRIPTOR, DATA_SELECTOR};
use crate::exceptions::set_task_gate;
use core::cell::UnsafeCell;
use x86::controlregs;
use x86::dtables::{DescriptorTablePointer, lgdt};
use x86::segmentation::SegmentSelector;
use x86::task::load_tr;

/// Selector of the task that runs all the time.
const MAIN_SELECTOR: u16 = 0x20;
/// Selector of the task that takes a double fault.
const FAULT_SELECTOR: u16 = 0x28;
const VECTOR: usize = 8;
const STACK: usize = 4096;

/// A 32-bit task state segment.
#[repr(C)]
struct Tss {
    link: u32,
    inner_stacks: [u32; 6],
    cr3: u32,
    eip: u32,
    eflags: u32,
    /// EAX, ECX, EDX, EBX.
    scratch: [u32; 4],
    esp: u32,
    /// EBP, ESI, EDI.
    kept: [u32; 3],
    es: u32,
    cs: u32,
    ss: u32,
    /// DS, FS, GS.
    data: [u32; 3],
    ldt: u32,
    /// Trap flag and offset of the I/O map: behind the limit, so there is none.
    io_map: u32,
}

const EMPTY: Tss = Tss {
    link: 0,
    inner_stacks: [0; 6],
    cr3: 0,
    eip: 0,
    eflags: 2,
    scratch: [0; 4],
    esp: 0,
    kept: [0; 3],
    es: DATA_SELECTOR as u32,
    cs: CODE_SELECTOR as u32,
    ss: DATA_SELECTOR as u32,
    data: [DATA_SELECTOR as u32; 3],
    ldt: 0,
    io_map: (size_of::<Tss>() as u32) << 16,
};

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 6],
    main: Tss,
    fault: Tss,
    stack: [u8; STACK],
}

struct Shared(UnsafeCell<Tables>);
// SAFETY: one CPU; written by `init` before the CPU uses it, and by the CPU after that.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    gdt: [0, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, 0, 0],
    main: EMPTY,
    fault: EMPTY,
    stack: [0; STACK],
}));

/// Gives double faults a task of their own. The IDT must be loaded, and the page tables must be
/// those that stay.
pub fn init() {
    let tables = TABLES.0.get();
    // SAFETY: one CPU, interrupts off, and nothing uses the tables yet. The new GDT has the same
    // code and data segments as the one before it at the same selectors.
    unsafe {
        (*tables).fault.cr3 = controlregs::cr3() as u32;
        (*tables).fault.eip = double_fault as *const () as u32;
        (*tables).fault.esp = (&raw const (*tables).stack) as u32 + STACK as u32 - 16;
        (*tables).gdt[4] = tss_descriptor(&raw const (*tables).main);
        (*tables).gdt[5] = tss_descriptor(&raw const (*tables).fault);
        let gdt = &raw const (*tables).gdt;
        lgdt(&DescriptorTablePointer { limit: size_of::<[u64; 6]>() as u16 - 1, base: gdt });
        load_tr(SegmentSelector::from_raw(MAIN_SELECTOR));
    }
    set_task_gate(VECTOR, FAULT_SELECTOR);
}

/// An available 32-bit TSS, present, ring 0.
fn tss_descriptor(tss: *const Tss) -> u64 {
    let base = u64::from(tss as u32);
    let limit = size_of::<Tss>() as u64 - 1;
    limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24) << 56
}

/// Where the fault's task begins.
extern "C" fn double_fault() -> ! {
    // SAFETY: the CPU has left the state of the faulting task there, and that task is over.
    let main = unsafe { &(*TABLES.0.get()).main };
    // SAFETY: reading CR2 has no effect.
    let cr2 = unsafe { controlregs::cr2() };
    println!(
        "kdump: exception 8 (#DF) eip={:#010x} cr2={cr2:#010x} esp={:#010x} stage={}: the stack \
         is exhausted or damaged",
        main.eip,
        main.esp,
        current_stage()
    );
    crate::fail()
}
