"""Neighbours: addresses of cards by addresses of IPv4 and IPv6 (Linux, net/core/neighbour.c)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kdump import Addr, Dump
from kdump.net.address import hardware
from kdump.net.clock import Clock
from kdump.net.namespaces import Namespace
from kdump.net.walks import Problems, buckets, chain

#: States, from bit 0 on, and flags by bit (include/uapi/linux/neighbour.h).
STATES = ("INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT")
ROUTER, REACHABLE = 0x80, 0x02
#: States with an address of a card: all but INCOMPLETE and FAILED.
VALID = 0xDE
#: Tables: their variable, family, length of a key.
TABLES = (("arp_tbl", 4, 4), ("nd_tbl", 6, 16))
#: Buckets of proxies (PNEIGH_HASHMASK + 1), and most buckets of neighbours as a power of 2.
PROXY_BUCKETS, MOST_SHIFT = 16, 24


@dataclass
class Neighbour(Problems):
    """A neighbour; times are seconds."""

    object: Any
    namespace: Namespace | None
    family: int
    address: str = ""
    interface: str = ""
    index: int = 0
    number: int = 0
    hardware: str = ""
    is_router: bool = False
    is_proxy: bool = False
    used_ago: float | None = None
    confirmed_ago: float | None = None
    updated_ago: float | None = None
    probes: int = 0

    @property
    def is_reachable(self) -> bool:
        """True if it has answered not long ago."""
        return bool(self.number & REACHABLE)

    @property
    def state(self) -> str:
        """The state's name; NONE for an entry that is new."""
        if self.is_proxy:
            return "PROXY"
        names = [name for bit, name in enumerate(STATES) if self.number >> bit & 1]
        return ",".join(names) or "NONE"


class Neighbours:
    """Reads the tables of neighbours."""

    def __init__(
        self, dump: Dump, spaces: dict[int, Namespace], clock: Clock | None, found: Problems
    ) -> None:
        self.dump, self.spaces, self.clock, self.found = dump, spaces, clock, found

    def all(self) -> Iterator[Neighbour]:
        """Yield all neighbours and proxies."""
        for variable, family, length in TABLES:
            if self.dump.has_symbol(variable):
                table = self.dump.symbol(variable)
                for entry in self.found.each(variable, self._entries(table)):
                    yield self._row(entry, family, length)
                for entry in self.found.each(f"proxies of {variable}", self._proxies(table)):
                    yield self._proxy(entry, family, length)

    def _entries(self, table: Any) -> Iterator[Any]:
        hashed, word = table.nht, self.dump.word_size
        count = 1 << min(hashed.hash_shift, MOST_SHIFT)
        if self.dump.has_member("struct neigh_hash_table", "hash_heads"):
            for head in buckets(self.dump, hashed.hash_heads, count, word):
                yield from self.dump.hlist(head, "struct neighbour", "hash")
        else:
            for head in buckets(self.dump, hashed.hash_buckets, count, word):
                first = self.dump.object("struct neighbour", self.dump.word(head))
                yield from chain(first, "next")

    def _proxies(self, table: Any) -> Iterator[Any]:
        if table.phash_buckets:
            for head in buckets(self.dump, table.phash_buckets, PROXY_BUCKETS, self.dump.word_size):
                first = self.dump.object("struct pneigh_entry", self.dump.word(head))
                yield from chain(first, "next")

    def _key(self, at: int, length: int) -> str:
        family = socket.AF_INET if length == 4 else socket.AF_INET6
        return socket.inet_ntop(family, self.dump.read(at, length))

    def _row(self, entry: Any, family: int, length: int) -> Neighbour:
        row = Neighbour(entry, None, family)
        place = self.dump.offsetof("struct neighbour", "primary_key")
        row.address = row.attempt("address", lambda: self._key(int(entry) + place, length), "?")
        row.attempt("interface", lambda: self._device(row, entry.dev))
        row.number = row.attempt("state", lambda: entry.nud_state, 0)
        row.is_router = bool(row.attempt("flags", lambda: entry.flags, 0) & ROUTER)
        row.probes = row.attempt("probes", lambda: entry.probes.counter, 0)
        if row.number & VALID:
            row.hardware = row.attempt("card", lambda: self._hardware(entry), "")
        if self.clock:
            row.attempt("times", lambda: self._times(row, entry, self.clock))
        return row

    def _device(self, row: Neighbour, device: Any) -> None:
        # Proxies may be of all interfaces.
        if device:
            row.interface, row.index = str(device.name), device.ifindex
            row.namespace = self.spaces.get(int(device.nd_net.net))

    def _hardware(self, entry: Any) -> str:
        length = entry.dev.addr_len
        return hardware(
            self.dump, Addr(entry) + self.dump.offsetof("struct neighbour", "ha"), length
        )

    @staticmethod
    def _times(row: Neighbour, entry: Any, clock: Clock) -> None:
        row.used_ago = clock.since(entry.used)
        row.confirmed_ago = clock.since(entry.confirmed)
        row.updated_ago = clock.since(entry.updated)

    def _proxy(self, entry: Any, family: int, length: int) -> Neighbour:
        row = Neighbour(entry, None, family, is_proxy=True)
        place = self.dump.offsetof("struct pneigh_entry", "key")
        row.address = row.attempt("address", lambda: self._key(int(entry) + place, length), "?")
        row.attempt("interface", lambda: self._device(row, entry.dev))
        row.is_router = bool(row.attempt("flags", lambda: entry.flags, 0) & ROUTER)
        return row
