//! Lines of VMCOREINFO about the running kernel, as they were found.

use std::fmt;

use linux::Symbol;
use serde::{Deserialize, Serialize};
use vmcore::vmcoreinfo_get;

/// Version of the search for lines, which goes up when it finds something else: earlier results
/// then count no more.
pub(crate) const SEARCH: u32 = 1;
/// Most bytes of lines that an earlier search may have found.
const MOST_LINES: usize = 16 << 10;

/// Lines about the running kernel, and the reasons for missing ones.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Names {
    /// Version of the search that found them.
    pub(crate) search: u32,
    /// Lines `KEY=VALUE`, the most important ones first.
    pub lines: String,
    /// True if the kernel hides the addresses of its symbols.
    pub hidden: bool,
    pub(crate) symbols: Result<(), String>,
    pub(crate) tasks: Result<(), String>,
    pub(crate) modules: Result<(), String>,
}

impl Names {
    /// True if these lines, of an earlier search in this boot, can be used.
    pub(crate) fn is_usable(&self) -> bool {
        let is_line = |line: &str| {
            let is_key = ["SYMBOL(", "OFFSET(", "SIZE("].iter().any(|kind| line.starts_with(kind));
            let is_plain = line.bytes().all(|byte| byte.is_ascii_graphic());
            is_key && is_plain && line.contains(")=")
        };
        self.search == SEARCH && self.lines.len() <= MOST_LINES && self.lines.lines().all(is_line)
    }

    /// True if another search would find no more: the kernel does not change its lines.
    pub(crate) fn is_whole(&self) -> bool {
        let is_known = [&self.symbols, &self.tasks, &self.modules].iter().all(|part| part.is_ok());
        is_known && has_cpu_variables(|key| vmcoreinfo_get(self.lines.as_bytes(), key).is_some())
    }
}

/// True if there is a key that leads to the task of each CPU.
pub(crate) fn has_cpu_variables(has: impl Fn(&str) -> bool) -> bool {
    let keys = [Symbol::CurrentTask, Symbol::PcpuHot].map(Symbol::name);
    keys.iter().any(|name| has(&format!("SYMBOL({name})")))
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All that is looked for.
    pub(crate) fn whole() -> Names {
        let lines = "SYMBOL(init_task)=c8d58e00\nSYMBOL(current_task)=c8f0a048\n\
            OFFSET(task_struct.tasks)=680\nSIZE(module)=640\n";
        let (symbols, tasks, modules) = (Ok(()), Ok(()), Ok(()));
        Names { search: SEARCH, lines: lines.to_owned(), hidden: false, symbols, tasks, modules }
    }

    #[test]
    fn an_earlier_search_that_missed_something_is_not_the_last() {
        assert!(whole().is_usable() && whole().is_whole());
        let no = || Err("not found".to_owned());
        let parts = [
            Names { symbols: no(), ..whole() },
            Names { tasks: no(), ..whole() },
            Names { modules: no(), ..whole() },
            Names { lines: whole().lines.replace("current_task", "current"), ..whole() },
        ];
        assert!(parts.iter().all(|names| names.is_usable() && !names.is_whole()));
        let pcpu_hot =
            Names { lines: whole().lines.replace("current_task", "pcpu_hot"), ..whole() };
        assert!(pcpu_hot.is_whole());
    }

    #[test]
    fn lines_of_another_search_or_none_at_all_do_not_count() {
        assert!(!Names { search: SEARCH + 1, ..whole() }.is_usable());
        let more = "SYMBOL(a)=1\n".repeat(MOST_LINES / 10);
        for line in
            ["OSRELEASE=5.0\n", "SYMBOL(a)\n", "SYMBOL(a)=1 2\n", "SYMBOL(a)=\u{1}\n", &more]
        {
            let names = Names { lines: whole().lines + line, ..whole() };
            assert!(!names.is_usable(), "{line}");
        }
    }
}
