//! The first kernel's memory map, from `/proc/iomem`.

use procfs_core::{FromBufRead, Iomem};
use vmcore::{PhysAddr, PhysRange};

/// What `/proc/iomem` says that a plan needs. All addresses are physical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// Every "System RAM". What is nested in it (kernel code, the slot) does not split it.
    pub ram: Vec<PhysRange>,
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
            _ => {}
        }
        Ok(())
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
