// The register pattern: every general register but ESP tells its own number in the order of
// elf_gregset_t (0x50 + n in the highest byte) and the number of its CPU (in the next one). The
// argument, the CPU's number, is on the stack and stays there.

.macro load_pattern
    mov eax, [esp + 4]
    shl eax, 16
    lea ebx, [eax + 0x50005a5a]
    lea ecx, [eax + 0x51005a5a]
    lea edx, [eax + 0x52005a5a]
    lea esi, [eax + 0x53005a5a]
    lea edi, [eax + 0x54005a5a]
    lea ebp, [eax + 0x55005a5a]
    lea eax, [eax + 0x56005a5a]
.endm

.section .text.load_register_pattern, "ax"
.globl load_register_pattern
.type load_register_pattern, @function
load_register_pattern:
    load_pattern
    ret
.size load_register_pattern, . - load_register_pattern

// Where a CPU with nothing to do stays until the NMI: counts itself, then sleeps or spins.
.section .text.guest_cpu_idle, "ax"
.globl guest_cpu_idle
.type guest_cpu_idle, @function
guest_cpu_idle:
    load_pattern
    lock inc dword ptr [{idle_cpus}]
.Lidle:
    hlt
    jmp .Lidle
.size guest_cpu_idle, . - guest_cpu_idle

.section .text.guest_cpu_spin, "ax"
.globl guest_cpu_spin
.type guest_cpu_spin, @function
guest_cpu_spin:
    load_pattern
    lock inc dword ptr [{idle_cpus}]
.Lspin:
    jmp .Lspin
.size guest_cpu_spin, . - guest_cpu_spin
