//! Output of `kdump-loader status` in a running machine, and the message for a second loader.

use std::path::Path;

use qemu_tests::check::judged::Judged;
use vmcore::Verdict;

use crate::common::*;

/// Says how the loader's status ends and begins.
const STATUS: &str = r#"
status() { said=$(/kdump-loader status 2>&1); say "exit $? of status $1: $(echo "$said" | sed -n 1p)"; }
"#;

/// Asks for the status as it is, with more memory in the kernel's map, and while another loader is
/// held up by the file that it reads.
const SCRIPT: &str = r#"
status "as loaded"
/kdump-loader status --json | sed 's/^ *//' | grep -E '^"(verdict|target|arguments)"' | sed 's/^/first-kernel: json /'

{ cat /proc/iomem; echo "8000000000-8007ffffff : System RAM"; } >/iomem
mount -o bind /iomem /proc/iomem || fail "a memory map of ours"
status "with more memory"
busybox umount /proc/iomem || fail "the memory map is back"

busybox mkfifo /kernel || fail "a pipe"
/kdump-loader load --kernel /kernel >/first 2>&1 &
first=$!
until grep -q " $first " /proc/locks; do sleep 1; done
/kdump-loader load "$@" >/second 2>&1 &
second=$!
until grep -q waiting /second; do sleep 1; done
say "pid of the first is $first"
say "second: $(grep waiting /second)"
say "at work: $(/kdump-loader status | grep '^at work')"
echo "no kernel" >/kernel
wait $first; say "exit $? of the first"
wait $second; say "exit $? of the second: $(grep ^loaded /second)"
status "at the end"
say "level 31: $(/kdump-loader status --json | sed -n '/"level": 31,/,/}/s/.*"pages": \(.*\),/\1/p') pages"
"#;
/// Kernel pages that may come and go between the status and the crash, while programs end: page
/// tables, stacks, slabs.
const MOST_CHANGED: u64 = 512;

/// Takes a CPU out of the kernel's list and puts it back; both CPUs stay in the machine. After a
/// real eject (`echo 1 >/sys/bus/acpi/devices/LNXCPU:01/eject`) the loader reports the same, but
/// QEMU 7.2 under TCG ends by itself some time later with a heap error (`malloc(): unsorted double
/// linked list corrupted`, `double free or corruption`), so no capture can be judged there.
const REMOVE: &str = r#"
echo 0 >/present
mount -o bind /present /sys/devices/system/cpu/present || fail "a list of CPUs of ours"
status "without a CPU"
/kdump-loader unload >/dev/null || fail "unload"
status "when unloaded"
say "default: $(/kdump-loader status | grep '^default target')"
busybox umount /sys/devices/system/cpu/present || fail "the list of CPUs is back"
/kdump-loader load "$@" >/dev/null 2>&1 || fail "the loader refused"
status "when loaded again"
"#;

#[test]
fn the_status_of_a_loaded_machine_and_of_one_that_has_changed() {
    let out = tempfile::tempdir().expect("a folder for the results");
    let (report, console) = cycle_into(&out, debian(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.before_crash = format!("{STATUS}{SCRIPT}");
    });
    assert_passes(&report);
    assert_level_31(&console, &out.path().join("vmcore"));
    let says = |what: &str, words: &str| format!("first-kernel: {what}: {words}");
    let ready = "ready: a panic will be captured, to disk:id=";
    let holder = console.lines().find_map(|line| line.split_once("pid of the first is "));
    let (_, pid) = holder.expect("it is there");
    assert_says(
        &console,
        &[
            &says("exit 0 of status as loaded", ready),
            "first-kernel: json \"verdict\": \"ready\",",
            &says(
                "exit 0 of status with more memory",
                "loaded, but it no longer fits: memory was added: 0x8000000000..0x8008000000 \
                 (131072 KiB)",
            ),
            &says(
                "second",
                &format!(
                    "kdump-loader: waiting for process {} (/kdump-loader load --kernel /kernel), \
                     which was started ",
                    pid.trim(),
                ),
            ),
            &says("at work", &format!("at work         process {} (", pid.trim())),
            "first-kernel: exit 1 of the first",
            &says("exit 0 of the second", "loaded already into "),
            &says("exit 0 of status at the end", ready),
        ],
    );
}

/// The status has counted as many pages as the filter keeps of the dump.
fn assert_level_31(console: &str, vmcore: &Path) {
    let said = console.lines().find_map(|line| line.split_once("first-kernel: level 31: "));
    let said = said.and_then(|(_, said)| said.split_once(" pages")?.0.parse::<u64>().ok());
    let said = said.expect("a number of pages");
    let judged = Judged::of(vmcore).expect("a filter");
    let is_kept = |verdict: &&Verdict| !matches!(verdict, Verdict::Excluded(_));
    let kept = judged.verdicts.values().filter(is_kept).count() as u64;
    println!("level 31: {said} pages in the status, {kept} in the dump");
    assert!(said.abs_diff(kept) <= MOST_CHANGED, "{said} pages in the status, {kept} in the dump");
}

#[test]
fn the_status_of_a_machine_that_has_lost_a_cpu() {
    let (report, console) = cycle_and_console(debian(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.before_crash = format!("{STATUS}{REMOVE}");
    });
    assert_passes(&report);
    assert_says(
        &console,
        &[
            "exit 0 of status without a CPU: loaded, but it no longer fits: CPU 1 is gone",
            "exit 3 of status when unloaded: not loaded: a panic will not be captured",
            "default: default target  none: no --target",
            "exit 0 of status when loaded again: ready: a panic will be captured, to \
             disk:id=",
        ],
    );
}
