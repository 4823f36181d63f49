//! Addresses of the variables and functions that the readers know by name.

use super::kallsyms::{Budget, Kallsyms};
use crate::Error;
use vmcore::{ReadPhys, Vmcoreinfo};

/// The table of symbols: each with its name in Linux and the key of its line in VMCOREINFO.
macro_rules! symbols {
    ($($(#[$doc:meta])* $symbol:ident = $name:literal,)*) => {
        /// A symbol of Linux that the readers need. Not every kernel has each of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Symbol { $($(#[$doc])* $symbol,)* }

        impl Symbol {
            /// All of them.
            pub const ALL: [Self; NAMES.len()] = [$(Self::$symbol,)*];
        }

        const NAMES: [&str; [$($name,)*].len()] = [$($name,)*];
        const KEYS: [&str; NAMES.len()] = [$(concat!("SYMBOL(", $name, ")"),)*];
    };
}

symbols! {
    /// Start of the kernel's text.
    Text = "_stext",
    /// End of the kernel's text, without that of its start-up.
    TextEnd = "_etext",
    /// Start of the text of the start-up, which is freed after that.
    InitText = "_sinittext",
    /// End of that text.
    InitTextEnd = "_einittext",
    /// Start of the ORC entries' addresses.
    OrcIp = "__start_orc_unwind_ip",
    /// End of the ORC entries' addresses.
    OrcIpEnd = "__stop_orc_unwind_ip",
    /// Start of the ORC entries.
    Orc = "__start_orc_unwind",
    /// End of the ORC entries.
    OrcEnd = "__stop_orc_unwind",
    /// The layout of ORC entries, 20 bytes (6.4 and later).
    OrcHeader = "__start_orc_header",
    /// The function that enters the capture kernel.
    CrashKexec = "__crash_kexec",
    /// For each CPU, the distance of its variables.
    PerCpuOffset = "__per_cpu_offset",
    /// The running task, a variable of each CPU.
    CurrentTask = "current_task",
    /// The running task and more, a variable of each CPU (6.2 to 6.14).
    PcpuHot = "pcpu_hot",
    /// The first task.
    InitTask = "init_task",
    /// The list of modules.
    Modules = "modules",
    /// The addresses of modules (`mod_tree`).
    ModTree = "mod_tree",
    /// Start of the BTF.
    Btf = "__start_BTF",
    /// End of the BTF.
    BtfEnd = "__stop_BTF",
    /// Number of the CPU that panicked first.
    PanicCpu = "panic_cpu",
    /// The CPUs that are online, as bits.
    OnlineCpus = "__cpu_online_mask",
    /// Number of CPUs that there may be.
    CpuCount = "nr_cpu_ids",
}

impl Symbol {
    /// Its name in Linux.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Addresses of symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    addresses: [Option<u64>; NAMES.len()],
}

impl Symbols {
    /// The addresses that VMCOREINFO has. The loader adds all that the kernel shows, `_etext` among
    /// them; if that is missing, `kallsyms` is searched for the rest, in one pass.
    ///
    /// # Errors
    /// [`Error::BadKey`] for a line that is no address; names that cannot be read.
    pub fn find<M: ReadPhys>(
        vmcoreinfo: &[u8],
        kallsyms: Option<&Kallsyms<'_, M>>,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Error> {
        let mut symbols = Self::of(vmcoreinfo)?;
        if symbols.get(Symbol::TextEnd).is_none()
            && let Some(kallsyms) = kallsyms
        {
            let found = kallsyms.addresses_of(NAMES, budget)?;
            for (address, found) in symbols.addresses.iter_mut().zip(found) {
                *address = address.or(found);
            }
        }
        Ok(symbols)
    }

    /// The addresses that VMCOREINFO has, and no others.
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub fn of(vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let lines = Vmcoreinfo::new(vmcoreinfo);
        let mut symbols = Self::default();
        for (address, key) in symbols.addresses.iter_mut().zip(KEYS) {
            let parse = |value| u64::from_str_radix(value, 16).map_err(|_| Error::BadKey { key });
            *address = lines.get(key).map(parse).transpose()?;
        }
        Ok(symbols)
    }

    /// The address of a symbol, if the kernel has it.
    pub const fn get(&self, symbol: Symbol) -> Option<u64> {
        self.addresses[symbol as usize]
    }
}
