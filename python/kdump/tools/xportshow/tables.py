"""Text of interfaces, routes and neighbours, and of the summary (the paper's figure 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from kdump.net import Interface, Neighbour, NextHop, Route, TcpSocket
from kdump.net.sockets import ESTABLISHED
from kdump.tools.xportshow.choice import Choice, accepted
from kdump.tools.xportshow.words import number, struct, table, trouble


def titled(title: str) -> Iterator[str]:
    """Yield a title and the line below it."""
    yield from ("", title, "-" * len(title))


def interfaces(rows: list[Interface], verbose: int) -> Iterator[str]:
    """Yield the interfaces, namespace by namespace."""
    for space, group in groupby(rows, key=lambda row: row.namespace):
        yield from titled(f"Interfaces of {space}")
        for row in group:
            yield f"{row.name}: <{','.join(row.flag_names)}> index {row.index} mtu {row.mtu}"
            if verbose:
                yield f"    {struct(row.object)}"
            if row.hardware:
                yield f"    card {row.hardware}"
            yield from (f"    address {address}" for address in row.addresses)
            yield f"    last RX {_moved(row.received_ago, row.received_by, 'not known')}"
            yield f"    last TX {_moved(row.sent_ago, row.sent_by, _never(row))}"
            yield from trouble(row)


def _moved(ago: float | None, by: str, otherwise: str) -> str:
    if ago is None:
        return otherwise
    return f"{ago:.1f} s ago" + (f" or later ({by})" if by else "")


def _never(row: Interface) -> str:
    return "never" if row.keeps_sent else "not known"


def routes(rows: list[Route]) -> Iterator[str]:
    """Yield the routes, table by table."""
    key = lambda row: (row.namespace.number, row.family, row.number)  # noqa: E731
    for _, group in groupby(rows, key=key):
        shown = list(group)
        first = shown[0]
        yield from titled(f"IPv{first.family} routes of {first.namespace}, table {first.table}")
        titles = ("Destination", "Gateway", "Iface", "Type", "Metric", "Proto", "Scope", "More")
        yield from table(titles, [cells for row in shown for cells in _route(row)])
        for row in shown:
            yield from trouble(row)


def _route(row: Route) -> Iterator[tuple[str, ...]]:
    """Yield a line for each way out."""
    more = [f"src {row.source}"] if row.source else []
    more += [f"tos {row.tos:#x}"] if row.tos else []
    more += [f"nhid {row.hop_id}"] if row.hop_id else []
    more += [f"{name} {value}" for name, value in row.metrics.items()]
    about = (row.type, str(row.priority), row.protocol, row.scope)
    for place, hop in enumerate(row.hops or [NextHop("", "")]):
        own = [f"weight {hop.weight}"] if len(row.hops) > 1 else []
        words = " ".join([*([] if place else more), *own, *hop.flags])
        lead = row.prefix if place == 0 else ""
        yield (lead, hop.gateway or "*", hop.interface, *(about if place == 0 else [""] * 4), words)


def neighbours(rows: list[Neighbour]) -> Iterator[str]:
    """Yield the neighbours, namespace by namespace."""
    rows = sorted(rows, key=lambda row: (str(row.namespace) != "init", str(row.namespace)))
    for space, group in groupby(rows, key=lambda row: row.namespace):
        shown = list(group)
        yield from titled(f"Neighbours of {space}")
        titles = ("Address", "Iface", "Card", "State", "Confirmed", "Used", "More")
        yield from table(titles, [_neighbour(row) for row in shown])
        for row in shown:
            yield from trouble(row)


def _neighbour(row: Neighbour) -> tuple[str, ...]:
    times = [
        f"{number(time, 1)} s" if time is not None else ""
        for time in (row.confirmed_ago, row.used_ago)
    ]
    more = " ".join(["router"] * row.is_router + [f"{row.probes} probes"] * bool(row.probes))
    return row.address, row.interface or "*", row.hardware, row.state, *times, more


def _states(rows: list[Any]) -> Iterator[str]:
    for state, count in sorted(
        Counter(row.state for row in rows).items(), key=lambda pair: -pair[1]
    ):
        yield f"{state:>19} {count:>6}"


def summary(choice: Choice) -> Iterator[str]:
    """Yield the numbers of sockets by state, and when the interfaces last moved."""
    tcp = choice.every_socket("tcp")
    yield from titled("TCP Connection Info")
    yield from _states(tcp)
    nodelay = sum(1 for row in tcp if isinstance(row, TcpSocket) and _is_nodelay(row))
    yield f"{'':>20}NAGLE disabled (TCP_NODELAY): {nodelay:>6}"
    for row in filter(accepted, tcp):
        yield f"  !! {row.local}: the accept queue is full, {row.backlog}({row.max_backlog})"
    udp = choice.every_socket("udp")
    yield from titled("UDP Connection Info")
    established = sum(row.number == ESTABLISHED for row in udp)
    yield f"  {len(udp)} UDP sockets, {established} in ESTABLISHED"
    for title, kind in (("Unix Connection Info", "unix"), ("Raw sockets info", "raw")):
        yield from titled(title)
        yield from _states(choice.every_socket(kind))
    yield from titled("Interfaces Info")
    yield from moved(choice.interfaces())


def _is_nodelay(row: TcpSocket) -> bool:
    # TCP_NAGLE_OFF (include/net/tcp.h).
    return bool(row.details and row.details.nonagle & 1)


def moved(rows: list[Interface]) -> Iterator[str]:
    """Yield the times since the interfaces received and sent; ``<`` stands for a later time."""
    yield "  How long ago (in seconds) interfaces transmitted/received?"
    yield f"{'Name':>24} {'RX':>12} {'TX':>12}"
    yield f"{'----':>24} {'----------':>12} {'----------':>12}"
    for row in rows:
        name = row.name if row.namespace.is_first else f"{row.name} of {row.namespace.number}"
        received = _bound(row.received_by) + number(row.received_ago, 1)
        sent = _bound(row.sent_by) + number(row.sent_ago, 1)
        if row.sent_ago is None and row.keeps_sent:
            sent = "never"
        yield f"{name:>24} {received:>12} {sent:>12}"


def _bound(by: str) -> str:
    return "<" if by else ""
