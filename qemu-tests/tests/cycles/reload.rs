//! The loader is run again, because the machine has changed or by mistake.

use crate::common::*;

/// Takes a CPU away and brings it back, then loads 100 times, every tenth time with force, and
/// counts the loader's results.
const HOTPLUG: &str = r#"
online=/sys/devices/system/cpu/cpu1/online
load_and_count() {
    said=$(/kdump-loader load "$@" 2>&1) || fail "run $run of the loader:" $said
    case "$said" in
    *"target: "*"loaded into "*) loaded=$((loaded + 1)) ;;
    *"target: "*"loaded already into "*) unchanged=$((unchanged + 1)) ;;
    *) fail "the loader said what is not known:" $said ;;
    esac
}
run=0 loaded=0 unchanged=0
load_and_count "$@"
echo 0 >$online && [ "$(cat $online)" = 0 ] || fail "CPU 1 stays online"
load_and_count "$@"
echo 1 >$online && [ "$(cat $online)" = 1 ] || fail "CPU 1 stays offline"
while [ $run -lt 100 ]; do
    run=$((run + 1))
    # The line tells the harness that the guest goes on.
    if [ $((run % 10)) = 0 ]; then
        say "run $run"
        load_and_count --force "$@"
    else
        load_and_count "$@"
    fi
done
say "reloads $run: $loaded loaded, $unchanged unchanged"
"#;

#[test]
fn a_cpu_goes_and_comes_and_the_loader_runs_100_times() {
    let (report, console) = cycle_and_console(debian(), |config| {
        config.memory = 256 * MIB;
        config.cpus = 2;
        config.before_crash = HOTPLUG.into();
    });
    assert_passes(&report);
    let counted = "first-kernel: reloads 100: 10 loaded, 92 unchanged";
    assert!(console.contains(counted), "{console}");
}
