// How the other CPUs get here. A SIPI starts a CPU in real mode at the beginning of a page below
// 1 MiB, so the first part is copied there; it must not depend on its address.

.section .rodata.ap_trampoline, "a"
.code16
.globl ap_trampoline
ap_trampoline:
    cli
    mov ax, cs
    mov ds, ax
    lgdtd [ap_gdt_offset]
    // An INIT leaves the caches off: PE and ET on, all else off.
    mov eax, 0x11
    mov cr0, eax
    // jmp far {code}:ap_entry, 32 bits wide
    .byte 0x66, 0xea
    .long ap_entry
    .word {code}
.balign 4
ap_gdt_pointer:
    .word 4 * 8 - 1
    .long flat_gdt
.set ap_gdt_offset, ap_gdt_pointer - ap_trampoline
.globl ap_trampoline_end
ap_trampoline_end:
.code32

// Protected mode, where the guest was linked. The CPU takes the next number, and with it a stack,
// which ends where the next one begins. A CPU too many stays here.
.section .text.ap_entry, "ax"
ap_entry:
    cld
    mov eax, {data}
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov eax, 1
    lock xadd dword ptr [{numbers_given}], eax
    inc eax
    cmp eax, dword ptr [{cpus}]
    jae .Lap_too_many
    lea ecx, [eax + 1]
    imul ecx, ecx, {stack}
    lea esp, [ecx + {stacks}]
    push eax
    call {ap_main}
.Lap_too_many:
    hlt
    jmp .Lap_too_many
