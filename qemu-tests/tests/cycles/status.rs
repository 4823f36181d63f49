//! Output of `kdump-loader status` in a running machine, and the message for a second loader.

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
"#;

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
    let (report, console) = cycle_and_console(debian(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.before_crash = format!("{STATUS}{SCRIPT}");
    });
    assert_passes(&report);
    let says = |what: &str, words: &str| format!("first-kernel: {what}: {words}");
    let ready = "ready: a panic will be captured, to virtio-blk:id=";
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
             virtio-blk:id=",
        ],
    );
}
