"""Bounded walks through hash tables and chains, and rows that keep what can be read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kdump import Damaged, Dump, Error

T = TypeVar("T")

#: Buckets of a hash table, elements of a chain: no machine has more.
MOST_BUCKETS = 1 << 24
MOST_LINKS = 1 << 20
#: Bytes of a hash table that are read at a time.
PIECE = 1 << 16


@dataclass
class Problems:
    """Texts about values that could not be read."""

    problems: list[str] = field(default_factory=list, kw_only=True, repr=False)

    def attempt(self, what: str, read: Callable[[], T], default: Any = None) -> T | Any:
        """Return the result of ``read``, or note why there is none."""
        try:
            return read()
        except Error as error:
            self.problems.append(f"{what}: {error}")
            return default

    def each(self, what: str, steps: Iterable[T]) -> Iterator[T]:
        """Yield the elements of a list up to its end, or to where it is damaged."""
        try:
            yield from steps
        except Error as error:
            self.problems.append(f"{what}: {error}")


def buckets(dump: Dump, array: Any, count: int, stride: int, offset: int = 0) -> Iterator[int]:
    """Yield the addresses of the list heads in a hash table that are not empty.

    ``offset`` is the place of the head in an element of ``stride`` bytes. A head is empty if it is
    zero, or has bit 0 set, the end of a list of nulls.
    """
    word = dump.word_size
    unpack = struct.Struct("<Q" if word == 8 else "<I").unpack_from
    start, count = int(array), min(count, MOST_BUCKETS)
    elements = max(PIECE // stride, 1)
    for first in range(0, count, elements):
        here = min(elements, count - first)
        at = start + first * stride
        piece = dump.read(at, here * stride)
        for place in range(offset, here * stride, stride):
            (head,) = unpack(piece, place)
            if head and not head & 1:
                yield at + place


def chain(first: Any, member: str, most: int = MOST_LINKS) -> Iterator[Any]:
    """Yield the structs that the pointer ``member`` links. A chain that runs in circles ends.

    Raises :class:`kdump.Damaged` there.
    """
    seen: set[int] = set()
    at = first
    while at:
        if int(at) in seen or len(seen) >= most:
            raise Damaged(f"the chain by {member} does not end at {int(at):#x}", int(at))
        seen.add(int(at))
        yield at
        at = getattr(at, member)
