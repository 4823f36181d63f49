"""Network namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kdump import Dump


@dataclass(frozen=True)
class Namespace:
    """A network namespace: its ``number`` is that of ``/proc/PID/ns/net``."""

    number: int
    is_first: bool
    net: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Return it as /proc shows it; the first one is called so."""
        return "init" if self.is_first else f"net:[{self.number}]"


def namespaces(dump: Dump) -> Iterator[Namespace]:
    """Yield all network namespaces, the first one first."""
    first = dump.symbol("init_net")
    yield Namespace(first.ns.inum, True, first)
    for net in dump.list(dump.address("net_namespace_list"), "struct net", "list"):
        if net != first:
            yield Namespace(net.ns.inum, False, net)
