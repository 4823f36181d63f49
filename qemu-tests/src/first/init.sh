#!/bin/sh
# The first kernel's first program: tells the host what the kernel says of itself, loads the capture
# kernel, waits for the word on the console and crashes the machine, or makes way for one's own userland.
# Each line that is meant for the host begins with "first-kernel: " and stands on its own, because kernel
# messages may come between. Beside one's own userland all of ours lies in a folder, for which $root stands.

root=${0%/init}
export PATH="$root/bin"

say() { echo "first-kernel: $*"; }

fail() {
    say "failed $*"
    poweroff -f
    sleep 60
}

# The function that brings the kernel down, if it is not sysrq.
last=
# One's own program: the first of those that the host names. It is looked for before anything is loaded.
own=
if [ -e "$root/etc/kdump.init" ]; then
    while IFS= read -r program; do
        [ -n "$own" ] || [ ! -x "$program" ] || own=$program
    done <"$root/etc/kdump.init"
    [ -n "$own" ] || fail "the initramfs has no program called" $(cat "$root/etc/kdump.init")
fi

mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs dev /dev ||
    fail "mounting proc, sysfs and devtmpfs"
# Only emergencies from now on; the panic message is one.
printk=$(cat /proc/sys/kernel/printk)
echo 1 >/proc/sys/kernel/printk
[ -e /sys/kernel/vmcoreinfo ] && [ -e /sys/devices/system/cpu/cpu0/crash_notes ] ||
    fail "the kernel has no kexec and crash dumps: CONFIG_KEXEC, CONFIG_CRASH_DUMP"

# Drivers of devices that give memory or take it, before anybody looks at memory. Half of the memory that
# is added is then filled with what is not zero.
total() { awk '/^MemTotal:/ { print $2 }' /proc/meminfo; }
before=$(total)
if [ -e "$root/memory/0.ko" ]; then
    for module in "$root"/memory/*.ko; do
        insmod "$module" || fail "insmod $module"
    done
fi
if [ -e "$root/etc/kdump.hot-kib" ]; then
    wanted=$((before + $(cat "$root/etc/kdump.hot-kib")))
    tries=600
    while [ "$(total)" -lt "$wanted" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "only $(total) of $wanted KiB of memory are there"
        sleep 0.1
    done
    mount -t tmpfs -o size=100% tmp /tmp || fail "mounting a tmpfs"
    cat /proc/kallsyms >/tmp/text || fail "writing to /tmp"
    for copy in 0 1 2 3 4 5 6 7 8 9; do cat /tmp/text; done >/tmp/copies || fail "writing to /tmp"
fi

# Further modules, each with its parameters.
if [ -e "$root/etc/kdump.modules" ]; then
    while read -r module words; do
        # The words stand unquoted.
        insmod "$root/modules/$module" $words || fail "insmod $module"
    done <"$root/etc/kdump.modules"
fi

say "version $(cat /proc/version)"
say "cmdline $(cat /proc/cmdline)"
say "cpus $(grep -c '^processor' /proc/cpuinfo)"
sed 's/^/first-kernel: iomem /' /proc/iomem
say "vmcoreinfo $(cat /sys/kernel/vmcoreinfo)"
for file in /sys/devices/system/cpu/cpu*/crash_notes; do
    cpu=${file%/crash_notes}
    say "crash_notes ${cpu##*/cpu} $(cat "$file")"
done
# The symbols that the checks ask for: "start end name", the end being the next symbol's start. grep
# first: awk over all of them takes seconds under emulation.
wanted='_text|_stext|_etext|linux_banner|init_top_pgt|panic|vpanic|__crash_kexec|crash_kexec|sysrq_handle_crash'
[ ! -e /proc/kallsyms ] || grep -E -A 4 " ($wanted)\$" /proc/kallsyms | awk -v wanted="$wanted" '
    NF != 3 { next }
    $1 != start {
        for (i = 1; i <= pending; i++) print "first-kernel: symbol", start, $1, open[i]
        pending = 0
    }
    $3 ~ "^(" wanted ")$" { start = $1; open[++pending] = $3 }
'

# The disk or the partition with as many sectors as the host names. Drivers find theirs in their own time.
find_busy() {
    sectors=$(cat "$root/etc/kdump.busy")
    tries=600
    while [ $tries -gt 0 ]; do
        for busy in /sys/class/block/*; do
            [ "$(cat "$busy/size")" != "$sectors" ] || [ ! -e "/dev/${busy##*/}" ] || return 0
        done
        tries=$((tries - 1))
        sleep 0.1
    done
    fail "no disk or partition of $sectors sectors"
}
# Transfers of 1 MiB past the page cache are from and to the memory of the process; four readers and four
# writers ask for more than the disk does at once. Every MiB of its second half has the same bytes, and is
# written with these: nothing changes.
keep_busy() {
    half=$(($(cat "$busy/size") / 4096))
    dd if="/dev/${busy##*/}" of="$root/block" bs=1M skip=$half count=1 iflag=direct 2>/dev/null ||
        fail "reading the busy disk"
    process=0
    while [ $process -lt 4 ]; do
        while true; do dd if="/dev/${busy##*/}" of=/dev/null bs=1M iflag=direct 2>/dev/null; done &
        while true; do
            part=0
            while [ $part -lt $half ]; do
                dd if="$root/block" of="/dev/${busy##*/}" bs=1M seek=$((half + part)) oflag=direct conv=notrunc \
                    2>/dev/null
                part=$((part + 1))
            done
        done &
        process=$((process + 1))
    done
    tries=600
    until read -r reads writes <"$busy/inflight" && [ "$reads" -gt 0 ] && [ "$writes" -gt 0 ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "nothing reads and writes the busy disk"
        sleep 0.1
    done
    say "in flight: reads $reads writes $writes"
}
[ ! -e "$root/etc/kdump.busy" ] || find_busy

# One argument a line. The kernel hands us the words of its command line that it does not know: not for
# the loader, but for one's own program.
load() {
    set --
    while IFS= read -r word; do set -- "$@" "$word"; done <"$root/etc/kdump.arguments"
    # What a loader says stands unquoted, so that its words come in one line.
    if [ -x "$root/sbin/kexec" ]; then
        loaded=$("$root/sbin/kexec" -d "$@" 2>&1) || fail "kexec refused:" $loaded
        echo "$loaded" | sed -n 's/^kexec_load: entry = \(0x[0-9a-f]*\) .*/first-kernel: entry \1/p'
    else
        loaded=$("$root/kdump-loader" load "$@" 2>&1) || fail "the loader refused:" $loaded
        "$root/kdump-loader" plan --json "$@" | sed 's/^/first-kernel: plan /'
    fi

    [ ! -e "$root/etc/kdump.busy" ] || keep_busy

    # What a scenario does with the loaded machine. It has the loader's arguments in "$@".
    [ ! -e "$root/etc/kdump.before" ] || . "$root/etc/kdump.before"
}
load

# The host says "crash", "crash SECONDS" or "wait SECONDS".
say ready
read -r word seconds
case "$word" in
crash)
    [ -e /proc/sysrq-trigger ] || fail "the kernel has no /proc/sysrq-trigger: CONFIG_MAGIC_SYSRQ"
    echo 1 >/proc/sys/kernel/sysrq
    # Stays open where one's own userland has no /proc of ours any more.
    exec 9>/proc/sysrq-trigger
    ;;
wait) ;;
*) fail "the host said '$word' instead of 'crash' or 'wait'" ;;
esac

# The kernel's word on each page, into memory that it does not use: the last thing before the crash.
save_pages() {
    read -r page blocks <"$root/etc/kdump.pages"
    # Zeros after the text: the memory may hold what the boot has left there.
    dd if=/proc/buddyinfo of=/dev/mem bs=4096 seek="$page" conv=notrunc,sync status=none &&
        dd if=/proc/kpagecount of=/dev/mem bs=4096 count="$blocks" seek=$((page + 1)) \
            conv=notrunc status=none &&
        dd if=/proc/kpageflags of=/dev/mem bs=4096 count="$blocks" \
            seek=$((page + 1 + blocks)) conv=notrunc status=none ||
        fail "saving the kernel's word on its pages"
}

# The kernel's word on the stacks of CPUs and tasks. It is for the log, and not for the console.
show_stacks() {
    echo 1 >/proc/sys/kernel/printk
    echo l >&9
    echo t >&9
}

# What brings the kernel down, or tells the host that it has lived through it all.
finish() {
    # A death that the host has chosen comes at once.
    [ -n "$last" ] || [ -z "$seconds" ] || sleep "$seconds"
    [ ! -e "$root/etc/kdump.said" ] || tell
    [ ! -e "$root/etc/kdump.pages" ] || save_pages
    [ ! -e "$root/etc/kdump.stacks" ] || show_stacks
    # A load of memory may bring the kernel down itself.
    [ -z "$last" ] || $last
    [ "$word" = wait ] || echo c >&9
    say survived
}

if [ -z "$own" ]; then
    [ "$word" = crash ] || echo "$printk" >/proc/sys/kernel/printk
    finish
    poweroff -f
    sleep 60
fi
finish &
echo "$printk" >/proc/sys/kernel/printk
exec 9>&-
# It finds the kernel as if it were the first program.
umount -l /dev && umount -l /sys && umount -l /proc || fail "unmounting proc, sysfs and devtmpfs"
exec "$own" "$@"
