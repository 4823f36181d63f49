//! Taints (Linux, `Documentation/admin-guide/tainted-kernels.rst`).

use serde::Serialize;

/// Letters and meanings by their bits.
const TAINTS: [(char, &str); 20] = [
    ('P', "a proprietary module was loaded"),
    ('F', "a module was loaded by force"),
    ('S', "the CPU or the system is out of specification"),
    ('R', "a module was unloaded by force"),
    ('M', "a machine check came"),
    ('B', "a bad page was seen, or page flags that cannot be"),
    ('U', "a user asked for the taint"),
    ('D', "an oops or a BUG came"),
    ('A', "an ACPI table was replaced"),
    ('W', "the kernel warned"),
    ('C', "a staging driver was loaded"),
    ('I', "a workaround for a firmware bug is active"),
    ('O', "a module from outside the kernel was loaded"),
    ('E', "a module without a valid signature was loaded"),
    ('L', "a soft lock-up came"),
    ('K', "the kernel was patched live"),
    ('X', "the distribution's own taint"),
    ('T', "the kernel was built with randomized structs"),
    ('N', "a test of the kernel ran in it"),
    ('J', "a device's firmware was changed by a user"),
];
/// Letters of what likely has to do with the crash.
const GRAVE: &str = "FRMBL";

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taint {
    /// Number of its bit.
    pub bit: u32,
    /// Its letter; `?` of one that is not known.
    pub letter: char,
    /// Its meaning.
    pub meaning: &'static str,
}

impl Taint {
    /// True if something went wrong; the crash itself may be that.
    pub(super) fn is_grave(&self) -> bool {
        GRAVE.contains(self.letter)
    }
}

/// The taints of a mask.
pub(super) fn taints(mask: u64) -> Vec<Taint> {
    let set = (0..u64::BITS).filter(|bit| mask >> bit & 1 != 0);
    set.map(|bit| {
        let known = TAINTS.get(bit as usize).copied();
        let (letter, meaning) = known.unwrap_or(('?', "a taint that is not known"));
        Taint { bit, letter, meaning }
    })
    .collect()
}
