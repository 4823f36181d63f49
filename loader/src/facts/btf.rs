//! BTF, the kernel's own description of its types (`/sys/kernel/btf/vmlinux`): offsets of fields
//! and sizes of structs.
//!
//! The crate `btf` keeps no size of a struct, takes 85 MB of memory for a kernel's 5 MB, and finds
//! functions and types of one name alike.
//!
//! Source: Linux, `Documentation/bpf/btf.rst`.

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
/// Numbers of kinds of types.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const TYPE_TAG: u32 = 18;

/// The types of a kernel.
#[derive(Debug)]
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`. The type with number 1 is the first.
    starts: Vec<u32>,
}

/// A type without its details.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Number of members.
    count: usize,
    /// True if members have sizes in bits.
    has_bits: bool,
    /// Its size in bytes, or the number of another type.
    size_or_type: u32,
    details: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Reads the places of all types, up to the first one of an unknown kind. [`None`] if the bytes
    /// are no BTF.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if number(bytes, 0, 2)? != MAGIC || number(bytes, 2, 1)? != VERSION {
            return None;
        }
        let word = |at| usize::try_from(number(bytes, at, 4)?).ok();
        let body = bytes.get(word(4)?.max(HEADER)..)?;
        let part = |at: usize| body.get(word(at)?..)?.get(..word(at + 4)?);
        let mut btf = Self { types: part(8)?, strings: part(16)?, starts: Vec::new() };
        let mut at = 0;
        while let Some(found) = btf.at(at) {
            let Some(details) = found.length_of_details() else { break };
            btf.starts.push(u32::try_from(at).ok()?);
            at += TYPE + details;
        }
        Some(btf)
    }

    /// The value of a key of VMCOREINFO: `OFFSET(STRUCT.FIELD)`, where the field may be one of a
    /// struct in the struct, or `SIZE(STRUCT)`; in bytes.
    pub(crate) fn value(&self, key: &str) -> Option<u64> {
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
    fn structure(&self, name: &str) -> Option<Type<'a>> {
        let types = self.starts.iter().filter_map(|start| self.at(*start as usize));
        let mut structs = types.filter(|found| found.kind == STRUCT && found.count > 0);
        structs.find(|found| self.is_named(found.name, name))
    }

    /// Offset in bits of a field, `a` or `a.b`, in a struct or union. Members without a name
    /// count as parts of it.
    fn offset(&self, of: Type<'_>, path: &str, deepest: u32) -> Option<u64> {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let deeper = deepest.checked_sub(1)?;
        of.details.chunks_exact(MEMBER).find_map(|member| {
            let at = number(member, 8, 4)?;
            let at = if of.has_bits { at & 0xff_ffff } else { at };
            let inner = || self.members_of(number(member, 4, 4)?);
            let within = match number(member, 0, 4)? as u32 {
                0 => self.offset(inner()?, path, deeper)?,
                other if !self.is_named(other, name) => return None,
                _ if rest.is_empty() => 0,
                _ => self.offset(inner()?, rest, deeper)?,
            };
            Some(at + within)
        })
    }

    /// The struct or union that a type is, by whatever name.
    fn members_of(&self, mut number: u64) -> Option<Type<'a>> {
        for _ in 0..DEEPEST {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            let found = self.at(*self.starts.get(index)? as usize)?;
            match found.kind {
                STRUCT | UNION => return Some(found),
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                    number = found.size_or_type.into();
                }
                _ => return None,
            }
        }
        None
    }

    /// The type at this offset.
    fn at(&self, offset: usize) -> Option<Type<'a>> {
        let bytes = self.types.get(offset..)?;
        let word = |at| number(bytes, at, 4).map(|word| word as u32);
        let info = word(4)?;
        let mut found = Type {
            name: word(0)?,
            kind: info >> 24 & 0x1f,
            count: usize::from(info as u16),
            has_bits: info >> 31 != 0,
            size_or_type: word(8)?,
            details: &[],
        };
        if let Some(length) = found.length_of_details() {
            found.details = bytes.get(TYPE..TYPE + length)?;
        }
        Some(found)
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let rest =
            self.strings.get(at as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }
}

impl Type<'_> {
    /// Length of the details in bytes; [`None`] for an unknown kind.
    fn length_of_details(&self) -> Option<usize> {
        Some(match self.kind {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | TYPE_TAG => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            // Enum, function prototype.
            6 | 13 => 8 * self.count,
            // Struct, union, data section, enum of 64 bits.
            STRUCT | UNION | 15 | 19 => MEMBER * self.count,
            _ => return None,
        })
    }
}

/// The little-endian number of `length` bytes at an offset.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
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
        let btf = Btf::parse(&file).expect("BTF");
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
        let btf = Btf::parse(&file).expect("BTF");
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
        let btf = Btf::parse(&file).expect("BTF");
        assert_eq!(btf.value("OFFSET(a.x)"), None);
        assert_eq!(btf.value("OFFSET(b.x)"), None);
    }

    #[test]
    fn other_files_are_none() {
        let file = blob().file();
        for (at, byte) in [(0, 0x9e), (2, 2), (7, 0x80), (11, 0x80)] {
            let mut other = file.clone();
            other[at] = byte;
            assert!(Btf::parse(&other).is_none(), "{at}");
        }
        assert!(Btf::parse(b"").is_none());
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
