//! The class of a page by its struct: that of a page of its own, or the head of a compound page.

use super::layout::{Layout, Page};
use vmcore::{PageClass, Verdict};

impl Layout {
    /// The verdict on a page that is not free. `second` is the struct after it, if it is the head
    /// of a compound page.
    pub(super) fn verdict(&self, page: &Page, second: Option<&[u8]>) -> Verdict {
        let Page { flags, mapcount, mapping, .. } = *page;
        let types = &self.types;
        let has = |page_type: Option<super::page_type::PageType>| {
            page_type.is_some_and(|page_type| page_type.matches(mapcount))
        };
        let is_slab = flags & self.slab != 0 || has(types.slab);
        if flags & self.poison != 0 {
            Verdict::Excluded(PageClass::HwPoison)
        } else if !is_slab && has(types.offline) {
            Verdict::Excluded(PageClass::Offline)
        } else if is_slab {
            Verdict::Kept
        } else if has(types.buddy) || has(types.unaccepted) {
            // The caller has looked for those: this one is in a compound page.
            Verdict::Doubt
        } else if self.is_huge(page, second) {
            Verdict::Excluded(PageClass::User)
        } else if types.is_type(mapcount) {
            Verdict::Kept
        } else {
            self.mapped(flags, mapcount, mapping)
        }
    }

    /// The verdict on a page without a type: processes may have mapped it.
    fn mapped(&self, flags: u64, mapcount: i32, mapping: u64) -> Verdict {
        let is_swap = self.swap_cache != 0 && flags & self.swap_cache == self.swap_cache;
        // The lowest bits of the pointer tell the kind of the page.
        let class = if mapping & ANONYMOUS != 0 {
            PageClass::User
        } else if flags & self.lru == 0 && !is_swap {
            return Verdict::Kept;
        } else if self.private_data.is_none_or(|private| flags & private != 0) {
            PageClass::CachePrivate
        } else {
            PageClass::Cache
        };
        let is_good = mapping == 0 || self.is_pointer(mapping);
        if is_good && mapcount >= -1 { Verdict::Excluded(class) } else { Verdict::Doubt }
    }
}

/// `mapping`: anonymous memory (`PAGE_MAPPING_ANON`).
const ANONYMOUS: u64 = 1;
