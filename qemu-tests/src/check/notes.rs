//! The notes of a vmcore are the dead kernel's.

use anyhow::{Context, Result, ensure};

use crate::check::core_file::{CoreFile, Note};
use crate::check::dead_kernel::Vmcoreinfo;
use crate::check::evidence::Evidence;

/// Name of the note with our loader's additions to VMCOREINFO.
const ADDITION: &str = "KDUMP-RS";

/// The notes with the registers of a CPU.
pub(crate) fn prstatus(core: &CoreFile) -> impl Iterator<Item = &Note> {
    core.notes.iter().filter(|note| note.is_prstatus())
}

/// Checks that there is one PRSTATUS note per CPU, byte for byte as the dead kernel left it at the
/// address that it named.
pub(crate) fn prstatus_notes(evidence: &Evidence<'_>) -> Result<String> {
    let expected = &evidence.dead.crash_notes;
    let found = prstatus(evidence.core).count();
    ensure!(found == expected.len(), "{found} PRSTATUS notes for {} CPUs", expected.len());
    for (cpu, (note, address)) in prstatus(evidence.core).zip(expected).enumerate() {
        let length = note.raw.len() as u64;
        let left = evidence.truth.bytes(evidence.memory, *address, length);
        let left = left.with_context(|| format!("reading the note of CPU {cpu}"))?;
        ensure!(left == note.raw, "the note of CPU {cpu} is not what memory holds at {address:#x}");
    }
    Ok(format!("{found} notes equal the dead kernel's, byte for byte"))
}

/// Checks that the one VMCOREINFO note begins with the bytes in memory, and gives the distance that
/// the kernel has moved, if kernel or loader know that it should.
pub(crate) fn only_vmcoreinfo(evidence: &Evidence<'_>, dead: Vmcoreinfo) -> Result<String> {
    let notes = &evidence.core.notes;
    let mut texts = notes.iter().filter(|note| note.name.starts_with("VMCOREINFO"));
    let text = &texts.next().context("there is no VMCOREINFO note")?.desc;
    ensure!(texts.next().is_none(), "there is more than one VMCOREINFO note");
    // A capture kernel that does not know our loader's addition passes it on unchanged.
    let is_known = |note: &Note| {
        let is_addition = note.name == ADDITION && !dead.is_merged;
        is_addition || note.is_prstatus() || note.name.starts_with("VMCOREINFO")
    };
    let others = notes.iter().find(|note| !is_known(note));
    ensure!(others.is_none(), "there is a note of an unknown name: {others:?}");
    // Its header: lengths of name and text, and the type; then the name, padded.
    let header = evidence.truth.bytes(evidence.memory, dead.note, 24)?;
    ensure!(header[12..24] == *b"VMCOREINFO\0\0", "memory has no VMCOREINFO at {:#x}", dead.note);
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let left = evidence.truth.bytes(evidence.memory, dead.note + 24, length.into())?;
    let added = text.strip_prefix(&left[..]).context("it is not what memory holds")?;
    let expected = dead.kernel_offset.map(|offset| format!("KERNELOFFSET={offset:x}"));
    let lines: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"KERNELOFFSET="))
        .collect();
    let is_said = lines.iter().copied().eq(expected.as_deref().map(str::as_bytes));
    ensure!(is_said, "{} lines with a KERNELOFFSET", lines.len());
    let said = expected.as_deref().unwrap_or("no KERNELOFFSET, which nobody knows here");
    Ok(format!("{length} bytes of the dead kernel's, {} added; {said}", added.len()))
}

/// The text of the VMCOREINFO note.
///
/// # Errors
/// Fails if there is no such note, or it is no text.
pub fn vmcoreinfo_text(core: &CoreFile) -> Result<String> {
    let note = core.notes.iter().find(|note| note.name.starts_with("VMCOREINFO"));
    let text = note.context("there is no VMCOREINFO note")?.desc.clone();
    String::from_utf8(text).context("VMCOREINFO is no text")
}
