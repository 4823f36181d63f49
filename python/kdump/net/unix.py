"""Sockets between the programs of one machine (Linux, net/unix/af_unix.c)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kdump import Addr, Dump, cast
from kdump.net.namespaces import Namespace
from kdump.net.sockets import LISTEN, STATES, Reader
from kdump.net.walks import Problems, buckets

#: Hash buckets: 2 * 256 in every kernel (UNIX_HASH_SIZE).
BUCKETS = 512
#: Types of sockets (include/linux/net.h).
TYPES = {1: "stream", 2: "dgram", 5: "seqpacket"}
DGRAM = 2
#: Bytes of an address before its path, and in all (struct sockaddr_un).
FAMILY, MOST_ADDRESS = 2, 110


@dataclass
class UnixSocket(Problems):
    """A socket. A ``path`` that begins with ``@`` is an abstract name.

    ``waiting`` are the inodes of the sockets that wait for a listener to accept them.
    """

    object: Any
    namespace: Namespace | None
    number: int = 0
    type: str = ""
    inode: int = 0
    peer: int = 0
    uid: int = 0
    path: str = ""
    rx_queue: int = 0
    tx_queue: int = 0
    waiting: list[int] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state's name."""
        return STATES.get(self.number, f"?{self.number}")


def heads(dump: Dump, spaces: Iterator[Namespace]) -> Iterator[int]:
    """Yield the list heads of the hash tables that are not empty."""
    if dump.has_symbol("unix_socket_table"):
        yield from buckets(dump, dump.address("unix_socket_table"), BUCKETS, dump.word_size)
        return
    for space in spaces:
        table = space.net.UnixBuckets
        if table:
            yield from buckets(dump, table, BUCKETS, dump.word_size)


def sockets(reader: Reader, found: Problems) -> Iterator[UnixSocket]:
    """Yield all of them."""
    dump = reader.dump
    for head in found.each("table of unix sockets", heads(dump, iter(reader.spaces.values()))):
        chain = dump.hlist(head, "struct sock_common", "skc_node")
        for common in found.each(f"unix bucket {head:#x}", chain):
            yield _row(reader, common)


def _row(reader: Reader, common: Any) -> UnixSocket:
    sock = cast(common, "struct unix_sock")
    row = UnixSocket(sock, None)
    row.namespace = row.attempt("namespace", lambda: reader.space(common))
    row.attempt("socket", lambda: _socket(row, sock))
    row.path = row.attempt("path", lambda: path(reader.dump, sock.addr), "")
    row.attempt("queues", lambda: _queues(reader.dump, row, sock))
    return row


def _socket(row: UnixSocket, sock: Any) -> None:
    sk = sock.sk
    row.number = sk.Common.skc_state
    row.type = TYPES.get(sk.sk_type, f"?{sk.sk_type}")
    row.inode, row.uid = sk.Inode, sk.sk_uid.val
    row.peer = sock.peer.Inode if sock.peer else 0


def path(dump: Dump, address: Any) -> str:
    """Return the path of a ``struct unix_address``, or an abstract name with ``@`` for each NUL."""
    if not address:
        return ""
    length = min(address.len, MOST_ADDRESS) - FAMILY
    if length <= 0:
        return ""
    name = dump.read(int(address) + dump.offsetof("struct unix_address", "name") + FAMILY, length)
    if name.startswith(b"\0"):
        name = name.replace(b"\0", b"@")
    else:
        name = name.split(b"\0")[0]
    return name.decode("utf-8", "backslashreplace")


def _queues(dump: Dump, row: UnixSocket, sock: Any) -> None:
    sk = sock.sk
    queue = sk.sk_receive_queue
    if row.number == LISTEN:
        row.rx_queue, row.tx_queue = queue.qlen, sk.sk_max_ack_backlog
        for packet in row.each("accept queue", packets(dump, queue)):
            row.waiting.append(row.attempt("peer", lambda at=packet: _peer(at), 0))
        return
    row.tx_queue = sk.sk_wmem_alloc.refs.counter - 1
    for packet in row.each("receive queue", packets(dump, queue)):
        if row.type == TYPES[DGRAM]:
            # The first one counts, as for ioctl(FIONREAD).
            row.rx_queue = packet.len
            return
        parameters = dump.object("struct unix_skb_parms", Addr(packet.cb))
        row.rx_queue += packet.len - parameters.consumed


def packets(dump: Dump, queue: Any) -> Iterator[Any]:
    """Yield the packets of a ``struct sk_buff_head``."""
    return iter(dump.list(Addr(queue), "struct sk_buff", "list"))


def _peer(packet: Any) -> int:
    """Return the inode of the program's end of a connection that waits to be accepted."""
    peer = cast(packet.sk, "struct unix_sock").peer
    return peer.Inode if peer else 0
