//! BTF, the kernel's own description of its types: `/sys/kernel/btf/vmlinux`, and in memory from
//! `__start_BTF` on.
//!
//! Types are read in place, one at a time; an index has the place of each. The crate `btf` keeps no
//! size of a struct, takes 85 MB of memory for a kernel's 5 MB, and finds functions and types of
//! one name alike.
//!
//! Source: Linux, `Documentation/bpf/btf.rst`.

use alloc::vec::Vec;
use core::ops::Range;

/// The first two bytes, little-endian, and the version after them.
const MAGIC: u64 = 0xeb9f;
const VERSION: u64 = 1;
/// Length of the header up to its last field, and of a type without its details.
const HEADER: usize = 24;
const TYPE: usize = 12;
/// Length of a member of a struct.
const MEMBER: usize = 12;
/// Deepest nesting of structs and typedefs that is followed.
const DEEPEST: u32 = 32;

/// The kind of a type, as BTF numbers it (`BTF_KIND_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of BTF")]
pub enum BtfKind {
    Int = 1,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    Prototype,
    Variable,
    DataSection,
    Float,
    DeclarationTag,
    TypeTag,
    Enum64,
}

impl BtfKind {
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Pointer,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Forward,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Function,
        Self::Prototype,
        Self::Variable,
        Self::DataSection,
        Self::Float,
        Self::DeclarationTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    fn of(info: u32) -> Option<Self> {
        let number = info as usize >> 24 & 0x1f;
        Self::ALL.get(number.checked_sub(1)?).copied()
    }
}

/// The types of a kernel, in the bytes `B`.
#[derive(Debug)]
pub struct Btf<B> {
    bytes: B,
    types: Range<usize>,
    strings: Range<usize>,
    /// Offset of each type in `types`. The type with number 1 is the first.
    starts: Vec<u32>,
}

/// A type, whose details are read when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct BtfType<'a> {
    /// Place of the name.
    name: u32,
    /// Its kind.
    pub kind: BtfKind,
    /// Number of members, values or parameters.
    pub count: usize,
    /// Bit 31 of the info: members have sizes in bits, an enum is signed.
    pub flag: bool,
    /// Its size in bytes, or the number of another type.
    pub size_or_type: u32,
    details: &'a [u8],
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfMember {
    /// Place of the name, 0 for none: [`Btf::text`].
    pub name: u32,
    /// Number of its type.
    pub of: u32,
    /// Offset in bits.
    pub bits: u32,
    /// Size in bits of a bitfield, else 0.
    pub bit_size: u32,
}

impl<'a> BtfType<'a> {
    /// Its members, of a struct or union.
    pub fn members(&self) -> impl Iterator<Item = BtfMember> + use<'a> {
        let has_bits = self.flag;
        self.words::<3>().map(move |[name, of, at]| match has_bits {
            true => BtfMember { name, of, bits: at & 0xff_ffff, bit_size: at >> 24 },
            false => BtfMember { name, of, bits: at, bit_size: 0 },
        })
    }

    /// The details as records of `N` numbers: two for the values of an enum and the parameters of
    /// a prototype, three for the values of an enum of 64 bits, the variables of a data section,
    /// and an array (element, index, count); one for an integer.
    pub fn words<const N: usize>(&self) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
        self.details.chunks_exact(4 * N).map(|record| {
            core::array::from_fn(|at| number(record, 4 * at, 4).unwrap_or_default() as u32)
        })
    }

    /// Length of the details in bytes.
    const fn length_of_details(&self) -> usize {
        use BtfKind as K;
        match self.kind {
            K::Int | K::Variable | K::DeclarationTag => 4,
            K::Array => 12,
            K::Enum | K::Prototype => 8 * self.count,
            K::Struct | K::Union | K::DataSection | K::Enum64 => MEMBER * self.count,
            _ => 0,
        }
    }
}

impl<B: AsRef<[u8]>> Btf<B> {
    /// Reads the places of all types, up to the first one of an unknown kind. [`None`] if the bytes
    /// are no BTF, or the heap has no room.
    pub fn parse(bytes: B) -> Option<Self> {
        let all = bytes.as_ref();
        if number(all, 0, 2)? != MAGIC || number(all, 2, 1)? != VERSION {
            return None;
        }
        let word = |at| usize::try_from(number(all, at, 4)?).ok();
        let body = word(4)?.max(HEADER);
        let part = |at: usize| {
            let start = body.checked_add(word(at)?)?;
            let end = start.checked_add(word(at + 4)?)?;
            (end <= all.len()).then_some(start..end)
        };
        let (types, strings) = (part(8)?, part(16)?);
        let mut btf = Self { bytes, types, strings, starts: Vec::new() };
        let mut at = 0;
        while let Some(length) = btf.at(at).map(|found| TYPE + found.length_of_details()) {
            btf.starts.try_reserve(1).ok()?;
            btf.starts.push(u32::try_from(at).ok()?);
            at += length;
        }
        Some(btf)
    }

    /// Number of types. The first has number 1; number 0 is `void`.
    pub const fn count(&self) -> usize {
        self.starts.len()
    }

    /// The type with this number.
    pub fn get(&self, number: u32) -> Option<BtfType<'_>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.at(*self.starts.get(index)? as usize)
    }

    /// The name of a type.
    pub fn name(&self, of: &BtfType<'_>) -> &str {
        self.text(of.name)
    }

    /// The name at this place, empty for none or one that is no text.
    pub fn text(&self, at: u32) -> &str {
        let strings = self.bytes.as_ref().get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(at as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or_default();
        str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    /// The value of a key of VMCOREINFO: `OFFSET(STRUCT.FIELD)`, where the field may be one of a
    /// struct in the struct, or `SIZE(STRUCT)`; in bytes.
    pub fn value(&self, key: &str) -> Option<u64> {
        let (kind, name) = key.strip_suffix(')')?.split_once('(')?;
        let (name, path) = name.split_once('.').unwrap_or((name, ""));
        let found = self.structure(name)?;
        match kind {
            "SIZE" => Some(found.size_or_type.into()),
            "OFFSET" => {
                let bits = self.offset(found, path, DEEPEST)?;
                bits.is_multiple_of(8).then_some(bits / 8)
            }
            _ => None,
        }
    }

    /// The struct with this name that has members.
    fn structure(&self, name: &str) -> Option<BtfType<'_>> {
        let types = self.starts.iter().filter_map(|start| self.at(*start as usize));
        let mut structs = types.filter(|found| found.kind == BtfKind::Struct && found.count > 0);
        structs.find(|found| self.is_named(found.name, name))
    }

    /// Offset in bits of a field, `a` or `a.b`, in a struct or union. Members without a name
    /// count as parts of it.
    fn offset(&self, of: BtfType<'_>, path: &str, deepest: u32) -> Option<u64> {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let deeper = deepest.checked_sub(1)?;
        of.members().find_map(|member| {
            let inner = || self.members_of(member.of);
            let within = match member.name {
                0 => self.offset(inner()?, path, deeper)?,
                other if !self.is_named(other, name) => return None,
                _ if rest.is_empty() => 0,
                _ => self.offset(inner()?, rest, deeper)?,
            };
            Some(u64::from(member.bits) + within)
        })
    }

    /// The struct or union that a type is, by whatever name.
    fn members_of(&self, mut number: u32) -> Option<BtfType<'_>> {
        use BtfKind as K;
        for _ in 0..DEEPEST {
            let found = self.get(number)?;
            match found.kind {
                K::Struct | K::Union => return Some(found),
                K::Typedef | K::Volatile | K::Const | K::Restrict | K::TypeTag => {
                    number = found.size_or_type;
                }
                _ => return None,
            }
        }
        None
    }

    /// The type at this offset, if its kind is known.
    fn at(&self, offset: usize) -> Option<BtfType<'_>> {
        let bytes = self.bytes.as_ref().get(self.types.clone())?.get(offset..)?;
        let word = |at| number(bytes, at, 4).map(|word| word as u32);
        let info = word(4)?;
        let mut found = BtfType {
            name: word(0)?,
            kind: BtfKind::of(info)?,
            count: usize::from(info as u16),
            flag: info >> 31 != 0,
            size_or_type: word(8)?,
            details: &[],
        };
        found.details = bytes.get(TYPE..)?.get(..found.length_of_details())?;
        Some(found)
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let strings = self.bytes.as_ref().get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(at as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// The little-endian number of `length` bytes at an offset.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use proptest::prelude::*;

    /// Types as the format's description has them: name, info, size or type, details.
    #[derive(Default)]
    struct Blob {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Blob {
        fn add(&mut self, name: &str, info: u32, last: u32, details: &[(&str, u32, u32)]) {
            let name = self.name(name);
            self.words(&[name, info, last]);
            for (name, kind, offset) in details {
                let name = self.name(name);
                self.words(&[name, *kind, *offset]);
            }
        }

        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(name.bytes().chain([0]));
            at
        }

        fn words(&mut self, words: &[u32]) {
            self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }

        fn file(&self) -> Vec<u8> {
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            let mut file = vec![0x9f, 0xeb, 1, 0];
            for word in [24, 0, types, types, strings] {
                file.extend(word.to_le_bytes());
            }
            [&file[..], &self.types, &self.strings].concat()
        }
    }

    /// `struct inner { int; long sp; }`, `struct task_struct` with it, a union without a name, and
    /// fields of bits; before them all other kinds.
    fn blob() -> Blob {
        let mut blob = Blob::default();
        blob.add("int", 1 << 24, 4, &[]);
        blob.words(&[32]);
        blob.add("", 2 << 24, 1, &[]);
        blob.add("", 3 << 24, 0, &[("", 1, 4)]);
        blob.add("inner", 4 << 24 | 2, 16, &[("padding", 1, 0), ("sp", 1, 64)]);
        blob.add("inner_t", 8 << 24, 4, &[]);
        blob.add("", 10 << 24, 5, &[]);
        blob.add("", 5 << 24 | 2, 8, &[("in_union", 1, 0), ("thread", 6, 0)]);
        // An enum, a function of the struct's name and its prototype, a declaration of the struct.
        blob.add("state", 6 << 24 | 1, 4, &[]);
        blob.words(&[0, 7]);
        blob.add("task_struct", 12 << 24, 10, &[]);
        blob.add("", 13 << 24 | 1, 1, &[]);
        blob.words(&[0, 1]);
        blob.add("task_struct", 7 << 24, 0, &[]);
        blob.add("task_struct", 8 << 24, 1, &[]);
        blob.add("task_struct", 4 << 24, 0, &[]);
        blob.add("variable", 14 << 24, 1, &[]);
        blob.words(&[0]);
        blob.add(".data", 15 << 24 | 1, 4, &[("", 14, 0)]);
        blob.add("float", 16 << 24, 4, &[]);
        blob.add("tag", 17 << 24, 1, &[]);
        blob.words(&[0]);
        blob.add("tag", 18 << 24, 4, &[]);
        blob.add("long_enum", 19 << 24 | 1, 8, &[("one", 1, 0)]);
        let fields = [
            ("pid", 1, 32 << 24 | 96),
            ("few_bits", 1, 3 << 24 | 131),
            ("", 7, 192),
            ("other", 4, 320),
            ("tagged", 18, 448),
            ("pointer", 2, 576),
        ];
        blob.add("task_struct", 1 << 31 | 4 << 24 | fields.len() as u32, 80, &fields);
        blob
    }

    #[test]
    fn offsets_and_sizes() {
        let file = blob().file();
        let btf = Btf::parse(&file[..]).expect("BTF");
        for (key, expected) in [
            ("SIZE(task_struct)", Some(80)),
            ("SIZE(inner)", Some(16)),
            ("OFFSET(task_struct.pid)", Some(12)),
            ("OFFSET(task_struct.in_union)", Some(24)),
            ("OFFSET(task_struct.thread)", Some(24)),
            ("OFFSET(task_struct.thread.sp)", Some(32)),
            ("OFFSET(task_struct.other.sp)", Some(48)),
            ("OFFSET(task_struct.tagged.sp)", Some(64)),
            ("OFFSET(task_struct.few_bits)", None),
            ("OFFSET(task_struct.pointer.sp)", None),
            ("OFFSET(task_struct.sp)", None),
            ("OFFSET(task_struct.p)", None),
            ("OFFSET(task_struct)", None),
            ("SIZE(absent)", None),
            ("SIZE(int)", None),
            ("NUMBER(pid)", None),
            ("pid", None),
        ] {
            assert_eq!(btf.value(key), expected, "{key}");
        }
    }

    /// A later kernel may have other kinds after the types of today.
    #[test]
    fn types_before_an_unknown_kind_are_known() {
        let mut blob = blob();
        blob.add("new", 31 << 24 | 4, 0, &[]);
        blob.add("late", 4 << 24 | 1, 4, &[("a", 1, 0)]);
        let file = blob.file();
        let btf = Btf::parse(&file[..]).expect("BTF");
        assert_eq!(btf.value("OFFSET(task_struct.pid)"), Some(12));
        assert_eq!(btf.value("SIZE(late)"), None);
    }

    #[test]
    fn a_struct_within_itself_is_given_up() {
        let mut blob = Blob::default();
        blob.add("a", 4 << 24 | 1, 4, &[("", 1, 0)]);
        blob.add("", 8 << 24, 2, &[]);
        blob.add("b", 4 << 24 | 1, 4, &[("", 2, 0)]);
        let file = blob.file();
        let btf = Btf::parse(&file[..]).expect("BTF");
        assert_eq!(btf.value("OFFSET(a.x)"), None);
        assert_eq!(btf.value("OFFSET(b.x)"), None);
    }

    #[test]
    fn other_files_are_none() {
        let file = blob().file();
        for (at, byte) in [(0, 0x9e), (2, 2), (7, 0x80), (11, 0x80)] {
            let mut other = file.clone();
            other[at] = byte;
            assert!(Btf::parse(&other[..]).is_none(), "{at}");
        }
        assert!(Btf::parse(&b""[..]).is_none());
    }

    proptest! {
        #[test]
        fn damage_is_survived(damage in prop::collection::vec((0..800_usize, any::<u8>()), 1..9), end in 0..800_usize) {
            let mut file = blob().file();
            let length = file.len();
            damage.iter().for_each(|(at, byte)| file[at % length] = *byte);
            for bytes in [&file[..], &file[..end % length]] {
                if let Some(btf) = Btf::parse(bytes) {
                    let _ = (btf.value("OFFSET(task_struct.thread.sp)"), btf.value("SIZE(inner)"));
                }
            }
        }
    }
}
