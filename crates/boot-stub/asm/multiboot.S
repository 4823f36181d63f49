// The header by which `qemu -kernel` and GRUB know a multiboot kernel (Multiboot 0.6.96, 3.1).

.section .multiboot, "a"
.balign 4
multiboot_header:
    .long 0x1badb002
    .long 0x00000003                        // page-aligned modules, memory map wanted
    .long -(0x1badb002 + 0x00000003)
