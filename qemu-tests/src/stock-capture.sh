#!/bin/sh
# A stock Linux as the capture kernel: its only program writes /proc/vmcore to the first disk, raw, and
# reports in the stages of our own capture kernel. The number in `tsc=` is not known here.

stage() { echo "kdump: stage=$1 tsc=0"; }

fail() {
    echo "kdump: $*"
    stage failed
    reboot -f
    sleep 60
}

stage capture_entry
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs dev /dev ||
    fail "mounting proc, sysfs and devtmpfs"
while IFS= read -r module; do
    insmod "/modules/$module" || fail "insmod $module"
done </etc/modules.list
[ -e /proc/vmcore ] || fail "there is no /proc/vmcore"
[ -b /dev/vda ] || fail "there is no /dev/vda"
echo "first-kernel: dump_bytes $(stat -c %s /proc/vmcore)"
stage views
dd if=/proc/vmcore of=/dev/vda bs=1M oflag=direct 2>/dev/null || fail "dd"
stage last_byte
sync
stage done
reboot -f
sleep 60
