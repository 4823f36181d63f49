//! Sizes of a dump from the numbers of pages, and the room of the target.

use std::collections::BTreeMap;

use cmdline::Options;
use vmcore::{Level, PageClass};

use crate::facts::pages::LivePages;
use crate::facts::system::System;
use crate::plan::machine::Facts;
use crate::plan::room;
use crate::plan::sizes::{LevelSize, LevelSizes};

/// Levels in JSON: none, each class alone, and all classes.
const LEVELS: [u8; 7] = [0, 1, 2, 4, 8, 16, 31];
const PAGE: u64 = 4096;

impl LevelSizes {
    /// Sizes with this command line; [`None`] if `system` was not asked for its pages.
    pub(crate) fn of(line: &str, facts: Option<&Facts>, system: &System) -> Option<Self> {
        let pages = match system.pages.as_ref()? {
            Ok(pages) => pages,
            Err(problem) => {
                let (levels, pages, problem) = (vec![], BTreeMap::new(), Some(problem.clone()));
                return Some(Self { levels, pages, in_doubt: 0, scan_ms: 0, problem });
            }
        };
        let chosen = Options::parse(line.as_bytes(), &mut |_| ()).level;
        let mut levels = LEVELS.to_vec();
        levels.extend(chosen.map(Level::get).filter(|level| !LEVELS.contains(level)));
        let size = |level: Level| LevelSize {
            level: level.get(),
            chosen: chosen == Some(level),
            pages: pages.at(level),
            bytes: pages.at(level) * PAGE,
            at_most: level.excludes(PageClass::Zero),
            fits: facts.and_then(|facts| room::fits(line, facts, system, level)),
        };
        Some(Self {
            levels: levels.into_iter().filter_map(Level::new).map(size).collect(),
            pages: by_name(pages),
            in_doubt: pages.in_doubt,
            scan_ms: u64::try_from(pages.took.as_millis()).unwrap_or(u64::MAX),
            problem: None,
        })
    }
}

fn by_name(pages: &LivePages) -> BTreeMap<&'static str, u64> {
    let left = PageClass::ALL.map(|class| (class.name(), pages.of_class(class)));
    left.into_iter().chain([("kept", pages.kept())]).filter(|(_, count)| *count > 0).collect()
}
