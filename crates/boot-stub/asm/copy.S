// copy_or_machine_check(to, from, count) copies bytes upwards and returns how many were not copied:
// zero, or at least one when a machine check came in between. Its handler knows the copy by the two
// labels, the second one included: there the last byte is copied, and perhaps not as it was.
.section .text.copy_or_machine_check, "ax"
.globl copy_or_machine_check
copy_or_machine_check:
    push esi
    push edi
    mov edi, [esp + 12]
    mov esi, [esp + 16]
    mov edx, [esp + 20]
    mov ecx, edx
    shr ecx, 2
    and edx, 3
.globl machine_check_copy
machine_check_copy:
    rep movsd
    mov ecx, edx
    rep movsb
.globl machine_check_copied
machine_check_copied:
    xor eax, eax
    pop edi
    pop esi
    ret
.globl machine_check_fixup
machine_check_fixup:
    mov eax, [esp + 12]
    add eax, [esp + 20]
    sub eax, edi
    cmp eax, 1
    adc eax, 0
    pop edi
    pop esi
    ret
