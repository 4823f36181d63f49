//! Objects and variables of a kernel, by their names.

use crate::globals;
use crate::types::TypeId;
use crate::{Error, Kernel, Object};

impl Kernel<'_> {
    /// The object of this type at a virtual address.
    ///
    /// # Errors
    /// [`Error::NoTypes`], [`Error::NoType`].
    pub fn object<'k>(&'k self, of: &str, at: u64) -> Result<Object<'k>, Error> {
        self.check_types()?;
        Ok(Object::new(self, self.types().find(of)?, at))
    }

    /// A global variable, with its type. Of a per-CPU variable it is the place that all CPUs' are
    /// counted from: [`Self::per_cpu`].
    ///
    /// # Errors
    /// [`Error::NoSymbol`], [`Error::NoVariable`], [`Error::NoTypes`].
    pub fn global<'k>(&'k self, name: &str) -> Result<Object<'k>, Error> {
        self.check_types()?;
        let at = self.symbol(name)?;
        self.typed(name, at)
    }

    fn typed<'k>(&'k self, name: &str, at: u64) -> Result<Object<'k>, Error> {
        let of = self.types().variable(name);
        let of = of.map_or_else(|| globals::type_of(self.types(), name), Ok)?;
        Ok(Object::new(self, of, at))
    }

    /// The variable of this name of a CPU.
    ///
    /// # Errors
    /// As for [`Self::global`]; [`Error::Missing`] for a CPU that there is not.
    pub fn per_cpu<'k>(&'k self, name: &str, cpu: u32) -> Result<Object<'k>, Error> {
        let object = self.global(name)?;
        Ok(Object::new(self, object.type_id(), self.per_cpu_at(object.address(), cpu)?))
    }

    /// The object that a `__percpu` pointer points to on a CPU.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Null`], [`Error::Memory`], [`Error::Missing`].
    pub fn per_cpu_of<'k>(&'k self, pointer: Object<'k>, cpu: u32) -> Result<Object<'k>, Error> {
        let object = pointer.deref()?;
        Ok(Object::new(self, object.type_id(), self.per_cpu_at(object.address(), cpu)?))
    }

    /// A value of a computed number, such as a pointer of this type.
    pub const fn value(&self, of: TypeId, value: u64) -> Object<'_> {
        Object::value(self, of, value)
    }
}
