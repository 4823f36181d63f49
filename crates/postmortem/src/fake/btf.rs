//! BTF, put together by hand (Linux, `Documentation/bpf/btf.rst`).

use std::collections::HashMap;

/// Names of C's integers, their sizes in bytes (0: of a pointer) and 1 for a sign.
const INTEGERS: [(&str, u32, u32); 12] = [
    ("char", 1, 1),
    ("signed char", 1, 1),
    ("unsigned char", 1, 0),
    ("short", 2, 1),
    ("short unsigned int", 2, 0),
    ("int", 4, 1),
    ("unsigned int", 4, 0),
    ("long int", 0, 1),
    ("long unsigned int", 0, 0),
    ("long long int", 8, 1),
    ("long long unsigned int", 8, 0),
    ("_Bool", 1, 0),
];
/// Other spellings of them.
const SPELLINGS: [(&str, &str); 7] = [
    ("unsigned short", "short unsigned int"),
    ("unsigned long", "long unsigned int"),
    ("long", "long int"),
    ("u64", "long long unsigned int"),
    ("u32", "unsigned int"),
    ("u8", "unsigned char"),
    ("bool", "_Bool"),
];

/// Types in the making.
#[derive(Clone, Debug)]
pub(super) struct BtfBuilder {
    /// Name, info, size or type, details.
    types: Vec<(u32, u32, u32, Vec<u32>)>,
    strings: Vec<u8>,
    /// Numbers of the types, by their spellings.
    numbers: HashMap<String, u32>,
}

impl BtfBuilder {
    /// The integers of a machine with pointers of `word` bytes.
    pub(super) fn new(word: u32) -> Self {
        let mut builder = Self { types: Vec::new(), strings: vec![0], numbers: HashMap::new() };
        for (name, size, sign) in INTEGERS {
            let size = if size == 0 { word } else { size };
            builder.add(name, name, 1 << 24, size, vec![sign << 24 | (8 * size)]);
        }
        for (other, name) in SPELLINGS {
            let number = builder.numbers[name];
            builder.numbers.insert(other.to_owned(), number);
        }
        builder.numbers.insert("void".to_owned(), 0);
        builder
    }

    /// A struct or union, with members by name, type, and offset in bytes.
    pub(super) fn compound(
        &mut self,
        tag: &str,
        name: &str,
        size: u32,
        members: &[(&str, &str, u32)],
    ) {
        let mut details = Vec::new();
        for (name, spelled, offset) in members {
            let (spelled, bits, more) = match spelled.split_once(':') {
                Some((spelled, bits)) => {
                    let (bits, more) = bits.split_once('+').unwrap_or((bits, "0"));
                    (spelled, number(bits), number(more))
                }
                None => (*spelled, 0, 0),
            };
            let of = self.number(spelled);
            details.extend([self.string(name), of, bits << 24 | (8 * offset + more)]);
        }
        let kind = if tag == "union" { 5 } else { 4 };
        // Bit 31: members may be bitfields.
        let info = 1 << 31 | kind << 24 | members.len() as u32;
        let at = self.number(&format!("{tag} {name}"));
        let name = self.string(name);
        self.types[at as usize - 1] = (name, info, size, details);
    }

    pub(super) fn enumeration(&mut self, name: &str, values: &[(&str, i32)]) {
        let words = |(name, value): &(&str, i32)| [self.string(name), *value as u32];
        let details = values.iter().flat_map(words).collect();
        let info = 1 << 31 | 6 << 24 | values.len() as u32;
        self.add(&format!("enum {name}"), name, info, 4, details);
    }

    pub(super) fn typedef(&mut self, name: &str, of: &str) {
        let of = self.number(of);
        self.add(name, name, 8 << 24, of, Vec::new());
    }

    pub(super) fn variable(&mut self, name: &str, of: &str) {
        let of = self.number(of);
        self.add(&format!("variable {name}"), name, 14 << 24, of, vec![1]);
    }

    fn add(&mut self, spelled: &str, name: &str, info: u32, last: u32, details: Vec<u32>) -> u32 {
        let name = self.string(name);
        self.types.push((name, info, last, details));
        let number = self.types.len() as u32;
        self.numbers.insert(spelled.to_owned(), number);
        number
    }

    /// Number of a type that C spells so. A struct may get its members later.
    fn number(&mut self, spelled: &str) -> u32 {
        let spelled = spelled.trim();
        if let Some(number) = self.numbers.get(spelled) {
            return *number;
        }
        if let Some(to) = spelled.strip_suffix('*') {
            let to = self.number(to);
            return self.add(spelled, "", 2 << 24, to, Vec::new());
        }
        if let Some(of) = spelled.strip_suffix(']') {
            // The first brackets are the outer array.
            let (first, rest) = of.split_once('[').expect("an array");
            let (count, inner) = rest
                .split_once(']')
                .map_or((rest, String::new()), |(count, rest)| (count, format!("{rest}]")));
            let of = self.number(&format!("{first}{inner}"));
            return self.add(spelled, "", 3 << 24, 0, vec![of, 5, number(count)]);
        }
        if let Some(result) = spelled.strip_suffix("()") {
            let result = self.number(result);
            return self.add(spelled, "", 13 << 24, result, Vec::new());
        }
        let (tag, name) = spelled.split_once(' ').unwrap_or((spelled, ""));
        assert!(["struct", "union"].contains(&tag), "{spelled} was not added before");
        let info = if tag == "union" { 5 << 24 } else { 4 << 24 };
        self.add(spelled, name, info, 0, Vec::new())
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    pub(super) fn file(&self) -> Vec<u8> {
        let words = self.types.iter().flat_map(|(name, info, last, details)| {
            [*name, *info, *last].into_iter().chain(details.iter().copied())
        });
        let types: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let length = types.len() as u32;
        let mut file = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, self.strings.len() as u32] {
            file.extend(u32::to_le_bytes(word));
        }
        [&file[..], &types, &self.strings].concat()
    }
}

fn number(text: &str) -> u32 {
    if text.is_empty() { 0 } else { text.parse().expect("a number") }
}
