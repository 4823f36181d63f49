"""Rows that a call asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kdump import Usage
from kdump.net import Networks, TcpSocket
from kdump.net.sockets import CLOSE, LISTEN, RawSocket, Socket, UdpSocket
from kdump.net.unix import UnixSocket
from kdump.tools.xportshow.options import Options

Row = Any


class Choice:
    """The rows of a dump that the options choose, kind by kind."""

    def __init__(self, networks: Networks, options: Options) -> None:
        self.networks, self.options = networks, options
        self._is_asked = self._namespace()
        self._read: dict[str, list[Row]] = {}

    def _namespace(self) -> Callable[[Row], bool]:
        wanted = self.options.netns
        if wanted == "all":
            return lambda row: True
        known = [str(space) for space in self.networks.spaces.values()]
        found = [
            space
            for space in self.networks.spaces.values()
            if wanted in (str(space), str(space.number))
        ]
        if not found:
            raise Usage(f"there is no network namespace {wanted}; there are: {', '.join(known)}")
        return lambda row: row.namespace == found[0]

    def _is_wanted(self, row: Row) -> bool:
        family = self.options.family
        return self._is_asked(row) and (family is None or getattr(row, "family", family) == family)

    def _has_state(self, row: Row) -> bool:
        """True for one in a state that netstat shows with these options."""
        if self.options.all:
            return True
        waits = isinstance(row, UdpSocket | RawSocket) and row.number == CLOSE
        return self.options.listening == (waits or row.number == LISTEN)

    def sockets(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield the sockets of each kind that is asked for, with the kind."""
        for kind in ("tcp", "udp", "raw", "unix"):
            if getattr(self.options, kind):
                chosen = [row for row in self.every_socket(kind) if self._has_state(row)]
                yield kind, sorted(chosen, key=_order)

    def interfaces(self) -> list[Row]:
        """Return the interfaces."""
        rows = self.networks.interfaces(self._all("tcp"))
        return [row for row in rows if self._is_asked(row)]

    def routes(self) -> list[Row]:
        """Return the routes; table `local` only with -a."""
        rows = filter(self._is_wanted, self.networks.routes())
        return [row for row in rows if self.options.all or row.table != "local"]

    def neighbours(self) -> list[Row]:
        """Return the neighbours; those that need none (NOARP) only with -a."""
        rows = filter(self._is_wanted, self.networks.neighbours())
        return [row for row in rows if self.options.all or row.state != "NOARP"]

    def every_socket(self, kind: str) -> list[Row]:
        """Return all sockets of a kind, in any state."""
        return [row for row in self._all(kind) if self._is_wanted(row)]

    def _all(self, kind: str) -> list[Row]:
        """Return all sockets of a kind, which are read once."""
        if kind not in self._read:
            self._read[kind] = list(getattr(self.networks, kind)())
        return self._read[kind]


def _order(row: Row) -> Any:
    """Listeners come first, then by port; sockets of unix by inode."""
    if isinstance(row, UnixSocket):
        return row.number != LISTEN, row.inode
    assert isinstance(row, Socket)
    ends = [(end.port, end.address) if end else (0, "") for end in (row.local, row.remote)]
    return row.number != LISTEN, str(row.namespace) != "init", ends


def accepted(row: Row) -> bool:
    """True for a listener whose queue takes no more connections."""
    return isinstance(row, TcpSocket) and row.number == LISTEN and row.backlog > row.max_backlog
