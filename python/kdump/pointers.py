"""Values that are more than a number or a text: pointers and texts of C (PyKdump, section 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdump.errors import Usage

if TYPE_CHECKING:
    from kdump._kdump import CType

__all__ = ["SmartString", "tPtr"]


class tPtr(int):  # noqa: N801 - the paper's name
    """A pointer of C that does not point to a struct: an integer with its type.

    ``ctype`` is the type of the pointer, ``target`` that of the value it points to, and
    ``variable`` the address of the pointer itself. ``Deref(p)`` follows it; ``p[3]`` is the
    fourth value from there on.
    """

    ctype: CType
    variable: int | None

    def __new__(cls, value: int, ctype: CType, variable: int | None = None) -> tPtr:
        self = super().__new__(cls, value)
        self.ctype = ctype
        self.variable = variable
        return self

    @property
    def target(self) -> CType | None:
        """The type of the value that it points to."""
        return plain(self.ctype).target

    def __getitem__(self, index: int) -> Any:
        target = self.target
        if target is None:
            raise Usage(f"{self.ctype.name} points to no value that has a size")
        return target.read(int(self) + index * target.size)

    def __repr__(self) -> str:
        return f"<tPtr ({self.ctype.name}) {int(self):#x}>"


def plain(ctype: CType) -> CType:
    """Return the type below typedefs and qualifiers."""
    while ctype.kind in ("typedef", "qualified") and ctype.target is not None:
        ctype = ctype.target
    return ctype


class SmartString(str):
    """The text of a ``char`` array, or of the bytes that a ``char *`` points to.

    As a string it ends before the first NUL. ``s[5]`` is the sixth byte, an integer, and
    ``s[4:6]`` two characters, behind the NUL as well; ``str(s)`` is a plain string. ``bytes(s)``
    are all bytes that were read: the whole array, or 256 from a pointer on. ``int(s)`` is the
    pointer, ``Addr(s)`` the address of the variable.
    """

    variable: int
    _bytes: bytes
    _pointer: int

    def __new__(cls, data: bytes, variable: int, pointer: int) -> SmartString:
        end = data.find(0)
        text = data if end < 0 else data[:end]
        self = super().__new__(cls, text.decode("utf-8", "backslashreplace"))
        self.variable = variable
        self._bytes = data
        self._pointer = pointer
        return self

    def __str__(self) -> str:
        # `str` of an object of a class below it would be the object itself.
        return str.__getitem__(self, slice(None))

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes[index]
        return found if isinstance(found, int) else found.decode("latin-1")

    def __bytes__(self) -> bytes:
        return self._bytes

    def __int__(self) -> int:
        return self._pointer
