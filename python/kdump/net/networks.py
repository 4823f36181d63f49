"""All that is known of the networks of a dump, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from kdump import Dump
from kdump.net import interfaces, sockets, unix
from kdump.net.attributes import prepare
from kdump.net.clock import Clock
from kdump.net.interfaces import Interface
from kdump.net.namespaces import Namespace, namespaces
from kdump.net.neighbours import Neighbour, Neighbours
from kdump.net.routes import Route, Routes
from kdump.net.sockets import RawSocket, Reader, UdpSocket
from kdump.net.tcp import Request, Tcp, TcpSocket, TimeWait
from kdump.net.unix import UnixSocket
from kdump.net.walks import Problems


class Networks(Problems):
    """Sockets, routes, neighbours and interfaces of a dump.

    ``problems`` are texts of the lists and trees that are damaged; it grows as rows are taken.
    """

    def __init__(self, dump: Dump) -> None:
        super().__init__()
        self.dump = dump
        prepare(dump)

    @cached_property
    def clock(self) -> Clock | None:
        """The kernel's clock; None if it cannot be read, and no times are known."""
        return self.attempt("clock", lambda: Clock.of(self.dump))

    @cached_property
    def spaces(self) -> dict[int, Namespace]:
        """The network namespaces by the address of their ``struct net``."""
        found = self.each("namespaces", namespaces(self.dump))
        return {int(space.net): space for space in found}

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.dump, self.spaces)

    def tcp(self) -> Iterator[TcpSocket | TimeWait | Request]:
        """Yield the sockets of TCP. SYN queues are whole when all were taken."""
        return Tcp(self._reader, self.clock, self).sockets()

    def udp(self) -> Iterator[UdpSocket]:
        """Yield the sockets of UDP and UDP-Lite."""
        return sockets.udp(self._reader, self)

    def raw(self) -> Iterator[RawSocket]:
        """Yield the raw sockets."""
        return sockets.raw(self._reader, self)

    def unix(self) -> Iterator[UnixSocket]:
        """Yield the sockets of the machine's own programs."""
        return unix.sockets(self._reader, self)

    def routes(self) -> Iterator[Route]:
        """Yield the routes of all namespaces."""
        for space in self.spaces.values():
            yield from Routes(self.dump, self).of(space)

    def neighbours(self) -> Iterator[Neighbour]:
        """Yield the neighbours of all namespaces."""
        return Neighbours(self.dump, self.spaces, self.clock, self).all()

    def interfaces(self, connections: Iterable[Any] | None = None) -> list[Interface]:
        """Return the interfaces of all namespaces, with the signs that something was received.

        ``connections`` are rows of TCP that were read before.
        """
        spaces = iter(self.spaces.values())
        found = list(interfaces.interfaces(self.dump, spaces, self.clock, self))
        by_index = {(row.namespace, row.index): row for row in found}
        for neighbour in self.neighbours():
            row = by_index.get((neighbour.namespace, neighbour.index))
            if row and neighbour.is_reachable:
                row.received(neighbour.confirmed_ago, f"neighbour {neighbour.address}")
        for socket in self.tcp() if connections is None else connections:
            if not isinstance(socket, TcpSocket) or not socket.details:
                continue
            by = f"TCP {socket.local} {socket.remote}"
            row = by_index.get((socket.namespace, socket.received_on))
            for ago in (socket.details.acked_ago, socket.details.received_ago) if row else ():
                row.received(ago, by)
            row = by_index.get((socket.namespace, socket.sent_on))
            if row:
                row.sent(socket.details.sent_ago, by)
        return found
