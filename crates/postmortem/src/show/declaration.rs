//! Declarations of types, as crash(8)'s `struct` shows them.

use std::fmt::Write;

use crate::Error;
use crate::types::{Compound, Type, TypeId, Types};

/// Deepest nesting of anonymous structs.
const DEEPEST: usize = 24;
/// Most lines.
const MOST_LINES: usize = 16 << 10;

/// A declaration in the making.
struct Writer<'t> {
    types: &'t Types,
    has_offsets: bool,
    text: String,
    lines: usize,
}

/// The declaration of a type, with its size; with `has_offsets` also the offsets of its members in
/// bytes.
///
/// # Errors
/// [`Error::BadType`].
pub fn declaration(types: &Types, of: TypeId, has_offsets: bool) -> Result<String, Error> {
    let mut writer = Writer { types, has_offsets, text: String::new(), lines: 0 };
    let (own, found) = types.plain(of)?;
    if let Type::Typedef(name, to) = &*types.get(of)? {
        let _ = writeln!(writer.text, "typedef {} {name};", types.name(*to));
    }
    match &*found {
        Type::Compound(compound) => {
            let _ = write!(writer.text, "{}", types.name(own));
            writer.compound(compound, 0, 0)?;
            writer.text += ";\n";
        }
        Type::Enumeration(enumeration) => {
            let _ = writeln!(writer.text, "enum {} {{", enumeration.name);
            for (name, value) in &enumeration.values {
                let _ = writeln!(writer.text, "    {name} = {value},");
            }
            writer.text += "};\n";
        }
        _ if writer.text.is_empty() => writer.text = format!("{};\n", types.name(of)),
        _ => {}
    }
    let _ = write!(writer.text, "SIZE: {}", types.size(of)?);
    Ok(writer.text)
}

impl Writer<'_> {
    /// Writes the members of a struct that is `base` bits from the start of the outermost one.
    fn compound(&mut self, of: &Compound, base: u64, depth: usize) -> Result<(), Error> {
        self.text += " {\n";
        for member in &of.members {
            self.lines += 1;
            if self.lines > MOST_LINES {
                break;
            }
            let bits = base.saturating_add(member.bits);
            let offset = match (self.has_offsets, member.bit_size) {
                (false, _) => String::new(),
                (true, None) => format!("[{}] ", bits / 8),
                (true, Some(_)) => format!("[{}:{}] ", bits / 8, bits % 8),
            };
            let _ = write!(self.text, "{:1$}{offset}", "", 4 * depth + 4);
            let (own, found) = self.types.plain(member.of)?;
            match &*found {
                Type::Compound(inner) if inner.name.is_empty() && depth < DEEPEST => {
                    self.text += self.types.name(own).trim_end();
                    self.compound(inner, bits, depth + 1)?;
                    if !member.name.is_empty() {
                        let _ = write!(self.text, " {}", member.name);
                    }
                }
                _ => self.text += &declared(self.types, member.of, &member.name),
            }
            if let Some(size) = member.bit_size {
                let _ = write!(self.text, " : {size}");
            }
            self.text += ";\n";
        }
        let _ = write!(self.text, "{:1$}}}", "", 4 * depth);
        Ok(())
    }
}

/// The declaration of a variable: `char comm[16]`, `struct list_head *next`.
pub fn declared(types: &Types, of: TypeId, name: &str) -> String {
    let text = types.name(of);
    let (before, after) = match text.find('[') {
        Some(bracket) => text.split_at(bracket),
        None => (&*text, ""),
    };
    let before = before.trim_end();
    let space = if before.ends_with('*') { "" } else { " " };
    format!("{before}{space}{name}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kernel;
    use crate::fake::Fake;

    #[test]
    fn declarations_are_c() {
        let mut fake = Fake::amd64();
        fake.enumeration("colour", &[("RED", 0), ("BLUE", -2)]);
        fake.union("", 8, &[("whole", "long", 0), ("flag", "unsigned int:1+3", 4)]);
        fake.structure(
            "thing",
            48,
            &[
                ("next", "struct thing **", 0),
                ("name", "char [8]", 8),
                ("", "union ", 16),
                ("both", "union ", 24),
                ("grid", "int [2][3]", 32),
            ],
        );
        fake.typedef("thing_t", "struct thing");
        let dump = fake.dump();
        let kernel = Kernel::open(&dump).expect("a kernel");
        let types = kernel.types();
        let find = |name| types.find(name).expect("a type");
        let text = declaration(types, find("struct thing"), true).expect("a declaration");
        let expected = "struct thing {
    [0] struct thing **next;
    [8] char name[8];
    [16] union {
        [16] long int whole;
        [20:3] unsigned int flag : 1;
    };
    [24] union {
        [24] long int whole;
        [28:3] unsigned int flag : 1;
    } both;
    [32] int grid[2][3];
};
SIZE: 48";
        assert_eq!(text, expected);
        let text = declaration(types, find("enum colour"), false).expect("a declaration");
        assert_eq!(text, "enum colour {\n    RED = 0,\n    BLUE = -2,\n};\nSIZE: 4");
        let text = declaration(types, find("thing_t"), false).expect("a declaration");
        assert!(
            text.starts_with("typedef struct thing thing_t;\nstruct thing {\n    struct"),
            "{text}"
        );
        let text = declaration(types, find("int"), false).expect("a declaration");
        assert_eq!(text, "int;\nSIZE: 4");
    }
}
