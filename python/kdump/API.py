"""The API of PyKdump (A. Sidorenko, "Programmatic Kernel Dump Analysis On Linux", 2009).

``from kdump.API import *`` gives a program the paper's names. They read the current dump:
the one that ``kdump.open`` opened last, or that ``kdump-python`` has opened. ``long`` of Python 2
is ``int``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kdump import current
from kdump._kdump import Addr, CType, Deref, Dump, StructResult, type_of
from kdump.errors import Error, MemoryFault, NoMember, NoSymbol, NoType, NullPointer
from kdump.pointers import SmartString, plain, tPtr

__all__ = [
    "Addr",
    "Deref",
    "Error",
    "MemoryFault",
    "NoMember",
    "NoSymbol",
    "NoType",
    "NullPointer",
    "SmartString",
    "StructResult",
    "addr2sym",
    "enumerator_value",
    "exec_crash_command",
    "exec_crashinfo",
    "getListSize",
    "getSizeOf",
    "hlist_for_each_entry",
    "list_for_each_entry",
    "member_exists",
    "member_offset",
    "member_size",
    "pointersize",
    "readList",
    "readPtr",
    "readS16",
    "readS32",
    "readS64",
    "readS8",
    "readSU",
    "readSUArray",
    "readSUListFromHead",
    "readStructNext",
    "readSymbol",
    "readU16",
    "readU32",
    "readU64",
    "readU8",
    "readmem",
    "structSetAttr",
    "structSetProcAttr",
    "struct_exists",
    "struct_size",
    "sym2addr",
    "symbol_exists",
    "tPtr",
    "whatis",
]

#: Elements of a list that are read, unless the caller wants another number.
MOST = 1_000_000


def readSymbol(name: str) -> Any:
    """Read a global variable: a StructResult, an integer, a list, a SmartString or a tPtr."""
    return current().symbol(name)


def readSU(type: str | CType, address: Any) -> Any:
    """Return the struct or union of this type at an address: C's cast of a pointer."""
    return current().object(type, address)


def readSUArray(type: str, address: Any, count: int) -> list[Any]:
    """Return ``count`` structs that are stored one after the other."""
    dump = current()
    size, start = dump.sizeof(type), int(address)
    return [dump.object(type, start + size * index) for index in range(count)]


def sym2addr(name: str) -> int:
    """Return the address of a symbol; 0 if the kernel has none of this name."""
    dump = current()
    return dump.address(name) if dump.has_symbol(name) else 0


def addr2sym(address: Any) -> str:
    """Return the symbol at an address, with an offset as Linux writes it."""
    return current().symbol_at(address)


def symbol_exists(name: str) -> bool:
    """Return true if the kernel has this symbol."""
    return current().has_symbol(name)


def struct_exists(type: str) -> bool:
    """Return true if the kernel has this type."""
    return current().has_type(type)


def member_exists(type: str, member: str) -> bool:
    """Return true if the type has this member, or this chain of members."""
    return current().has_member(type, member)


def getSizeOf(type: str) -> int:
    """Return the size of a type in bytes."""
    return current().sizeof(type)


def struct_size(type: str) -> int:
    """Return the size of a type in bytes; -1 if the kernel does not have it."""
    return current().sizeof(type) if struct_exists(type) else -1


def member_offset(type: str, member: str) -> int:
    """Return the offset of a member in bytes; -1 if there is none."""
    return current().offsetof(type, member) if member_exists(type, member) else -1


def member_size(type: str, member: str) -> int:
    """Return the size of a member in bytes; -1 if there is none."""
    if not member_exists(type, member):
        return -1
    return next(of.size for name, of, _, _ in _members(current().type(type)) if name == member)


def _members(ctype: CType) -> Iterator[tuple[str, CType, int, int | None]]:
    for member in plain(ctype).members:
        if member[0]:
            yield member
        else:
            yield from _members(member[1])


def enumerator_value(name: str) -> int:
    """Return the value of an enumerator of any enum."""
    return current().enumerator(name)


def whatis(value: Any) -> str:
    """Return the type of an object or a pointer, as C writes it."""
    return type_of(value).name


def pointersize() -> int:
    """Return the size of a pointer in bytes."""
    return current().word_size


def readmem(address: Any, length: int) -> bytes:
    """Read bytes."""
    return current().read(address, length)


def readPtr(address: Any) -> int:
    """Read a pointer."""
    return current().word(address)


def readU8(address: Any) -> int:
    """Read an unsigned number of 8 bits."""
    return current().number(address, 1)


def readU16(address: Any) -> int:
    """Read an unsigned number of 16 bits."""
    return current().number(address, 2)


def readU32(address: Any) -> int:
    """Read an unsigned number of 32 bits."""
    return current().number(address, 4)


def readU64(address: Any) -> int:
    """Read an unsigned number of 64 bits."""
    return current().number(address, 8)


def _signed(address: Any, size: int) -> int:
    return int.from_bytes(current().read(address, size), "little", signed=True)


def readS8(address: Any) -> int:
    """Read a signed number of 8 bits."""
    return _signed(address, 1)


def readS16(address: Any) -> int:
    """Read a signed number of 16 bits."""
    return _signed(address, 2)


def readS32(address: Any) -> int:
    """Read a signed number of 32 bits."""
    return _signed(address, 4)


def readS64(address: Any) -> int:
    """Read a signed number of 64 bits."""
    return _signed(address, 8)


def readSUListFromHead(
    head: Any, member: str, type: str, maxel: int = MOST, inchead: bool = False
) -> list[Any]:
    """Return the structs whose ``member``, a list_head, is in the list of ``head``.

    ``inchead``: the head is the member of such a struct as well, which comes first.
    """
    dump = current()
    first = [dump.object(type, int(head) - dump.offsetof(type, member))] if inchead else []
    for found in dump.list(head, type, member):
        if len(first) >= maxel:
            break
        first.append(found)
    return first


def list_for_each_entry(head: Any, type: str, member: str) -> Iterator[Any]:
    """Iterate over the structs in the list of a list_head, as the kernel's macro does."""
    return iter(current().list(head, type, member))


def hlist_for_each_entry(type: str, head: Any, member: str) -> Iterator[Any]:
    """Iterate over the structs in the list of an hlist_head, as the kernel's macro does."""
    return iter(current().hlist(head, type, member))


def readList(start: Any, offset: int = 0, maxel: int = MOST, inchead: bool = True) -> list[int]:
    """Return the addresses of structs that are linked by a pointer at ``offset``.

    The list ends with NULL, or where it comes back to the start.
    """
    first = int(start)
    found, seen, at = ([first], {first}, first) if inchead else ([], {first}, first)
    while len(found) < maxel:
        at = readPtr(at + offset)
        if at == 0 or at in seen:
            break
        seen.add(at)
        found.append(at)
    return found


def getListSize(head: Any, offset: int = 0, maxel: int = MOST) -> int:
    """Return the number of elements of a list of list_heads, without the head."""
    return len(readList(head, offset, maxel, inchead=False))


def readStructNext(first: Any, member: str, maxel: int = MOST) -> list[Any]:
    """Return the structs that the pointer ``member`` links, up to NULL or to one seen before."""
    found: list[Any] = []
    seen: set[int] = set()
    at = first
    while at and int(at) not in seen and len(found) < maxel:
        seen.add(int(at))
        found.append(at)
        at = getattr(at, member)
    return found


def structSetAttr(type: str, name: str, chains: str | list[str]) -> bool:
    """Give a struct another attribute: the first chain of members that the kernel has.

    ``structSetAttr("spinlock_t", "Slock", ["raw_lock.slock", "lock"])``. False if the kernel has
    none of the chains, or not the type.
    """
    dump: Dump = current()
    return dump.has_type(type) and dump.set_attribute(type, name, chains)


def structSetProcAttr(type: str, name: str, function: Callable[[Any], Any] | list[str]) -> bool:
    """Give a struct another attribute: the value of a function of the object.

    A list of chains is taken as by :func:`structSetAttr`.
    """
    dump: Dump = current()
    return dump.has_type(type) and dump.set_attribute(type, name, function)


def exec_crashinfo(line: str) -> str:
    """Return the text of a section of crashinfo, such as ``ps`` or ``kmem -i``."""
    return current().section(line)


#: PyKdump's name: the sections have the names of crash's commands.
exec_crash_command = exec_crashinfo
