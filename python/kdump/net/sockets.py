"""Parts that all sockets of the Internet have, and UDP and raw ones (Linux, include/net/sock.h)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kdump import Addr, Dump, cast
from kdump.net.address import AF_INET, AF_INET6, Endpoint, ipv4, ipv6, port
from kdump.net.namespaces import Namespace
from kdump.net.walks import Problems, buckets

#: Numbers of states, of all protocols that have them (include/net/tcp_states.h).
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}
ESTABLISHED, TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV = 1, 6, 7, 10, 12
#: Families whose sockets are in the hash tables of the Internet.
FAMILIES = {AF_INET: 4, AF_INET6: 6}


@dataclass
class Socket(Problems):
    """A row of netstat: a socket.

    ``object`` is the kernel's struct, ``family`` 4 or 6, ``number`` that of the state,
    ``interface`` the index of the one it is bound to.
    """

    protocol: str
    object: Any
    namespace: Namespace | None
    family: int = 0
    number: int = 0
    local: Endpoint | None = None
    remote: Endpoint | None = None
    interface: int = 0
    inode: int = 0
    uid: int = 0
    rx_queue: int = 0
    tx_queue: int = 0

    @property
    def state(self) -> str:
        """The state's name."""
        return STATES.get(self.number, f"?{self.number}")


@dataclass
class Memory(Socket):
    """A socket with buffers: ``rmem`` and ``wmem`` are bytes in use, with what they cost."""

    rmem: int = 0
    wmem: int = 0
    rcvbuf: int = 0
    sndbuf: int = 0
    drops: int | None = None


@dataclass
class UdpSocket(Memory):
    """A socket of UDP or UDP-Lite."""

    pending: int = 0
    length: int = 0
    corked: bool | None = None


@dataclass
class RawSocket(Memory):
    """A raw socket; its local port is the number of the protocol."""


class Reader:
    """Reads what all sockets have, of one dump."""

    def __init__(self, dump: Dump, spaces: dict[int, Namespace]) -> None:
        self.dump = dump
        self.spaces = spaces

    def common(self, row: Socket, common: Any) -> None:
        """Read the parts of ``struct sock_common``."""
        row.number = common.skc_state
        family = common.skc_family
        row.family = FAMILIES.get(family, 0)
        if not row.family:
            row.problems.append(f"address family {family}")
            return
        row.interface = common.skc_bound_dev_if
        if row.family == 4:
            addresses = ipv4(common.skc_rcv_saddr), ipv4(common.skc_daddr)
        else:
            v6 = common.skc_v6_rcv_saddr, common.skc_v6_daddr
            addresses = ipv6(self.dump, v6[0]), ipv6(self.dump, v6[1])
        row.local = Endpoint(addresses[0], common.skc_num)
        row.remote = Endpoint(addresses[1], port(common.skc_dport))

    def space(self, common: Any) -> Namespace | None:
        """Return the namespace of a socket; None for one that is not in the list of them."""
        return self.spaces.get(int(common.skc_net.net))

    def memory(self, row: Memory, sock: Any) -> None:
        """Read owner and buffers of a ``struct sock``."""
        row.inode = row.attempt("inode", lambda: sock.Inode, 0)
        row.uid = row.attempt("user", lambda: sock.sk_uid.val, 0)
        row.rmem = sock.sk_backlog.rmem_alloc.counter
        # The count begins with 1.
        row.wmem = sock.sk_wmem_alloc.refs.counter - 1
        row.rcvbuf, row.sndbuf = sock.sk_rcvbuf, sock.sk_sndbuf
        row.drops = row.attempt("drops", lambda: sock.Drops)


def udp_tables(dump: Dump, spaces: Iterator[Namespace]) -> Iterator[tuple[str, Any]]:
    """Yield the hash tables of UDP with the protocol's name, each once."""
    seen = set()
    if dump.has_member("struct net", "ipv4.udp_table"):
        for space in spaces:
            table = space.net.UdpTable
            if table and int(table) not in seen:
                seen.add(int(table))
                yield "udp", table
    elif dump.has_symbol("udp_table"):
        yield "udp", dump.symbol("udp_table")
    if dump.has_symbol("udplite_table"):
        yield "udplite", dump.symbol("udplite_table")


def udp(reader: Reader, found: Problems) -> Iterator[UdpSocket]:
    """Yield the sockets of UDP."""
    dump = reader.dump
    stride, place = dump.sizeof("struct udp_hslot"), dump.offsetof("struct udp_hslot", "head")
    for name, table in found.each("UDP tables", udp_tables(dump, iter(reader.spaces.values()))):
        heads = buckets(dump, table.hash, table.mask + 1, stride, place)
        for head in found.each(f"table of {name}", heads):
            chain = dump.hlist(head, "struct sock_common", "skc_node")
            for common in found.each(f"{name} bucket {head:#x}", chain):
                yield _udp_row(reader, name, common)


def _udp_row(reader: Reader, name: str, common: Any) -> UdpSocket:
    sock = cast(common, "struct udp_sock")
    row = UdpSocket(name, sock, None)
    row.namespace = row.attempt("namespace", lambda: reader.space(common))
    row.attempt("addresses", lambda: reader.common(row, common))
    row.attempt("buffers", lambda: reader.memory(row, sock.inet.sk))
    row.tx_queue = row.wmem
    # Bytes that were read already, and that the socket still pays for, are in the deficit.
    row.rx_queue = row.rmem - row.attempt("deficit", lambda: sock.forward_deficit, 0)
    row.pending = row.attempt("pending", lambda: sock.pending, 0)
    row.length = row.attempt("length", lambda: sock.len, 0)
    row.corked = row.attempt("cork", lambda: bool(sock.Corked))
    return row


def raw(reader: Reader, found: Problems) -> Iterator[RawSocket]:
    """Yield the raw sockets of IPv4 and IPv6."""
    dump = reader.dump
    nulls = dump.type("struct raw_hashinfo").members
    is_nulls = any(name == "ht" and "nulls" in of.name for name, of, _, _ in nulls)
    for variable, of in (("raw_v4_hashinfo", "raw_sock"), ("raw_v6_hashinfo", "raw6_sock")):
        if not dump.has_symbol(variable):
            continue
        table = dump.symbol(variable).ht
        heads = buckets(dump, Addr(table[0]), len(table), dump.word_size)
        for head in found.each(f"table {variable}", heads):
            if is_nulls:
                chain = dump.hlist_nulls(head, "struct sock_common", "skc_nulls_node")
            else:
                chain = dump.hlist(head, "struct sock_common", "skc_node")
            for common in found.each(f"raw bucket {head:#x}", chain):
                yield _raw_row(reader, of, common)


def _raw_row(reader: Reader, of: str, common: Any) -> RawSocket:
    sock = cast(common, f"struct {of}")
    row = RawSocket("raw", sock, None)
    row.namespace = row.attempt("namespace", lambda: reader.space(common))
    row.attempt("addresses", lambda: reader.common(row, common))
    row.attempt("buffers", lambda: reader.memory(row, sock.inet.sk))
    row.rx_queue, row.tx_queue = row.rmem, row.wmem
    return row
