//! The state of a CPU at an exception or an interrupt.

#![expect(unsafe_code, reason = "CR2")]

use core::ptr;
use x86::controlregs;

/// Number of vectors that are exceptions.
pub(crate) const VECTORS: usize = 32;

/// Names by vector, as the Intel manual (volume 3, table 6-1) abbreviates them.
const NAMES: [&str; VECTORS] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP", "22", "23", "24", "25", "26", "27",
    "#HV", "#VC", "#SX", "31",
];

/// The frame that the stubs leave on the stack: `pushad`, vector, error code, and the CPU's own
/// part.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// EDI, ESI, EBP, ESP (at the time of `pushad`), EBX, EDX, ECX, EAX.
    pub registers: [u32; 8],
    /// Number of the exception.
    pub vector: u32,
    /// The error code of the CPU, or zero.
    pub error: u32,
    /// Address at which the CPU goes on.
    pub eip: u32,
    /// Its code segment.
    pub cs: u32,
    /// Its flags.
    pub eflags: u32,
}

impl Frame {
    /// ESP at the interrupted instruction. The CPU stays in ring 0 and pushes no stack pointer: it
    /// was the address after the frame.
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
    /// Address of the instruction.
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
