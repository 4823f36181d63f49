"""Reads tasks, dentries or connections of a dump with drgn and the kernel's vmlinux: see objects.rs.

Arguments: the dump; vmlinux; tasks, dentries or sockets; number of objects, which are read again until there
are enough. Prints a line for each connection, or a sum of all tasks or dentries, and at last the
seconds that it took without those of opening the dump.
"""

import functools
import itertools
import sys
import time
import zlib

import drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.list_nulls import hlist_nulls_for_each_entry


def tasks():
    """Yields numbers and names."""
    head = program["init_task"].tasks.address_of_()
    for task in list_for_each_entry("struct task_struct", head, "tasks"):
        yield task.pid.value_(), task.comm.string_()


def dentries():
    """Yields inodes and names of everything in file systems."""
    head = program["super_blocks"].address_of_()
    blocks = list_for_each_entry("struct super_block", head, "s_list")
    folders = [block.s_root for block in blocks]
    while folders:
        head = folders.pop().d_subdirs.address_of_()
        for dentry in list_for_each_entry("struct dentry", head, "d_child"):
            inode = dentry.d_inode
            yield inode.i_ino.value_() if inode else 0, dentry.d_name.name.string_()
            folders.append(dentry)


@functools.cache
def connections():
    """Finds TCP connections, once: nearly all buckets of the table are empty."""
    table = program["tcp_hashinfo"]
    chains = (table.ehash[index].chain for index in range(table.ehash_mask.value_() + 1))
    socks = (
        hlist_nulls_for_each_entry("struct sock", chain.address_of_(), "__sk_common.skc_nulls_node")
        for chain in chains
    )
    return list(itertools.chain.from_iterable(socks)) or sys.exit("the dump has no connection")


def sockets():
    """Yields connections: state, addresses and ports, bytes in the queues."""
    return map(connection, connections())


def connection(sock):
    common = sock.__sk_common
    ends = common.skc_rcv_saddr, common.skc_num, common.skc_daddr, common.skc_dport
    tcp = drgn.cast("struct tcp_sock *", sock)
    queues = tcp.write_seq - tcp.snd_una, tcp.rcv_nxt - tcp.copied_seq
    return tuple(field.value_() for field in (common.skc_state, *ends, *queues))


path, vmlinux, what, count = sys.argv[1:]
program = drgn.Program()
program.set_core_dump(path)
program.load_debug_info([vmlinux])
start = time.perf_counter()
endless = itertools.chain.from_iterable(globals()[what]() for _ in itertools.repeat(None))
total = text = 0
for row in itertools.islice(endless, int(count)):
    if what == "sockets":
        print(*row)
    else:
        total, text = total + row[0], zlib.crc32(row[1], text)
print(total, text, flush=True)
print("seconds", time.perf_counter() - start)
