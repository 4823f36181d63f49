//! Lists: `list_head` (a ring), `hlist_head`, `hlist_nulls_head`, `llist_head` (Linux,
//! `include/linux/types.h`, `list_nulls.h`, `llist.h`).

use crate::{Error, Kernel, Object};

/// Most nodes of a list.
const MOST: u64 = 1 << 24;

/// The nodes of a list.
#[derive(Debug)]
pub struct List<'k> {
    kernel: &'k Kernel<'k>,
    /// Address of the node that the walk ends at: the head of a ring, 0 of the others.
    end: u64,
    /// True if a node with bit 0 set is an end.
    has_nulls: bool,
    next: Option<u64>,
    /// A node that was seen, and the number of nodes after which another is taken (R. P. Brent,
    /// "An improved Monte Carlo factorization algorithm", 1980): a loop leads back to it.
    seen: u64,
    count: u64,
    renew: u64,
}

impl<'k> List<'k> {
    fn new(kernel: &'k Kernel<'k>, end: u64, first: u64, has_nulls: bool) -> Self {
        Self { kernel, end, has_nulls, next: Some(first), seen: 0, count: 0, renew: 1 }
    }

    fn damaged(&self, at: u64, why: &'static str) -> Error {
        Error::Damaged { what: "list", at, why }
    }
}

impl Iterator for List<'_> {
    /// Address of a node.
    type Item = Result<u64, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        if at == self.end || at == 0 || self.has_nulls && at & 1 != 0 {
            return (at == 0 && self.end != 0)
                .then(|| Err(self.damaged(self.end, "a pointer in the ring is NULL")));
        }
        if at == self.seen {
            return Some(Err(self.damaged(at, "it leads in a circle")));
        }
        self.count += 1;
        if self.count >= MOST {
            return Some(Err(self.damaged(at, "it is too long")));
        }
        if self.count == self.renew {
            self.seen = at;
            self.renew *= 2;
        }
        match self.kernel.word(at) {
            Ok(next) => {
                self.next = Some(next);
                Some(Ok(at))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl<'k> Object<'k> {
    /// The nodes of the `list_head` that this is, without the head: their addresses. An error is
    /// the last item.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn nodes(&self) -> Result<List<'k>, Error> {
        let (kernel, at) = (self.kernel(), self.address());
        Ok(List::new(kernel, at, kernel.word(at)?, false))
    }

    /// The structs of type `of` whose `member` (a `list_head`) is in the list of this head.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`], [`Error::Memory`].
    pub fn list(
        &self,
        of: &str,
        member: &str,
    ) -> Result<impl Iterator<Item = Result<Object<'k>, Error>> + use<'k>, Error> {
        self.containers(self.nodes()?, of, member)
    }

    /// The same of an `hlist_head`, `llist_head` or another list that a NULL ends; this is the
    /// head, whose first word points to the first node.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`], [`Error::Memory`].
    pub fn hlist(
        &self,
        of: &str,
        member: &str,
    ) -> Result<impl Iterator<Item = Result<Object<'k>, Error>> + use<'k>, Error> {
        self.containers(self.hlist_nodes()?, of, member)
    }

    /// The nodes of the `hlist_head`, `llist_head` or other list that a NULL ends: their
    /// addresses. An error is the last item.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn hlist_nodes(&self) -> Result<List<'k>, Error> {
        let kernel = self.kernel();
        Ok(List::new(kernel, 0, kernel.word(self.address())?, false))
    }

    /// The same of an `hlist_nulls_head`, which a pointer with bit 0 set ends.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`], [`Error::Memory`].
    pub fn hlist_nulls(
        &self,
        of: &str,
        member: &str,
    ) -> Result<impl Iterator<Item = Result<Object<'k>, Error>> + use<'k>, Error> {
        self.containers(self.hlist_nulls_nodes()?, of, member)
    }

    /// The nodes of the `hlist_nulls_head`: their addresses. An error is the last item.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn hlist_nulls_nodes(&self) -> Result<List<'k>, Error> {
        let kernel = self.kernel();
        Ok(List::new(kernel, 0, kernel.word(self.address())?, true))
    }

    fn containers(
        &self,
        nodes: List<'k>,
        of: &str,
        member: &str,
    ) -> Result<impl Iterator<Item = Result<Object<'k>, Error>> + use<'k>, Error> {
        let kernel = self.kernel();
        let of = kernel.types().find(of)?;
        let offset = kernel.types().field(of, member)?.bits / 8;
        Ok(nodes.map(move |node| Ok(Object::new(kernel, of, node?.wrapping_sub(offset)))))
    }
}
