//! Red-black trees: `rb_root`, `rb_root_cached` (Linux, `include/linux/rbtree_types.h`).

use crate::{Error, Kernel, Object};

/// Highest tree: twice the logarithm of the number of nodes.
const HIGHEST: usize = 128;
/// Bits of the pointer to the parent that are none of it: the colour.
const COLOUR: u64 = 3;

/// The nodes of a tree, in order: their addresses. An error stands for a subtree, and the walk goes
/// on after it.
///
/// Each node must name the node above it as its parent. So a walk comes to a node once at most,
/// whatever the pointers are.
#[derive(Debug)]
pub struct RbTree<'k> {
    kernel: &'k Kernel<'k>,
    left: u64,
    right: u64,
    /// Nodes whose left subtrees were walked, from the root down.
    path: Vec<u64>,
    /// A subtree that is next, and its parent.
    next: Option<(u64, u64)>,
}

impl<'k> RbTree<'k> {
    fn damaged(at: u64, why: &'static str) -> Error {
        Error::Damaged { what: "tree", at, why }
    }

    /// Goes down the left side of a subtree.
    fn descend(&mut self, mut at: u64, mut parent: u64) -> Result<(), Error> {
        while at != 0 {
            let own = self.kernel.word(at)? & !COLOUR;
            if own != parent {
                return Err(Self::damaged(at, "a node names another parent"));
            }
            if self.path.len() >= HIGHEST {
                return Err(Self::damaged(at, "it is too high"));
            }
            let left = self.kernel.word(at.wrapping_add(self.left))?;
            let right = self.kernel.word(at.wrapping_add(self.right))?;
            if left == right && left != 0 {
                return Err(Self::damaged(at, "a node has one child twice"));
            }
            self.path.push(at);
            (at, parent) = (left, at);
        }
        Ok(())
    }

    fn right_of(&mut self, at: u64) -> Result<Option<(u64, u64)>, Error> {
        let right = self.kernel.word(at.wrapping_add(self.right))?;
        Ok((right != 0).then_some((right, at)))
    }
}

impl Iterator for RbTree<'_> {
    /// Address of a node.
    type Item = Result<u64, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((at, parent)) = self.next.take()
            && let Err(error) = self.descend(at, parent)
        {
            return Some(Err(error));
        }
        let at = self.path.pop()?;
        match self.right_of(at) {
            Ok(next) => self.next = next,
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(at))
    }
}

impl<'k> Object<'k> {
    /// The nodes of the `rb_root` or `rb_root_cached` that this is, in order: their addresses.
    ///
    /// # Errors
    /// [`Error::NoMember`]: it is no tree; [`Error::Memory`].
    pub fn rb_nodes(&self) -> Result<RbTree<'k>, Error> {
        let (kernel, types) = (self.kernel(), self.kernel().types());
        let root = self.first_of(&["rb_root.rb_node", "rb_node"])?.number()?;
        let left = types.offset("struct rb_node", "rb_left")?;
        let right = types.offset("struct rb_node", "rb_right")?;
        Ok(RbTree { kernel, left, right, path: Vec::new(), next: Some((root, 0)) })
    }

    /// The structs of type `of` whose `member` (an `rb_node`) is in this tree, in order.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`], [`Error::Memory`].
    pub fn rbtree(
        &self,
        of: &str,
        member: &str,
    ) -> Result<impl Iterator<Item = Result<Object<'k>, Error>> + use<'k>, Error> {
        let (kernel, nodes) = (self.kernel(), self.rb_nodes()?);
        let of = kernel.types().find(of)?;
        let offset = kernel.types().field(of, member)?.bits / 8;
        Ok(nodes.map(move |node| Ok(Object::new(kernel, of, node?.wrapping_sub(offset)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    /// Places of the nodes of a tree of seven, in order, and the root's place.
    fn seven(fake: &mut Fake) -> (Vec<u64>, u64) {
        fake.structure(
            "rb_node",
            24,
            &[
                ("__rb_parent_color", "unsigned long", 0),
                ("rb_right", "struct rb_node *", 8),
                ("rb_left", "struct rb_node *", 16),
            ],
        );
        fake.structure("rb_root", 8, &[("rb_node", "struct rb_node *", 0)]);
        fake.structure("item", 32, &[("key", "long", 0), ("node", "struct rb_node", 8)]);
        let items: Vec<u64> = (0..7).map(|key| fake.place_words(&[key, 0, 0, 0])).collect();
        let at = |index: usize| items[index] + 8;
        for (parent, left, right) in [(3, 1, 5), (1, 0, 2), (5, 4, 6)] {
            fake.put_words(at(parent) + 8, &[at(right), at(left)]);
            // The right ones are black.
            fake.put_words(at(left), &[at(parent)]);
            fake.put_words(at(right), &[at(parent) | 1]);
        }
        fake.put_words(at(3), &[1]);
        let root = fake.place_words(&[at(3)]);
        (items, root)
    }

    /// Keys of the items that a walk shows, and its errors.
    fn walked(fake: &Fake, root: u64) -> (Vec<u64>, Vec<String>) {
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let root = kernel.object("struct rb_root", root).expect("a type");
        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for item in root.rbtree("struct item", "node").expect("a tree") {
            match item.and_then(|item| item.field("key")?.number()) {
                Ok(key) => keys.push(key),
                Err(error) => errors.push(error.to_string()),
            }
            assert!(keys.len() + errors.len() < 100, "it does not end");
        }
        (keys, errors)
    }

    #[test]
    fn a_tree_is_walked_in_order() {
        let mut fake = Fake::amd64();
        let (_, root) = seven(&mut fake);
        assert_eq!(walked(&fake, root), ((0..7).collect(), vec![]));
        fake.put_words(root, &[0]);
        assert_eq!(walked(&fake, root), (vec![], vec![]), "an empty tree");
    }

    /// Item 1 with its two children is lost by each of these, the others are still there.
    #[test]
    fn damage_costs_a_subtree() {
        for (what, member, value) in [
            ("parent", 0, 0x1234),
            ("right child that cannot be read", 8, 0x10_0000),
            ("right child that leads back to the root", 8, u64::MAX),
        ] {
            let mut fake = Fake::amd64();
            let (items, root) = seven(&mut fake);
            let value = if value == u64::MAX { items[3] + 8 } else { value };
            fake.put_words(items[1] + 8 + member, &[value]);
            let (keys, errors) = walked(&fake, root);
            let rest = if member == 0 { vec![3, 4, 5, 6] } else { vec![0, 1, 3, 4, 5, 6] };
            assert_eq!((keys, errors.len()), (rest, 1), "{what}: {errors:?}");
        }
        let mut fake = Fake::amd64();
        let (items, root) = seven(&mut fake);
        fake.put_words(items[1] + 16, &[items[0] + 8, items[0] + 8]);
        assert_eq!(walked(&fake, root).0, [3, 4, 5, 6], "one child twice");
    }
}
