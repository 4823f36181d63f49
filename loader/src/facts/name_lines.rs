//! Lines of VMCOREINFO about the running kernel, as they were found.

use std::fmt;

/// Lines about the running kernel, and the reasons for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Lines `KEY=VALUE`, the most important ones first.
    pub lines: String,
    /// True if the kernel hides the addresses of its symbols.
    pub hidden: bool,
    pub(crate) symbols: Result<(), String>,
    pub(crate) tasks: Result<(), String>,
    pub(crate) modules: Result<(), String>,
}

/// One line of text: what is there, and the reasons for the rest.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("symbols", &self.symbols),
            ("task offsets", &self.tasks),
            ("module offsets", &self.modules),
        ];
        let known: Vec<_> = parts.iter().filter(|(_, part)| part.is_ok()).collect();
        let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let known = match &known[..] {
            [] => "nothing".to_owned(),
            ["symbols", "task offsets", "module offsets"] => {
                "symbols, task and module offsets".to_owned()
            }
            known => known.join(" and "),
        };
        write!(f, "{known} of the running kernel")?;
        parts.iter().try_for_each(|(name, part)| match part {
            Ok(()) => Ok(()),
            Err(reason) => write!(f, "; no {name}: {reason}"),
        })
    }
}
