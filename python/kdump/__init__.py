"""Dead kernels as Python objects.

    import kdump
    with kdump.open("vmcore") as dump:
        print(dump.symbol("init_task").comm)

Structs of C are objects whose attributes are the members; a dot also follows pointers. No debug
file is needed where the kernel has BTF. The names of PyKdump are in :mod:`kdump.API`.
"""

from __future__ import annotations

import os

from kdump._kdump import (
    Addr,
    CType,
    Deref,
    Dump,
    FlexArray,
    StructResult,
    cast,
    container_of,
    type_of,
)
from kdump.errors import (
    Damaged,
    Error,
    MemoryFault,
    NoMember,
    NoSymbol,
    NoType,
    NullPointer,
    Usage,
)
from kdump.pointers import SmartString, tPtr

__all__ = [
    "Addr",
    "CType",
    "Damaged",
    "Deref",
    "Dump",
    "Error",
    "FlexArray",
    "MemoryFault",
    "NoMember",
    "NoSymbol",
    "NoType",
    "NullPointer",
    "SmartString",
    "StructResult",
    "Usage",
    "cast",
    "container_of",
    "current",
    "open",
    "tPtr",
    "type_of",
    "use",
]

_current: Dump | None = None


def open(  # noqa: A001 - kdump.open, as gzip.open
    path: str | os.PathLike[str],
    vmlinux: str | os.PathLike[str] | None = None,
    number: int | None = None,
) -> Dump:
    """Open a dump, and make it the current one of :mod:`kdump.API`.

    ``path`` names a vmcore of any format, a dump disk, ``/proc/kcore``, or a line to a capture
    kernel (``unix:PATH``, ``tcp:HOST:PORT``). ``vmlinux`` is a file with debug information of the
    same kernel. Of a dump disk, ``number`` chooses the dump; without it, it is the newest.
    """
    dump = Dump(path, vmlinux, number)
    use(dump)
    return dump


def use(dump: Dump) -> None:
    """Make a dump the current one: the functions of :mod:`kdump.API` read it."""
    global _current
    _current = dump


def current() -> Dump:
    """Return the dump that was opened last, or that :func:`use` named."""
    if _current is None:
        raise Usage("no dump is open: call kdump.open(path), or run kdump-python SCRIPT DUMP")
    return _current
