//! Exceptions: every one of them says where it happened and ends in the failure action, but for
//! NMIs, which are counted and return, machine checks that can be survived, and the one store that is
//! expected to fault. An image may take them itself instead: [`on_fault`], [`on_nmi`],
//! [`on_machine_check`].

#![expect(unsafe_code, reason = "descriptor tables, CR2, and symbols of the assembly")]

use crate::console::{self, current_stage};
use crate::entry::CODE_SELECTOR;
use crate::{interrupts, print, println};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use x86::controlregs;
use x86::dtables::{DescriptorTablePointer, lidt};

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

/// How many vectors are exceptions.
pub(crate) const VECTORS: usize = 32;
const STUB_SIZE: usize = 16;
const NMI: u32 = 2;
const PAGE_FAULT: u32 = 14;
const MACHINE_CHECK: u32 = 18;

/// Names by vector, as the Intel manual (volume 3, table 6-1) abbreviates them.
const NAMES: [&str; VECTORS] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP", "22", "23", "24", "25", "26", "27",
    "#HV", "#VC", "#SX", "31",
];

#[repr(C, align(8))]
struct Idt(UnsafeCell<[u64; VECTORS]>);
// SAFETY: one CPU writes it, in `init` and `double_fault::route`, before other CPUs are started.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([0; VECTORS]));
/// How many NMIs were let go. By its symbol, whoever looks at the image's memory from outside finds
/// the number when the image itself is gone.
#[unsafe(no_mangle)]
static NMI_COUNT: AtomicU32 = AtomicU32::new(0);
/// The `fn(&Fault)` that [`on_fault`] was given, or null.
static FAULT_HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// The `fn(&Frame)` that [`on_nmi`] was given, or null.
static NMI_HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// The `fn(&mut Frame) -> bool` that [`on_machine_check`] was given, or null.
static MACHINE_CHECK_HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static REPORTING: AtomicBool = AtomicBool::new(false);

/// What the stubs leave on the stack: `pushad`, vector, error code, and the CPU's own part.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// EDI, ESI, EBP, ESP (at the time of `pushad`), EBX, EDX, ECX, EAX.
    pub registers: [u32; 8],
    /// Number of the exception.
    pub vector: u32,
    /// What the CPU pushed for it, or zero.
    pub error: u32,
    /// Where the CPU goes on.
    pub eip: u32,
    /// Its code segment.
    pub cs: u32,
    /// Its flags.
    pub eflags: u32,
}

impl Frame {
    /// ESP at the interrupted instruction. The CPU stays in ring 0 and pushes no stack pointer: it
    /// was what now lies behind the frame.
    pub fn stack_pointer(&self) -> u32 {
        ptr::from_ref(self).wrapping_add(1) as u32
    }
}

/// The state of a CPU at an instruction that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the exception.
    pub vector: u32,
    /// CR2: the linear address that the last page fault was about.
    pub address: u32,
    /// EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX.
    pub registers: [u32; 8],
    /// Where the instruction is.
    pub eip: u32,
    /// Its code segment.
    pub cs: u32,
    /// Its flags.
    pub eflags: u32,
}

impl From<&Frame> for Fault {
    fn from(frame: &Frame) -> Self {
        let mut registers = frame.registers;
        registers[3] = frame.stack_pointer();
        let Frame { vector, eip, cs, eflags, .. } = *frame;
        Self { vector, address: fault_address(), registers, eip, cs, eflags }
    }
}

/// Name of an exception, as the Intel manual (volume 3, table 6-1) abbreviates it.
pub fn name(vector: u32) -> &'static str {
    NAMES.get(vector as usize).unwrap_or(&"?")
}

/// CR2: the linear address of the last page fault.
pub(crate) fn fault_address() -> u32 {
    // SAFETY: reading CR2 has no effect.
    unsafe { controlregs::cr2() as u32 }
}

/// Makes an IDT whose 32 entries lead to our stubs, and loads it.
pub fn init() {
    let table = IDT.0.get();
    for vector in 0..VECTORS {
        // SAFETY: one CPU, interrupts off; the stubs are 16 bytes each, one for every vector.
        unsafe {
            let stub = (&raw const exception_stubs) as u32 + (vector * STUB_SIZE) as u32;
            (*table)[vector] = interrupt_gate(stub);
        }
    }
    load();
}

/// Loads the IDT that [`init`] made: for every other CPU.
pub fn load() {
    load_table(IDT.0.get().cast::<u64>().cast_const(), size_of::<Idt>());
}

/// Loads the table of gates at `base`, `size` bytes long.
pub(crate) fn load_table(base: *const u64, size: usize) {
    let pointer = DescriptorTablePointer { limit: (size - 1) as u16, base };
    // SAFETY: the tables of this crate are static, and every entry is a valid gate into our own text.
    unsafe { lidt(&pointer) }
}

/// The gates of all exceptions, as they are now.
pub(crate) fn gates() -> [u64; VECTORS] {
    // SAFETY: nobody writes while it is read: one CPU, interrupts off.
    unsafe { *IDT.0.get() }
}

/// Loads an IDT without entries, as kexec does before it jumps: from here on any exception and any NMI
/// resets the machine.
pub fn forget() {
    let empty = DescriptorTablePointer::<u64> { limit: 0, base: ptr::null() };
    // SAFETY: a table without entries is not read.
    unsafe { lidt(&empty) }
}

/// A 32-bit interrupt gate, present, ring 0, to `target` in our code segment.
pub(crate) const fn interrupt_gate(target: u32) -> u64 {
    let low = (target & 0xffff) as u64;
    let high = (target >> 16) as u64;
    low | (CODE_SELECTOR as u64) << 16 | 0x8e00 << 32 | high << 48
}

/// Sends `vector` to the task behind `selector` instead of to a stub.
pub(crate) fn set_task_gate(vector: usize, selector: u16) {
    let table = IDT.0.get();
    // SAFETY: one CPU, interrupts off; the gate's task is ready.
    unsafe { (*table)[vector] = u64::from(selector) << 16 | 0x8500 << 32 }
}

/// Has `handler` called for every machine check; it says whether the CPU goes on, with what it has
/// made of the frame.
pub(crate) fn on_machine_check(handler: fn(&mut Frame) -> bool) {
    MACHINE_CHECK_HANDLER.store(handler as *mut (), Ordering::Release);
}

fn survives_machine_check(frame: &mut Frame) -> bool {
    let handler = MACHINE_CHECK_HANDLER.load(Ordering::Acquire);
    if handler.is_null() {
        return false;
    }
    // SAFETY: only `on_machine_check` stores there, and what it stores has this type.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&mut Frame) -> bool>(handler) };
    handler(frame)
}

/// Has `handler` called for every NMI, with the state of the interrupted CPU, after it was counted.
/// When it returns, the CPU goes on. More NMIs are held back until then.
pub fn on_nmi(handler: fn(&Frame)) {
    NMI_HANDLER.store(handler as *mut (), Ordering::Release);
}

/// Has `handler` called for every exception that would be reported, instead of the report. When it
/// returns, the exception is reported after all.
pub fn on_fault(handler: fn(&Fault)) {
    FAULT_HANDLER.store(handler as *mut (), Ordering::Release);
}

/// The image's own handler of exceptions, if it has one.
pub(crate) fn fault_handler() -> Option<fn(&Fault)> {
    let handler = FAULT_HANDLER.load(Ordering::Acquire);
    // SAFETY: only `on_fault` stores there, and what it stores has this type.
    (!handler.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), fn(&Fault)>(handler) })
}

fn nmi(frame: &Frame) {
    NMI_COUNT.fetch_add(1, Ordering::Relaxed);
    let handler = NMI_HANDLER.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `on_nmi` stores there, and what it stores has this type.
        let handler = unsafe { core::mem::transmute::<*mut (), fn(&Frame)>(handler) };
        handler(frame);
    }
}

/// How many NMIs have arrived and were let go.
pub fn nmi_count() -> u32 {
    NMI_COUNT.load(Ordering::Relaxed)
}

/// Whether the CPU lets us write one byte at the virtual `address`; a page fault means no.
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
        interrupts::take(frame);
    } else if frame.vector == NMI {
        nmi(frame);
    } else if frame.vector == PAGE_FAULT && frame.eip == symbol(&raw const probe_write_store) {
        frame.eip = symbol(&raw const probe_write_fault);
    } else if frame.vector != MACHINE_CHECK || !survives_machine_check(frame) {
        if let Some(handler) = fault_handler() {
            handler(&Fault::from(&*frame));
        }
        report(frame)
    }
}

fn report(frame: &Frame) -> ! {
    if REPORTING.swap(true, Ordering::Relaxed) {
        // A second exception while the first is reported: say nothing more, just end.
        crate::fail()
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
    crate::fail()
}
