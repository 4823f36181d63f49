//! The first page: what a support engineer looks at first. Each part answers from the data of one
//! subsystem; a part that fails is named as missing.

use serde_json::{Map, Value};

use super::section::{Part, Progress};
use super::{hung, irq, kmem, module, mount, panic, runq, sys};
use crate::report::{Answer, Block};
use crate::{Error, Kernel};

/// The parts, in their order.
const PARTS: &[&Part] = &[
    &sys::PART,
    &panic::PART,
    &hung::PART,
    &runq::PART,
    &kmem::PART,
    &module::PART,
    &mount::PART,
    &irq::PART,
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
            Err(error) => page.missing.push(format!("{}: {error}", part.name)),
        }
    }
    if data.is_empty() {
        return Err(Error::Missing(page.missing.join("; ")));
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

/// The file and the kernel.
fn title(kernel: &Kernel<'_>) -> String {
    let release = vmcore::vmcoreinfo_get(kernel.vmcoreinfo(), "OSRELEASE").unwrap_or("Linux");
    format!("{}: {release}", kernel.vmcore().path().display())
}
