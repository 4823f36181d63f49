//! The handler of the sysrq that crashes a Linux begins with an instruction that is none: an oops.

use anyhow::Context;

use super::hooks::*;

/// The instruction that is none (`ud2`).
const NO_INSTRUCTION: [u8; 2] = [0x0f, 0x0b];

pub(super) struct Oops;

impl Hooks for Oops {
    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        let code = vm.facts.resources("Kernel code");
        let code = code.first().context("/proc/iomem shows no Kernel code")?;
        let start = |name| Ok::<_, anyhow::Error>(vm.facts.symbol(name)?.start);
        let handler = start("sysrq_handle_crash")? - start("_text")?;
        vm.memory.write(code.start + handler, &NO_INSTRUCTION)
    }
}
