// Entry of the capture kernel, by the 32-bit Linux/i386 boot protocol: protected mode, flat
// segments, paging off, interrupts off, ESI = physical address of boot_params. Nothing else is
// assumed. It runs wherever it was loaded: EBP holds physical minus virtual from the first call on.
//
// It owes Rust: zeroed bss, a stack, paging on with the image at its virtual address (and, until
// Rust drops it, at its physical one), EFER.LME and NXE off, CR4 = PAE only.

.section .text.linux_entry32, "ax"
.globl linux_entry32
linux_entry32:
    cli
    cld
    // The four bytes that the protocol sets aside for this are the first stack.
    lea esp, [esi + {scratch} + 4]
    call .Lhere
.Lhere:  pop ebp
    sub ebp, offset .Lhere

    // bss: page tables and the real stack among it.
    lea edi, [ebp + __bss_start]
    mov ecx, offset __bss_end
    sub ecx, offset __bss_start
    shr ecx, 2
    xor eax, eax
    rep stosd
    lea esp, [ebp + linux_stack_top]

    // PAE is what everything below stands on.
    mov eax, 1
    cpuid
    test edx, {cpuid_pae}
    jz no_pae

    // EFER exists where the extended leaf shows NX, SYSCALL or long mode.
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb .Lno_efer
    mov eax, 0x80000001
    cpuid
    test edx, {cpuid_efer_users}
    jz .Lno_efer
    mov ecx, {efer}
    rdmsr
    and eax, {efer_keep}
    wrmsr
.Lno_efer:
    // Two large pages: the image where it is, and where it is linked. The four page directories
    // follow each other, so that the index is the address in units of 2 MiB.
    lea edi, [ebp + boot_page_directories]
    lea eax, [ebp + {image_base}]           // physical start of the image, 2 MiB aligned
    mov edx, eax
    shr edx, 21
    or eax, {large_page}
    mov [edi + edx * 8], eax
    mov edx, {image_base}
    shr edx, 21
    mov [edi + edx * 8], eax

    // The four directory pointers: present is the only bit that is not reserved.
    lea ebx, [ebp + boot_directory_pointers]
    lea eax, [edi + 1]
    mov [ebx], eax
    add eax, 4096
    mov [ebx + 8], eax
    add eax, 4096
    mov [ebx + 16], eax
    add eax, 4096
    mov [ebx + 24], eax

    mov eax, {cr4}
    mov cr4, eax
    mov cr3, ebx
    // Our own descriptors before paging: their address must stay valid through the switch.
    lea eax, [ebp + linux_gdt]
    push eax
    push (4 * 8 - 1) << 16
    lgdt [esp + 2]
    mov eax, {cr0}
    mov cr0, eax
    push {code}
    mov eax, offset .Lpaged
    push eax
    retf
.Lpaged:  mov ecx, {data}
    mov ds, ecx
    mov es, ecx
    mov fs, ecx
    mov gs, ecx
    mov ss, ecx
    mov esp, offset linux_stack_top
    lgdt [linux_gdt_pointer]
    push ebp
    push esi
    call kernel_main
.Lreturned:  hlt
    jmp .Lreturned

// Without PAE there is no way to go on and no console yet: the POST code has to say it.
no_pae:
    mov al, {post_no_pae}
    out {post_port}, al
.Ldead:  hlt
    jmp .Ldead

.section .rodata.linux_gdt, "a"
.balign 8
linux_gdt:
    .quad 0, 0
    .quad {code_descriptor}
    .quad {data_descriptor}
linux_gdt_pointer:
    .word 4 * 8 - 1
    .long linux_gdt

.section .bss.linux_entry, "aw", @nobits
.balign 4096
.globl boot_page_directories
boot_page_directories:
    .skip 4 * 4096
.globl boot_directory_pointers
boot_directory_pointers:
    .skip 32
// Never mapped: what runs over the end of the stack faults instead of overwriting page tables.
.balign 4096
.globl linux_stack_guard
linux_stack_guard:
    .skip 4096
    .skip {stack_size}
linux_stack_top:
