# Uses of memory before a crash, one function each, for checks of the page filter. They are read after
# the capture kernel has been loaded; `say`, `fail` and $root are those of /init.

# In a small machine Linux uses huge pages only when it is told to; kernels for real time have none.
# None come into being by themselves: that would be in the middle of the kernel's word on its pages.
thp=/sys/kernel/mm/transparent_hugepage/enabled
[ ! -e $thp ] || {
    echo 1000000000 >/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs &&
        echo always >$thp
} || fail "turning huge pages on"
mount -t tmpfs -o size=90%,huge=always tmp /tmp 2>/dev/null || mount -t tmpfs -o size=90% tmp /tmp ||
    fail "mounting a tmpfs"
# Contents that are not zero: 512 KiB, and 8 MiB of them.
dd if=/proc/kallsyms of=/tmp/text bs=64k count=8 iflag=fullblock 2>/dev/null || fail "writing to /tmp"
for copy in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do cat /tmp/text; done >/tmp/copies || fail "writing to /tmp"

# Page cache: of a tmpfs, and of a block device, whose pages have private data.
cache() {
    [ -e "$root/modules/brd.ko" ] || return 0
    # Dirty pages stay dirty: the disk takes pages when they are written back, which would be in the
    # middle of the kernel's word, too.
    echo 0 >/proc/sys/vm/dirty_writeback_centisecs || fail "turning writeback off"
    insmod "$root/modules/brd.ko" rd_nr=1 rd_size=8192 || fail "insmod brd"
    # Nothing of it is cached when nobody has it open.
    exec 7</dev/ram0 || fail "opening /dev/ram0"
    dd if=/tmp/copies of=/dev/ram0 bs=64k 2>/dev/null || fail "writing to /dev/ram0"
    # Clean pages of the same cache.
    echo 1 >/proc/sys/vm/drop_caches
    dd if=/dev/ram0 of=/dev/null bs=64k count=64 2>/dev/null || fail "reading /dev/ram0"
}

# Memory of a program, in huge pages where the kernel has them: dd fills its buffer, and stands still
# in a write to a FIFO of which one byte is read. The second one has small pages alone.
anonymous() {
    for size in 12M 20k; do
        mkfifo "/tmp/fifo-$size" && exec 8<>"/tmp/fifo-$size" || fail "making a FIFO"
        dd if=/tmp/copies "of=/tmp/fifo-$size" bs="$size" iflag=fullblock 2>/dev/null &
        dd bs=1 count=1 <&8 >/dev/null 2>&1 || fail "reading a FIFO"
    done
    # Until Linux 5.11 a few huge pages are counted a second later, or when this file is read.
    cat /proc/sys/vm/stat_refresh
    [ ! -e $thp ] || grep -q '^AnonHugePages: *[1-9]' /proc/meminfo || fail "no program has huge pages"
}

# Pages of a file in a hugetlbfs, and free ones of the kernel's pool.
hugetlb() {
    echo 6 >/proc/sys/vm/nr_hugepages
    mkdir /tmp/huge && mount -t hugetlbfs huge /tmp/huge || fail "mounting a hugetlbfs"
    fallocate -l 8M /tmp/huge/file || fail "a file in huge pages"
    grep -q '^HugePages_Total: *[1-9]' /proc/meminfo || fail "the kernel has no huge pages"
}

# Four free pages that are poisoned as if the hardware had reported them. Any others may be a program's.
poison() {
    read -r page blocks <"$root/etc/kdump.pages"
    page=$((page + 2 * blocks))
    inject=$root/modules/hwpoison-inject.ko
    if [ -e "$inject" ]; then
        mkdir /tmp/debug && mount -t debugfs debug /tmp/debug && insmod "$inject" ||
            fail "insmod hwpoison-inject"
    fi
    left=4
    while [ $left -gt 0 ]; do
        page=$((page + 333))
        flags=$(dd if=/proc/kpageflags bs=8 skip=$page count=1 status=none | od -An -tu4 -N4)
        [ -n "$flags" ] || fail "no four pages are free"
        # KPF_BUDDY
        [ $((flags & 1024)) -ne 0 ] || continue
        left=$((left - 1))
        if [ -e "$inject" ]; then
            echo $page >/tmp/debug/hwpoison/corrupt-pfn
        else
            echo $((page * 4096)) >/sys/devices/system/memory/hard_offline_page
        fi || fail "poisoning page $page"
    done
    grep -q '^HardwareCorrupted: *[1-9]' /proc/meminfo || fail "no page is poisoned"
}

# A file takes all memory but some MiB; the last of it is taken after the kernel has said its word.
out_of_memory() {
    echo 1 >/proc/sys/vm/panic_on_oom
    mkdir /tmp/full && mount -t tmpfs -o size=200% full /tmp/full || fail "mounting a tmpfs"
    while [ "$(awk '/^MemFree:/ { print $2 }' /proc/meminfo)" -gt 28672 ]; do
        dd if=/tmp/copies bs=1M count=2 status=none || break
    done >/tmp/full/file
    last=last_of_memory
}
last_of_memory() {
    while :; do cat /tmp/copies; done >/tmp/full/rest
}
