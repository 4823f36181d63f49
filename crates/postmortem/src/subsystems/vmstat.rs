//! Counters of pages (Linux, `mm/vmstat.c`): the sums, with what each CPU has not added yet.

use crate::types::Type;
use crate::{Error, Kernel, Object};

/// Most counters of an enum, and most memory nodes.
const MOST: usize = 1024;

/// Counters by the names of their enumerators, such as `NR_FREE_PAGES`. In pages, but for
/// `NR_KERNEL_STACK_KB`.
#[derive(Clone, Debug, Default)]
pub struct Counters(Vec<(String, i64)>);

impl Counters {
    /// The counters of all nodes and of all zones.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoSymbol`], [`Error::Memory`].
    pub fn read(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let names = names(kernel, "node_stat_item")?;
        let mut of_nodes = sums(&kernel.global("vm_node_stat")?, &names)?;
        let zone_names = names_of_zones(kernel)?;
        let mut of_zones = sums(&kernel.global("vm_zone_stat")?, &zone_names)?;
        for node in nodes(kernel)? {
            let cpus = kernel.online_cpus()?;
            for cpu in &cpus {
                let part = kernel.per_cpu_of(node.field("per_cpu_nodestats")?, *cpu)?;
                add(&mut of_nodes, &part.field("vm_node_stat_diff")?)?;
            }
            for zone in zones(&node)? {
                add_zone(&mut of_zones, &zone, &cpus)?;
            }
        }
        let mut counters = named(&names, &of_nodes);
        counters.extend(named(&zone_names, &of_zones));
        Ok(Self(counters))
    }

    /// The counters of one zone.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn of_zone(zone: &Object<'_>) -> Result<Self, Error> {
        let kernel = zone.kernel();
        let names = names_of_zones(kernel)?;
        let mut counts = sums(&zone.field("vm_stat")?, &names)?;
        add_zone(&mut counts, zone, &kernel.online_cpus()?)?;
        Ok(Self(named(&names, &counts)))
    }

    /// A counter, never below zero: the sum of a moment can be. [`None`] if the kernel has none of
    /// this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        Some((*value).try_into().unwrap_or(0))
    }
}

/// The memory nodes: `struct pglist_data`.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::Memory`].
pub(crate) fn nodes<'k>(kernel: &'k Kernel<'k>) -> Result<Vec<Object<'k>>, Error> {
    if !kernel.has_symbol("node_data") {
        return Ok(vec![kernel.global("contig_page_data")?]);
    }
    let table = kernel.global("node_data")?;
    let online = kernel.symbol("node_online_map")?;
    let bytes = kernel.types().size(kernel.types().find("nodemask_t")?)?.min(MOST as u64 / 8);
    let mut nodes = Vec::new();
    for byte in 0..bytes {
        let bits = kernel.number(online.wrapping_add(byte), 1)?;
        for bit in (0..8).filter(|bit| bits >> bit & 1 != 0) {
            nodes.push(table.index(8 * byte + bit)?.deref()?);
        }
    }
    Ok(nodes)
}

/// The zones of a node that have memory.
///
/// # Errors
/// [`Error::NoMember`], [`Error::Memory`].
pub(crate) fn zones<'k>(node: &Object<'k>) -> Result<Vec<Object<'k>>, Error> {
    let zones = node.field("node_zones")?;
    let mut found = Vec::new();
    for index in 0..zones.length()?.min(MOST as u64) {
        let zone = zones.index(index)?;
        if zone.field("present_pages")?.number()? > 0 {
            found.push(zone);
        }
    }
    Ok(found)
}

fn names_of_zones(kernel: &Kernel<'_>) -> Result<Vec<(String, usize)>, Error> {
    names(kernel, "zone_stat_item")
}

/// The enumerators of an enum of counters, with their places. The last enumerator, which counts
/// the others, and the names of groups are among them.
fn names(kernel: &Kernel<'_>, of: &str) -> Result<Vec<(String, usize)>, Error> {
    let found = kernel.types().find(&format!("enum {of}"))?;
    let found = kernel.types().get(found)?;
    let Type::Enumeration(items) = &*found else { return Err(Error::NoType(of.to_owned())) };
    let place = |value: i64| usize::try_from(value).ok().filter(|place| *place < MOST);
    let named =
        items.values.iter().filter_map(|(name, value)| Some((name.clone(), place(*value)?)));
    Ok(named.collect())
}

/// The counters of an array. The last enumerator is their number.
fn sums(array: &Object<'_>, names: &[(String, usize)]) -> Result<Vec<i64>, Error> {
    let count = names.iter().map(|(_, place)| *place).max().unwrap_or(0);
    (0..count as u64).map(|index| array.index(index)?.signed()).collect()
}

/// Adds what a CPU has not added to the sums yet: an array of `s8`, which not every BTF describes
/// as numbers with a sign.
fn add(sums: &mut [i64], differences: &Object<'_>) -> Result<(), Error> {
    let count = differences.length()?.min(sums.len() as u64);
    for (index, sum) in (0..count).zip(sums) {
        let difference = differences.index(index)?.number()? as i8;
        *sum = sum.wrapping_add(difference.into());
    }
    Ok(())
}

fn add_zone(sums: &mut [i64], zone: &Object<'_>, cpus: &[u32]) -> Result<(), Error> {
    let parts = zone.first_of(&["per_cpu_zonestats", "pageset"])?;
    for cpu in cpus {
        add(sums, &zone.kernel().per_cpu_of(parts, *cpu)?.field("vm_stat_diff")?)?;
    }
    Ok(())
}

fn named(names: &[(String, usize)], counts: &[i64]) -> Vec<(String, i64)> {
    let value = |place: usize| counts.get(place).copied();
    names.iter().filter_map(|(name, place)| Some((name.clone(), value(*place)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// 100 free pages, of which the CPU has taken 7 and not told yet. BTF of Linux 5.10 describes
    /// an `s8` without a sign.
    #[test]
    fn a_cpus_differences_are_added_with_their_sign() {
        let mut fake = Fake::amd64();
        fake.enumeration("node_stat_item", &[("NR_FILE_PAGES", 0), ("NR_VM_NODE_STAT_ITEMS", 1)]);
        fake.enumeration("zone_stat_item", &[("NR_FREE_PAGES", 0), ("NR_VM_ZONE_STAT_ITEMS", 1)]);
        fake.structure("per_cpu_zonestat", 1, &[("vm_stat_diff", "unsigned char [1]", 0)]);
        let members = [
            ("vm_stat", "unsigned long [1]", 0),
            ("per_cpu_zonestats", "struct per_cpu_zonestat *", 8),
        ];
        fake.structure("zone", 16, &members);
        let part = fake.place(&[7_u8.wrapping_neg()]);
        let zone = fake.place_words(&[100, part]);
        fake.symbol("zone", zone);
        let mask = fake.place_words(&[1]);
        fake.symbol("__cpu_online_mask", mask);
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let zone = kernel.object("struct zone", zone).expect("a zone");
        let counters = Counters::of_zone(&zone).expect("counters");
        assert_eq!(counters.get("NR_FREE_PAGES"), Some(93));
        assert_eq!(counters.get("NR_BOUNCE"), None);
    }
}
