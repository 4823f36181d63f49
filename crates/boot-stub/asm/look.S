// look_or_machine_check(from, seen, count) looks at `count` bytes, whole lines of 64 and at least one, stores
// in *seen the bits that were set in any word it looked at, and returns zero. It looks at all words up to the
// first line with a bit set, and at one word of each line behind it: enough to know that these can be read.
// When a machine check comes in between it ends as the copy does (copy.S): hence the order of its arguments.
.section .text.look_or_machine_check, "ax"
.globl look_or_machine_check
look_or_machine_check:
    push esi
    push edi
    mov edi, [esp + 12]
    mov ecx, [esp + 20]
    shr ecx, 6
    xor eax, eax
.globl machine_check_look
machine_check_look:
    or eax, [edi]
    or eax, [edi + 4]
    or eax, [edi + 8]
    or eax, [edi + 12]
    or eax, [edi + 16]
    or eax, [edi + 20]
    or eax, [edi + 24]
    or eax, [edi + 28]
    or eax, [edi + 32]
    or eax, [edi + 36]
    or eax, [edi + 40]
    or eax, [edi + 44]
    or eax, [edi + 48]
    or eax, [edi + 52]
    or eax, [edi + 56]
    or eax, [edi + 60]
    lea edi, [edi + 64]
    jnz 2f
    dec ecx
    jnz machine_check_look
    jmp machine_check_looked
1:  or eax, [edi]
    lea edi, [edi + 64]
2:  dec ecx
    jnz 1b
.globl machine_check_looked
machine_check_looked:
    mov esi, [esp + 16]
    mov [esi], eax
    xor eax, eax
    pop edi
    pop esi
    ret
