//! Exceptions: every one of them says where it happened and ends in the failure action, but for
//! NMIs, which are counted and return, machine checks that can be survived, and the one store that
//! is expected to fault. An image may take them itself instead: [`on_fault`], [`on_nmi`],
//! [`on_machine_check`].

#![expect(unsafe_code, reason = "symbols of the assembly")]

use crate::console::{self, current_stage, print, println};
use crate::fail::fail;
use crate::frame::{VECTORS, fault_address};
use crate::gates;
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use spin::Once;

pub use crate::frame::{Fault, Frame, name};
pub use crate::gates::{forget, load};

global_asm!(
    include_str!("../asm/exceptions.S"),
    // #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX
    with_error_code = const 0x6022_7d00,
);

unsafe extern "C" {
    static exception_stubs: u8;
    static probe_write_store: u8;
    static probe_write_fault: u8;
    fn probe_write(address: *mut u8) -> u32;
}

const STUB_SIZE: usize = 16;
const NMI: u32 = 2;
const PAGE_FAULT: u32 = 14;
const MACHINE_CHECK: u32 = 18;

/// Number of NMIs that returned. Its symbol makes the number readable in the image's memory from
/// outside, also after the image is gone.
#[unsafe(no_mangle)]
static NMI_COUNT: AtomicU32 = AtomicU32::new(0);
static FAULT_HANDLER: Once<fn(&Fault)> = Once::new();
static NMI_HANDLER: Once<fn(&Frame)> = Once::new();
static INTERRUPT_HANDLER: Once<fn(&Frame)> = Once::new();
static MACHINE_CHECK_HANDLER: Once<fn(&mut Frame) -> bool> = Once::new();
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Makes an IDT whose 32 entries lead to our stubs, and loads it.
pub fn init() {
    for vector in 0..VECTORS {
        let stub = (&raw const exception_stubs) as u32 + (vector * STUB_SIZE) as u32;
        gates::set_interrupt_gate(vector, stub);
    }
    gates::load();
}

/// Registers the handler of machine checks. It returns true if the CPU can go on at the frame as
/// the handler leaves it. As with all handlers here, the first one that is registered counts.
pub(crate) fn on_machine_check(handler: fn(&mut Frame) -> bool) {
    MACHINE_CHECK_HANDLER.call_once(|| handler);
}

/// Registers the handler of NMIs. It gets the state of the interrupted CPU after the NMI was
/// counted. After its return the CPU goes on. More NMIs are held back until then.
pub fn on_nmi(handler: fn(&Frame)) {
    NMI_HANDLER.call_once(|| handler);
}

/// Registers a handler for every exception that would be reported. After its return the exception
/// is reported after all.
pub fn on_fault(handler: fn(&Fault)) {
    FAULT_HANDLER.call_once(|| handler);
}

/// Registers the handler of interrupts.
pub(crate) fn on_interrupt(handler: fn(&Frame)) {
    INTERRUPT_HANDLER.call_once(|| handler);
}

/// The image's own handler of exceptions, if it has one.
pub(crate) fn fault_handler() -> Option<fn(&Fault)> {
    FAULT_HANDLER.get().copied()
}

fn nmi(frame: &Frame) {
    NMI_COUNT.fetch_add(1, Ordering::Relaxed);
    if let Some(handler) = NMI_HANDLER.get() {
        handler(frame);
    }
}

/// Number of NMIs that have arrived and returned.
pub fn nmi_count() -> u32 {
    NMI_COUNT.load(Ordering::Relaxed)
}

/// True if the CPU lets us write one byte at the virtual `address`; a page fault means no.
///
/// # Safety
/// The byte at `address`, if it is writable after all, must be ours to overwrite.
pub unsafe fn is_writable(address: *mut u8) -> bool {
    // SAFETY: the fault is caught by `exception_handler`; for the rest the caller vouches.
    unsafe { probe_write(address) != 0 }
}

#[unsafe(no_mangle)]
extern "C" fn exception_handler(frame: &mut Frame) {
    let symbol = |at: *const u8| at as u32;
    if frame.vector >= VECTORS as u32 {
        if let Some(handler) = INTERRUPT_HANDLER.get() {
            handler(frame);
        }
    } else if frame.vector == NMI {
        nmi(frame);
    } else if frame.vector == PAGE_FAULT && frame.eip == symbol(&raw const probe_write_store) {
        frame.eip = symbol(&raw const probe_write_fault);
    } else if frame.vector != MACHINE_CHECK
        || !MACHINE_CHECK_HANDLER.get().is_some_and(|handler| handler(frame))
    {
        if let Some(handler) = fault_handler() {
            handler(&Fault::from(&*frame));
        }
        report(frame)
    }
}

fn report(frame: &Frame) -> ! {
    if REPORTING.swap(true, Ordering::Relaxed) {
        // A second exception while the first is reported: say nothing more, just end.
        fail()
    }
    let cr2 = fault_address();
    console::release();
    println!(
        "kdump: exception {} ({}) eip={:#010x} cr2={cr2:#010x} error={:#x} eflags={:#x} stage={}",
        frame.vector,
        name(frame.vector),
        frame.eip,
        frame.error,
        frame.eflags,
        current_stage(),
    );
    print!("kdump: edi esi ebp esp ebx edx ecx eax =");
    for value in frame.registers {
        print!(" {value:08x}");
    }
    println!(" nmis={}", nmi_count());
    if frame.vector == MACHINE_CHECK {
        println!(
            "kdump: machine check: the memory or a bus is broken; see the machine's event log"
        );
    }
    fail()
}
