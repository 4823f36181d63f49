//! A button that sends an NMI is pressed when a Linux first kernel asks for it.

use super::hooks::*;

pub(super) struct NmiButton;

impl Hooks for NmiButton {
    fn fact(&mut self, fact: &str, qmp: &mut Qmp) -> Result<()> {
        if fact == "button" { qmp.inject_nmi() } else { Ok(()) }
    }
}
