//! Typed values in the dead kernel's memory.

use std::rc::Rc;

use crate::types::{Field, Member, Type, TypeId};
use crate::{Error, Kernel};

/// Most bytes of a text that is read at once.
const TEXT: usize = 256;
/// Deepest nesting of structs of one number.
const DEEPEST: u32 = 8;
/// Most bytes of any text.
const MOST_TEXT: usize = 64 << 10;

/// A value of a C type: in memory, or one that was computed.
#[derive(Clone, Copy)]
pub struct Object<'k> {
    kernel: &'k Kernel<'k>,
    of: TypeId,
    place: Place,
}

/// The bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At this virtual address.
    At(u64),
    /// A bitfield: offset in bits from the address, number of bits.
    Bits(u64, u64, u32),
    /// In no memory.
    Value(u64),
}

impl std::fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}) {:x?}", self.type_name(), self.place)
    }
}

impl<'k> Object<'k> {
    /// The object of this type at a virtual address. Nothing is read.
    pub const fn new(kernel: &'k Kernel<'k>, of: TypeId, at: u64) -> Self {
        Self { kernel, of, place: Place::At(at) }
    }

    /// A value that was computed, such as a pointer.
    pub const fn value(kernel: &'k Kernel<'k>, of: TypeId, value: u64) -> Self {
        Self { kernel, of, place: Place::Value(value) }
    }

    /// The kernel that it is in.
    pub const fn kernel(&self) -> &'k Kernel<'k> {
        self.kernel
    }

    /// Its type.
    pub const fn type_id(&self) -> TypeId {
        self.of
    }

    /// Its type as C writes it.
    pub fn type_name(&self) -> String {
        self.kernel.types().name(self.of)
    }

    /// Size in bytes.
    ///
    /// # Errors
    /// [`Error::BadType`].
    pub fn size(&self) -> Result<u64, Error> {
        self.kernel.types().size(self.of)
    }

    /// Its virtual address; that of the first byte of a bitfield; 0 of a value in no memory.
    pub const fn address(&self) -> u64 {
        match self.place {
            Place::At(at) | Place::Bits(at, ..) => at,
            Place::Value(_) => 0,
        }
    }

    fn plain(&self) -> Result<Rc<Type>, Error> {
        Ok(self.kernel.types().plain(self.of)?.1)
    }

    pub(crate) fn wrong(&self, wanted: &'static str) -> Error {
        Error::WrongKind { of: self.type_name(), at: self.address(), wanted }
    }

    /// The member at this path: `pid`, `mm.pgd`, `cpus_mask.bits[0]`. Pointers to structs on the
    /// way are followed; the member itself is not. Members of anonymous structs count as those of
    /// the outer one.
    ///
    /// # Errors
    /// [`Error::NoMember`]; [`Error::Null`] and [`Error::Memory`] for pointers on the way.
    pub fn field(&self, path: &str) -> Result<Self, Error> {
        let mut object = self.pointed()?;
        let types = self.kernel.types();
        // Most paths stay in one struct; only a pointer in the path divides it.
        if let Ok(field) = types.field(object.of, path) {
            return object.part(field);
        }
        for name in path.split('.') {
            object = object.pointed()?;
            object = object.part(types.field(object.of, name)?)?;
        }
        Ok(object)
    }

    /// True if its type has the member at this path. Pointers are not read.
    pub fn has(&self, path: &str) -> bool {
        let types = self.kernel.types();
        let mut of = self.of;
        path.split('.').all(|name| {
            if let Ok((_, found)) = types.plain(of)
                && let Type::Pointer(to) = &*found
            {
                of = *to;
            }
            let field = types.field(of, name);
            field.map(|field| of = field.of).is_ok()
        })
    }

    /// The first of these members that its type has: kernels differ.
    ///
    /// # Errors
    /// [`Error::NoMember`] if it has none; as for [`Self::field`].
    pub fn first_of(&self, paths: &[&str]) -> Result<Self, Error> {
        match paths.iter().find(|path| self.has(path)) {
            Some(path) => self.field(path),
            None => Err(Error::NoMember { of: self.type_name(), member: paths.join(" or ") }),
        }
    }

    fn part(&self, field: Field) -> Result<Self, Error> {
        let Place::At(at) = self.place else { return Err(self.wrong("struct in memory")) };
        let place = match field.bit_size {
            None => Place::At(at.wrapping_add(field.bits / 8)),
            Some(size) => {
                let size = u32::min(size, 64);
                Place::Bits(at.wrapping_add(field.bits / 8), field.bits % 8, size)
            }
        };
        Ok(Self { of: field.of, place, ..*self })
    }

    /// The object of a member of its type.
    ///
    /// # Errors
    /// [`Error::WrongKind`]: it is in no memory.
    pub fn member(&self, member: &Member) -> Result<Self, Error> {
        let Member { of, bits, bit_size, .. } = *member;
        self.part(Field { of, bits, bit_size })
    }

    /// The object itself, or the one that it points to.
    fn pointed(&self) -> Result<Self, Error> {
        match &*self.plain()? {
            Type::Pointer(_) => self.deref(),
            _ => Ok(*self),
        }
    }

    /// The object that a pointer points to.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Null`], [`Error::Memory`].
    pub fn deref(&self) -> Result<Self, Error> {
        let found = self.plain()?;
        let Type::Pointer(to) = &*found else { return Err(self.wrong("pointer")) };
        match self.number()? {
            0 => Err(Error::Null(self.type_name())),
            at => Ok(Self { of: *to, place: Place::At(at), ..*self }),
        }
    }

    /// The object that a pointer points to; [`None`] for NULL.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Memory`].
    pub fn deref_or_null(&self) -> Result<Option<Self>, Error> {
        match self.deref() {
            Ok(object) => Ok(Some(object)),
            Err(Error::Null(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The element of an array, or of the array that a pointer points to. The length of the array
    /// is not checked: kernels have arrays at the end of structs.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Null`], [`Error::Memory`].
    pub fn index(&self, index: u64) -> Result<Self, Error> {
        let found = self.plain()?;
        let (start, of) = match &*found {
            Type::Array(element, _) => (self.address(), *element),
            Type::Pointer(to) => (self.deref()?.address(), *to),
            _ => return Err(self.wrong("array")),
        };
        let distance = self.kernel.types().size(of)?.wrapping_mul(index);
        Ok(Self { of, place: Place::At(start.wrapping_add(distance)), ..*self })
    }

    /// Number of elements of an array; 0 for a flexible one.
    ///
    /// # Errors
    /// [`Error::WrongKind`].
    pub fn length(&self) -> Result<u64, Error> {
        match &*self.plain()? {
            Type::Array(_, count) => Ok(count.unwrap_or(0)),
            _ => Err(self.wrong("array")),
        }
    }

    /// The same bytes as another type.
    ///
    /// # Errors
    /// [`Error::NoType`].
    pub fn cast(&self, name: &str) -> Result<Self, Error> {
        Ok(Self { of: self.kernel.types().find(name)?, ..*self })
    }

    /// The object of this type whose member this is.
    ///
    /// # Errors
    /// [`Error::NoType`], [`Error::NoMember`].
    pub fn container_of(&self, name: &str, member: &str) -> Result<Self, Error> {
        let of = self.kernel.types().find(name)?;
        let offset = self.kernel.types().field(of, member)?.bits / 8;
        let place = Place::At(self.address().wrapping_sub(offset));
        Ok(Self { of, place, ..*self })
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn read(&self, into: &mut [u8]) -> Result<(), Error> {
        self.kernel.read(self.address(), into)
    }

    /// The number: of an integer, pointer, enum, bitfield or `bool`; one with a sign is extended
    /// to 64 bits. A struct of one number (`atomic_t`, `kuid_t`) counts as that number.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Memory`].
    pub fn number(&self) -> Result<u64, Error> {
        self.number_of(DEEPEST)
    }

    fn number_of(&self, deepest: u32) -> Result<u64, Error> {
        let (size, is_signed) = match &*self.plain()? {
            Type::Integer(integer) => (integer.size, integer.is_signed),
            Type::Pointer(_) => (self.kernel.types().word, false),
            Type::Enumeration(enumeration) => {
                (enumeration.size, enumeration.values.iter().any(|(_, value)| *value < 0))
            }
            Type::Compound(compound) if compound.members.len() == 1 && deepest > 0 => {
                let member = &compound.members[0];
                let field = Field { of: member.of, bits: member.bits, bit_size: member.bit_size };
                return self.part(field)?.number_of(deepest - 1);
            }
            _ => return Err(self.wrong("number")),
        };
        let (value, bits) = match self.place {
            Place::Value(value) => (value, 64),
            Place::At(at) => {
                let length = size.min(8) as usize;
                (self.kernel.number(at, length)?, 8 * length as u32)
            }
            Place::Bits(at, offset, count) => {
                let mut bytes = [0; 16];
                let length = (offset + u64::from(count)).div_ceil(8) as usize;
                self.kernel.read(at, &mut bytes[..length])?;
                let all = u128::from_le_bytes(bytes) >> offset;
                ((all as u64) & mask(count), count)
            }
        };
        let shift = 64 - bits.clamp(1, 64);
        Ok(if is_signed { (((value << shift) as i64) >> shift) as u64 } else { value })
    }

    /// The number with its sign.
    ///
    /// # Errors
    /// As for [`Self::number`].
    pub fn signed(&self) -> Result<i64, Error> {
        Ok(self.number()? as i64)
    }

    /// The name of an enum's value; the number where it has none.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Memory`].
    pub fn enumerator(&self) -> Result<String, Error> {
        let found = self.plain()?;
        let Type::Enumeration(enumeration) = &*found else { return Err(self.wrong("enum")) };
        let value = self.signed()?;
        Ok(enumeration.name_of(value).map_or_else(|| value.to_string(), ToOwned::to_owned))
    }

    /// The text of a `char` array up to its NUL, or that a `char` pointer points to; bytes that
    /// are no UTF-8 and control characters are shown as `\xNN`.
    ///
    /// # Errors
    /// [`Error::WrongKind`], [`Error::Null`], [`Error::Memory`].
    pub fn text(&self) -> Result<String, Error> {
        Ok(printable(&self.text_bytes()?))
    }

    /// The same as bytes.
    ///
    /// # Errors
    /// As for [`Self::text`].
    pub fn text_bytes(&self) -> Result<Vec<u8>, Error> {
        match &*self.plain()? {
            Type::Array(_, count) => {
                let most = count.and_then(|count| usize::try_from(count).ok());
                let most = most.unwrap_or(MOST_TEXT).min(MOST_TEXT);
                self.kernel.text(self.address(), most)
            }
            Type::Pointer(_) => self.kernel.text(self.deref()?.address(), MOST_TEXT),
            _ => Err(self.wrong("text")),
        }
    }
}

const fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Foreign bytes as text for a terminal.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter.is_control() {
                true => {
                    letter.to_string().bytes().for_each(|byte| text += &format!("\\x{byte:02x}"))
                }
                false => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}

impl Kernel<'_> {
    /// The bytes from a virtual address on, up to a NUL, `most` at most.
    ///
    /// # Errors
    /// [`Error::Memory`] if not even the first byte can be read.
    pub fn text(&self, at: u64, most: usize) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        while text.len() < most {
            let next = at.wrapping_add(text.len() as u64);
            // To the end of a block: the next page may not be there.
            let block = TEXT - (next % TEXT as u64) as usize;
            let mut bytes = [0; TEXT];
            let bytes = &mut bytes[..block.min(most - text.len())];
            match self.read(next, bytes) {
                Ok(()) => {}
                Err(error) if text.is_empty() => return Err(error),
                Err(_) => break,
            }
            let end = bytes.iter().position(|byte| *byte == 0);
            text.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if end.is_some() {
                break;
            }
        }
        Ok(text)
    }
}
