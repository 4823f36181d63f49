//! Dumps at a level, over a link.

use super::*;
use crate::fake::{Pages, Pointers};
use crate::selection::KernelPages;
use std::format;
use std::string::String;
use vmcore::{Level, Verdict};

const HEAD: usize = 2 * PAGE;
const COUNT: usize = 700;

/// Long runs, short ones, and pages of zeros among those that are kept.
fn verdict(page: usize) -> Verdict {
    match page {
        50..90 | 300..500 => Verdict::Excluded(PageClass::Free),
        page if page % 9 == 3 => Verdict::Excluded(PageClass::User),
        page if page % 40 == 8 => Verdict::Doubt,
        _ => Verdict::Kept,
    }
}

fn is_zero(page: usize) -> bool {
    page % 7 == 1
}

fn contents() -> Pages {
    let pages = (0..COUNT).flat_map(|page| {
        (0..PAGE).map(move |at| if is_zero(page) { 0 } else { (page * 7 + at / 64) as u8 | 1 })
    });
    Pages::new(&pages.collect::<Vec<u8>>())
}

/// A head, then the pages; and the kernel's pages on request.
fn dump(pages: &Pages, level: Option<u8>) -> Dump {
    let range = PhysRange::new(physical(pages.bytes()), pages.bytes().len() as u64);
    let extents = vec![Extent::Bytes(vec![0x7f; HEAD]), Extent::Phys(range.expect("no wrap"))];
    let verdicts: Vec<_> = (0..COUNT).map(verdict).collect();
    let selection = pages.selection(&verdicts);
    let view: Rc<dyn vmcore::View> = Rc::new(Extents::new(extents).expect("small"));
    let kernel = Rc::new(KernelPages::new(view.clone(), selection.clone()));
    Dump {
        bulk: Some(NamedView { name: "vmcore", view, start: 0 }),
        on_request: vec![NamedView { name: "vmcore-kern", view: kernel, start: 0 }],
        level: level.and_then(Level::new),
        selection: Some(selection),
        ..Dump::default()
    }
}

/// The bytes of the view at a level.
fn truth(pages: &Pages, level: Level) -> Vec<u8> {
    let mut bytes = [&[0x7f; HEAD][..], pages.bytes()].concat();
    for page in 0..COUNT {
        if let Verdict::Excluded(class) = verdict(page)
            && level.excludes(class)
        {
            bytes[HEAD + page * PAGE..][..PAGE].fill(0);
        }
    }
    bytes
}

/// The contents of views that have come, their lists, the number of bytes, and the log.
struct Come {
    files: Vec<Vec<u8>>,
    lists: Vec<HeldView>,
    sent: usize,
    log: Vec<String>,
}

fn receive(dump: &Dump, limits: Option<Limits>, codec: Codec, plan: Option<Plan>) -> Come {
    let clock = FakeClock::default();
    let mut line = FakeLink::new(&clock, Other::Nobody);
    (line.limits, line.codec, line.other) = (limits, codec, Other::Collector);
    line.connect();
    let is_part = plan.is_some();
    if let Some(plan) = plan {
        let receiver = Receiver::new(plan, ReceiverTimes::default(), 65_536, None);
        let mut receiver = if limits.is_some() { receiver.taking_bulk() } else { receiver };
        receiver.connect(77, clock.milliseconds());
        line.receiver = Some(receiver);
    }
    let config = config(&line);
    let mut target = LinkTarget::new(&mut line, Pointers, slot(), &clock, config);
    let (delivered, log) = logged(|| target.deliver(dump, &mut |_| ()));
    // A collector that wants one view leaves, and the machine waits for another one.
    let expected = if is_part { Err(TargetError::Collector(Outcome::Silent)) } else { Ok(()) };
    assert_eq!(delivered, expected);
    let lists = line.ended.expect("the collector is through");
    Come { files: line.files, lists, sent: line.sent, log }
}

#[test]
fn the_pages_of_the_level_arrive_and_the_others_are_named() {
    let pages = contents();
    for (limits, codec) in
        [(None, Codec::Raw), (Some(DMA), Codec::Raw), (None, Codec::Lz4), (Some(DMA), Codec::Lz4)]
    {
        for level in [31, 16, 9] {
            let come = receive(&dump(&pages, Some(level)), limits, codec, None);
            let level = Level::new(level).expect("a level");
            let case = format!("{level} {codec:?} {}", limits.is_some());
            assert!(come.files[0] == truth(&pages, level), "{case}");
            let HeldView { left, totals, .. } = &come.lists[0];
            let class = |page: usize| match verdict(page) {
                Verdict::Excluded(class) if level.excludes(class) => Some(class),
                _ => None,
            };
            for page in 0..COUNT {
                let found = |at: usize| left.class_at((HEAD + page * PAGE + at) as u64);
                assert_eq!([found(0), found(PAGE - 1)], [class(page); 2], "{case} {page}");
            }
            let count = |of| (0..COUNT).filter(|page| class(*page) == of).count() as u64;
            let totals = totals.expect("they come first");
            let kept = count(None) + HEAD as u64 / PAGE as u64;
            assert_eq!((totals[0], totals[5]), (kept, count(Some(PageClass::Free))), "{case}");
            let doubt = (0..COUNT).filter(|page| verdict(*page) == Verdict::Doubt).count() as u64;
            assert_eq!((totals[4], totals[15]), (count(Some(PageClass::User)), doubt), "{case}");
            let line = format!("level {level}: {kept} pages kept, ");
            assert_eq!(come.log.iter().filter(|text| text.starts_with(&line)).count(), 1, "{case}");
            let bytes = format!("; {} bytes out", come.sent);
            assert!(come.log.iter().any(|text| text.ends_with(&bytes)), "{case} {:?}", come.log);
        }
    }
}

/// The kernel's own pages are there for a collector that asks for them, at any level of the dump.
#[test]
fn the_kernels_pages_are_a_view_of_their_own() {
    let pages = contents();
    for (limits, codec) in [(None, Codec::Lz4), (Some(DMA), Codec::Raw)] {
        let plan = Plan::View("vmcore-kern".into());
        let come = receive(&dump(&pages, None), limits, codec, Some(plan));
        assert!(come.files[1] == truth(&pages, Level::KERNEL), "{codec:?}");
        assert!(come.files[0].iter().all(|byte| *byte == 0), "nothing else was asked for");
        assert!(!come.log.iter().any(|text| text.starts_with("level ")), "{:?}", come.log);
    }
}
