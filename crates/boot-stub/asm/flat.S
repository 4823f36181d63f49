// Entry of purgatory and of the test guest: protected mode, paging off, interrupts off, at the
// address that the image runs at. Nothing else is known: not the descriptor tables, not the stack.
// Leaves EAX and EBX of the caller (multiboot's magic and information) as kernel_main's arguments.

.section .text.flat_entry32, "ax"
.globl flat_entry32
flat_entry32:
    cli
    cld
    lgdt [flat_gdt_pointer]
    mov esp, offset flat_stack_top
    push {code}
    mov ecx, offset .Lflat
    push ecx
    retf
.Lflat:  mov ecx, {data}
    mov ds, ecx
    mov es, ecx
    mov fs, ecx
    mov gs, ecx
    mov ss, ecx
    push ebx
    push eax
    call kernel_main
.Lflat_returned:  hlt
    jmp .Lflat_returned

.section .rodata.flat_gdt, "a"
.balign 8
.globl flat_gdt
flat_gdt:
    .quad 0, 0
    .quad {code_descriptor}
    .quad {data_descriptor}
flat_gdt_pointer:
    .word 4 * 8 - 1
    .long flat_gdt
    // In 64-bit mode the base has 64 bits.
    .long 0

.section .bss.flat_stack, "aw", @nobits
.balign 16
    .skip {stack_size}
flat_stack_top:
