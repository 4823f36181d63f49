//! The page filter.

use linux::Filter;
use vmcore::{PageClass, PageFilter, PhysAddr, PhysRange, Verdict, WINDOW, WINDOW_PAGES};

use crate::memory::{AT, END, Memory, dead_kernel};

/// Pages that are never left out.
const PROTECTED: usize = 2;

/// Takes the bytes up to the first NUL as the text of VMCOREINFO, and those after it as memory.
///
/// # Panics
/// Panics if a window has other verdicts the second time, if a page is left out that is protected,
/// or has a class for which the contents would have to be looked at.
pub fn page_filter(bytes: &[u8]) {
    let (text, rest, loads) = dead_kernel(bytes);
    let memory = Memory(rest);
    let Ok(mut filter) = Filter::new(memory, loads, text) else { return };
    let protected = PhysRange::new(PhysAddr::new(AT), PROTECTED as u64 * 4096).expect("a range");
    filter.protect(protected);
    filter.protect_stacks(vmcore::EM_X86_64, rest);
    for window in [AT, 0, END - WINDOW, 1 << 46] {
        let classify = || {
            let mut verdicts = [Verdict::default(); WINDOW_PAGES];
            filter.classify(PhysAddr::new(window), &mut verdicts);
            verdicts
        };
        let verdicts = classify();
        assert!(verdicts == classify(), "{window:#x}: other verdicts the second time");
        let contents = [PageClass::Zero, PageClass::Unreadable].map(Verdict::Excluded);
        assert!(!verdicts.iter().any(|verdict| contents.contains(verdict)), "{window:#x}");
        if window == AT {
            let broken = Verdict::Excluded(PageClass::HwPoison);
            let is_kept = |verdict: &Verdict| {
                matches!(verdict, Verdict::Kept | Verdict::Doubt) || *verdict == broken
            };
            assert!(verdicts[..PROTECTED].iter().all(is_kept), "protected pages are left out");
        }
    }
}
