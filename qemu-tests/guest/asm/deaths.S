// Ways to die. Each function is called with the number of its CPU, loads the register pattern
// (registers.S) and then needs no register for what it does wrong, so that the pattern must come
// back in the CPU's note, together with the name of the function.

.macro death name
.section .text.\name, "ax"
.globl \name
.type \name, @function
\name:
    load_pattern
.endm

.macro end_death name
    ud2
.size \name, . - \name
.endm

death guest_null_dereference
    mov dword ptr [0], eax
end_death guest_null_dereference

death guest_invalid_opcode
end_death guest_invalid_opcode

// A selector behind the end of every GDT that there is.
death guest_general_protection
    mov fs, word ptr [.Lbad_selector]
end_death guest_general_protection

death guest_divide_error
    div dword ptr [.Lzero]
end_death guest_divide_error

death guest_stack_overflow
.Ldeeper:
    call .Ldeeper
end_death guest_stack_overflow

// No exception finds a handler, nor does the double fault that follows.
death guest_triple_fault
    lidt [.Lempty_idt]
end_death guest_triple_fault

// Waits for an NMI that is not ignored, or that is and shows at the address that is the third
// argument; or until the TSC passes the 64 bits that are the first two.
.section .text.guest_wait_for_nmi, "ax"
.globl guest_wait_for_nmi
.type guest_wait_for_nmi, @function
guest_wait_for_nmi:
    mov ecx, [esp + 12]
.Lno_nmi:
    cmp dword ptr [ecx], 0
    jne .Lwaited
    rdtsc
    sub eax, [esp + 4]
    sbb edx, [esp + 8]
    jb .Lno_nmi
.Lwaited:
    ret
.size guest_wait_for_nmi, . - guest_wait_for_nmi

.section .rodata.guest_deaths, "a"
.balign 4
.Lzero:
    .long 0
.Lbad_selector:
    .word 0x7ff8
.Lempty_idt:
    .word 0
    .long 0
