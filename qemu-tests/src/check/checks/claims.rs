//! A dump that is not whole: what the collector says it has.

use super::*;
use crate::line::collector_process::ReceivedView;

/// Every byte of the partial vmcore at `path` that `view` does not name as missing or different is
/// what memory held. What could not be read is zero, and named as well.
///
/// # Errors
/// When one is not, or what is there has no headers to say what it is.
pub fn claims_equal_memory(
    path: &Path,
    view: &ReceivedView,
    memory: &GuestMemory,
    truth: &Truth,
) -> Result<String> {
    let left = view.left.iter().map(|(start, length, _)| (*start, *length));
    let not_there: Vec<_> = left.chain([&view.missing[..], &view.differs].concat()).collect();
    let not_there: Vec<_> =
        not_there.iter().map(|(start, length)| *start..start + length).collect();
    let whole = 0..view.bytes;
    let claimed = subtract(std::slice::from_ref(&whole), &not_there);
    if claimed.is_empty() {
        return Ok("nothing has come, and nothing is claimed".to_string());
    }
    let core = CoreFile::open(path)?;
    let mut wrong = Vec::new();
    for load in &core.loads {
        let end = load.offset.checked_add(load.filesz).context("a PT_LOAD wraps")?;
        let missing = subtract(std::slice::from_ref(&(load.offset..end)), &claimed);
        for part in subtract(std::slice::from_ref(&(load.offset..end)), &missing) {
            let start = load.paddr + (part.start - load.offset);
            let physical = start..start + (part.end - part.start);
            compare(&Compared { core: &core, memory, truth }, load, physical, &mut wrong)?;
        }
    }
    if let Some(first) = wrong.first() {
        bail!("{} pages differ of which all is claimed, the first at {first:#x}", wrong.len());
    }
    let (there, missing) = (total(&claimed), view.bytes - total(&claimed));
    Ok(format!("{there} bytes are right, and {missing} are named as missing"))
}
