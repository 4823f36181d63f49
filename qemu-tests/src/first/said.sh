# A machine in use, and its kernel's word on it right before the crash, for checks of what is read from
# the dump. It is read after the capture kernel has been loaded; `fail` and $root are those of /init.

bb=$root/bin/busybox
run=/run/words
mkdir -p $run/tmp $run/bound "$run/a b" $run/disk $run/debug || fail "making folders in /run"

# File systems: two tmpfs, one of which a part is bound to another place, for reading only.
mount -t debugfs debug /sys/kernel/debug && mount -t tmpfs -o size=8m,mode=700 words $run/tmp &&
    mount -t tmpfs -o noexec,nosuid,nodev "two words" "$run/a b" && mkdir $run/tmp/part &&
    mount -o bind $run/tmp/part $run/bound && mount -o remount,bind,ro $run/bound ||
    fail "mounting file systems"
dd if=/dev/zero of=$run/tmp/data bs=64k count=32 2>/dev/null || fail "writing to a tmpfs"

# Disks in files, one with a file system, one for swapping.
if [ -e "$root/modules/loop.ko" ]; then
    dd if=/dev/zero of=$run/tmp/disk bs=64k count=64 2>/dev/null &&
        dd if=/dev/zero of=$run/tmp/swap bs=64k count=16 2>/dev/null &&
        $bb losetup /dev/loop0 $run/tmp/disk && $bb losetup /dev/loop1 $run/tmp/swap &&
        $bb mkswap /dev/loop1 >/dev/null 2>&1 && $bb swapon /dev/loop1 || fail "a swap device"
    $bb mke2fs -F /dev/loop0 >/dev/null 2>&1 && mount -t ext4 /dev/loop0 $run/disk &&
        dd if=/dev/zero of=$run/disk/data bs=64k count=8 2>/dev/null && $bb sync ||
        fail "an ext4"
fi

# Networks.
$bb ifconfig lo up && $bb ping -c 3 -i 0.1 127.0.0.1 >/dev/null 2>&1 || fail "no traffic on lo"
[ ! -e /sys/class/net/dummy0 ] || {
    $bb ifconfig dummy0 192.0.2.7 netmask 255.255.255.0 mtu 1434 up &&
        $bb ip addr add 2001:db8::7/64 dev dummy0 &&
        $bb ip addr add 198.51.100.9/28 dev dummy0 || fail "setting dummy0 up"
    $bb ping -c 1 -W 1 192.0.2.8 >/dev/null 2>&1
}

# Sockets of all kinds, routes and neighbours, here and in another network namespace. A kernel without its
# modules has no dummy0.
if [ -e "$root/sockets" ]; then
    # Debian's: the shell's own ip knows less.
    export ip="$root/bin/ip"
    mkdir $run/tmp/sockets || fail "a folder for sockets"
    "$root/sockets" all $run/tmp/sockets >$run/tmp/all &
    $bb unshare -n sh -c '"$ip" link set lo up && {
        ! "$ip" link add dummy1 type dummy 2>/dev/null || {
            "$ip" addr add 203.0.113.7/24 dev dummy1 && "$ip" link set dummy1 up arp on &&
                "$ip" route add 198.18.7.0/24 via 203.0.113.1 &&
                "$ip" neigh add 203.0.113.1 lladdr 02:00:5e:00:53:07 dev dummy1 nud permanent
        }
    } && exec "$0" few' "$root/sockets" >$run/tmp/few &
    other=$!
    "$ip" route add unreachable 198.18.0.0/24 metric 7 && "$ip" route add blackhole 198.18.1.0/24 &&
        "$ip" route add prohibit 198.18.2.0/24 table 100 &&
        "$ip" route add 198.18.3.0/24 dev lo src 127.0.0.1 mtu 1400 &&
        "$ip" -6 route add unreachable 2001:db8:1::/48 metric 7 && "$ip" -6 route add 2001:db8:2::/48 dev lo &&
        "$ip" rule add from 192.0.2.7 table 100 || fail "adding routes"
    [ ! -e /sys/class/net/dummy0 ] || {
        "$ip" link set dummy0 arp on &&
            "$ip" neigh replace 192.0.2.1 lladdr 02:00:5e:00:53:01 dev dummy0 nud permanent &&
            "$ip" neigh replace 192.0.2.2 lladdr 02:00:5e:00:53:02 dev dummy0 nud stale &&
            "$ip" neigh replace 192.0.2.3 lladdr 02:00:5e:00:53:03 dev dummy0 nud noarp &&
            "$ip" neigh add proxy 192.0.2.200 dev dummy0 &&
            "$ip" -6 neigh replace 2001:db8::1 lladdr 02:00:5e:00:53:61 dev dummy0 nud permanent router &&
            "$ip" -6 neigh replace 2001:db8::2 lladdr 02:00:5e:00:53:62 dev dummy0 nud stale ||
            fail "adding neighbours"
        "$ip" nexthop add id 7 via 192.0.2.3 dev dummy0 && "$ip" route add 198.18.4.0/24 nhid 7 &&
            "$ip" route add 198.18.5.0/24 via 192.0.2.1 metric 20 &&
            "$ip" route add 198.18.5.0/24 via 192.0.2.2 metric 5 tos 0x10 &&
            "$ip" route add 198.18.6.0/24 nexthop via 192.0.2.1 weight 2 nexthop via 192.0.2.2 &&
            "$ip" route add default via 192.0.2.1 &&
            "$ip" -6 route add default via fe80::1 dev dummy0 metric 50 &&
            "$ip" -6 route add 2001:db8:3::/48 via 2001:db8::1 metric 7 &&
            "$ip" -6 route add 2001:db8:4::/48 nexthop via 2001:db8::1 weight 2 nexthop via 2001:db8::2 ||
            fail "adding routes by way of dummy0"
        # Nobody answers.
        $bb ping -c 1 -W 1 192.0.2.9 >/dev/null 2>&1
    }
    until grep -q ready $run/tmp/all && grep -q ready $run/tmp/few; do
        $bb kill -0 $other 2>/dev/null || fail "no sockets"
        sleep 0.1
    done
fi

# Programs: one that sleeps, one that is stopped, one that is dead and not asked for, one of another user
# and one of little weight, one with names of its own for all that can be named, one with an odd name.
sleep 100000 &
sh -c 'kill -STOP $$' &
sh -c 'true & exec sleep 100000' &
$bb start-stop-daemon -S -b -c 1234:5678 -n none -a $bb -- sleep 100000 || fail "starting a program of another user"
sleep 100000 &
$bb renice 7 -p $! >/dev/null || fail "renice"
$bb unshare -m -n -u sleep 100000 &
printf '#!%s\nwhile :; do sleep 100000; done\n' "$root/bin/sh" >"$run/tmp/a \"(b) c" &&
    $bb chmod 755 "$run/tmp/a \"(b) c" || fail "writing a program"
"$run/tmp/a \"(b) c" &
# A connection with bytes that nobody reads, and a server.
$bb nc -l -p 99 -e sleep 100000 &
$bb nc -l -p 98 &
# A daemon for the system's log that is stopped: eleven messages fit into its socket.
ln -s "$bb" $run/syslogd && ln -s "$bb" $run/logger || fail "naming programs"
$run/syslogd -n -O $run/messages &
syslogd=$!
sleep 0.3
kill -STOP $syslogd
for number in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
    $run/logger "message $number" &
done
(echo words; exec sleep 100000) | $bb nc 127.0.0.1 99 >/dev/null &
# One that writes to a frozen file system: it waits for a thaw, in state D.
if [ -e "$root/modules/loop.ko" ]; then
    $bb fsfreeze --freeze $run/disk || fail "freezing a file system"
    sh -c 'echo 1 >'$run/disk/frozen &
fi
# One that runs on CPU 1 without end, where there is one.
[ ! -e /sys/devices/system/cpu/cpu1 ] || $bb taskset 2 sh -c 'while :; do :; done' &
# They are where they wait.
sleep 1

# Each file after a line with its name. Nothing but one `cat` at a time is started for it.
told() {
    for file; do
        [ ! -e "$file" ] || { echo "=== $file" && cat "$file"; } >&8 2>/dev/null
    done
}
# Sockets, routes and neighbours of the network namespace called $1: the other words run a program in it.
networks() {
    name=$1
    shift
    echo "=== uptime before $name" >&8 && cat uptime >&8
    # ss says that there are no cgroups.
    for kind in t u w x; do
        echo "=== ss $kind $name" >&8 && "$@" "$root/bin/ss" -Hanoiem$kind >&8 2>/dev/null
        [ $kind != t ] || { echo "=== uptime after $name" >&8 && cat uptime >&8; }
    done
    for what in "route show table all" "neigh show nud all" "neigh show proxy"; do
        for family in 4 6; do
            # The words stand unquoted.
            echo "=== ip $family $what $name" >&8 && "$@" "$root/bin/ip" -$family -j -s -d $what >&8
        done
    done
    echo "=== ip link $name" >&8 && "$@" "$root/bin/ip" -j -s -d addr >&8
}
tell() {
    read -r page <"$root/etc/kdump.said"
    # No program grows by a huge page between the words and the crash.
    huge=/sys/kernel/mm/transparent_hugepage/enabled
    [ ! -e $huge ] || echo never >$huge
    exec 8<>/dev/mem
    dd if=/dev/null bs=4096 seek="$page" count=0 conv=notrunc status=none >&8 ||
        fail "finding the place for the kernel's words"
    cd /proc
    told version cmdline filesystems partitions devices swaps iomem ioports crypto consoles \
        sys/kernel/random/boot_id sys/kernel/hostname sys/kernel/tainted modules \
        self/mountinfo mounts vmallocinfo timer_list sched_debug \
        /sys/kernel/debug/sched/debug net/route net/arp net/unix net/tcp net/tcp6 net/udp net/udp6
    echo "=== addresses" >&8 && $bb ip addr >&8
    echo "=== status" >&8 && cat [0-9]*/task/[0-9]*/status >&8
    echo "=== stacks" >&8 && $bb head -v -c 900 [0-9]*/stack >&8 && echo >&8
    echo "=== stat" >&8 && cat [0-9]*/task/[0-9]*/stat >&8
    echo "=== cmdlines" >&8 && $bb head -v -c 200 [0-9]*/cmdline >&8 && echo >&8
    # Threads of the kernel have no memory of their own: errors.
    echo "=== smaps_rollup" >&8
    $bb head -v -c 400 [0-9]*/smaps_rollup >&8 2>/dev/null
    echo >&8
    told net/raw net/raw6 net/ipv6_route net/if_inet6 net/sockstat net/sockstat6
    [ ! -e "$root/sockets" ] || {
        networks main
        networks other $bb nsenter -t $other -n
        echo "=== uptime after" >&8 && cat uptime >&8
    }
    told net/dev diskstats softirqs interrupts vmstat
    # crashinfo on the running kernel. The words stand unquoted.
    [ ! -e "$root/etc/kdump.live" ] || while read -r section; do
        echo "=== live $section" >&8
        "$root/crashinfo" --json /proc/kcore $section >&8
    done <"$root/etc/kdump.live"
    # The memory of `cat` would count.
    for file in slabinfo zoneinfo buddyinfo meminfo loadavg uptime; do
        echo "=== $file" >&8
        while IFS= read -r line; do echo "$line"; done <$file >&8
    done
    echo "=== end" >&8
    exec 8>&-
    cd /
}
