//! The handler of the sysrq that crashes a Linux begins with a fault, an oops, or never ends.

use anyhow::Context;

use super::hooks::*;

/// An instruction that is none (`ud2`).
const NO_INSTRUCTION: &[u8] = &[0x0f, 0x0b];
/// Reads from address zero: `xor eax, eax`, `mov eax, [eax]` (of x86_64, `[rax]`).
const NULL_DEREFERENCE: &[u8] = &[0x31, 0xc0, 0x8b, 0x00];

/// Reads from an address that is none on x86_64: `mov rax, 1 << 63`, `mov eax, [rax]`.
const NO_ADDRESS: &[u8] = &[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8b, 0x00];
/// Calls itself: `call .`.
const RECURSION: &[u8] = &[0xe8, 0xfb, 0xff, 0xff, 0xff];
/// Jumps to itself: `jmp .`.
const LOOP: &[u8] = &[0xeb, 0xfe];

/// The instructions that fault.
pub(super) struct Oops(&'static [u8]);

impl Oops {
    pub(super) const INVALID: Self = Self(NO_INSTRUCTION);
    pub(super) const NULL: Self = Self(NULL_DEREFERENCE);
    pub(super) const PROTECTION: Self = Self(NO_ADDRESS);
    pub(super) const STACK: Self = Self(RECURSION);
    pub(super) const ENDLESS: Self = Self(LOOP);
}

impl Hooks for Oops {
    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        let code = vm.facts.resources("Kernel code");
        let code = code.first().context("/proc/iomem shows no Kernel code")?;
        let start = |name| Ok::<_, anyhow::Error>(vm.facts.symbol(name)?.start);
        let handler = start("sysrq_handle_crash")? - start("_text")?;
        vm.memory.write(code.start + handler, self.0)
    }
}
