//! Types from the BTF in the dead kernel's memory.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use linux::{Btf, BtfKind, BtfType};

use super::model::{Compound, Enumeration, Integer, Member, Tag, Type, TypeId, TypeSource};
use crate::Error;

/// The types of a BTF.
#[derive(Debug)]
pub struct BtfTypes {
    btf: Btf<Vec<u8>>,
    /// Numbers of the types with a name, by their tags and names.
    index: OnceLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    types: HashMap<(Tag, String), u32>,
    variables: HashMap<String, u32>,
    /// Enums and values.
    enumerators: HashMap<String, (u32, i64)>,
}

impl BtfTypes {
    /// Takes the bytes of a BTF.
    ///
    /// # Errors
    /// [`Error::NoTypes`]: they are no BTF.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Error> {
        let btf = Btf::parse(bytes).filter(|btf| btf.count() > 0);
        let btf = btf.ok_or_else(|| Error::NoTypes("the kernel's BTF is damaged".to_owned()))?;
        Ok(Self { btf, index: OnceLock::new() })
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for number in 1..=self.btf.count() as u32 {
                let Some(found) = self.btf.get(number) else { continue };
                self.add(&mut index, number, &found);
            }
            index
        })
    }

    /// Adds a type to the index. The first of several with one name counts.
    fn add(&self, index: &mut Index, number: u32, found: &BtfType<'_>) {
        use BtfKind as K;
        let tag = match found.kind {
            K::Struct => Tag::Struct,
            K::Union => Tag::Union,
            K::Enum | K::Enum64 => Tag::Enum,
            K::Int | K::Float | K::Typedef => Tag::Plain,
            K::Variable => {
                let name = self.btf.name(found).to_owned();
                index.variables.entry(name).or_insert(found.size_or_type);
                return;
            }
            _ => return,
        };
        if tag == Tag::Enum {
            for (name, value) in self.values(found) {
                index.enumerators.entry(name).or_insert((number, value));
            }
        }
        let name = self.btf.name(found);
        if !name.is_empty() && (tag == Tag::Plain || found.count > 0) {
            index.types.entry((tag, name.to_owned())).or_insert(number);
        }
    }

    fn values(&self, found: &BtfType<'_>) -> Vec<(String, i64)> {
        let name = |at| self.btf.text(at).to_owned();
        match (found.kind, found.flag) {
            (BtfKind::Enum64, _) => {
                let value = |low, high| (u64::from(high) << 32 | u64::from(low)) as i64;
                found.words().map(|[at, low, high]| (name(at), value(low, high))).collect()
            }
            (_, true) => {
                found.words().map(|[at, value]| (name(at), (value as i32).into())).collect()
            }
            (_, false) => found.words().map(|[at, value]| (name(at), value.into())).collect(),
        }
    }

    fn compound(&self, tag: Tag, found: &BtfType<'_>) -> Type {
        let members = found.members().map(|member| Member {
            name: self.btf.text(member.name).to_owned(),
            of: TypeId(member.of.into()),
            bits: member.bits.into(),
            bit_size: (member.bit_size > 0).then_some(member.bit_size),
        });
        Type::Compound(Arc::new(Compound {
            tag,
            name: self.btf.name(found).to_owned(),
            size: found.size_or_type.into(),
            members: members.collect(),
        }))
    }

    /// An integer: its encoding has the offset and the number of bits, too. Bitfields of kernels
    /// before 4.20 are told by these; every kernel that we know has them in the member.
    fn integer(&self, found: &BtfType<'_>) -> Type {
        let [encoding] = found.words().next().unwrap_or_default();
        Type::Integer(Integer {
            name: self.btf.name(found).to_owned(),
            size: found.size_or_type.into(),
            is_signed: encoding >> 24 & 1 != 0,
        })
    }
}

impl TypeSource for BtfTypes {
    fn kind(&self) -> &'static str {
        "BTF"
    }

    fn get(&self, number: TypeId) -> Result<Type, Error> {
        use BtfKind as K;
        if number == TypeId::VOID {
            return Ok(Type::Void("void".to_owned()));
        }
        let found = u32::try_from(number.0).ok().and_then(|number| self.btf.get(number));
        let found = found.ok_or(Error::BadType { number: number.0 })?;
        let name = || self.btf.name(&found).to_owned();
        let other = TypeId(found.size_or_type.into());
        Ok(match found.kind {
            K::Int => self.integer(&found),
            K::Pointer => Type::Pointer(other),
            K::Array => {
                let [element, _, count] = found.words().next().unwrap_or_default();
                Type::Array(TypeId(element.into()), (count > 0).then_some(count.into()))
            }
            K::Struct => self.compound(Tag::Struct, &found),
            K::Union => self.compound(Tag::Union, &found),
            K::Enum | K::Enum64 => Type::Enumeration(Arc::new(Enumeration {
                name: name(),
                size: found.size_or_type.into(),
                values: self.values(&found),
            })),
            K::Typedef => Type::Typedef(name(), other),
            K::Volatile | K::Const | K::Restrict | K::TypeTag => Type::Qualified(other),
            K::Float => Type::Float(name(), found.size_or_type.into()),
            K::Forward => {
                let tag = if found.flag { Tag::Union } else { Tag::Struct };
                match self.find(tag, &name()) {
                    Some(whole) => return self.get(whole),
                    None => Type::Void(format!("{tag}{}", name())),
                }
            }
            K::Function | K::Prototype | K::Variable | K::DataSection | K::DeclarationTag => {
                Type::Void(name())
            }
        })
    }

    fn find(&self, tag: Tag, name: &str) -> Option<TypeId> {
        let number = self.index().types.get(&(tag, name.to_owned()))?;
        Some(TypeId((*number).into()))
    }

    fn variable(&self, name: &str) -> Option<TypeId> {
        Some(TypeId((*self.index().variables.get(name)?).into()))
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        Some(self.index().enumerators.get(name)?.1)
    }

    fn enumeration(&self, name: &str) -> Option<TypeId> {
        Some(TypeId(self.index().enumerators.get(name)?.0.into()))
    }

    fn names(&self) -> Vec<(Tag, String)> {
        let names = self.index().types.keys().filter(|(tag, _)| *tag != Tag::Plain);
        names.cloned().collect()
    }
}
