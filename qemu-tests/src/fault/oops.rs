//! The handler of the sysrq that crashes a Linux begins with a fault: an oops.

use anyhow::Context;

use super::hooks::*;

/// An instruction that is none (`ud2`).
const NO_INSTRUCTION: &[u8] = &[0x0f, 0x0b];
/// Reads from address zero: `xor eax, eax`, `mov eax, [eax]` (of x86_64, `[rax]`).
const NULL_DEREFERENCE: &[u8] = &[0x31, 0xc0, 0x8b, 0x00];

/// The instructions that fault.
pub(super) struct Oops(&'static [u8]);

impl Oops {
    pub(super) const INVALID: Self = Self(NO_INSTRUCTION);
    pub(super) const NULL: Self = Self(NULL_DEREFERENCE);
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
