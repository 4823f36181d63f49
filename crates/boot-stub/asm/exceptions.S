// One stub of 16 bytes for each of the 32 exceptions: push a zero where the CPU pushes no error
// code, then the vector, then the registers, and hand the frame to Rust. Interrupts stay off.

.section .text.exception_stubs, "ax"
.globl exception_stubs
.balign 16
exception_stubs:
.set vector, 0
.rept 32
    .balign 16
    .if ((1 << vector) & {with_error_code}) == 0
    push 0
    .endif
    push vector
    jmp exception_common
    .set vector, vector + 1
.endr

.globl exception_common
exception_common:
    pushad
    cld
    push esp
    call exception_handler
    add esp, 4
    popad
    add esp, 8
    iretd

// Tries to store one byte; returns 1 when the CPU let it through and 0 when it faulted. The handler
// knows the instruction by its address and goes on at the second label.
.section .text.probe_write, "ax"
.globl probe_write
probe_write:
    mov eax, [esp + 4]
.globl probe_write_store
probe_write_store:
    mov byte ptr [eax], 0
    mov eax, 1
    ret
.globl probe_write_fault
probe_write_fault:
    xor eax, eax
    ret
