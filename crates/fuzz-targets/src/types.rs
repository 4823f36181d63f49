//! Questions about types from damaged debug information.

use postmortem::{Type, TypeId, TypeSource, Types, declaration, declared};

/// Most types that are asked for by their numbers.
const MOST: u64 = 256;

/// Asks for everything. No answer is longer than the bytes allow.
///
/// # Panics
/// Panics if a struct has more members than there are bytes.
pub(crate) fn ask(source: Box<dyn TypeSource>, bytes: usize, numbers: &[u64]) {
    let types = Types::new(8, vec![source]);
    let all = (0..MOST).chain(numbers.iter().copied()).map(TypeId);
    for number in all {
        if let Ok(found) = types.get(number)
            && let Type::Compound(compound) = &*found
        {
            assert!(compound.members.len() <= bytes, "more members than bytes");
            for member in compound.members.iter().take(8) {
                let _ = types.field(number, &format!("{}.x[3]", member.name));
                let _ = types.field(number, &member.name);
            }
        }
        let _ = (types.plain(number), types.size(number), types.compound(number));
        let _ = (declared(&types, number, "x"), declaration(&types, number, true));
    }
    for (tag, name) in types.names() {
        let found = types.find(&format!("{tag}{name}"));
        let _ = found.map(|number| declaration(&types, number, false));
        let _ = (types.variable(&name), types.enumerator(&name));
    }
    let _ = types.spelled("struct a *[2][3]").map(|of| types.size(of));
}
