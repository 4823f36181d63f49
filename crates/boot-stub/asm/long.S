// Entry of purgatory from an x86_64 kernel: 64-bit mode, paging on, all of memory mapped where it
// is, interrupts off. Leaves long mode and goes on at flat_entry32, for which nothing else is known.
//
// The order is that of the Intel manual, volume 3, 9.8.5.4. Assembled into an i386 object: addresses
// are loaded as 32-bit immediates, which the CPU extends with zeros, so that only R_386_32 is needed
// and a slot between 2 and 4 GiB is reached. Nothing is written; there is no stack.

.section .text.flat_entry64, "ax"
.globl flat_entry64
.code64
flat_entry64:
    cli
    cld
    // PCIDE forbids to switch paging off, and CET watches far jumps. LA57 must stay until then.
    mov rax, cr4
    and eax, {cr4_keep}
    mov cr4, rax
    // The 32-bit descriptors, and data segments from them: 64-bit mode looks at none of these.
    mov esi, offset flat_gdt_pointer
    lgdt [rsi]
    mov eax, {data}
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esi, offset .Lcompatibility_pointer
    jmp fword ptr [rsi]

.code32
.Lcompatibility:
    mov eax, cr0
    and eax, {cr0_keep}
    mov cr0, eax
    mov ecx, {efer}
    rdmsr
    and eax, {efer_keep}
    wrmsr
    xor eax, eax
    mov cr4, eax
    jmp flat_entry32

.section .rodata.flat_entry64, "a"
.balign 4
.Lcompatibility_pointer:
    .long .Lcompatibility
    .word {code}
