//! Interrupts, for an image that wants those of its local APIC. They stay off until it calls
//! [`init`] and then [`enable`].

#![expect(unsafe_code, reason = "the descriptor table, the interrupt flag, port I/O")]

use crate::exceptions::on_interrupt;
use crate::frame::{Frame, VECTORS};
use crate::gates;
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use x86::{io, irq};

/// The timer's vector, of the highest priority class.
pub const TIMER: u8 = 0xf0;
/// The vector of interrupts that were gone before they arrived; these are not to be acknowledged.
pub const SPURIOUS: u8 = 0xff;
/// The error code field of a frame for every other vector.
const OTHER: u8 = 0x20;

/// Data ports of the two 8259s: their masks.
const MASKS_8259: [u16; 2] = [0x21, 0xa1];

global_asm!(
    include_str!("../asm/interrupts.S"),
    timer = const TIMER as u32,
    spurious = const SPURIOUS as u32,
    other = const OTHER as u32,
);

unsafe extern "C" {
    static interrupt_timer: u8;
    static interrupt_spurious: u8;
    static interrupt_other: u8;
}

#[repr(C, align(8))]
struct Idt(UnsafeCell<[u64; 256]>);
// SAFETY: one CPU writes it, in `init`, while its interrupts are off.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([0; 256]));
/// The table is loaded and the handler registered.
static READY: AtomicBool = AtomicBool::new(false);

/// Has `handler` called for every interrupt, with interrupts off: loads an IDT that has all the
/// gates of the one before. The frame's vector is [`TIMER`], [`SPURIOUS`] or something else.
pub fn init(handler: fn(&Frame)) {
    on_interrupt(handler);
    let gate = |stub: *const u8| gates::interrupt_gate(stub as u32);
    let other = gate(&raw const interrupt_other);
    let mut table = [other; 256];
    table[..VECTORS].copy_from_slice(&gates::exceptions());
    table[usize::from(TIMER)] = gate(&raw const interrupt_timer);
    table[usize::from(SPURIOUS)] = gate(&raw const interrupt_spurious);
    let idt = IDT.0.get();
    // SAFETY: one CPU, interrupts off, no other reference.
    unsafe { *idt = table };
    gates::load_table(idt.cast::<u64>().cast_const(), size_of::<Idt>());
    READY.store(true, Ordering::Release);
}

/// Masks all inputs of the two 8259s.
pub fn mask_8259s() {
    for port in MASKS_8259 {
        // SAFETY: a mask touches no memory; on a machine without 8259s the write has no effect.
        unsafe { io::outb(port, 0xff) }
    }
}

/// Lets interrupts in, once [`init`] has made a place for them.
pub fn enable() {
    if READY.load(Ordering::Acquire) {
        // SAFETY: every vector has a gate into our own text.
        unsafe { irq::enable() }
    }
}

/// Keeps interrupts out.
pub fn disable() {
    // SAFETY: code that waits for an interrupt here has a deadline.
    unsafe { irq::disable() }
}
