//! Size of a dump at each level, as memory is now.

use std::collections::BTreeMap;

use serde::Serialize;

/// Levels that the terminal shows, besides the chosen one.
const SHOWN: [u8; 3] = [0, 1, 31];

/// Sizes of a dump at each level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelSizes {
    /// Size at each level.
    pub levels: Vec<LevelSize>,
    /// Number of pages by the name of their class, `kept` for those in every dump. Zeros are not
    /// looked for.
    pub pages: BTreeMap<&'static str, u64>,
    /// Number of the kept pages whose page structs make no sense.
    pub in_doubt: u64,
    /// Time of the count in milliseconds.
    pub scan_ms: u64,
    /// The reason that nothing was counted.
    pub problem: Option<String>,
}

/// Size of a dump at one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelSize {
    /// The level.
    pub level: u8,
    /// True if the command line has this level.
    pub chosen: bool,
    /// Number of pages in the dump.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// True if it may be less: at this level pages of zeros are left out.
    pub at_most: bool,
    /// True if the dump disks of the target have room; unknown if the target has no disk.
    pub fits: Option<bool>,
}

impl LevelSizes {
    /// Lines for a person, each with its name.
    pub(crate) fn lines(&self) -> Vec<(String, String)> {
        let name = "dump levels".to_owned();
        if let Some(problem) = &self.problem {
            return vec![(name, format!("sizes are not known: {problem}"))];
        }
        let shown = self.levels.iter().filter(|size| size.chosen || SHOWN.contains(&size.level));
        let mut lines: Vec<_> =
            shown.map(|size| (format!("dump level {}", size.level), size.to_string())).collect();
        if self.levels.iter().all(|size| size.fits.is_none()) {
            lines.push((name, "the room is not known: the target is no dump disk".to_owned()));
        }
        let pages: Vec<_> =
            self.pages.iter().map(|(name, pages)| format!("{pages} {name}")).collect();
        let doubt = match self.in_doubt {
            0 => String::new(),
            pages => format!("; {pages} of the kept ones for their damaged page structs"),
        };
        lines.push(("pages now".to_owned(), format!("{}{doubt}", pages.join(", "))));
        lines
    }
}

impl std::fmt::Display for LevelSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_most = if self.at_most { "at most " } else { "" };
        let chosen = if self.chosen { ", chosen" } else { "" };
        let fits = match self.fits {
            Some(true) => ", the dump disk has room",
            Some(false) => ", the dump disk has no room",
            None => "",
        };
        write!(f, "{at_most}{} MiB{chosen}{fits}", self.bytes.div_ceil(1 << 20))
    }
}
