//! The first kernel's memory map, from `/proc/iomem`.

use std::mem;

use handoff::boot_params::{E820_ACPI, E820_NVS, E820_RESERVED, E820_UNUSABLE};
use procfs_core::{FromBufRead, Iomem};
use vmcore::{PhysAddr, PhysRange};

/// The parts of `/proc/iomem` that a plan needs. All addresses are physical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// Every "System RAM", hot-added memory included ("System RAM (virtio_mem)", "System RAM
    /// (kmem)"), at any depth. The kernel's own code and the slot, which are nested in it, do not
    /// split it; memory that must not be read does.
    pub ram: Vec<PhysRange>,
    /// RAM that is not in `ram`, because it must not be read or the kernel does not use it.
    pub left_out: Vec<LeftOutRam>,
    /// Memory of other types in the firmware's map, with the type's E820 number.
    pub others: Vec<(PhysRange, u32)>,
    /// Every "Crash kernel": the reservations of `crashkernel=`.
    pub reservations: Vec<PhysRange>,
    /// Start of the first kernel's text ("Kernel code").
    pub kernel_code: Option<PhysAddr>,
    /// The kernel's data ("Kernel data": `_sdata` to `_edata`).
    pub kernel_data: Option<PhysRange>,
    /// Its data that was zero at the start ("Kernel bss": `__bss_start` to `__bss_stop`).
    pub kernel_bss: Option<PhysRange>,
    /// True if the kernel hid the addresses: all of them are zero for users other than root.
    pub hidden: bool,
}

/// RAM that no dump will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOutRam {
    /// Its address range.
    pub range: PhysRange,
    /// The reason in a few words: its name in `/proc/iomem`.
    pub reason: String,
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

    /// The same without reservations that are in one of these ranges: they have another purpose.
    #[must_use]
    pub(crate) fn without_slots_in(mut self, others: &[PhysRange]) -> Self {
        self.reservations
            .retain(|slot| !others.iter().any(|other| other.intersect(*slot) == Some(*slot)));
        self
    }

    /// Notes one line: `last` is the address of the last byte.
    fn add(&mut self, (start, last): (u64, u64), name: &str) -> Result<(), String> {
        let range = || {
            let end = last.checked_add(1).map(PhysAddr::new);
            end.and_then(|end| PhysRange::from_bounds(PhysAddr::new(start), end).ok())
                .ok_or_else(|| format!("{start:x}-{last:x} : {name} is no range of memory"))
        };
        match name {
            "Crash kernel" => self.reservations.push(range()?),
            "Kernel code" => self.kernel_code = Some(range()?.start()),
            "Kernel data" => self.kernel_data = Some(range()?),
            "Kernel bss" => self.kernel_bss = Some(range()?),
            _ if is_ram(name) => self.add_ram(range()?),
            _ => {
                if let Some(kind) = e820_type(name) {
                    self.others.push((range()?, kind));
                }
                if is_no_ram(name) {
                    self.leave_out(range()?, name);
                }
                if name == SET_ASIDE {
                    self.left_out.push(LeftOutRam { range: range()?, reason: name.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// RAM, also where an entry around it is something else.
    fn add_ram(&mut self, range: PhysRange) {
        let left = mem::take(&mut self.left_out).into_iter().flat_map(
            |LeftOutRam { range: old, reason }| {
                let rest = without(old, range);
                rest.map(move |range| LeftOutRam { range, reason: reason.clone() })
            },
        );
        self.left_out = left.collect();
        self.ram.push(range);
    }

    /// Takes memory that must not be read out of the RAM that it is nested in, and records it.
    fn leave_out(&mut self, hole: PhysRange, name: &str) {
        let taken = self.ram.iter().filter_map(|ram| ram.intersect(hole));
        let reason = || name.to_owned();
        self.left_out.extend(taken.map(|range| LeftOutRam { range, reason: reason() }));
        self.ram = self.ram.iter().flat_map(|ram| without(*ram, hole)).collect();
    }
}

/// The rest of `range`, lowest first.
fn without(range: PhysRange, hole: PhysRange) -> impl Iterator<Item = PhysRange> {
    let bounds = match range.intersect(hole) {
        Some(hole) => [(range.start(), hole.start()), (hole.end(), range.end())],
        None => [(range.start(), range.end()), (range.end(), range.end())],
    };
    let parts =
        bounds.into_iter().filter_map(|(start, end)| PhysRange::from_bounds(start, end).ok());
    parts.filter(|part| !part.is_empty())
}

/// True if `name` is that of RAM which the kernel uses. A driver that adds memory while the kernel
/// runs gives its name in brackets (Linux, `add_memory_driver_managed`).
fn is_ram(name: &str) -> bool {
    name.strip_prefix("System RAM").is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
}

/// Memory that firmware has set aside for programs: the kernel does not use it until a driver gives
/// it away as RAM (`E820_TYPE_SOFT_RESERVED`).
const SET_ASIDE: &str = "Soft Reserved";

/// True if `name`, nested in RAM, is that of addresses which must not be read: memory that firmware
/// keeps for itself, and the aperture of AMD's GART, which has no memory of its own (Linux,
/// `arch/x86/kernel/aperture_64.c`; kexec-tools leave it out, too).
fn is_no_ram(name: &str) -> bool {
    e820_type(name).is_some() || ["GART", "RAM buffer", "Unknown E820 type"].contains(&name)
}

/// The E820 type for Linux's `name` (`e820_type_to_string` in arch/x86/kernel/e820.c; before 4.12
/// "reserved" was written small).
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
    use vmcore::fake::range;

    #[test]
    fn a_guest_with_memory_above_4_gib() {
        let map = MemoryMap::parse(include_str!("../../tests/fixtures/i386-5g/proc/iomem"));
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

    const ABOVE: u64 = 0x1_0000_0000;

    /// As Linux 6.1 shows a guest with a virtio-mem device, and one with a virtio-pmem or CXL
    /// device whose memory `daxctl reconfigure-device --mode=system-ram` has made RAM.
    #[test]
    fn hot_added_ram_is_ram_at_any_depth() {
        let map = MemoryMap::parse(
            "00100000-7ffdffff : System RAM\n\
             100000000-13fffffff : System RAM\n\
             140000000-33fffffff : virtio0\n  \
               140000000-15fffffff : System RAM (virtio_mem)\n\
             340000000-43fffffff : Persistent Memory\n  \
               340000000-347ffffff : namespace0.0\n  \
               348000000-43fffffff : dax0.0\n    \
                 348000000-43fffffff : System RAM (kmem)\n\
             440000000-53fffffff : Soft Reserved\n  \
               440000000-53fffffff : dax1.0\n    \
                 448000000-53fffffff : System RAM (kmem)\n\
             fd00000000-fdffffffff : PCI Bus 0000:00\n  fd00000000-fd00000fff : System ROM\n",
        );
        let map = map.expect("a good map");
        let ram = [
            range(0x10_0000, 0x7ffe_0000),
            range(ABOVE, 0x1_4000_0000),
            range(0x1_4000_0000, 0x1_6000_0000),
            range(0x3_4800_0000, 0x4_4000_0000),
            range(0x4_4800_0000, 0x5_4000_0000),
        ];
        assert_eq!(map.ram, ram);
        let reason = "Soft Reserved".to_owned();
        let left = LeftOutRam { range: range(0x4_4000_0000, 0x4_4800_0000), reason };
        assert_eq!(map.left_out, [left]);
    }

    /// An Opteron whose firmware has no room for the GART: Linux takes 64 MiB of its RAM as
    /// aperture.
    #[test]
    fn what_must_not_be_read_is_taken_out_of_ram_and_named() {
        let map = MemoryMap::parse(
            "00100000-bffdffff : System RAM\n  \
               01000000-018031d0 : Kernel code\n  \
               20000000-23ffffff : GART\n  \
               30000000-30000fff : Reserved\n  \
               bff00000-bffdffff : ACPI Non-volatile Storage\n\
             c0000000-c3ffffff : GART\n",
        );
        let map = map.expect("a good map");
        let ram = [
            range(0x10_0000, 0x2000_0000),
            range(0x2400_0000, 0x3000_0000),
            range(0x3000_1000, 0xbff0_0000),
        ];
        assert_eq!(map.ram, ram);
        let left: Vec<_> = map.left_out.iter().map(|left| (left.range, &*left.reason)).collect();
        let expected = [
            (range(0x2000_0000, 0x2400_0000), "GART"),
            (range(0x3000_0000, 0x3000_1000), "Reserved"),
            (range(0xbff0_0000, 0xbffe_0000), "ACPI Non-volatile Storage"),
        ];
        assert_eq!(left, expected, "and the aperture outside of RAM is none of it");
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
