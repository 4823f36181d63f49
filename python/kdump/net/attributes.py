"""Names for members that lie elsewhere in other kernels: the first chain that is there counts."""

from __future__ import annotations

from typing import Any

from kdump import Dump, container_of

#: Type, our name, and chains of members, the newest kernels' first.
CHAINS = [
    ("struct net", "TcpHash", ["ipv4.tcp_death_row.hashinfo"]),
    ("struct net", "UdpTable", ["ipv4.udp_table"]),
    ("struct net", "UnixBuckets", ["unx.table.buckets"]),
    # In a class Python takes names with two underscores for private ones.
    ("struct sock", "Common", ["__sk_common"]),
    ("struct request_sock", "Common", ["__req_common"]),
    ("struct sock", "Inode", ["sk_ino"]),
    ("struct sock", "Drops", ["sk_drops.counter"]),
    (
        "struct inet_connection_sock",
        "Retransmit",
        ["icsk_inet.sk.tcp_retransmit_timer.expires", "icsk_timeout"],
    ),
    ("struct inet_connection_sock", "Keepalive", ["icsk_keepalive_timer", "icsk_inet.sk.sk_timer"]),
    (
        "struct inet_connection_sock",
        "ReceivedOn",
        ["icsk_inet.sk.sk_rx_dst_ifindex", "icsk_inet.rx_dst_ifindex"],
    ),
    ("struct udp_sock", "Corked", ["corkflag"]),
    ("struct fib_alias", "Dscp", ["fa_dscp", "fa_tos"]),
]


def inode(sock: Any) -> int:
    """Return the inode of a socket that keeps its number elsewhere; 0 if no program holds it."""
    held = sock.sk_socket
    return container_of(held, "struct socket_alloc", "socket").vfs_inode.i_ino if held else 0


def corked(sock: Any) -> int:
    """Return 1 if a socket of UDP collects a datagram: bit UDP_FLAGS_CORK (linux/udp.h)."""
    return sock.udp_flags & 1


def prepare(dump: Dump) -> None:
    """Give the structs of this kernel our names for their members."""
    for of, name, chains in CHAINS:
        if dump.has_type(of):
            dump.set_attribute(of, name, chains)
    if not dump.has_member("struct sock", "sk_ino"):
        dump.set_attribute("struct sock", "Inode", inode)
    if not dump.has_member("struct udp_sock", "corkflag"):
        dump.set_attribute("struct udp_sock", "Corked", corked)
