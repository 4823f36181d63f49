//! The names in a Linux' own symbol table, and the tokens that they are made of, are noise.

use anyhow::{Context, ensure};

use super::hooks::*;
use crate::check::dead_kernel::{hexadecimal, vmcoreinfo};

/// The tables, and the bytes of each that change.
const TABLES: [(&str, usize); 2] =
    [("SYMBOL(kallsyms_names)=", 64 << 10), ("SYMBOL(kallsyms_token_index)=", 512)];

pub(super) struct DamagedSymbols;

impl Hooks for DamagedSymbols {
    fn ready(&mut self, vm: &mut Vm<'_>) -> Result<()> {
        let code = vm.facts.resources("Kernel code");
        let code = code.first().context("/proc/iomem shows no Kernel code")?.start;
        let (text, info) = (vm.facts.symbol("_text")?.start, vmcoreinfo(vm.facts, vm.memory)?);
        for (key, length) in TABLES {
            let at = hexadecimal(&info, key)?;
            ensure!(at > text, "{key} is before the kernel's text");
            vm.memory.write(code + (at - text), &noise(length))?;
        }
        Ok(())
    }
}

/// The same bytes in each run (Marsaglia's xorshift32).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
