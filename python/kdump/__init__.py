"""Dead kernels as Python objects: ``with kdump.open("vmcore") as dump: ...``."""

from kdump._kdump import Dump
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

__all__ = [
    "Damaged",
    "Dump",
    "Error",
    "MemoryFault",
    "NoMember",
    "NoSymbol",
    "NoType",
    "NullPointer",
    "Usage",
]
