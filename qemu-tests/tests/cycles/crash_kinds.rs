//! Kinds of crashes, each of which a Debian kernel dies by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use qemu_tests::{Crash, Fault};

use crate::basics::*;

/// Deadlines are far off: a busy host must not make one pass.
const LONG: Crash = Crash::Expected(Duration::from_secs(300));

/// A kind of crash.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    fault: Option<Fault>,
    /// Shell commands before the crash; `last` is the function that brings the kernel down.
    commands: &'static str,
    modules: &'static [&'static str],
}

/// The sysrq that crashes, whatever its handler is.
const SYSRQ: &str = r#"
echo 1 >/proc/sys/kernel/sysrq
echo 1 >/proc/sys/kernel/panic_on_oops
last=sysrq
sysrq() { echo c >/proc/sysrq-trigger; sleep 300; }
"#;
/// The handler loops; the watchdog of soft lock-ups looks each second.
const LOCKUP: &str = r#"
echo 1 >/proc/sys/kernel/sysrq
echo 1 >/proc/sys/kernel/softlockup_panic
echo 1 >/proc/sys/kernel/watchdog_thresh
last=sysrq
sysrq() { echo c >/proc/sysrq-trigger; sleep 300; }
"#;
/// A program writes to a frozen file system.
const HUNG: &str = r#"
bb=$root/bin/busybox
mkdir /tmp/files && mount -t tmpfs files /tmp/files && mkdir /tmp/files/disk &&
    dd if=/dev/zero of=/tmp/files/image bs=64k count=64 2>/dev/null &&
    $bb losetup /dev/loop0 /tmp/files/image && $bb mke2fs -F /dev/loop0 >/dev/null 2>&1 &&
    mount -t ext4 /dev/loop0 /tmp/files/disk && $bb fsfreeze --freeze /tmp/files/disk ||
    fail "freezing an ext4"
echo 1 >/proc/sys/kernel/hung_task_panic
echo 1 >/proc/sys/kernel/hung_task_timeout_secs
last=hang
hang() { sh -c 'echo 1 >/tmp/files/disk/file'; }
"#;
/// A watchdog in software panics in the interrupt of a timer.
const WATCHDOG: &str = r#"
last=wait_for_the_dog
wait_for_the_dog() { exec 5>/dev/watchdog; sleep 300; }
"#;
/// A file takes all memory.
const MEMORY: &str = r#"
echo 1 >/proc/sys/vm/panic_on_oom
mkdir /tmp/full && mount -t tmpfs -o size=200% full /tmp/full || fail "mounting a tmpfs"
last=fill
fill() { dd if=/dev/zero of=/tmp/full/file bs=64k 2>/dev/null; }
"#;
/// The first program ends.
const INIT: &str = r#"
last=end
end() { exit 3; }
"#;
/// Somebody presses the button.
const BUTTON: &str = r#"
echo 1 >/proc/sys/kernel/unknown_nmi_panic
last=press
press() { say button; sleep 300; }
"#;
/// Modules of a disk in a file.
const EXT4: &[&str] = &[
    "drivers/block/loop.ko",
    "lib/crc16.ko",
    "crypto/crc32c_generic.ko",
    "fs/mbcache.ko",
    "fs/jbd2/jbd2.ko",
    "fs/ext4/ext4.ko",
];
const SOFTDOG: &[&str] =
    &["drivers/watchdog/watchdog.ko", "drivers/watchdog/softdog.ko soft_panic=1 soft_margin=1"];

const fn kind(name: &'static str, fault: Option<Fault>, commands: &'static str) -> Kind {
    Kind { name, fault, commands, modules: &[] }
}

/// All of them.
pub(crate) const KINDS: [Kind; 11] = [
    kind("sysrq", None, SYSRQ),
    kind("null dereference", Some(Fault::NullDereference), SYSRQ),
    kind("invalid opcode", Some(Fault::Oops), SYSRQ),
    kind("general protection", Some(Fault::GeneralProtection), SYSRQ),
    kind("stack overflow", Some(Fault::StackOverflow), SYSRQ),
    kind("soft lock-up", Some(Fault::EndlessLoop), LOCKUP),
    Kind { modules: EXT4, ..kind("hung task", None, HUNG) },
    Kind { modules: SOFTDOG, ..kind("panic in an interrupt", None, WATCHDOG) },
    kind("out of memory", None, MEMORY),
    kind("end of init", None, INIT),
    kind("NMI", Some(Fault::NmiButton), BUTTON),
];

/// Crashes of one kind have one fingerprint in so many boots, and it is that of no other kind. The
/// kernel moves to a random place in each.
#[track_caller]
pub(crate) fn assert_fingerprints(names: &[&str], boots: usize) {
    let mut found = BTreeMap::<String, Vec<&str>>::new();
    for kind in KINDS.iter().filter(|kind| names.contains(&kind.name)) {
        for _ in 0..boots {
            let fingerprint = kind.fingerprint();
            println!("{}: {fingerprint}", kind.name);
            found.entry(fingerprint).or_default().push(kind.name);
        }
    }
    assert!(found.values().all(|of| of.len() == boots && *of == vec![of[0]; boots]), "{found:#?}");
    assert_eq!(found.len(), names.len(), "{found:#?}");
}

impl Kind {
    /// Has a kernel die of it, without a stop of the VM; returns the fingerprint as text.
    fn fingerprint(&self) -> String {
        let out = tempfile::tempdir().expect("a folder for the results");
        let (report, console) = cycle_into(&out, debian_kernel("AMD64"), |config| {
            config.memory = 256 * MIB;
            config.cpus = 2;
            config.crash = LONG;
            config.fault = self.fault;
            config.before_crash = self.commands.into();
            config.modules = self.modules.to_vec();
            config.truth = false;
        });
        let cycle = report.checks.iter().find(|check| check.name == "cycle").expect("the check");
        assert!(cycle.pass, "{}: {report:#?}\n{console}", self.name);
        let found = crashinfo().fingerprint(&out.path().join("vmcore"));
        found.expect("a fingerprint").to_string()
    }
}
