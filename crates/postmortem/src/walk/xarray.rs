//! XArrays and radix trees (Linux, `include/linux/xarray.h`, `include/linux/radix-tree.h`).

use std::rc::Rc;

use super::entry::{Entry, is_node};
use crate::{Error, Kernel, Object};

/// Most slots of a node.
const MOST_SLOTS: u64 = 64;
/// Highest shift of a node: it still has bits of an index.
const HIGHEST_SHIFT: u64 = 63;

/// Form of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `xarray`: bits 10 mark nodes, bit 0 numbers. Since 4.20.
    Array,
    /// `radix_tree_root`: bits 01 mark nodes, bit 1 numbers. Up to 4.19.
    Radix,
}

/// Places of the members of a node.
#[derive(Debug)]
struct Layout {
    form: Form,
    word: u64,
    shift: u64,
    parent: u64,
    slots: u64,
    /// Slots of a node: a power of two.
    count: u64,
}

/// A node on the way.
#[derive(Debug)]
struct Level {
    at: u64,
    /// Index of its first slot.
    base: u64,
    shift: u64,
    slots: Rc<[u64]>,
    next: usize,
}

/// The entries of a tree, by their indices. An error stands for a subtree, and the walk goes on
/// after it.
///
/// Each node must name the node above it as its parent, and covers less than that. So a walk comes
/// to a node once at most, whatever the pointers are.
#[derive(Debug)]
pub struct RadixTree<'k> {
    kernel: &'k Kernel<'k>,
    layout: Layout,
    root: Option<u64>,
    path: Vec<Level>,
}

impl Layout {
    fn of(kernel: &Kernel<'_>, form: Form) -> Result<Self, Error> {
        let types = kernel.types();
        let name = match form {
            Form::Array => "struct xa_node",
            Form::Radix => "struct radix_tree_node",
        };
        let of = types.find(name)?;
        let slots = types.field(of, "slots")?;
        let word = types.word;
        let count = types.size(slots.of)? / word;
        let layout = Self {
            form,
            word,
            shift: types.offset(name, "shift")?,
            parent: types.offset(name, "parent")?,
            slots: slots.bits / 8,
            count,
        };
        let fits = count.is_power_of_two() && (2..=MOST_SLOTS).contains(&count);
        if fits {
            Ok(layout)
        } else {
            Err(Error::NoMember { of: name.into(), member: "slots".into() })
        }
    }

    /// Address of the node that an entry points to.
    const fn node(&self, word: u64) -> Option<u64> {
        match self.form {
            Form::Array if is_node(word) => Some(word - 2),
            Form::Radix if word & 3 == 1 => Some(word - 1),
            _ => None,
        }
    }

    /// True if the entry says that an earlier slot of the node at `at` covers this one.
    fn is_sibling(&self, word: u64, at: u64) -> bool {
        match self.form {
            Form::Array => word & 3 == 2 && word >> 2 < self.count - 1,
            Form::Radix => {
                let first = at.wrapping_add(self.slots);
                word & 3 == 1 && (word - 1).wrapping_sub(first) < self.count * self.word
            }
        }
    }

    /// The entry in the form of an XArray. [`None`] for none.
    fn stored(&self, first: u64, last: u64, word: u64) -> Option<Entry> {
        let word = match self.form {
            Form::Array => word,
            Form::Radix if word & 2 != 0 => word >> 2 << 1 | 1,
            Form::Radix => word,
        };
        Some(Entry { first, last, word }).filter(|entry| entry.is_stored())
    }
}

fn damaged(at: u64, why: &'static str) -> Error {
    Error::Damaged { what: "XArray", at, why }
}

impl RadixTree<'_> {
    /// Enters the node at `at`, which covers the indices from `base` on.
    fn enter(&mut self, at: u64, base: u64) -> Result<(), Error> {
        let layout = &self.layout;
        let shift = self.kernel.number(at.wrapping_add(layout.shift), 1)?;
        let parent = self.kernel.word(at.wrapping_add(layout.parent))?;
        // A radix tree's pointer to a parent may be marked as that of a node.
        let own = layout.node(parent).unwrap_or(parent);
        let last = self.path.last();
        if last.is_some_and(|last| last.shift <= shift) || shift > HIGHEST_SHIFT {
            return Err(damaged(at, "a node covers more than the one above it"));
        }
        if own != last.map_or(0, |last| last.at) {
            return Err(damaged(at, "a node names another parent"));
        }
        let mut bytes = [0; 8 * MOST_SLOTS as usize];
        let bytes = &mut bytes[..(layout.count * layout.word) as usize];
        self.kernel.read(at.wrapping_add(layout.slots), bytes)?;
        let word = |word: &[u8]| word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let slots = bytes.chunks(layout.word as usize).map(word).collect();
        self.path.push(Level { at, base, shift, slots, next: 0 });
        Ok(())
    }

    /// The next slot of the last node: its index, the last index that it covers, and its entry.
    fn slot(&mut self) -> Option<(u64, u64, u64)> {
        let Self { layout, path, .. } = self;
        let level = path.last_mut()?;
        let word = *level.slots.get(level.next)?;
        let index =
            |slot: usize| level.base.checked_add((slot as u64).checked_shl(level.shift as u32)?);
        let first = level.next;
        level.next += 1;
        while let Some(next) = level.slots.get(level.next)
            && layout.is_sibling(*next, level.at)
        {
            level.next += 1;
        }
        // A slot beyond the highest index holds nothing.
        let start = index(first).unwrap_or(u64::MAX);
        let end = index(level.next).map_or(u64::MAX, |end| end.wrapping_sub(1));
        let is_twice = layout.node(word).is_some() && level.slots[..first].contains(&word);
        Some((start, end, if is_twice { 0 } else { word }))
    }
}

impl Iterator for RadixTree<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take() {
            match self.layout.node(root) {
                Some(at) => {
                    if let Err(error) = self.enter(at, 0) {
                        return Some(Err(error));
                    }
                }
                None => return self.layout.stored(0, 0, root).map(Ok),
            }
        }
        while !self.path.is_empty() {
            let Some((first, last, word)) = self.slot() else {
                self.path.pop();
                continue;
            };
            match self.layout.node(word) {
                Some(at) => {
                    if let Err(error) = self.enter(at, first) {
                        return Some(Err(error));
                    }
                }
                None => {
                    if let Some(entry) = self.layout.stored(first, last, word) {
                        return Some(Ok(entry));
                    }
                }
            }
        }
        None
    }
}

impl<'k> Object<'k> {
    /// The entries of the `xarray` or `radix_tree_root` that this is.
    ///
    /// # Errors
    /// [`Error::WrongKind`]: it is neither; [`Error::NoType`], [`Error::NoMember`],
    /// [`Error::Memory`].
    pub fn radix_tree(&self) -> Result<RadixTree<'k>, Error> {
        let (form, root) = match (self.has("xa_head"), self.has("rnode")) {
            (true, _) => (Form::Array, "xa_head"),
            (_, true) => (Form::Radix, "rnode"),
            _ => return Err(self.wrong("tree with indices")),
        };
        let kernel = self.kernel();
        let (layout, root) = (Layout::of(kernel, form)?, self.field(root)?.number()?);
        Ok(RadixTree { kernel, layout, root: Some(root), path: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// A kernel with XArrays of four slots a node.
    fn kernel() -> Fake {
        let mut fake = Fake::amd64();
        let node = [
            ("shift", "unsigned char", 0),
            ("offset", "unsigned char", 1),
            ("parent", "void *", 8),
            ("slots", "void *[4]", 16),
        ];
        fake.structure("xa_node", 48, &node);
        fake.structure("radix_tree_node", 48, &node);
        fake.structure("xarray", 16, &[("xa_flags", "unsigned int", 0), ("xa_head", "void *", 8)]);
        fake.structure("radix_tree_root", 16, &[("rnode", "void *", 8)]);
        fake.structure(
            "idr",
            24,
            &[("idr_rt", "struct xarray", 0), ("idr_base", "unsigned int", 16)],
        );
        fake.structure("irq_desc", 8, &[("depth", "long", 0)]);
        fake
    }

    fn walked(fake: &Fake, of: &str, at: u64) -> (Vec<(u64, u64, u64)>, Vec<String>) {
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let root = kernel.object(of, at).expect("a type");
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for entry in root.entries().expect("a tree") {
            match entry {
                Ok(Entry { first, last, word }) => entries.push((first, last, word)),
                Err(error) => errors.push(error.to_string()),
            }
            assert!(entries.len() + errors.len() < 100, "it does not end");
        }
        (entries, errors)
    }

    /// Index 1 is a pointer, 3 the number 7; index 5 is a retry entry, 6 a pointer; 8 to 11 and 12
    /// to 15 are one entry with a sibling.
    fn array(fake: &mut Fake) -> (u64, [u64; 3]) {
        let root = fake.place_words(&[2, 0, 0, 0, 0, 0]);
        let low = fake.place_words(&[0, root, 0, 0x1000, 0, 15]);
        let high = fake.place_words(&[0x100, root, 0, 1026, 0x2000, 0]);
        fake.put_words(root + 16, &[low + 2, high + 2, 0x3000, 2 << 2 | 2]);
        (fake.place_words(&[0, root + 2]), [root, low, high])
    }

    #[test]
    fn entries_have_their_indices() {
        let mut fake = kernel();
        let (at, _) = array(&mut fake);
        let all = [(1, 1, 0x1000), (3, 3, 15), (6, 6, 0x2000), (8, 15, 0x3000)];
        assert_eq!(walked(&fake, "struct xarray", at), (all.to_vec(), vec![]));
        let idr = fake.place_words(&[0, 0x4000, 5]);
        assert_eq!(walked(&fake, "struct idr", idr).0, [(5, 5, 0x4000)], "one entry, a base");
        fake.put_words(idr + 8, &[0]);
        assert_eq!(walked(&fake, "struct idr", idr), (vec![], vec![]), "none");
        let entry = Entry { first: 3, last: 3, word: 15 };
        assert_eq!((entry.value(), entry.pointer()), (Some(7), None));
    }

    #[test]
    fn the_trees_before_4_20() {
        let mut fake = kernel();
        let root = fake.place_words(&[2, 0, 0, 0, 0, 0]);
        let low = fake.place_words(&[0, root, 0, 0x1000, 0, 7 << 2 | 2]);
        fake.put_words(root + 16, &[low + 1, 0x3000, (root + 16 + 8) | 1, 0]);
        let at = fake.place_words(&[0, root + 1]);
        let all = vec![(1, 1, 0x1000), (3, 3, 15), (4, 11, 0x3000)];
        assert_eq!(walked(&fake, "struct radix_tree_root", at), (all, vec![]));
    }

    #[test]
    fn damage_costs_a_subtree() {
        let all = [(1, 1, 0x1000), (3, 3, 15), (6, 6, 0x2000), (8, 15, 0x3000)];
        for (what, node, member, value, lost) in [
            ("the parent of the low node", 1, 8, 0x1234, 0..2),
            ("a shift that does not fall", 1, 0, 2, 0..2),
            ("a node that cannot be read", 0, 16, 0x10_0002, 0..2),
            ("a node that leads back", 2, 16, 0, 4..4),
        ] {
            let mut fake = kernel();
            let (at, nodes) = array(&mut fake);
            let value = if value == 0 { nodes[0] + 2 } else { value };
            fake.put_words(nodes[node] + member, &[value]);
            let (entries, errors) = walked(&fake, "struct xarray", at);
            let rest: Vec<_> = (0..4).filter(|i| !lost.contains(i)).map(|i| all[i]).collect();
            assert_eq!((entries, errors.len()), (rest, 1), "{what}: {errors:?}");
        }
    }
}
