//! Words of firmware and hypervisor in the first kernel's files: the address of the ACPI tables,
//! and the encryption of memory.

use vmcore::PhysAddr;

/// The word on a kernel's command line that says where the ACPI root pointer is (Linux,
/// `Documentation/admin-guide/kernel-parameters.txt`).
const RSDP_WORD: &str = "acpi_rsdp=";

/// The ACPI root pointer of a machine with EFI firmware. A kernel that did not come from firmware
/// cannot find its place. It is taken from `/sys/firmware/efi/systab`, or from this kernel's own
/// command line. [`None`] on a machine with a BIOS, on which a search finds it.
pub(crate) fn acpi_rsdp(systab: Option<&str>, command_line: &str) -> Option<PhysAddr> {
    let mut told = command_line.split_whitespace().filter_map(|word| word.strip_prefix(RSDP_WORD));
    let listed = |key: &str| systab?.lines().find_map(|line| line.strip_prefix(key));
    // ACPI 2.0 and later, else 1.0.
    let listed = listed("ACPI20=").or_else(|| listed("ACPI="));
    let digits = listed.or_else(|| told.next_back())?.trim().strip_prefix("0x")?;
    let address = u64::from_str_radix(digits, 16).ok().filter(|address| *address != 0)?;
    Some(PhysAddr::new(address))
}

/// The words for the command line of a capture kernel.
pub(crate) fn rsdp_word(rsdp: PhysAddr) -> String {
    format!("{RSDP_WORD}{rsdp}")
}

/// Which technique keeps the hypervisor, and with it every second kernel and every device, from
/// this guest's memory; from the flags in `/proc/cpuinfo` (Linux,
/// `arch/x86/include/asm/cpufeatures.h`).
pub(crate) fn confidential(cpuinfo: &str) -> Option<&'static str> {
    let has = |flag| has_flag(cpuinfo, flag);
    if has("tdx_guest") {
        return Some("TDX");
    }
    // On the host the CPU has these as well; a hypervisor shows them to encrypted guests only.
    (has("hypervisor") && (has("sev") || has("sev_es") || has("sev_snp"))).then_some("SEV")
}

/// True if this kernel encrypts its own memory (AMD SME), so that all others read ciphertext:
/// `sme_mask` of VMCOREINFO decides. Without it, the CPU's flag and the command line decide; the
/// flag alone only means that the CPU supports it.
///
/// Source: Linux, `Documentation/arch/x86/amd-memory-encryption.rst`.
pub(crate) fn encrypts_memory(sme_mask: Option<u64>, cpuinfo: &str, command_line: &str) -> bool {
    let mut words = command_line.split_whitespace();
    match sme_mask {
        Some(mask) => mask != 0,
        None => has_flag(cpuinfo, "sme") && words.any(|word| word == "mem_encrypt=on"),
    }
}

/// True if the rate of the time stamp counter does not change: a CPU says so in `/proc/cpuinfo`, or
/// the counter is one of the clocks that the kernel has not ruled out (`available_clocksource`).
pub(crate) fn has_steady_tsc(cpuinfo: &str, clocks: &str) -> bool {
    let is_clock = clocks.split_whitespace().any(|clock| clock == "tsc");
    has_flag(cpuinfo, "tsc") && (has_flag(cpuinfo, "constant_tsc") || is_clock)
}

fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|one| one == flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux shows them: QEMU's own CPU, KVM with a clock of its own, counters that follow the
    /// frequency or stand still.
    #[test]
    fn a_counter_is_steady_that_is_constant_or_a_clock() {
        let is_steady = |flags: &str, clocks| {
            has_steady_tsc(&format!("processor\t: 0\nflags\t\t: {flags}\n"), clocks)
        };
        assert!(is_steady("fpu de pse tsc msr pae", "tsc hpet acpi_pm \n"));
        assert!(is_steady("fpu tsc constant_tsc nonstop_tsc", "kvm-clock acpi_pm"));
        assert!(!is_steady("fpu tsc msr", "hpet acpi_pm"));
        assert!(!is_steady("fpu tsc msr", "tsc-early jiffies"));
        assert!(!is_steady("fpu tsc_adjust msr", "tsc"));
        assert!(!has_steady_tsc("", ""));
    }

    #[test]
    fn the_root_pointer_is_where_efi_or_the_first_loader_says() {
        let systab = "ACPI20=0x7f77e014\nACPI=0x7f77e000\nSMBIOS=0x7f6ed000\n";
        assert_eq!(acpi_rsdp(Some(systab), "quiet"), Some(PhysAddr::new(0x7f77_e014)));
        assert_eq!(acpi_rsdp(Some("ACPI=0xe0000\n"), ""), Some(PhysAddr::new(0xe_0000)));
        let told = "quiet acpi_rsdp=0xf59d0 ro";
        assert_eq!(acpi_rsdp(None, told), Some(PhysAddr::new(0xf_59d0)));
        for (systab, line) in [
            (None, "quiet"),
            (Some("SMBIOS=0x1\n"), ""),
            (Some("ACPI20=0x0\n"), ""),
            (None, "acpi_rsdp=7"),
        ] {
            assert_eq!(acpi_rsdp(systab, line), None, "{systab:?} {line}");
        }
        assert_eq!(rsdp_word(PhysAddr::new(0x7f77_e014)), "acpi_rsdp=0x7f77e014");
    }

    #[test]
    fn a_host_that_encrypts_is_told_from_one_that_could() {
        let cpu = "processor\t: 0\nflags\t\t: fpu sme sev\n";
        assert!(encrypts_memory(Some(1 << 47), "", ""));
        assert!(!encrypts_memory(Some(0), cpu, "quiet mem_encrypt=on"), "the kernel knows better");
        assert!(encrypts_memory(None, cpu, "quiet mem_encrypt=on"));
        assert!(!encrypts_memory(None, cpu, "quiet"));
        assert!(!encrypts_memory(None, "flags\t\t: fpu smep\n", "mem_encrypt=on"));
    }

    #[test]
    fn an_encrypted_guest_is_told_from_a_host_that_can_have_some() {
        let cpu = |flags: &str| format!("processor\t: 0\nflags\t\t: fpu pse {flags}\nbugs\t:\n");
        assert_eq!(confidential(&cpu("hypervisor sev sev_es")), Some("SEV"));
        assert_eq!(confidential(&cpu("hypervisor tdx_guest")), Some("TDX"));
        assert_eq!(confidential(&cpu("sev sev_es sev_snp")), None);
        assert_eq!(confidential(&cpu("hypervisor")), None);
        assert_eq!(confidential(""), None);
    }
}
