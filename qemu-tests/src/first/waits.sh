# Tasks that wait in many places of the kernel, some of them in modules, for checks of backtraces. They
# are started after the capture kernel has been loaded; `fail` and $root are those of /init.

# Of the modules, jfs and pktgen have threads of their own; of cuse, a program waits in a read.
[ ! -e /dev/cuse ] || dd if=/dev/cuse of=/dev/null bs=128k 2>/dev/null &

mkdir -p /tmp/waits && mkfifo /tmp/waits/none /tmp/waits/both || fail "making a FIFO"
# For a time, for a writer to come, for data, for room, for a child, for a connection, to be continued.
sleep 100000 &
cat /tmp/waits/none &
exec 6<>/tmp/waits/both
cat <&6 &
(cat /proc/kallsyms | sleep 100000) &
(sleep 100000; true) &
"$root/bin/busybox" nc -l -p 99 &
sh -c 'kill -STOP $$' &
# They are where they wait.
sleep 1
