"""Routing tables: tries of IPv4, trees of IPv6 (Linux, net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kdump import Addr, Damaged, Dump
from kdump.net.address import AF_INET, AF_INET6, ipv4, ipv4_of_key, ipv6
from kdump.net.namespaces import Namespace
from kdump.net.walks import Problems, buckets, chain

#: Numbers of tables, types, protocols and scopes that have names (include/uapi/linux/rtnetlink.h;
#: the names are those of iproute2).
TABLES = {253: "default", 254: "main", 255: "local"}
TYPES = (
    "none unicast local broadcast anycast multicast blackhole unreachable prohibit throw nat "
    "xresolve"
).split()
PROTOCOLS = {
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
}
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
METRICS = (
    "lock mtu window rtt rttvar ssthresh cwnd advmss reordering hoplimit initcwnd features "
    "rto_min initrwnd quickack congctl fastopen_no_cookie"
).split()
#: Flags of a next hop.
NEXT_HOP_FLAGS = {
    0x01: "dead",
    0x02: "pervasive",
    0x04: "onlink",
    0x08: "offload",
    0x10: "linkdown",
    0x20: "unresolved",
    0x40: "trap",
}
#: Buckets of the hash of tables: with policy routing, without it (FIB_TABLE_HASHSZ; both families).
TABLE_BUCKETS, FEW_BUCKETS = 256, 2
#: Nodes of a tree, children of a node of IPv4 as a power of 2, next hops of a route.
MOST_NODES, MOST_BITS, MOST_HOPS = 1 << 24, 24, 4096
#: `fn_flags` of a node with routes of its own (include/net/ip6_fib.h).
RTN_RTINFO = 0x04


@dataclass(frozen=True)
class NextHop:
    """A way out: a gateway or none, and an interface."""

    gateway: str
    interface: str
    weight: int = 1
    flags: tuple[str, ...] = ()


@dataclass
class Route(Problems):
    """A route. ``number`` is that of its table; ``hop_id`` that of a next hop object."""

    object: Any
    namespace: Namespace
    family: int
    number: int
    destination: str = ""
    length: int = 0
    type: str = "unicast"
    tos: int = 0
    priority: int = 0
    protocol: str = ""
    scope: str = ""
    source: str = ""
    hop_id: int = 0
    hops: list[NextHop] = field(default_factory=list)
    metrics: dict[str, int] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The table's name, or its number."""
        return TABLES.get(self.number, str(self.number))

    @property
    def prefix(self) -> str:
        """The destination as ``ip route`` writes it."""
        if self.length == 0:
            return "default"
        full = 32 if self.family == 4 else 128
        return self.destination + ("" if self.length == full else f"/{self.length}")


class Routes:
    """Reads routing tables."""

    def __init__(self, dump: Dump, found: Problems) -> None:
        self.dump, self.found = dump, found
        self._word = "<Q" if dump.word_size == 8 else "<I"

    def of(self, space: Namespace) -> Iterator[Route]:
        """Yield the routes of a namespace, IPv4 first, table by table."""
        yield from self.ipv4(space)
        yield from self.ipv6(space)

    def _tables(self, heads: Any, count: int, of: str, member: str) -> Iterator[Any]:
        for head in buckets(self.dump, heads, count, self.dump.word_size):
            yield from self.dump.hlist(head, of, member)

    def _metrics(self, metrics: Any) -> dict[str, int]:
        values = metrics.metrics if metrics else ()
        return {name: value for name, value in zip(METRICS, values, strict=False) if value}

    def ipv4(self, space: Namespace) -> Iterator[Route]:
        """Yield the routes of IPv4."""
        many = self.dump.has_member("struct netns_ipv4", "fib_main")
        heads, count = space.net.ipv4.fib_table_hash, TABLE_BUCKETS if many else FEW_BUCKETS
        tables = self._tables(heads, count, "struct fib_table", "tb_hlist")
        for table in self.found.each(f"IPv4 tables of {space}", tables):
            for leaf in self.found.each(f"IPv4 table {table.tb_id}", self._leaves(table)):
                aliases = self.dump.hlist(Addr(leaf.leaf), "struct fib_alias", "fa_list")
                for alias in self.found.each(f"leaf {int(leaf):#x}", aliases):
                    # Tables `local` and `main` share a trie until there are rules.
                    if alias.tb_id == table.tb_id:
                        yield self._route4(space, table, leaf.key, alias)

    def _leaves(self, table: Any) -> Iterator[Any]:
        """Yield the leaves of a trie from the lowest address on."""
        vector, place = "struct key_vector", self.dump.offsetof("struct key_vector", "tnode")
        root = int(table.tb_data) + self.dump.offsetof("struct trie", "kv")
        waiting, seen = [self.dump.word(root + place)], 0
        while waiting:
            at, seen = waiting.pop(), seen + 1
            if not at:
                continue
            if seen > MOST_NODES:
                raise Damaged("the trie does not end", at)
            node = self.dump.object(vector, at)
            if node.bits == 0:
                yield node
            elif node.bits > MOST_BITS or node.pos + node.bits > 32:
                raise Damaged(f"a node of {node.bits} bits at {node.pos}", at)
            else:
                size = self.dump.word_size << node.bits
                children = struct.iter_unpack(self._word, self.dump.read(at + place, size))
                waiting.extend(reversed([child for (child,) in children if child]))

    def _route4(self, space: Namespace, table: Any, key: int, alias: Any) -> Route:
        row = Route(alias, space, 4, table.tb_id, ipv4_of_key(key))
        row.length = row.attempt("length", lambda: max(32 - alias.fa_slen, 0), 0)
        row.attempt("type", lambda: self._alias(row, alias))
        row.attempt("next hops", lambda: self._info4(row, alias.fa_info))
        return row

    @staticmethod
    def _alias(row: Route, alias: Any) -> None:
        row.tos = alias.Dscp
        row.type = _name(TYPES, alias.fa_type)

    def _info4(self, row: Route, info: Any) -> None:
        row.protocol = PROTOCOLS.get(info.fib_protocol, str(info.fib_protocol))
        row.scope = SCOPES.get(info.fib_scope, str(info.fib_scope))
        row.priority = info.fib_priority
        row.source = ipv4(info.fib_prefsrc) if info.fib_prefsrc else ""
        row.metrics = self._metrics(info.fib_metrics)
        if info.nh:
            self._object(row, info.nh, "fib_nh")
        else:
            hops = info.fib_nh
            for number in range(min(info.fib_nhs, MOST_HOPS)):
                self._hop(row, hops[number].nh_common, info.fib_nhs > 1)

    def _object(self, row: Route, nexthop: Any, member: str) -> None:
        """Take the next hops of a next hop object, which may be a group of them."""
        row.hop_id = nexthop.id
        if not nexthop.is_group:
            self._hop(row, getattr(nexthop.nh_info, member).nh_common)
            return
        group = nexthop.nh_grp
        for number in range(min(group.num_nh, MOST_HOPS)):
            entry = group.nh_entries[number]
            common = getattr(entry.nh.nh_info, member).nh_common
            self._hop(row, common, weight=entry.weight)

    def _hop(self, row: Route, common: Any, is_one_of_many: bool = False, weight: int = 0) -> None:
        device = common.nhc_dev
        gateway = ""
        if common.nhc_gw_family == AF_INET:
            gateway = ipv4(common.nhc_gw.ipv4)
        elif common.nhc_gw_family == AF_INET6:
            gateway = ipv6(self.dump, common.nhc_gw.ipv6)
        flags = tuple(word for bit, word in NEXT_HOP_FLAGS.items() if common.nhc_flags & bit)
        weight = weight or (common.nhc_weight if is_one_of_many else 1)
        row.hops.append(NextHop(gateway, str(device.name) if device else "", weight, flags))

    def ipv6(self, space: Namespace) -> Iterator[Route]:
        """Yield the routes of IPv6."""
        if not self.dump.has_member("struct net", "ipv6.fib_table_hash"):
            return
        net = space.net.ipv6
        many = self.dump.has_member("struct netns_ipv6", "fib6_local_tbl")
        # Without policy routing there is one table, and the hash has as many buckets.
        tables = self._tables(
            net.fib_table_hash,
            TABLE_BUCKETS if many else FEW_BUCKETS,
            "struct fib6_table",
            "tb6_hlist",
        )
        for table in self.found.each(f"IPv6 tables of {space}", tables):
            number = table.tb6_id
            for info in self.found.each(f"IPv6 table {number}", self._infos(table)):
                if info != net.fib6_null_entry:
                    yield self._route6(space, number, info)

    def _infos(self, table: Any) -> Iterator[Any]:
        """Yield the routes of a tree; of those that share a way, the first one."""
        waiting, seen = [table.tb6_root], set()
        while waiting:
            node = waiting.pop()
            if int(node) in seen or len(seen) >= MOST_NODES:
                raise Damaged("the tree does not end", int(node))
            seen.add(int(node))
            waiting += [child for child in (node.right, node.left, node.subtree) if child]
            siblings: set[int] = set()
            # A node without this flag borrows the leaf of one below it.
            leaf = node.leaf if node.fn_flags & RTN_RTINFO else None
            for info in chain(leaf, "fib6_next"):
                if int(info) not in siblings:
                    siblings.update(int(sibling) for sibling in self._siblings(info))
                    yield info

    def _siblings(self, info: Any) -> list[Any]:
        if not info.fib6_nsiblings:
            return []
        return list(self.dump.list(Addr(info.fib6_siblings), "struct fib6_info", "fib6_siblings"))

    def _route6(self, space: Namespace, number: int, info: Any) -> Route:
        row = Route(info, space, 6, number)
        row.attempt("destination", lambda: self._destination(row, info))
        row.attempt("metrics", lambda: self._about6(row, info))
        row.attempt("next hops", lambda: self._hops6(row, info))
        return row

    def _destination(self, row: Route, info: Any) -> None:
        row.destination = ipv6(self.dump, info.fib6_dst.addr)
        row.length = info.fib6_dst.plen

    def _about6(self, row: Route, info: Any) -> None:
        row.type = _name(TYPES, info.fib6_type)
        row.protocol = PROTOCOLS.get(info.fib6_protocol, str(info.fib6_protocol))
        row.priority = info.fib6_metric
        row.metrics = self._metrics(info.fib6_metrics)
        if info.fib6_prefsrc.plen:
            row.source = ipv6(self.dump, info.fib6_prefsrc.addr)

    def _hops6(self, row: Route, info: Any) -> None:
        if info.nh:
            self._object(row, info.nh, "fib6_nh")
            return
        siblings = self._siblings(info)
        for each in [info, *siblings]:
            self._hop(row, each.fib6_nh[0].nh_common, bool(siblings))


def _name(names: list[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)
