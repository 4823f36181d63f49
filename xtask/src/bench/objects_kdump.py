"""Reads tasks, dentries or connections of a dump with kdump: see objects.rs.

Arguments: the dump; tasks, dentries or sockets; number of objects, which are read again until there
are enough. Prints a line for each connection, or a sum of all tasks or dentries, and at last the
seconds that it took without those of opening the dump.
"""

import functools
import itertools
import sys
import time
import zlib

import kdump


def tasks():
    """Yields numbers and names."""
    for task in dump.list(dump.symbol("init_task").tasks, "struct task_struct", "tasks"):
        yield task.pid, task.comm


def dentries():
    """Yields inodes and names of everything in file systems."""
    blocks = dump.list(dump.address("super_blocks"), "struct super_block", "s_list")
    folders = [block.s_root for block in blocks]
    while folders:
        for dentry in dump.list(folders.pop().d_subdirs, "struct dentry", "d_child"):
            inode = dentry.d_inode
            yield inode.i_ino if inode else 0, dump.text(dentry.d_name.name)
            folders.append(dentry)


@functools.cache
def connections():
    """Finds TCP connections, once: nearly all buckets of the table are empty."""
    table = dump.symbol("tcp_hashinfo")
    chains = (table.ehash[index].chain for index in range(table.ehash_mask + 1))
    socks = (dump.hlist_nulls(chain, "struct sock", "__sk_common.skc_nulls_node") for chain in chains)
    return list(itertools.chain.from_iterable(socks)) or sys.exit("the dump has no connection")


def sockets():
    """Yields connections: state, addresses and ports, bytes in the queues."""
    return map(connection, connections())


def connection(sock):
    common = sock.__sk_common
    ends = common.skc_rcv_saddr, common.skc_num, common.skc_daddr, common.skc_dport
    tcp = kdump.cast(sock, "struct tcp_sock")
    queues = tcp.write_seq - tcp.snd_una, tcp.rcv_nxt - tcp.copied_seq
    return common.skc_state, *ends, *queues


path, what, count = sys.argv[1:]
dump = kdump.open(path)
start = time.perf_counter()
endless = itertools.chain.from_iterable(globals()[what]() for _ in itertools.repeat(None))
total = text = 0
for row in itertools.islice(endless, int(count)):
    if what == "sockets":
        print(*row)
    else:
        total, text = total + row[0], zlib.crc32(row[1].encode(), text)
print(total, text, flush=True)
print("seconds", time.perf_counter() - start)
