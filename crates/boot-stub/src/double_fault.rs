//! Double faults, on a stack of their own.
//!
//! If the stack itself is broken, an interrupt gate cannot even push its frame, and the CPU resets
//! without a word. So vector 8 gets a task gate: the CPU takes all state from a second task state
//! segment, and saves its state in the first. (Intel manual, volume 3, 8.2 and 6.12.2)

#![expect(unsafe_code, reason = "task state segments, and a stack of assembly's kind")]

use crate::console::{self, current_stage, println};
use crate::exceptions::fault_handler;
use crate::fail::fail;
use crate::frame::{Fault, fault_address};
use crate::gates::set_task_gate;
use crate::segments::{CODE_DESCRIPTOR, CODE_SELECTOR, DATA_DESCRIPTOR, DATA_SELECTOR};
use core::cell::UnsafeCell;
use x86::controlregs;
use x86::dtables::{DescriptorTablePointer, lgdt};
use x86::segmentation::SegmentSelector;
use x86::task::load_tr;

/// Selector of the task that runs all the time.
const MAIN_SELECTOR: u16 = 0x20;
/// Selector of the task that takes a double fault.
const FAULT_SELECTOR: u16 = 0x28;
const VECTOR: u32 = 8;
const STACK: usize = 4096;
/// From the end of the stack, in bytes: where the fault's task finds the address of its tables. The
/// CPU pushes the error code below it, where a function looks for its return address.
const ARGUMENT: usize = 16;

/// The I/O map is after the limit: there is none.
const NO_IO_MAP: u32 = (size_of::<Tss>() as u32) << 16;

/// A 32-bit task state segment.
#[repr(C)]
struct Tss {
    link: u32,
    inner_stacks: [u32; 6],
    cr3: u32,
    eip: u32,
    eflags: u32,
    eax: u32,
    ecx: u32,
    edx: u32,
    ebx: u32,
    esp: u32,
    ebp: u32,
    esi: u32,
    edi: u32,
    es: u32,
    cs: u32,
    ss: u32,
    /// DS, FS, GS.
    data: [u32; 3],
    ldt: u32,
    /// Trap flag and offset of the I/O map.
    io_map: u32,
}

/// All of it is written before the CPU uses it.
// SAFETY: integers only, and zero is a value of each.
const EMPTY: Parts = unsafe { core::mem::zeroed() };

#[repr(C, align(16))]
struct Parts {
    gdt: [u64; 6],
    main: Tss,
    fault: Tss,
    stack: [u8; STACK],
}

/// Data of one CPU: its GDT, the state of its two tasks, and the stack of the second.
#[repr(transparent)]
pub struct Tables(UnsafeCell<Parts>);
// SAFETY: written by the one CPU that loads it, before it is used, and by that CPU's hardware.
unsafe impl Sync for Tables {}

static TABLES: Tables = Tables::new();

/// Gives double faults of the only CPU a task of their own. The IDT must be loaded, and the page
/// tables must be those that stay.
pub fn init() {
    // SAFETY: one CPU, and this is the one place that loads these.
    unsafe { TABLES.load() }
    route();
}

/// Sends double faults to that task, on every CPU. To be called before other CPUs are started; a
/// CPU without its [`Tables::load`] resets the machine then.
pub fn route() {
    set_task_gate(VECTOR as usize, FAULT_SELECTOR);
}

impl Tables {
    /// Tables that no CPU uses yet.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(EMPTY))
    }

    /// Makes these the tables of this CPU. The page tables must be those that stay.
    ///
    /// # Safety
    /// No other CPU may load the same ones, nor this one twice.
    pub unsafe fn load(&'static self) {
        let parts = self.0.get();
        // SAFETY: interrupts off, and by the caller's word nothing uses the tables yet. The new GDT
        // has the same code and data segments as the one before it at the same selectors.
        unsafe {
            let argument = (&raw mut (*parts).stack).cast::<u8>().add(STACK - ARGUMENT);
            argument.cast::<*const Parts>().write(parts);
            (*parts).main.io_map = NO_IO_MAP;
            (*parts).fault = Tss {
                cr3: controlregs::cr3() as u32,
                eip: double_fault as *const () as u32,
                eflags: 2,
                esp: argument as u32,
                es: DATA_SELECTOR.into(),
                cs: CODE_SELECTOR.into(),
                ss: DATA_SELECTOR.into(),
                data: [DATA_SELECTOR.into(); 3],
                io_map: NO_IO_MAP,
                ..EMPTY.fault
            };
            let (main, fault) = (&raw const (*parts).main, &raw const (*parts).fault);
            let (main, fault) = (tss_descriptor(main), tss_descriptor(fault));
            (*parts).gdt = [0, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, main, fault];
            let gdt = &raw const (*parts).gdt;
            lgdt(&DescriptorTablePointer { limit: size_of::<[u64; 6]>() as u16 - 1, base: gdt });
            load_tr(SegmentSelector::from_raw(MAIN_SELECTOR));
        }
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

/// An available 32-bit TSS, present, ring 0.
fn tss_descriptor(tss: *const Tss) -> u64 {
    let base = u64::from(tss as u32);
    let limit = size_of::<Tss>() as u64 - 1;
    limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24) << 56
}

impl Tss {
    /// The state in which a double fault interrupted the task.
    fn fault(&self) -> Fault {
        let Self { edi, esi, ebp, esp, ebx, edx, ecx, eax, eip, cs, eflags, .. } = *self;
        let registers = [edi, esi, ebp, esp, ebx, edx, ecx, eax];
        Fault { vector: VECTOR, address: fault_address(), registers, eip, cs, eflags }
    }
}

/// Entry of the fault's task, with the `parts` of the CPU that faulted. NT is set in its flags, so
/// it must not IRET. (Intel manual, volume 3, 8.3)
unsafe extern "C" fn double_fault(parts: *const Parts) -> ! {
    // SAFETY: the CPU has left the state of the faulting task there, and that task is over.
    let fault = unsafe { (*parts).main.fault() };
    if let Some(handler) = fault_handler() {
        handler(&fault);
    }
    console::release();
    println!(
        "kdump: exception 8 (#DF) eip={:#010x} cr2={:#010x} esp={:#010x} stage={}: the stack \
         is exhausted or damaged",
        fault.eip,
        fault.address,
        fault.registers[3],
        current_stage()
    );
    fail()
}
