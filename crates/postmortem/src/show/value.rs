//! Values of objects: members, elements, text.

use std::fmt::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::types::{Compound, Integer, Type, TypeId};
use crate::{Error, Kernel, Object};

/// Most elements of an array; gdb has the same limit.
const MOST_ELEMENTS: u64 = 200;
/// Elements that are equal, from which on their number is shown instead; as gdb.
const REPEATED: usize = 10;
/// Most values of an object.
const MOST_VALUES: u32 = 64 << 10;
/// Bytes of text that count as a value.
const BYTES_OF_VALUE: u32 = 32;
/// Deepest nesting.
const DEEPEST: u32 = 24;

/// The value of an object, with those of its parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// An integer.
    Number(i128),
    /// `true` or `false`.
    Bool(bool),
    /// A pointer, and the symbol that it points to, with an offset.
    Pointer(u64, Option<String>),
    /// The name of an enum's value.
    Name(String),
    /// The text of an array of characters, without the NULs at its end.
    Text(Vec<u8>),
    /// A struct or union; a member without a name is an anonymous struct.
    Members(Vec<(String, Shown)>),
    /// An array; true if it has more elements.
    Elements(Vec<Shown>, bool),
    /// The reason why there is none.
    Missing(String),
}

impl<'k> Object<'k> {
    /// The value, with those of all parts.
    pub fn shown(&self) -> Shown {
        shown(*self, &mut Limits { values: MOST_VALUES, deepest: DEEPEST })
    }
}

/// The work that is left.
struct Limits {
    values: u32,
    deepest: u32,
}

fn shown(object: Object<'_>, limits: &mut Limits) -> Shown {
    let missing = |why: &str| Shown::Missing(why.to_owned());
    if limits.values == 0 {
        return missing("too many values");
    }
    if limits.deepest == 0 {
        return missing("nested too deeply");
    }
    limits.values -= 1;
    limits.deepest -= 1;
    let found = part(object, limits).unwrap_or_else(|error| Shown::Missing(error.to_string()));
    limits.deepest += 1;
    found
}

fn part(object: Object<'_>, limits: &mut Limits) -> Result<Shown, Error> {
    let (_, found) = object.kernel().types().plain(object.type_id())?;
    Ok(match &*found {
        Type::Void(name) if name.is_empty() || name == "void" => Shown::Missing("void".to_owned()),
        Type::Void(name) => Shown::Missing(format!("{name} is only declared")),
        Type::Integer(integer) => number(object, integer)?,
        Type::Float(..) => Shown::Missing("a floating-point number".to_owned()),
        Type::Pointer(_) => pointer(object.kernel(), object.number()?),
        Type::Enumeration(_) => match object.enumerator()? {
            name if name.parse::<i64>().is_ok() => Shown::Number(object.signed()?.into()),
            name => Shown::Name(name),
        },
        Type::Array(of, count) => array(object, *of, count.unwrap_or(0), limits)?,
        Type::Compound(compound) => members(object, compound, limits),
        Type::Typedef(..) | Type::Qualified(_) => Shown::Missing("damaged".to_owned()),
    })
}

fn number(object: Object<'_>, integer: &Integer) -> Result<Shown, Error> {
    let value = object.number()?;
    Ok(match integer {
        integer if integer.is_bool() && value < 2 => Shown::Bool(value == 1),
        integer if integer.is_signed => Shown::Number((value as i64).into()),
        _ => Shown::Number(value.into()),
    })
}

fn pointer(kernel: &Kernel<'_>, value: u64) -> Shown {
    let symbol = kernel.symbols().find(value).map(|symbol| match value - symbol.at {
        0 => symbol.name.to_owned(),
        distance => format!("{}+{distance}", symbol.name),
    });
    Shown::Pointer(value, symbol)
}

fn array(object: Object<'_>, of: TypeId, count: u64, limits: &mut Limits) -> Result<Shown, Error> {
    let types = object.kernel().types();
    if matches!(&*types.plain(of)?.1, Type::Integer(integer) if integer.is_char()) && count > 0 {
        let mut bytes = vec![0; count.min(MOST_TEXT) as usize];
        limits.values = limits.values.saturating_sub(bytes.len() as u32 / BYTES_OF_VALUE);
        object.read(&mut bytes)?;
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(length);
        return Ok(Shown::Text(bytes));
    }
    let mut elements = Vec::new();
    for index in 0..count.min(MOST_ELEMENTS) {
        let element = shown(object.index(index)?, limits);
        let is_end = matches!(element, Shown::Missing(_)) && limits.values == 0;
        elements.push(element);
        if is_end {
            break;
        }
    }
    let more = count > elements.len() as u64;
    Ok(Shown::Elements(elements, more))
}

/// Most bytes of a text.
const MOST_TEXT: u64 = 4096;

fn members(object: Object<'_>, compound: &Compound, limits: &mut Limits) -> Shown {
    let mut members = Vec::new();
    for member in &compound.members {
        let value = match object.member(member) {
            Ok(member) => shown(member, limits),
            Err(error) => Shown::Missing(error.to_string()),
        };
        members.push((member.name.clone(), value));
        if limits.values == 0 {
            break;
        }
    }
    Shown::Members(members)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Shown {
    fn write(&self, f: &mut impl Write, depth: usize) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Pointer(value, None) => write!(f, "{value:#x}"),
            Self::Pointer(value, Some(symbol)) => write!(f, "{value:#x} <{symbol}>"),
            Self::Name(name) => f.write_str(name),
            Self::Text(bytes) => write!(f, "\"{}\"", quoted(bytes)),
            Self::Missing(why) => write!(f, "<{why}>"),
            Self::Members(members) if members.is_empty() => f.write_str("{}"),
            Self::Members(members) => {
                f.write_str("{\n")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{:1$}", "", 2 * depth + 2)?;
                    if !name.is_empty() {
                        write!(f, "{name} = ")?;
                    }
                    value.write(f, depth + 1)?;
                    f.write_str(if index + 1 < members.len() { ",\n" } else { "\n" })?;
                }
                write!(f, "{:1$}}}", "", 2 * depth)
            }
            Self::Elements(elements, more) => {
                f.write_char('{')?;
                Self::write_elements(elements, f, depth)?;
                f.write_str(if *more { "...}" } else { "}" })
            }
        }
    }

    fn write_elements(elements: &[Self], f: &mut impl Write, depth: usize) -> fmt::Result {
        let mut rest = elements;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|other| *other == first).count();
            let count = if same >= REPEATED { same } else { 1 };
            if rest.len() < elements.len() {
                f.write_str(", ")?;
            }
            first.write(f, depth + 1)?;
            if count > 1 {
                write!(f, " <repeats {count} times>")?;
            }
            rest = &rest[count..];
        }
        Ok(())
    }
}

/// Text as C writes it between quotation marks.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                '\n' => text += "\\n",
                '\t' => text += "\\t",
                letter if letter.is_control() => {
                    letter.to_string().bytes().for_each(|byte| text += &format!("\\{byte:03o}"));
                }
                letter => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\{byte:03o}"));
    }
    text
}

/// Pointers are text, members of anonymous structs are those of the outer one, and a missing value
/// is null.
impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => match i64::try_from(*value) {
                Ok(value) => to.serialize_i64(value),
                Err(_) => to.serialize_u64(*value as u64),
            },
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Pointer(value, _) => to.collect_str(&format_args!("{value:#x}")),
            Self::Name(name) => to.serialize_str(name),
            Self::Text(bytes) => to.serialize_str(&crate::printable(bytes)),
            Self::Missing(_) => to.serialize_none(),
            Self::Members(_) => {
                let mut map = to.serialize_map(None)?;
                self.each_member(&mut |name, value| map.serialize_entry(name, value))?;
                map.end()
            }
            Self::Elements(elements, _) => {
                let mut list = to.serialize_seq(Some(elements.len()))?;
                elements.iter().try_for_each(|element| list.serialize_element(element))?;
                list.end()
            }
        }
    }
}

impl Shown {
    fn each_member<E>(&self, each: &mut dyn FnMut(&str, &Self) -> Result<(), E>) -> Result<(), E> {
        let Self::Members(members) = self else { return Ok(()) };
        for (name, value) in members {
            match name.is_empty() {
                true => value.each_member(each)?,
                false => each(name, value)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn fake() -> Fake {
        let mut fake = Fake::amd64();
        fake.enumeration("colour", &[("RED", 0), ("BLUE", -2)]);
        fake.structure("inner", 8, &[("x", "short", 0), ("y", "unsigned short", 2)]);
        fake.union("", 4, &[("whole", "unsigned int", 0), ("half", "unsigned short", 0)]);
        fake.structure("list_head", 16, &[("next", "struct list_head *", 0)]);
        fake.typedef("call_t", "void () *");
        fake.structure(
            "thing",
            128,
            &[
                ("id", "int", 0),
                ("low", "unsigned int:3+0", 4),
                ("high", "int:5+3", 4),
                ("colour", "enum colour", 8),
                ("is_set", "bool", 12),
                ("name", "char [8]", 16),
                ("next", "struct thing *", 24),
                ("call", "call_t", 32),
                ("inner", "struct inner [2]", 40),
                ("", "union ", 56),
                ("numbers", "unsigned char [16]", 64),
                ("grid", "int [2][2]", 80),
                ("absent", "struct never *", 96),
                ("tail", "long []", 128),
            ],
        );
        fake
    }

    /// In gdb's format.
    const SHOWN: &str = r#"{
  id = -5,
  low = 5,
  high = -1,
  colour = BLUE,
  is_set = true,
  name = "a\"b\n\000c",
  next = 0x1234,
  call = 0xffffffff81000004 <do_it+4>,
  inner = {{
      x = 1,
      y = 65535
    }, {
      x = -1,
      y = 2
    }},
  {
    whole = 65538,
    half = 2
  },
  numbers = {7, 0 <repeats 14 times>, 9},
  grid = {{1, 2}, {3, 4}},
  absent = 0x0,
  tail = {}
}"#;

    fn bytes() -> Vec<u8> {
        let mut bytes = vec![0; 128];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(-5_i32).to_le_bytes());
        put(4, &[0b1111_1101]);
        put(8, &(-2_i32).to_le_bytes());
        put(12, &[1]);
        put(16, b"a\"b\n\0c\0\0");
        put(24, &0x1234_u64.to_le_bytes());
        put(32, &0xffff_ffff_8100_0004_u64.to_le_bytes());
        put(40, &[1, 0, 0xff, 0xff]);
        put(48, &[0xff, 0xff, 2, 0]);
        put(56, &[2, 0, 1, 0]);
        put(64, &[7]);
        put(79, &[9]);
        [1_u8, 2, 3, 4].iter().enumerate().for_each(|(at, value)| put(80 + 4 * at, &[*value]));
        bytes
    }

    #[test]
    fn values_look_as_in_gdb() {
        let mut fake = fake();
        let at = fake.place(&bytes());
        let dump = fake.dump();
        let mut symbols = crate::SymbolTable::default();
        symbols.add(0xffff_ffff_8100_0000, 0x10, b'T', b"do_it");
        symbols.add(0xffff_ffff_8100_0010, 0, b'T', b"_etext");
        let kernel = Kernel::with_sources(&dump, Vec::new(), symbols).expect("a kernel");
        let shown = kernel.object("struct thing", at).expect("a type").shown();
        assert_eq!(shown.to_string(), SHOWN);
        let json = serde_json::to_value(&shown).expect("JSON");
        assert_eq!(json["call"], "0xffffffff81000004");
        assert_eq!(json["half"], 2);
        assert_eq!(json["inner"][1]["x"], -1);
        assert_eq!(json["tail"], serde_json::json!([]));
    }

    #[test]
    fn memory_that_is_missing_costs_its_members() {
        let mut fake = fake();
        let at = fake.place(&[0; 4096]) + (4096 - 16);
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        // The file's memory ends in the struct, after the types.
        let end =
            (at..).step_by(4096).map(|at| at & !4095).find(|at| kernel.number(*at, 1).is_err());
        let shown =
            kernel.object("struct thing", end.expect("an end") - 16).expect("a type").shown();
        let text = shown.to_string();
        assert!(text.starts_with("{\n  id = 0,") && text.contains("name = <memory at"), "{text}");
    }

    /// An array of arrays of 2^30 elements, and a struct in itself.
    #[test]
    fn the_work_is_bounded() {
        let mut fake = Fake::amd64();
        fake.structure("many", 8, &[("all", "int [1000][1000][1000]", 0)]);
        fake.structure("self", 8, &[("self", "struct self", 0), ("other", "struct self", 0)]);
        let at = fake.place(&[0; 64]);
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        for name in ["struct many", "struct self"] {
            let shown = kernel.object(name, at).expect("a type").shown();
            assert!(shown.to_string().len() < 32 << 20, "{name}");
        }
    }
}
