//! Where the dump goes: as the user says, or to the one dump disk of this machine.

use crate::dump_disks::{DumpDisks, FoundDumpDisk};
use crate::error::PlanError;
use crate::plan::{PlanOptions, UserText};
use crate::reuse::has_key;
use crate::system::System;

/// What a crash will do for want of a target.
const NONE: &str = "none: no --target, and no virtio disk of this machine is a dump disk; a crash will \
                    be told on the console, nothing will be written, and the failure action follows. \
                    Next step: `collector format` a disk";

/// The target that a plan has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The value of `kdump.target=`, unless it is in the user's text or there is none.
    pub(crate) value: Option<String>,
    /// What a person is told.
    pub(crate) words: String,
}

impl Target {
    /// Decides. A target is never guessed: of several dump disks none is taken.
    pub(crate) fn choose(options: &PlanOptions, system: &System) -> Result<Self, PlanError> {
        let said = |words: &str| Self { value: None, words: words.to_owned() };
        match (&options.text, &options.target) {
            (UserText::Whole(_), _) => Ok(said("as the command line says")),
            (_, Some(target)) => Ok(Self { value: Some(target.clone()), words: target.clone() }),
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
            [] if disks.unreadable => {
                let words = format!("{NONE}, or run this as root: not all disks could be read");
                Ok(Self { value: None, words })
            }
            [] => Ok(Self { value: None, words: NONE.to_owned() }),
            [FoundDumpDisk { device, id }] => {
                let value = format!("virtio-blk:id={id}");
                let words = format!("{value} (found: {} is a dump disk)", device.display());
                Ok(Self { value: Some(value), words })
            }
            several => {
                let disks: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(PlanError::SeveralDumpDisks { disks: disks.join(", ") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dumpfile::DiskId;

    fn system(disks: &[(&str, u8)]) -> System {
        let found = disks.iter().map(|(device, id)| {
            let (device, id) = (device.into(), DiskId([*id; 16]));
            FoundDumpDisk { device, id }
        });
        let dump_disks = DumpDisks { found: found.collect(), unreadable: false };
        System { dump_disks, ..System::default() }
    }

    fn append(text: &str) -> PlanOptions {
        PlanOptions { text: UserText::Append(text.to_owned()), ..PlanOptions::default() }
    }

    #[test]
    fn one_dump_disk_is_taken_and_said() {
        let chosen = Target::choose(&append("quiet"), &system(&[("/dev/vdb", 0xab)]));
        let value = format!("virtio-blk:id={}", "ab".repeat(16));
        let words = format!("{value} (found: /dev/vdb is a dump disk)");
        assert_eq!(chosen, Ok(Target { value: Some(value), words }));
    }

    #[test]
    fn of_several_none_is_taken() {
        let several = system(&[("/dev/vdb", 1), ("/dev/vdc", 2)]);
        let refused = Target::choose(&append(""), &several).expect_err("no guess").to_string();
        for words in ["/dev/vdb (virtio-blk:id=0101", "/dev/vdc (virtio-blk:id=0202", "--target"] {
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
        let unreadable = DumpDisks { found: Vec::new(), unreadable: true };
        let words = Target::found(&unreadable).expect("a choice").words;
        assert!(words.ends_with("not all disks could be read"), "{words}");
    }
}
