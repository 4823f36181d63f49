//! Types of global variables, which BTF does not have.
//!
//! A table by name. A variable whose type changed has several, and the first type counts that the
//! kernel has. Sources: the declarations in Linux, and what was measured on 5.10 to 7.2.

use crate::Error;
use crate::types::{TypeId, Types};

/// Names and types; `[]` is an array, `*` a pointer.
const GLOBALS: &[(&str, &[&str])] =
    &[("init_task", &["struct task_struct"]), ("jiffies_64", &["u64"])];

/// The type of a global variable.
///
/// # Errors
/// [`Error::NoVariable`].
pub(crate) fn type_of(types: &Types, name: &str) -> Result<TypeId, Error> {
    let entry = GLOBALS.iter().find(|(other, _)| *other == name);
    let found = entry.and_then(|(_, names)| names.iter().find_map(|name| types.spelled(name).ok()));
    found.ok_or_else(|| Error::NoVariable(name.to_owned()))
}
