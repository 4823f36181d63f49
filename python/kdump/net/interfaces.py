"""Network interfaces, and when they last moved (Linux, include/linux/netdevice.h)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kdump import Dump
from kdump.net.address import hardware, ipv4, ipv6
from kdump.net.clock import Clock
from kdump.net.namespaces import Namespace
from kdump.net.walks import Problems, chain

#: Flags, from bit 0 on (include/uapi/linux/if.h).
FLAGS = (
    "UP BROADCAST DEBUG LOOPBACK POINTOPOINT NOTRAILERS RUNNING NOARP PROMISC ALLMULTI MASTER "
    "SLAVE MULTICAST PORTSEL AUTOMEDIA DYNAMIC"
).split()
#: NETIF_F_LLTX_BIT, where it is one of the features (include/linux/netdev_features.h).
LLTX = 12
MOST_QUEUES, MOST_ADDRESSES = 4096, 1 << 16


@dataclass
class Interface(Problems):
    """An interface.

    ``sent_ago`` are the seconds since a queue last sent something. Interfaces that send without a
    queue's lock (loopback, most virtual ones) keep no such time; newer kernels keep none of the
    last reception. Then the times are from ``sent_by`` and ``received_by``: the newest sign of a
    connection, or of a neighbour, and the interface moved at that time or later. Both are empty
    where the kernel has the time itself.
    """

    object: Any
    namespace: Namespace
    name: str = ""
    index: int = 0
    flags: int = 0
    mtu: int = 0
    hardware: str = ""
    addresses: list[str] = field(default_factory=list)
    sent_ago: float | None = None
    sent_by: str = ""
    keeps_sent: bool = True
    received_ago: float | None = None
    received_by: str = ""

    @property
    def flag_names(self) -> list[str]:
        """The flags as ifconfig names them."""
        return [name for bit, name in enumerate(FLAGS) if self.flags >> bit & 1]

    def received(self, ago: float | None, by: str) -> None:
        """Take a sign of life, if it is newer than those before."""
        if ago is not None and (self.received_ago is None or ago < self.received_ago):
            self.received_ago, self.received_by = max(ago, 0.0), by

    def sent(self, ago: float | None, by: str) -> None:
        """Take a sign that something was sent, if the kernel keeps no time."""
        is_newer = ago is not None and (self.sent_ago is None or ago < self.sent_ago)
        if is_newer and not self.keeps_sent:
            self.sent_ago, self.sent_by = max(ago or 0.0, 0.0), by


def interfaces(
    dump: Dump, spaces: Iterator[Namespace], clock: Clock | None, found: Problems
) -> Iterator[Interface]:
    """Yield the interfaces of these namespaces, without the times of reception by others."""
    for space in spaces:
        devices = dump.list(space.net.dev_base_head, "struct net_device", "dev_list")
        for device in found.each(f"interfaces of {space}", devices):
            yield _interface(dump, device, space, clock)


def _interface(dump: Dump, device: Any, space: Namespace, clock: Clock | None) -> Interface:
    row = Interface(device, space)
    row.name = row.attempt("name", lambda: str(device.name), "?")
    row.index = row.attempt("index", lambda: device.ifindex, 0)
    row.flags = row.attempt("flags", lambda: device.flags, 0)
    row.mtu = row.attempt("mtu", lambda: device.mtu, 0)
    row.hardware = row.attempt("address", lambda: _hardware(dump, device), "")
    row.addresses.extend(row.each("IPv4 addresses", _ipv4(device)))
    row.addresses.extend(row.each("IPv6 addresses", _ipv6(dump, device)))
    if clock:
        row.attempt("queues", lambda: _sent(dump, row, device, clock))
        if dump.has_member("struct net_device", "last_rx"):
            row.attempt("last_rx", lambda: row.received(clock.since(device.last_rx), ""))
    return row


def _hardware(dump: Dump, device: Any) -> str:
    return hardware(dump, device.dev_addr, device.addr_len) if device.addr_len else ""


def _ipv4(device: Any) -> Iterator[str]:
    own = device.ip_ptr
    for address in chain(own.ifa_list, "ifa_next", MOST_ADDRESSES) if own else ():
        yield f"{ipv4(address.ifa_local)}/{address.ifa_prefixlen}"


def _ipv6(dump: Dump, device: Any) -> Iterator[str]:
    own = device.ip6_ptr if dump.has_member("struct net_device", "ip6_ptr") else None
    for address in dump.list(own.addr_list, "struct inet6_ifaddr", "if_list") if own else ():
        yield f"{ipv6(dump, address.addr)}/{address.prefix_len}"


def _is_lockless(dump: Dump, device: Any) -> bool:
    """True for an interface whose queues do not note when they send (txq_trans_update)."""
    if dump.has_member("struct net_device", "lltx"):
        return bool(device.lltx)
    return bool(device.features >> LLTX & 1)


def _sent(dump: Dump, row: Interface, device: Any, clock: Clock) -> None:
    """Take the newest time at which a queue sent something; 0 stands for never."""
    row.keeps_sent = not _is_lockless(dump, device)
    if not row.keeps_sent:
        return
    of, first = "struct netdev_queue", int(device._tx)
    count, size = min(device.real_num_tx_queues, MOST_QUEUES), dump.sizeof(of)
    queues = [dump.object(of, first + number * size) for number in range(count)]
    starts = [queue.trans_start for queue in queues]
    # A time of before the 32-bit count's overflow may be 0 as well: once in 50 days, for a tick.
    moved = [clock.since(start) for start in starts if start]
    row.sent_ago = max(min(moved), 0.0) if moved else None
