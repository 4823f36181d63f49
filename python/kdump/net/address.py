"""Addresses of IPv4, IPv6 and of network cards."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from kdump import Addr, Dump

#: Numbers of address families (Linux, include/linux/socket.h).
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
#: The longest address of a network card (MAX_ADDR_LEN).
MOST_HARDWARE = 32


class Endpoint(NamedTuple):
    """One end of a connection: the address as text, and the port."""

    address: str
    port: int

    def __str__(self) -> str:
        """Return both as netstat does; ``*`` stands for no port."""
        return f"{self.address}:{self.port or '*'}"


def ipv4(number: int) -> str:
    """Return the address of a ``__be32`` that was read as a little-endian number."""
    return socket.inet_ntop(socket.AF_INET, (number & 0xFFFFFFFF).to_bytes(4, "little"))


def ipv4_of_key(key: int) -> str:
    """Return the address of a number in the order of the CPU, as a tree of routes has it."""
    return socket.inet_ntop(socket.AF_INET, (key & 0xFFFFFFFF).to_bytes(4, "big"))


def ipv6(dump: Dump, in6_addr: Any) -> str:
    """Return the address of a ``struct in6_addr``."""
    return socket.inet_ntop(socket.AF_INET6, dump.read(Addr(in6_addr), 16))


def port(number: int) -> int:
    """Return a ``__be16`` in the order of the CPU."""
    return socket.ntohs(number & 0xFFFF)


def hardware(dump: Dump, address: Any, length: int) -> str:
    """Return the address of a network card: the bytes with colons."""
    return ":".join(f"{byte:02x}" for byte in dump.read(address, min(length, MOST_HARDWARE)))
