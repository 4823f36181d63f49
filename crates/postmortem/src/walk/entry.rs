//! Entries of trees with an index: XArrays, radix trees, IDRs, maple trees.

use crate::types::TypeId;
use crate::{Error, Kernel, Object};

/// Lowest entry that may be an internal node of the kernel's trees; those below are marks: retry,
/// zero (Linux, `include/linux/xarray.h`).
const LOWEST_NODE: u64 = 4096;
/// Low bits of an entry of the trees themselves.
const INTERNAL: u64 = 2;

/// An entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first index.
    pub first: u64,
    /// The last index.
    pub last: u64,
    /// The entry as the kernel has it: a pointer, or a number in all bits but the lowest, which
    /// is 1.
    pub word: u64,
}

impl Entry {
    /// The pointer; [`None`] for a number.
    pub const fn pointer(self) -> Option<u64> {
        if self.word & 1 == 0 { Some(self.word) } else { None }
    }

    /// The number; [`None`] for a pointer.
    pub const fn value(self) -> Option<u64> {
        if self.word & 1 != 0 { Some(self.word >> 1) } else { None }
    }

    /// True for something that a user of the tree stored.
    pub(super) const fn is_stored(self) -> bool {
        self.word != 0 && self.word & 3 != INTERNAL
    }
}

/// The entry as a node of the tree.
pub(super) const fn is_node(word: u64) -> bool {
    word & 3 == INTERNAL && word > LOWEST_NODE
}

/// The entries of a tree, by their indices. An error stands for a part of the tree, and the walk
/// goes on after it.
pub type Entries<'k> = Box<dyn Iterator<Item = Result<Entry, Error>> + 'k>;

impl<'k> Object<'k> {
    /// The entries of the `xarray`, `radix_tree_root`, `idr`, `ida` or `maple_tree` that this is.
    ///
    /// # Errors
    /// [`Error::WrongKind`]: it is none; [`Error::NoType`], [`Error::NoMember`], [`Error::Memory`].
    pub fn entries(&self) -> Result<Entries<'k>, Error> {
        if self.has("ma_root") {
            return Ok(Box::new(self.maple_tree()?));
        }
        if self.has("idr_rt") {
            let base = if self.has("idr_base") { self.field("idr_base")?.number()? } else { 0 };
            let moved = move |entry: Entry| Entry {
                first: entry.first.wrapping_add(base),
                last: entry.last.wrapping_add(base),
                ..entry
            };
            return Ok(Box::new(self.field("idr_rt")?.radix_tree()?.map(move |e| e.map(moved))));
        }
        match self.has("xa") {
            true => Ok(Box::new(self.field("xa")?.radix_tree()?)),
            false => Ok(Box::new(self.radix_tree()?)),
        }
    }

    /// The structs of type `of` that the tree has pointers to, and their first indices. Numbers in
    /// the tree are left out.
    ///
    /// # Errors
    /// As for [`Self::entries`].
    pub fn indexed(
        &self,
        of: &str,
    ) -> Result<impl Iterator<Item = Result<(u64, Object<'k>), Error>> + use<'k>, Error> {
        let kernel = self.kernel();
        let of = kernel.types().find(of)?;
        Ok(self.entries()?.filter_map(move |entry| object_of(kernel, of, entry).transpose()))
    }
}

fn object_of<'k>(
    kernel: &'k Kernel<'k>,
    of: TypeId,
    entry: Result<Entry, Error>,
) -> Result<Option<(u64, Object<'k>)>, Error> {
    let entry = entry?;
    Ok(entry.pointer().map(|at| (entry.first, Object::new(kernel, of, at))))
}
