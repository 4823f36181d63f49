//! Slab caches (Linux, `mm/slub.c`): the numbers of `/proc/slabinfo`.

use collector::Hex;
use serde::Serialize;

use super::holes::Holes;
use super::vmstat;
use super::zones::PAGE;
use crate::report::{Severity, Warning, bytes};
use crate::{Error, Kernel, Object};

/// Bits of the number of objects in a `struct kmem_cache_order_objects`; the order is above them.
const OBJECT_BITS: u32 = 16;
/// A cache that has a quarter of memory is likely a leak.
const MUCH: u64 = 4;

/// All slab caches.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Slabs {
    /// In the order of the kernel's list.
    pub caches: Vec<Cache>,
    /// Parts that could not be read.
    pub missing: Vec<String>,
}

/// A slab cache. Objects in the slabs and sheaves of the CPUs count as active, as the kernel
/// counts them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// Address of its `struct kmem_cache`.
    pub address: Hex,
    /// Bytes of an object as its user sees it.
    pub object_size: u64,
    /// Bytes of an object with all that belongs to it: `objsize` in `/proc/slabinfo`.
    pub size: u64,
    /// Objects in use. [`None`]: the lists were not walked.
    pub active_objects: Option<u64>,
    /// Objects in all slabs.
    pub objects: u64,
    /// Objects in a slab.
    pub objects_per_slab: u64,
    /// A slab has 2^order pages.
    pub order: u64,
    /// Slabs.
    pub slabs: u64,
}

impl Cache {
    /// Bytes of all slabs.
    pub fn bytes(&self) -> u64 {
        let pages = u32::try_from(self.order).ok().and_then(|order| 1_u64.checked_shl(order));
        pages.unwrap_or(0).saturating_mul(PAGE).saturating_mul(self.slabs)
    }
}

/// Reads all caches.
///
/// # Errors
/// [`Error::NoSymbol`], [`Error::Memory`]: not even the head of the list is there.
pub fn read(kernel: &Kernel<'_>) -> Result<Slabs, Error> {
    find(kernel, true)
}

/// The same without the number of objects in use: on a large machine that takes a while.
///
/// # Errors
/// As for [`read`].
pub fn sizes(kernel: &Kernel<'_>) -> Result<Slabs, Error> {
    find(kernel, false)
}

fn find(kernel: &Kernel<'_>, counts_free: bool) -> Result<Slabs, Error> {
    let nodes = vmstat::nodes(kernel)?;
    let nodes = nodes.iter().map(|node| node.field("node_id")?.number());
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let mut holes = Holes::default();
    let list = kernel.global("slab_caches")?.list("struct kmem_cache", "list");
    let mut caches = Vec::new();
    for object in holes.walk("slab caches", list) {
        caches.extend(holes.take("slab cache", cache(&object, &nodes, counts_free)));
    }
    Ok(Slabs { caches, missing: holes.into_list() })
}

fn cache(cache: &Object<'_>, nodes: &[u64], counts_free: bool) -> Result<Cache, Error> {
    let number = |path: &str| cache.field(path)?.number();
    let order = number("oo.x")?;
    let (mut slabs, mut objects, mut free) = (0_u64, 0_u64, 0_u64);
    for node in nodes {
        let part = match cache.has("node") {
            true => cache.field("node")?.index(*node)?,
            false => cache.field("per_node")?.index(*node)?.field("node")?,
        };
        let Some(part) = part.deref_or_null()? else { continue };
        slabs = slabs.saturating_add(part.field("nr_slabs")?.number()?);
        objects = objects.saturating_add(part.field("total_objects")?.number()?);
        if counts_free {
            free = free.saturating_add(free_objects(&part)?);
        }
    }
    Ok(Cache {
        name: cache.field("name")?.text()?,
        address: Hex(cache.address()),
        object_size: number("object_size")?,
        size: number("size")?,
        active_objects: counts_free.then(|| objects.saturating_sub(free)),
        objects,
        objects_per_slab: order & ((1 << OBJECT_BITS) - 1),
        order: order >> OBJECT_BITS,
        slabs,
    })
}

/// Free objects in the slabs of a node's list: those that have some. Before 5.17 a slab is
/// described by its `struct page`.
fn free_objects(node: &Object<'_>) -> Result<u64, Error> {
    let types = node.kernel().types();
    let has_slab = types.has_field("struct slab", "slab_list");
    let of = if has_slab { "struct slab" } else { "struct page" };
    let member = if types.has_field(of, "slab_list") { "slab_list" } else { "lru" };
    let mut sum = 0_u64;
    for slab in node.field("partial")?.list(of, member)? {
        let slab = slab?;
        let (all, used) = (slab.field("objects")?.number()?, slab.field("inuse")?.number()?);
        sum = sum.saturating_add(all.saturating_sub(used));
    }
    Ok(sum)
}

/// Warnings about caches that take a quarter of `memory` (bytes) or more.
pub fn warnings(slabs: &Slabs, memory: u64) -> Vec<Warning> {
    let is_large = |cache: &&Cache| memory > 0 && cache.bytes() >= memory / MUCH;
    let text = |cache: &Cache| {
        let (size, count) = (bytes(cache.bytes()), cache.objects);
        format!("slab cache {} has {size}, with room for {count} objects: a leak?", cache.name)
    };
    let warning = |cache: &Cache| Warning {
        severity: Severity::Warning,
        text: text(cache),
        section: "kmem -s",
    };
    slabs.caches.iter().filter(is_large).map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// A cache with two slabs in the list of its node: 3 of 16 and 15 of 16 objects are in use,
    /// and 40 objects are in all slabs.
    fn fake(slab: &str) -> Fake {
        let mut fake = Fake::amd64();
        fake.structure("list_head", 16, &[("next", "struct list_head *", 0)]);
        fake.structure("kmem_cache_order_objects", 4, &[("x", "unsigned int", 0)]);
        let members = [
            ("size", "unsigned int", 0),
            ("object_size", "unsigned int", 4),
            ("oo", "struct kmem_cache_order_objects", 8),
            ("name", "char *", 16),
            ("list", "struct list_head", 24),
            ("node", "struct kmem_cache_node *[1]", 40),
        ];
        fake.structure("kmem_cache", 48, &members);
        let members = [
            ("nr_slabs", "unsigned long", 0),
            ("total_objects", "unsigned long", 8),
            ("partial", "struct list_head", 16),
        ];
        fake.structure("kmem_cache_node", 32, &members);
        let members = [
            ("slab_list", "struct list_head", 0),
            ("inuse", "unsigned int:16+0", 16),
            ("objects", "unsigned int:15+0", 18),
        ];
        fake.structure(slab, 24, &members);
        fake.structure("pglist_data", 8, &[("node_id", "int", 0)]);
        let node = fake.place_words(&[0]);
        fake.symbol("contig_page_data", node);
        let name = fake.place(b"dentry\0");
        let part = fake.place_words(&[5, 40, 0, 0]);
        let slabs = [(16_u64, 3_u64), (16, 15)]
            .map(|(all, used)| fake.place_words(&[0, 0, all << 16 | used | 1 << 31]));
        let head = fake.place_words(&[0, 0]);
        let cache = fake.place_words(&[64 << 32 | 72, 2 << 16 | 16, name, head, 0, part]);
        fake.put_words(head, &[cache + 24]);
        fake.put_words(part + 16, &[slabs[0]]);
        fake.put_words(slabs[0], &[slabs[1]]);
        fake.put_words(slabs[1], &[part + 16]);
        fake.symbol("slab_caches", head);
        fake
    }

    #[test]
    fn objects_of_partial_slabs_are_counted_in_slabs_and_in_pages() {
        for slab in ["slab", "page"] {
            let dump = fake(slab).dump();
            let kernel = Kernel::open(&dump).expect("a kernel");
            let found = read(&kernel).expect("caches");
            assert_eq!(found.missing, Vec::<String>::new());
            let [cache] = &found.caches[..] else { panic!("one cache: {found:?}") };
            assert_eq!((cache.name.as_str(), cache.size, cache.object_size), ("dentry", 72, 64));
            assert_eq!(
                (cache.objects, cache.active_objects, cache.slabs),
                (40, Some(40 - 13 - 1), 5)
            );
            assert_eq!((cache.order, cache.objects_per_slab, cache.bytes()), (2, 16, 5 * 16384));
            let found =
                [8 * cache.bytes(), 4 * cache.bytes()].map(|all| warnings(&found, all).len());
            assert_eq!(found, [0, 1]);
        }
    }
}
