//! The first kernel's memory map, from `/proc/iomem`.

use handoff::boot_params::{E820_ACPI, E820_NVS, E820_RESERVED, E820_UNUSABLE};
use procfs_core::{FromBufRead, Iomem};
use vmcore::{PhysAddr, PhysRange};

/// What `/proc/iomem` says that a plan needs. All addresses are physical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// Every "System RAM". What is nested in it (kernel code, the slot) does not split it.
    pub ram: Vec<PhysRange>,
    /// Memory of other types in the firmware's map, with the type's E820 number.
    pub others: Vec<(PhysRange, u32)>,
    /// Every "Crash kernel": what `crashkernel=` reserved.
    pub reservations: Vec<PhysRange>,
    /// Where the first kernel's text starts ("Kernel code").
    pub kernel_code: Option<PhysAddr>,
    /// Whether the kernel hid the addresses: to who is not root, all of them are zero.
    pub hidden: bool,
}

impl MemoryMap {
    /// Reads the text of `/proc/iomem`.
    ///
    /// # Errors
    /// The line that is not `START-END : NAME`, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Iomem(entries) =
            Iomem::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?;
        let hidden = !entries.is_empty() && entries.iter().all(|(_, e)| e.address == (0, 0));
        let mut map = Self { hidden, ..Self::default() };
        if hidden {
            return Ok(map);
        }
        for (_, entry) in &entries {
            map.add(entry.address, &entry.name)?;
        }
        Ok(map)
    }

    /// Notes one line: `last` is the address of the last byte.
    fn add(&mut self, (start, last): (u64, u64), name: &str) -> Result<(), String> {
        let range = || {
            let end = last.checked_add(1).map(PhysAddr::new);
            end.and_then(|end| PhysRange::from_bounds(PhysAddr::new(start), end).ok())
                .ok_or_else(|| format!("{start:x}-{last:x} : {name} is no range of memory"))
        };
        match name {
            "System RAM" => self.ram.push(range()?),
            "Crash kernel" => self.reservations.push(range()?),
            "Kernel code" => self.kernel_code = Some(range()?.start()),
            _ => {
                if let Some(kind) = e820_type(name) {
                    self.others.push((range()?, kind));
                }
            }
        }
        Ok(())
    }
}

/// The E820 type of what Linux calls `name` (`e820_type_to_string` in arch/x86/kernel/e820.c; before
/// 4.12 "reserved" was written small).
fn e820_type(name: &str) -> Option<u32> {
    match name {
        "Reserved" | "reserved" => Some(E820_RESERVED),
        "ACPI Tables" => Some(E820_ACPI),
        "ACPI Non-volatile Storage" => Some(E820_NVS),
        "Unusable memory" => Some(E820_UNUSABLE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end)).expect("a range")
    }

    #[test]
    fn a_guest_with_memory_above_4_gib() {
        let map = MemoryMap::parse(include_str!("../tests/fixtures/i386-5g/proc/iomem"));
        let map = map.expect("a good map");
        let ram = [
            range(0x1000, 0x9_fc00),
            range(0x10_0000, 0xbffe_0000),
            range(0x1_0000_0000, 0x1_8000_0000),
        ];
        assert_eq!(map.ram, ram);
        assert_eq!(map.reservations, [range(0x100_0000, 0x300_0000)]);
        assert_eq!(map.kernel_code, Some(PhysAddr::new(0x1a00_0000)));
        assert!(!map.hidden);
    }

    #[test]
    fn firmwares_other_memory_keeps_its_type() {
        let map = MemoryMap::parse(
            "00000000-00000fff : Reserved\n\
             00001000-0009fbff : System RAM\n\
             000a0000-000bffff : PCI Bus 0000:00\n\
             7f000000-7f00ffff : ACPI Tables\n\
             7f010000-7f01ffff : ACPI Non-volatile Storage\n\
             7f020000-7f020fff : Unusable memory\n\
             e0000000-efffffff : PCI MMCONFIG 0000 [bus 00-ff]\n  e0000000-efffffff : reserved\n",
        );
        let others = [
            (range(0, 0x1000), 2),
            (range(0x7f00_0000, 0x7f01_0000), 3),
            (range(0x7f01_0000, 0x7f02_0000), 4),
            (range(0x7f02_0000, 0x7f02_1000), 5),
            (range(0xe000_0000, 0xf000_0000), 2),
        ];
        assert_eq!(map.expect("a good map").others, others);
    }

    #[test]
    fn what_an_ordinary_user_sees() {
        let map = MemoryMap::parse(
            "00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n",
        );
        assert_eq!(map, Ok(MemoryMap { hidden: true, ..MemoryMap::default() }));
    }

    #[test]
    fn damaged_lines_are_named() {
        let backwards =
            MemoryMap::parse("00002000-00001000 : System RAM\n").expect_err("backwards");
        assert!(backwards.contains("2000-1000 : System RAM"), "{backwards}");
        assert!(MemoryMap::parse("00001000-ffffffffffffffff : System RAM\n").is_err());
        assert!(MemoryMap::parse("what is this\n").is_err());
        assert!(MemoryMap::parse("1000 : System RAM\n").is_err());
    }

    #[test]
    fn lines_that_do_not_matter_may_be_odd() {
        let map = MemoryMap::parse("00001000-00000fff : PCI Bus : 0000:00\n").expect("passed over");
        assert_eq!(map, MemoryMap::default());
    }
}
