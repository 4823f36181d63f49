//! Note areas.

use vmcore::{Prstatus, vmcoreinfo_get};

/// `e_machine` of the machines that have registers for us, and of one that has not.
const MACHINES: [u16; 3] = [3, 62, 0];

/// Walks the bytes as a note area.
///
/// # Panics
/// Panics if a note is outside the area, or the walk does not end.
pub fn notes(bytes: &[u8]) {
    let area = bytes.as_ptr_range();
    let mut seen = 0;
    for note in vmcore::notes(bytes) {
        seen += 1;
        assert!(seen <= bytes.len(), "more notes than bytes");
        let Ok(note) = note else { continue };
        for part in [note.name, note.desc] {
            let part = part.as_ptr_range();
            assert!(area.start <= part.start && part.end <= area.end, "outside the area");
        }
        for machine in MACHINES {
            if let Ok(status) = Prstatus::parse(machine, note.desc) {
                let pointer = status.register(if machine == 3 { "eip" } else { "rip" });
                assert_eq!(pointer, Some(status.instruction_pointer));
            }
        }
        let _ = vmcoreinfo_get(note.desc, "OSRELEASE");
    }
}
