"""Exceptions of the package. All are below :class:`Error`."""


class Error(Exception):
    """Base of all exceptions: the text names the address, the type and the reason."""


class MemoryFault(Error):
    """Memory that the dump does not have, or that no page table maps.

    ``address`` is the first virtual address of the bytes that were asked for.
    """

    def __init__(self, text: str, address: int) -> None:
        super().__init__(text)
        self.address = address


class NoSymbol(Error, LookupError):
    """The kernel has no symbol of this ``name``, or the variable's type is not known."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class NoType(Error, LookupError):
    """The kernel has no type of this ``name``."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class NoMember(Error, AttributeError):
    """The type ``type`` has no ``member``."""

    def __init__(self, text: str, type: str, member: str) -> None:
        super().__init__(text)
        self.type = type
        self.member = member


class NullPointer(Error):
    """A NULL pointer was followed."""


class Damaged(Error):
    """A list or a tree leads nowhere; ``address`` is the place of the damage."""

    def __init__(self, text: str, address: int) -> None:
        super().__init__(text)
        self.address = address


class Usage(Error, ValueError):
    """A wrong argument."""
