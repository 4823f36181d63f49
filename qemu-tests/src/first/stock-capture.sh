#!/bin/sh
# A stock Linux as the capture kernel: its only program writes /proc/vmcore to the first disk, raw, and
# reports in the stages of our own capture kernel. The number in `tsc=` is not known here. Nothing stands in
# its way that a dump does not need: what is said but for the stages comes after the dump.

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
stage views
# The first block is written alone, and a small one: so the stage comes as soon as anything at all is on the
# disk. The other dd begins at the start again, which costs nothing.
dd if=/proc/vmcore of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null || fail "dd, the first block"
stage first_byte
# Past the page cache: what is left for the end is the disk's own cache.
dd if=/proc/vmcore of=/dev/vda bs=1M oflag=direct conv=fsync 2>/dev/null || fail "dd"
stage last_byte
stage done
echo "first-kernel: dump_bytes $(stat -c %s /proc/vmcore)"
reboot -f
sleep 60
