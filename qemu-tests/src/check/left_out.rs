//! Pages that a dump level leaves out, judged by the kernel's own word on each.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use vmcore::{PageClass, Verdict};

use crate::check::evidence::Evidence;
use crate::check::free_pages;
use crate::check::judged::Judged;
use crate::check::page_flags::PageFlags;
use crate::report::Check;

/// Of so many pages one may be kept although the kernel's word allows to leave it out.
const PAGES_FOR_ONE_KEPT: u64 = 200;
/// Pages that are shown in an error.
const SHOWN: usize = 8;

/// All checks of a filter's verdicts, where no more than `most` pages have changed since the
/// kernel's word.
pub fn checks(
    evidence: &Evidence<'_>,
    flags: &PageFlags,
    judged: &Judged,
    most: u64,
) -> Vec<Check> {
    vec![
        Check::new("pages_left_out", left_out(flags, judged, most)),
        Check::new("free_pages", free(evidence, flags, judged, most)),
    ]
}

/// Differences between a filter and the kernel's word.
#[derive(Debug, Default)]
struct Tally {
    /// Pages by class on which both agree; [`None`] for those of the kernel.
    agreed: BTreeMap<Option<PageClass>, u64>,
    /// Pages of another class than the filter says: their numbers.
    changed: Vec<(u64, PageClass)>,
    /// Pages that are kept and need not be.
    beyond: Vec<u64>,
}

impl Tally {
    fn new(flags: &PageFlags, judged: &Judged) -> Self {
        let mut tally = Self::default();
        for (&page, verdict) in &judged.verdicts {
            let said = flags.class(page).filter(|class| {
                // Two words of the kernel that contradict each other are none.
                *class != PageClass::Free || !flags.is_mapped(page)
            });
            match *verdict {
                Verdict::Excluded(class) if said != Some(class) => {
                    tally.changed.push((page, class));
                }
                Verdict::Kept | Verdict::Doubt if said.is_some() => tally.beyond.push(page),
                _ => *tally.agreed.entry(said).or_default() += 1,
            }
        }
        tally
    }

    /// Pages on which both agree.
    fn agreed(&self) -> u64 {
        self.agreed.values().sum()
    }

    /// Text for the report: pages by class.
    fn show(&self) -> String {
        let name = |class: &Option<PageClass>| match class {
            Some(class) => class.to_string(),
            None => "kept".to_string(),
        };
        let classes = self.agreed.iter().map(|(class, pages)| format!("{} {pages}", name(class)));
        classes.collect::<Vec<_>>().join(", ")
    }
}

/// Checks that each page is of the class that the filter gives it, and that no more are kept than
/// must be.
fn left_out(flags: &PageFlags, judged: &Judged, most: u64) -> Result<String> {
    let tally = Tally::new(flags, judged);
    let shown = |pages: &mut dyn Iterator<Item = (u64, String)>| {
        let pages = pages
            .take(SHOWN)
            .map(|(page, what)| format!("page {page:#x}: {what}, flags {}", flags.show(page)));
        pages.collect::<Vec<_>>().join("; ")
    };
    let mut wrong = tally.changed.iter().filter(|(page, class)| cannot(flags, *page, *class));
    if let Some((page, class)) = wrong.next() {
        let pages = shown(&mut std::iter::once((*page, class.to_string())));
        bail!("{} pages are left out that cannot be: {pages}", 1 + wrong.count());
    }
    let changed = tally.changed.len() as u64;
    if changed > most {
        let mut pages = tally.changed.iter().map(|(page, class)| (*page, class.to_string()));
        bail!("{changed} pages are of another class: {}", shown(&mut pages));
    }
    let (beyond, all) = (tally.beyond.len() as u64, tally.agreed());
    if beyond > (all / PAGES_FOR_ONE_KEPT).max(most) {
        bail!(
            "{beyond} pages are kept of {all} that need not be: {}",
            shown(&mut tally.beyond.iter().map(|page| (*page, "kept".to_string())))
        );
    }
    let changed = changes(flags, tally.changed.iter().map(|(page, class)| (*page, Some(*class))));
    let beyond = changes(flags, tally.beyond.iter().map(|page| (*page, None)));
    Ok(format!("{}; changed since: {changed}; kept beyond: {beyond}", tally.show()))
}

/// The number of these pages, and by flags and class how many of them there are.
fn changes(flags: &PageFlags, pages: impl Iterator<Item = (u64, Option<PageClass>)>) -> String {
    let mut kinds = BTreeMap::<_, u64>::new();
    for (page, class) in pages {
        *kinds.entry((flags.show(page), class)).or_default() += 1;
    }
    let total: u64 = kinds.values().sum();
    let kinds = kinds.iter().map(|((flags, class), pages)| {
        let class = class.map_or("kept".to_string(), |class| class.to_string());
        format!(", {pages} of {flags} as {class}")
    });
    format!("{total}{}", kinds.collect::<String>())
}

/// True if no change since the kernel's word explains that a page is left out as `class`.
fn cannot(flags: &PageFlags, page: u64, class: PageClass) -> bool {
    flags.is_reserved(page)
        || !matches!(class, PageClass::Free | PageClass::User | PageClass::Cache)
}

/// Checks that the free pages are as many as the kernel counts itself.
fn free(evidence: &Evidence<'_>, flags: &PageFlags, judged: &Judged, most: u64) -> Result<String> {
    // Up to 5.10 poisoned pages stay among the free ones, and are counted with them.
    let is_free = |page: &u64, verdict: &Verdict| match verdict {
        Verdict::Excluded(PageClass::Free) => true,
        Verdict::Excluded(PageClass::HwPoison) => flags.is_free(*page),
        _ => false,
    };
    let free = judged.verdicts.iter().filter(|(page, verdict)| is_free(page, verdict));
    let left_out = free.count() as u64;
    let counted = free_pages::in_zones(evidence)?;
    let before = flags.count(PageClass::Free);
    ensure!(left_out == counted, "{left_out} pages are free, and the zones count {counted}");
    ensure!(
        before.abs_diff(flags.free) <= most && before.abs_diff(counted) <= most,
        "{before} pages were free before the crash, {} in buddyinfo, and {counted} after",
        flags.free
    );
    Ok(format!("{counted} in the zones' counters; {before} before the crash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: u64 = 1 << 10;
    const ANON: u64 = 1 << 12;
    const LRU: u64 = 1 << 5;
    const RESERVED: u64 = 1 << 32;

    /// So many pages: 800 free ones, 800 anonymous ones, 800 of the page cache, and 800 of the
    /// kernel's, half of them reserved. The filter agrees, but for the pages of `other`.
    fn judge(other: &[(u64, Verdict)], most: u64) -> Result<String> {
        let said = [FREE, ANON, LRU, 0].into_iter().flat_map(|flags| [flags; 800]);
        let mut said: Vec<_> = said.collect();
        said[2800..].fill(RESERVED);
        let flags = PageFlags::new(said, vec![0; 3200], 800)?;
        let verdicts = (0..3200).map(|page| {
            let classes = [PageClass::Free, PageClass::User, PageClass::Cache];
            let class = classes.get(page as usize / 800);
            (page, class.map_or(Verdict::Kept, |class| Verdict::Excluded(*class)))
        });
        let mut judged = Judged { verdicts: verdicts.collect(), ..Judged::default() };
        judged.verdicts.extend(other.iter().copied());
        left_out(&flags, &judged, most)
    }

    #[test]
    fn a_filter_that_agrees_passes() {
        let said = judge(&[], 0).unwrap();
        assert!(said.starts_with("kept 800, cache 800, user 800, free 800"), "{said}");
        assert!(said.ends_with("; changed since: 0; kept beyond: 0"), "{said}");
    }

    #[test]
    fn a_page_of_the_kernel_must_not_be_left_out() {
        let free = Verdict::Excluded(PageClass::Free);
        for (page, verdict) in [
            (2800, free),
            (2400, Verdict::Excluded(PageClass::HwPoison)),
            (2400, Verdict::Excluded(PageClass::Offline)),
            (0, Verdict::Excluded(PageClass::Zero)),
        ] {
            let error = judge(&[(page, verdict)], 64).unwrap_err().to_string();
            assert!(error.contains("1 pages are left out that cannot be"), "{error}");
        }
        let few: Vec<_> = (2400..2464).map(|page| (page, free)).collect();
        assert!(judge(&few, 64).unwrap().contains("; changed since: 64, "));
        assert!(judge(&few, 63).unwrap_err().to_string().contains("of another class"));
    }

    #[test]
    fn no_more_is_kept_than_must_be() {
        let kept = |pages| (0..pages).map(|page| (page, Verdict::Doubt)).collect::<Vec<_>>();
        assert!(judge(&kept(15), 0).is_ok());
        let error = judge(&kept(16), 0).unwrap_err().to_string();
        assert!(error.contains("16 pages are kept of 3184 that need not be"), "{error}");
        assert!(judge(&kept(16), 16).is_ok(), "they may have changed");
    }
}
