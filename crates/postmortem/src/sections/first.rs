//! The first page: what a support engineer looks at first. Each part answers from the data of one
//! subsystem; a part that fails is named as missing.

use serde_json::{Map, Value};

use super::section::{Part, Progress};
use super::{dev, hung, irq, kmem, module, mount, net, panic, runq, sys, timer, workqueue};
use crate::report::{Answer, Block};
use crate::{Error, Kernel};

/// The parts, in their order.
const PARTS: &[&Part] = &[
    &panic::PART,
    &sys::PART,
    &hung::PART,
    &runq::PART,
    &timer::PART,
    &kmem::PART,
    &module::PART,
    &mount::PART,
    &irq::PART,
    &dev::PART,
    &net::PART,
    &workqueue::PART,
];

/// The answer of the first page.
///
/// # Errors
/// [`Error::Missing`] if not one part has an answer.
pub fn first_page(kernel: &Kernel<'_>, progress: Progress<'_>) -> Result<Answer, Error> {
    let mut page = Answer { title: title(kernel), ..Answer::default() };
    let mut data = Map::new();
    for part in PARTS {
        match (part.read)(kernel, progress) {
            Ok(answer) => add(&mut page, &mut data, part.name, answer),
            // Without types, all else follows from that.
            Err(error) => {
                let error = kernel.check_types().err().unwrap_or(error);
                page.missing.push(format!("{}: {error}", part.name));
            }
        }
    }
    if data.is_empty() {
        return Err(Error::Missing(page.missing.join("; ")));
    }
    if let Err(error) = kernel.check_types() {
        page.missing = together(page.missing, &error.to_string());
    }
    page.warnings.sort_by_key(|warning| core::cmp::Reverse(warning.severity));
    page.data = Value::Object(data);
    Ok(page)
}

/// Adds the answer of a part to the page.
fn add(page: &mut Answer, data: &mut Map<String, Value>, name: &'static str, answer: Answer) {
    let Answer { title, blocks, warnings, missing, data: own } = answer;
    if !blocks.is_empty() {
        page.blocks.push(Block::Heading(title));
        page.blocks.extend(blocks);
    }
    page.warnings.extend(warnings);
    page.missing.extend(missing.into_iter().map(|part| format!("{name}: {part}")));
    data.insert(name.to_owned(), own);
}

/// The missing parts, those for one reason in one line.
fn together(missing: Vec<String>, reason: &str) -> Vec<String> {
    let (same, mut others): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|part| part.ends_with(reason));
    let name = |part: &String| part.trim_end_matches(reason).trim_end_matches(": ").to_owned();
    let names: Vec<_> = same.iter().map(name).collect();
    if !names.is_empty() {
        others.insert(0, format!("{} ({reason})", names.join("; ")));
    }
    others
}

/// The file and the kernel.
fn title(kernel: &Kernel<'_>) -> String {
    let release = vmcore::vmcoreinfo_get(kernel.vmcoreinfo(), "OSRELEASE").unwrap_or("Linux");
    format!("{}: {release}", kernel.vmcore().path().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_named_once() {
        let missing = ["system: version: no types", "irq: no symbol", "runq: no types"];
        let lines = together(missing.map(str::to_owned).to_vec(), "no types");
        assert_eq!(lines, ["system: version; runq (no types)", "irq: no symbol"]);
    }
}
