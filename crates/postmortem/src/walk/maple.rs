//! Maple trees (Linux, `include/linux/maple_tree.h`, `Documentation/core-api/maple_tree.rst`).

use super::entry::{Entry, is_node};
use crate::{Error, Kernel, Object};

/// Bits of a node's address that are none of it; its kind is in them.
const NODE_MASK: u64 = 0xff;
const KIND_SHIFT: u64 = 3;
const KIND_MASK: u64 = 0xf;
/// Highest tree (`MAPLE_HEIGHT_MAX`).
const HIGHEST: usize = 31;
/// Most slots of a node; those of `maple_dense`.
const MOST_SLOTS: u64 = 64;

/// Kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dense,
    Leaf,
    Range,
    Gaps,
}

/// Kinds by their names in `enum maple_type`, and the numbers that they had before they had names
/// in debug information.
const KINDS: [(Kind, &str); 4] = [
    (Kind::Dense, "maple_dense"),
    (Kind::Leaf, "maple_leaf_64"),
    (Kind::Range, "maple_range_64"),
    (Kind::Gaps, "maple_arange_64"),
];

/// Places of the members of a node of some kind.
#[derive(Clone, Copy, Debug)]
struct Layout {
    kind: Kind,
    number: u64,
    pivots: (u64, u64),
    slots: (u64, u64),
}

/// A node on the way.
#[derive(Debug)]
struct Level {
    at: u64,
    kind: Kind,
    /// The last index that it covers.
    last: u64,
    /// The first index of the next slot; [`None`] after the last one.
    index: Option<u64>,
    next: usize,
    pivots: Vec<u64>,
    slots: Vec<u64>,
}

/// The entries of a tree, by their indices. An error stands for a subtree, and the walk goes on
/// after it.
///
/// Each node must name the node above it as its parent, so a walk comes to a node once at most,
/// whatever the pointers are.
#[derive(Debug)]
pub struct MapleTree<'k> {
    kernel: &'k Kernel<'k>,
    /// The places in this kernel of each kind's members.
    layouts: Vec<Layout>,
    highest: u64,
    root: Option<u64>,
    path: Vec<Level>,
}

fn damaged(at: u64, why: &'static str) -> Error {
    Error::Damaged { what: "maple tree", at, why }
}

impl Layout {
    /// The kinds that this kernel has.
    fn all(kernel: &Kernel<'_>) -> Vec<Self> {
        let found = KINDS.iter().map(|(kind, name)| Self::of(kernel, *kind, name));
        found.filter_map(Result::ok).collect()
    }

    fn of(kernel: &Kernel<'_>, kind: Kind, name: &str) -> Result<Self, Error> {
        let types = kernel.types();
        let number = types.enumerator(name)?.unsigned_abs();
        let (of, pivots) = match kind {
            Kind::Dense => ("struct maple_node", None),
            Kind::Leaf | Kind::Range => ("struct maple_range_64", Some("pivot")),
            Kind::Gaps => ("struct maple_arange_64", Some("pivot")),
        };
        let of = types.find(of)?;
        let part = |name| {
            let field = types.field(of, name)?;
            Ok::<_, Error>((field.bits / 8, types.size(field.of)? / types.word))
        };
        let pivots = pivots.map_or(Ok((0, 0)), part)?;
        let slots = part("slot")?;
        let fits = slots.1 <= MOST_SLOTS && pivots.1 <= slots.1;
        let layout = Self { kind, number, pivots, slots };
        if fits { Ok(layout) } else { Err(Error::NoType(name.to_owned())) }
    }
}

impl MapleTree<'_> {
    fn words(&self, at: u64, (offset, count): (u64, u64)) -> Result<Vec<u64>, Error> {
        let word = self.kernel.types().word as usize;
        let mut bytes = [0; 8 * MOST_SLOTS as usize];
        let bytes = &mut bytes[..count as usize * word];
        self.kernel.read(at.wrapping_add(offset), bytes)?;
        let number = |word: &[u8]| word.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        Ok(bytes.chunks(word).map(number).collect())
    }

    /// Enters the node that an entry points to, for the indices from `first` to `last`.
    fn enter(&mut self, entry: u64, first: u64, last: u64) -> Result<(), Error> {
        let at = entry & !NODE_MASK;
        let number = entry >> KIND_SHIFT & KIND_MASK;
        let layout = self.layouts.iter().find(|layout| layout.number == number);
        let layout = *layout.ok_or_else(|| damaged(at, "a node is of an unknown kind"))?;
        if self.path.len() >= HIGHEST {
            return Err(damaged(at, "it is too high"));
        }
        // The parent of the root is the tree itself, marked by bit 0.
        let parent = self.kernel.word(at)?;
        let is_right = match self.path.last() {
            Some(above) => parent & !NODE_MASK == above.at && above.at != at,
            None => parent & 1 != 0,
        };
        if !is_right {
            return Err(damaged(at, "a node names another parent"));
        }
        let level = Level {
            at,
            kind: layout.kind,
            last,
            index: Some(first),
            next: 0,
            pivots: self.words(at, layout.pivots)?,
            slots: self.words(at, layout.slots)?,
        };
        self.path.push(level);
        Ok(())
    }
}

impl Level {
    /// The next slot. [`None`] at the end.
    fn slot(&mut self) -> Option<Entry> {
        let (first, number) = (self.index?, self.next);
        let word = *self.slots.get(number)?;
        let last = match self.pivots.get(number) {
            _ if self.kind == Kind::Dense => first,
            // After the last one in use, pivots are zero.
            Some(0) if number > 0 => self.last,
            Some(pivot) => *pivot,
            None => self.last,
        };
        self.next += 1;
        let is_end = last >= self.last || last < first;
        self.index = if is_end { None } else { last.checked_add(1) };
        // A node that is there twice, whatever its kind is said to be, is walked once.
        let node = |word: u64| word & !NODE_MASK;
        let is_leaf = matches!(self.kind, Kind::Leaf | Kind::Dense);
        let is_twice = self.slots[..number].iter().any(|other| node(*other) == node(word));
        let word = if is_twice && !is_leaf { 0 } else { word };
        Some(Entry { first, last, word })
    }
}

impl Iterator for MapleTree<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take() {
            if !is_node(root) {
                let entry = Entry { first: 0, last: 0, word: root };
                return entry.is_stored().then_some(Ok(entry));
            }
            if let Err(error) = self.enter(root, 0, self.highest) {
                return Some(Err(error));
            }
        }
        while let Some(level) = self.path.last_mut() {
            let (at, is_leaf) = (level.at, matches!(level.kind, Kind::Leaf | Kind::Dense));
            let Some(entry) = level.slot() else {
                self.path.pop();
                continue;
            };
            let Entry { first, last, word } = entry;
            if last < first {
                self.path.pop();
                return Some(Err(damaged(at, "pivots do not rise")));
            }
            if is_leaf && entry.is_stored() {
                return Some(Ok(entry));
            }
            // Only the root is marked as a node.
            if !is_leaf
                && word & !NODE_MASK != 0
                && let Err(error) = self.enter(word, first, last)
            {
                return Some(Err(error));
            }
        }
        None
    }
}

impl<'k> Object<'k> {
    /// The entries of the `maple_tree` that this is.
    ///
    /// # Errors
    /// [`Error::NoMember`]: it is none; [`Error::NoType`], [`Error::Memory`].
    pub fn maple_tree(&self) -> Result<MapleTree<'k>, Error> {
        let kernel = self.kernel();
        let root = Some(self.field("ma_root")?.number()?);
        let layouts = Layout::all(kernel);
        if layouts.is_empty() {
            return Err(Error::NoType("struct maple_range_64".to_owned()));
        }
        let highest = if kernel.is_i386() { u32::MAX.into() } else { u64::MAX };
        Ok(MapleTree { kernel, layouts, highest, root, path: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    const LEAF: u64 = 1 << KIND_SHIFT | 4;
    const RANGE: u64 = 2 << KIND_SHIFT | 4;
    const GAPS: u64 = 3 << KIND_SHIFT | 4;
    /// The root's mark.
    const ROOT: u64 = 2;

    fn kernel() -> Fake {
        let mut fake = Fake::amd64();
        let (pivots, slots) = ("unsigned long [3]", "void *[4]");
        let node = [("parent", "void *", 0), ("pivot", pivots, 8), ("slot", slots, 32)];
        fake.structure("maple_range_64", 64, &node);
        let gaps = [&node[..], &[("gap", "unsigned long [4]", 64)]].concat();
        fake.structure("maple_arange_64", 96, &gaps);
        fake.structure("maple_node", 64, &[("parent", "void *", 0), ("slot", "void *[7]", 8)]);
        let names = ["maple_dense", "maple_leaf_64", "maple_range_64", "maple_arange_64"];
        let values: Vec<_> = names.into_iter().zip(0..).collect();
        fake.enumeration("maple_type", &values);
        fake.structure(
            "maple_tree",
            16,
            &[("ma_flags", "unsigned int", 0), ("ma_root", "void *", 8)],
        );
        fake
    }

    fn walked(fake: &Fake, at: u64) -> (Vec<(u64, u64, u64)>, Vec<String>) {
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let root = kernel.object("struct maple_tree", at).expect("a type");
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

    fn node(fake: &mut Fake, words: &[u64; 8]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fake.place_aligned(&bytes, 256)
    }

    /// 0–9 is empty, 10–19 `0x1000`, from 20 to 29 `0x2000` (the last pivot of the leaf is that of
    /// the node above), 30–30 `0x3000`; the rest is empty.
    fn tree(fake: &mut Fake) -> (u64, [u64; 3]) {
        let at = fake.place_words(&[0, 0]);
        let root = node(fake, &[at | 1, 29, 0, 0, 0, 0, 0, 0]);
        fake.place(&[0; 32]);
        let low = node(fake, &[root, 9, 19, 0, 0, 0x1000, 0x2000, 0]);
        let high = node(fake, &[root | 8, 30, u64::MAX, 0, 0x3000, 0, 0x4444, 0]);
        fake.put_words(root + 32, &[low | LEAF, high | LEAF]);
        fake.put_words(at + 8, &[root | GAPS | ROOT]);
        (at, [root, low, high])
    }

    const ALL: [(u64, u64, u64); 3] = [(10, 19, 0x1000), (20, 29, 0x2000), (30, 30, 0x3000)];

    #[test]
    fn entries_have_their_ranges() {
        let mut fake = kernel();
        let (at, [root, low, _]) = tree(&mut fake);
        assert_eq!(walked(&fake, at), (ALL.to_vec(), vec![]));
        fake.put_words(at + 8, &[root | RANGE | ROOT]);
        assert_eq!(walked(&fake, at).0, ALL, "a node without gaps");
        // A node of single indices, from its first one on.
        fake.put_words(low, &[root, 0, 0x1000]);
        fake.put_words(root + 32, &[low | 4]);
        assert_eq!(walked(&fake, at).0[..2], [(1, 1, 0x1000), (4, 4, 0x1000)]);
        for (word, expected) in [(0, vec![]), (0x5000, vec![(0, 0, 0x5000)]), (1030, vec![])] {
            fake.put_words(at + 8, &[word]);
            assert_eq!(walked(&fake, at), (expected, vec![]), "{word:#x} as the root");
        }
    }

    #[test]
    fn damage_costs_a_subtree() {
        for (what, place, value, rest) in [
            ("the parent of the low leaf", (1, 0), 0x1200, &ALL[2..]),
            ("pivots that do not rise", (1, 16), 5, &[]),
            ("a leaf that cannot be read", (0, 32), 0x10_000c, &ALL[2..]),
            ("a leaf of an unknown kind", (0, 32), 0x7c, &ALL[2..]),
            ("a leaf that leads back", (0, 32), u64::MAX, &ALL[2..]),
        ] {
            let mut fake = kernel();
            let (at, nodes) = tree(&mut fake);
            let value = match value {
                u64::MAX => nodes[0] | RANGE,
                0x7c => nodes[1] | 0x7c,
                value => value,
            };
            fake.put_words(nodes[place.0] + place.1, &[value]);
            let (entries, errors) = walked(&fake, at);
            let rest = if what.contains("rise") { vec![ALL[2]] } else { rest.to_vec() };
            assert_eq!((entries, errors.len()), (rest, 1), "{what}: {errors:?}");
        }
    }
}
