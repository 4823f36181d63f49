// Where interrupts lead: the timer's, the spurious one that the local APIC makes up, and all others.
// Each leaves the same frame as an exception.

.section .text.interrupt_stubs, "ax"
.globl interrupt_timer
interrupt_timer:
    push 0
    push {timer}
    jmp exception_common

.globl interrupt_spurious
interrupt_spurious:
    push 0
    push {spurious}
    jmp exception_common

.globl interrupt_other
interrupt_other:
    push 0
    push {other}
    jmp exception_common
