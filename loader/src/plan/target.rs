//! The target of the dump: the user's choice, or the one dump disk of this machine.

use cmdline::{Options, TargetSpec};
use dumpfile::DiskId;

use crate::facts::dump_disks::{DumpDisks, FoundDumpDisk};
use crate::facts::system::System;
use crate::plan::error::PlanError;
use crate::plan::reuse::has_key;
use crate::plan::types::{PlanOptions, UserText};

/// Outcome of a crash without a target.
const NONE: &str = "none: no --target, and no disk or partition of this machine is a dump disk that \
                    the capture kernel can drive; a crash will be reported on the console, nothing \
                    will be written, and the failure action follows. Next step: `kdump-collector \
                    format` a disk or a partition";

/// The target that a plan has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The value of `kdump.target=`, unless it is in the user's text or there is none.
    pub(crate) value: Option<String>,
    /// Text for a person.
    pub(crate) words: String,
    /// True if a crash leaves no dump because there is no target.
    pub(crate) missing: bool,
}

impl Target {
    /// Decides. A target is never guessed: of several dump disks none is taken.
    pub(crate) fn choose(options: &PlanOptions, system: &System) -> Result<Self, PlanError> {
        let said = |words: &str| Self { value: None, words: words.to_owned(), missing: false };
        match (&options.text, &options.target) {
            (UserText::Whole(_), _) => Ok(said("as the command line says")),
            (_, Some(target)) => Ok(Self { value: Some(target.clone()), ..said(target) }),
            (UserText::Append(text), _) if has_key(text, "kdump.target") => {
                Ok(said("as the command line says"))
            }
            _ if options.initrd.is_some() => Ok(said("as the initramfs says")),
            _ => Self::found(&system.dump_disks),
        }
    }

    /// The one dump disk, if there is one.
    pub(crate) fn found(disks: &DumpDisks) -> Result<Self, PlanError> {
        match &disks.found[..] {
            [] => {
                let mut words = NONE.to_owned();
                if let Some(others) = disks.list_out_of_reach() {
                    words += &format!(" (of no use: {others})");
                }
                if disks.unreadable {
                    words += ", or run this as root: not all disks could be read";
                }
                Ok(Self { value: None, words, missing: true })
            }
            [FoundDumpDisk { device, id, .. }] => {
                let value = format!("disk:id={id}");
                let words = format!("{value} (found: {} is a dump disk)", device.display());
                Ok(Self { value: Some(value), words, missing: false })
            }
            _ => Err(PlanError::SeveralDumpDisks { disks: disks.list() }),
        }
    }
}

/// If the disks of the targets can be seen, refuses an id that no disk carries, unless `any` is
/// given; otherwise warns.
pub(crate) fn check_disks<'a>(
    targets: impl IntoIterator<Item = &'a TargetSpec<'a>>,
    disks: &DumpDisks,
    any: bool,
) -> Result<Vec<String>, PlanError> {
    let mut warnings = Vec::new();
    for target in targets {
        let TargetSpec::Disk { id } = *target else { continue };
        let id = DiskId(id);
        match (disks.with_id(id).count(), unseen(disks)) {
            (0, Unseen::Unknown) | (1, _) => {}
            (0, Unseen::Why(why)) => {
                warnings.push(format!("nothing says whether a disk carries the id {id}: {why}"))
            }
            (0, Unseen::Nothing) if any => {
                warnings.push(PlanError::unknown_disk(id, disks).to_string());
            }
            (0, Unseen::Nothing) => return Err(PlanError::unknown_disk(id, disks)),
            _ => {
                let same: Vec<_> = disks.with_id(id).map(|disk| disk.device.display()).collect();
                warnings.push(format!(
                    "{} disks carry the id {id} ({}), and the dump goes to the first that is \
                     found: format all but one of them again",
                    same.len(),
                    same.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ));
            }
        }
    }
    Ok(warnings)
}

/// The same for the targets of a capture kernel's command line.
pub(crate) fn check_line(line: &str, disks: &DumpDisks) -> Result<Vec<String>, PlanError> {
    let options = Options::parse(line.as_bytes(), &mut |_| ());
    check_disks(options.targets.iter().map(|entry| &entry.target), disks, false)
}

/// Dump disks that may exist beside those that were found.
pub(crate) enum Unseen {
    /// There are none.
    Nothing,
    /// Nobody has looked, as in a saved system.
    Unknown,
    /// There may be, for this reason.
    Why(&'static str),
}

/// The disks that could not be seen.
pub(crate) fn unseen(disks: &DumpDisks) -> Unseen {
    match disks.seen {
        None => Unseen::Unknown,
        Some(0) => Unseen::Why(
            "this kernel shows no disk that the capture kernel can drive (/sys/block has no vd*, sd* \
             or nvme* of such a kind; is its driver, such as virtio_blk, loaded?)",
        ),
        Some(_) if disks.unreadable => Unseen::Why("not all disks could be read; run this as root"),
        Some(_) => Unseen::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::dump_disks::OutOfReach;
    use crate::facts::dump_disks::tests::disk;

    fn system(disks: &[(&str, u8)]) -> System {
        let found: Vec<_> = disks.iter().map(|(device, id)| disk(device, *id, 1 << 30)).collect();
        let seen = Some(found.len());
        let dump_disks = DumpDisks { found, seen, ..DumpDisks::default() };
        System { dump_disks, ..System::default() }
    }

    fn append(text: &str) -> PlanOptions {
        PlanOptions { text: UserText::Append(text.to_owned()), ..PlanOptions::default() }
    }

    #[test]
    fn one_dump_disk_is_taken_and_said() {
        let chosen = Target::choose(&append("quiet"), &system(&[("/dev/vdb", 0xab)]));
        let value = format!("disk:id={}", "ab".repeat(16));
        let words = format!("{value} (found: /dev/vdb is a dump disk)");
        assert_eq!(chosen, Ok(Target { value: Some(value), words, missing: false }));
    }

    #[test]
    fn of_several_none_is_taken() {
        let several = system(&[("/dev/vdb", 1), ("/dev/vdc", 2)]);
        let refused = Target::choose(&append(""), &several).expect_err("no guess").to_string();
        for words in ["/dev/vdb (disk:id=0101", "/dev/vdc (disk:id=0202", "--target"] {
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn what_the_user_says_comes_first() {
        let several = system(&[("/dev/vdb", 1), ("/dev/vdc", 2)]);
        let named = PlanOptions { target: Some("none".to_owned()), ..append("") };
        let with_initrd = PlanOptions { initrd: Some(vec![1]), ..append("") };
        let whole =
            PlanOptions { text: UserText::Whole("quiet".to_owned()), ..PlanOptions::default() };
        let appended = append("quiet kdump.target=none");
        let value =
            |options: &PlanOptions| Target::choose(options, &several).map(|target| target.value);
        assert_eq!(value(&named), Ok(Some("none".to_owned())));
        for options in [with_initrd, whole, appended] {
            assert_eq!(value(&options), Ok(None), "{options:?}");
        }
    }

    #[test]
    fn without_any_it_says_what_a_crash_will_do() {
        let none = Target::choose(&append("xkdump.target=none"), &system(&[])).expect("a choice");
        assert_eq!(none.value, None);
        assert!(none.words.contains("nothing will be written"), "{}", none.words);
        assert!(none.missing);
        let unreadable = DumpDisks { unreadable: true, ..DumpDisks::default() };
        let words = Target::found(&unreadable).expect("a choice").words;
        assert!(words.ends_with("not all disks could be read"), "{words}");
    }

    #[test]
    fn a_dump_disk_of_no_use_is_named() {
        let why = "is on USB".to_owned();
        let useless = OutOfReach { device: "/dev/sdx1".into(), id: DiskId([3; 16]), why };
        let disks =
            DumpDisks { seen: Some(1), out_of_reach: vec![useless], ..DumpDisks::default() };
        let none = Target::found(&disks).expect("a choice");
        let refused = check(&[3], &disks, false).expect_err("of no use").to_string();
        for said in [none.words, refused] {
            let words = format!("of no use: /dev/sdx1 (disk:id={}) is on USB", "03".repeat(16));
            assert!(said.contains(&words), "{said}");
        }
        assert!(none.missing);
    }

    fn check(ids: &[u8], disks: &DumpDisks, any: bool) -> Result<Vec<String>, PlanError> {
        let targets: Vec<_> = ids.iter().map(|id| TargetSpec::Disk { id: [*id; 16] }).collect();
        check_disks(&targets, disks, any)
    }

    #[test]
    fn an_id_that_no_disk_carries_is_refused_where_the_disks_can_be_seen() {
        let disks = system(&[("/dev/vdb", 1), ("/dev/vdc", 2)]).dump_disks;
        assert_eq!(check(&[1, 2], &disks, false), Ok(vec![]));
        let refused = check(&[1, 3], &disks, false).expect_err("unknown").to_string();
        for words in [&"03".repeat(16), "/dev/vdb (disk:id=0101", "/dev/vdc", "--force"] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        let forced = check(&[1, 3], &disks, true).expect("forced");
        assert!(forced.len() == 1 && forced[0].contains(&"03".repeat(16)), "{forced:?}");
        let other = DumpDisks { seen: Some(2), ..DumpDisks::default() };
        let refused = check(&[1], &other, false).expect_err("no dump disk").to_string();
        assert!(
            refused.contains("none of its 2 disks that the capture kernel can drive is"),
            "{refused}"
        );
        assert!(refused.contains("kdump-collector format"), "{refused}");
    }

    #[test]
    fn where_the_disks_cannot_be_seen_an_id_is_taken_with_a_warning() {
        let no_driver = DumpDisks { seen: Some(0), ..DumpDisks::default() };
        let unreadable = DumpDisks { unreadable: true, ..system(&[("/dev/vdb", 1)]).dump_disks };
        for (disks, why) in [(no_driver, "virtio_blk"), (unreadable.clone(), "run this as root")] {
            let warnings = check(&[9], &disks, false).expect("taken");
            assert!(warnings.len() == 1 && warnings[0].contains(why), "{warnings:?}");
        }
        assert_eq!(check(&[1], &unreadable, false), Ok(vec![]), "it was found");
        assert_eq!(check(&[9], &DumpDisks::default(), false), Ok(vec![]), "a saved system");
        let elsewhere = [TargetSpec::None, TargetSpec::VirtioConsole { name: "x" }];
        let none = DumpDisks { seen: Some(1), ..DumpDisks::default() };
        assert_eq!(check_disks(&elsewhere, &none, false), Ok(vec![]));
    }

    #[test]
    fn two_disks_with_one_id_are_named() {
        let disks = system(&[("/dev/vdb", 1), ("/dev/vdc", 1)]).dump_disks;
        let warnings = check(&[1], &disks, false).expect("taken");
        assert!(warnings[0].contains("2 disks") && warnings[0].contains("/dev/vdb, /dev/vdc"));
    }
}
