#!/bin/sh
# A stock Linux as the capture kernel. Its only program writes /proc/vmcore to the first disk, raw, or by
# makedumpfile if that is there, and reports the stages of our own capture kernel. It does not know the number
# in `tsc=`. Nothing delays the dump: other messages follow it.

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
if [ -e /usr/bin/makedumpfile ]; then
    /usr/bin/makedumpfile -f -l -d 31 /proc/vmcore /dev/vda >/log 2>&1 || fail "makedumpfile: $(cat /log)"
    dd if=/dev/null of=/dev/vda conv=notrunc,fsync 2>/dev/null || fail "dd, to flush the disk"
    bytes=$(awk '{ print $7 * 512 }' /sys/block/vda/stat)
else
    # The first block is written alone, and a small one: so the stage comes as soon as anything at all is on
    # the disk. The other dd begins at the start again, which costs nothing.
    dd if=/proc/vmcore of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null || fail "dd, the first block"
    stage first_byte
    # Past the page cache: only the disk's own cache is left for the end.
    dd if=/proc/vmcore of=/dev/vda bs=1M oflag=direct conv=fsync 2>/dev/null || fail "dd"
    bytes=$(stat -c %s /proc/vmcore)
fi
stage last_byte
stage done
echo "first-kernel: dump_bytes $bytes"
reboot -f
sleep 60
