"""drgn without debug files: our memory, the kernel's BTF, typed globals and symbols.

    import kdump
    from kdump import drgn_plugin
    from drgn.helpers.linux import for_each_task
    program = drgn_plugin.program("vmcore")
    print([task.comm.string_() for task in for_each_task(program)])

:func:`program` makes a ``drgn.Program`` of anything that :func:`kdump.open` opens: dumps of any
format, dump disks, lines to a capture kernel. drgn itself loads this module as a plug-in: with
``drgn -c vmcore`` the types of a kernel without a debug vmlinux are then those of its BTF.
docs/drgn.md lists the helpers that work. Needs the extra ``kdump[drgn]``.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from functools import cached_property

import drgn
from drgn import Object, Program, Symbol, SymbolBinding, SymbolKind, Type, TypeKind

import kdump
from kdump import CType, Dump

__all__ = ["drgn_prog_set", "program"]

NAME = "kdump"
"""Name of our finders."""
DEEPEST = 64
"""Deepest nesting of pointers, arrays and typedefs that is followed: BTF may be damaged."""
CORE_NAME = "kdump-notes"
"""Name of the core file in memory that tells drgn about the kernel."""

logger = logging.getLogger("kdump.drgn_plugin")


def program(dump: Dump | str | os.PathLike[str]) -> Program:
    """Return drgn's program of a dump, with memory, types, variables and symbols from us.

    Raises as :func:`kdump.open`, and ``kdump.NoType`` for a kernel without BTF whose dump was
    opened without a vmlinux.
    """
    if not isinstance(dump, Dump):
        dump = Dump(os.fspath(dump))
    made = Program(vmcoreinfo=dump.vmcoreinfo)
    # drgn learns from a core file that it looks at a dead Linux kernel: its machine, and the
    # registers of its CPUs. This one has no memory. drgn closes the file.
    file = os.memfd_create(CORE_NAME)
    os.write(file, core(dump))
    made.set_core_dump(file)
    whole = (1 << 32) if dump.is_i386 else (1 << 64) - 1
    made.add_memory_segment(0, whole, reader(dump.read))
    made.add_memory_segment(0, (1 << 64) - 1, reader(dump.read_physical), physical=True)
    add_finders(made, lambda: dump)
    add_modules(made, dump)
    return made


def drgn_prog_set(prog: Program) -> None:
    """Give drgn types, variables and symbols, after those of debug files; drgn calls it.

    The dump is opened again, by us, when drgn asks for a name the first time.
    """
    path = prog.core_dump_path
    is_kernel = drgn.ProgramFlags.IS_LINUX_KERNEL in prog.flags
    if path is None or CORE_NAME in path or not is_kernel:
        return

    def opened() -> Dump | None:
        try:
            return Dump(path)
        except kdump.Error as error:
            logger.warning("no types of %s: %s", path, error)
            return None

    add_finders(prog, opened)


def core(dump: Dump) -> bytes:
    """Return an ELF core file of a dump's notes. Source: elf(5)."""
    notes = dump.notes
    if dump.is_i386:
        header, segment, machine, bits = "<HHIIIIIHHHHHH", "<IIIIIIII", 3, 1
    else:
        header, segment, machine, bits = "<HHIQQQIHHHHHH", "<IIQQQQQQ", 62, 2
    length = 16 + struct.calcsize(header)
    size = struct.calcsize(segment)
    # ELF, little-endian, version 1; a core file (4).
    file = bytes([0x7F, *b"ELF", bits, 1, 1]).ljust(16, b"\0")
    file += struct.pack(header, 4, machine, 1, 0, length, 0, 0, length, size, 1, 0, 0, 0)
    # PT_NOTE (4).
    if dump.is_i386:
        file += struct.pack(segment, 4, length + size, 0, 0, len(notes), 0, 0, 4)
    else:
        file += struct.pack(segment, 4, 0, length + size, 0, 0, len(notes), 0, 4)
    return file + notes


def reader(read: Callable[[int, int], bytes]) -> Callable[[int, int, int, bool], bytes]:
    """Return a function for ``Program.add_memory_segment`` that reads by `read`."""

    def segment(address: int, count: int, _offset: int, _physical: bool) -> bytes:
        try:
            return read(address, count)
        except kdump.Error as error:
            raise drgn.FaultError(str(error), address) from None

    return segment


def add_finders(prog: Program, opened: Callable[[], Dump | None]) -> None:
    """Register and enable our finders behind those that there are."""
    finders = Finders(prog, opened)
    prog.register_type_finder(NAME, finders.type, enable_index=-1)
    prog.register_object_finder(NAME, finders.object, enable_index=-1)
    prog.register_symbol_finder(NAME, finders.symbol, enable_index=-1)


def add_modules(prog: Program, dump: Dump) -> None:
    """Make drgn's modules: it unwinds stacks by the ORC of the one that an address is in."""
    try:
        prog.create_loaded_modules()
        prog.main_module().address_range = dump.address("_stext"), dump.address("_end")
    except (LookupError, drgn.FaultError) as error:
        logger.warning("stacks will be short: %s", error)


class Finders:
    """Answers to drgn's questions for names."""

    def __init__(self, prog: Program, opened: Callable[[], Dump | None]) -> None:
        self._prog = prog
        self._opened = opened

    @cached_property
    def _dump(self) -> Dump | None:
        return self._opened()

    @cached_property
    def _types(self) -> Types:
        return Types(self._prog)

    def type(
        self, _prog: Program, kinds: drgn.TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """Find a type."""
        dump = self._dump
        if dump is None or filename is not None:
            return None
        for kind in kinds:
            spelled = f"{TAGS[kind]} {name}" if kind in TAGS else name
            if kind in KINDS and dump.has_type(spelled):
                found = dump.type(spelled)
                if found.kind in KINDS[kind]:
                    return self._types.of(found)
        return None

    def object(
        self, prog: Program, name: str, flags: drgn.FindObjectFlags, filename: str | None
    ) -> Object | None:
        """Find a variable, a function or an enumerator."""
        dump = self._dump
        if dump is None or filename is not None:
            return None
        wanted = drgn.FindObjectFlags
        if flags & wanted.VARIABLE:
            found = self._variable(dump, name)
            if found is not None:
                return found
        if flags & wanted.FUNCTION and self._places.get(name, (0, "?"))[1] in "tTwW":
            function = prog.function_type(prog.void_type(), ())
            return Object(prog, function, address=dump.address(name))
        if flags & wanted.CONSTANT:
            return self._constant(dump, name)
        return None

    def _variable(self, dump: Dump, name: str) -> Object | None:
        try:
            of = dump.symbol_type(name)
        except kdump.NoSymbol:
            return None
        found = self._types.of(of)
        if of.kind == "array" and of.count is None and of.target.name != "char":
            found = self._prog.array_type(found.type, self._length(dump, name, of.target))
        return Object(self._prog, found, address=dump.address(name))

    def _length(self, dump: Dump, name: str, element: CType) -> int:
        """Number of elements of an array: the next symbol is its end, or a little behind it."""
        size = element.size
        count = self._places.get(name, (0, "?"))[0] // size if size else 0
        if element.name == "char *":
            # A table of texts has none that is NULL at its end.
            start = dump.address(name)
            while count > 0 and dump.word(start + (count - 1) * size) == 0:
                count -= 1
        return count

    def _constant(self, dump: Dump, name: str) -> Object | None:
        try:
            value = dump.enumerator(name)
        except kdump.NoType:
            return None
        of = dump.enumeration(name)
        return Object(self._prog, "long" if of is None else self._types.of(of), value=value)

    def symbol(
        self, prog: Program, name: str | None, address: int | None, one: bool
    ) -> list[Symbol]:
        """Find symbols."""
        return self._symbols(prog, name, address, one)

    @cached_property
    def _list(self) -> list[tuple[str, int, int, str]]:
        return [] if self._dump is None else self._dump.symbols()

    @cached_property
    def _places(self) -> dict[str, tuple[int, str]]:
        """Sizes and types of symbols."""
        return {name: (size, kind) for name, _, size, kind in self._list}

    @cached_property
    def _symbols(self) -> drgn.SymbolIndex:
        # A constant, or a per-CPU variable counted from zero, takes no place in memory.
        return drgn.SymbolIndex(
            Symbol(name, address, 0 if kind in "aA" else size, *meaning(kind))
            for name, address, size, kind in self._list
        )


def meaning(kind: str) -> tuple[SymbolBinding, SymbolKind]:
    """Return drgn's words for a symbol's type in nm(1)."""
    if kind in "wWvV":
        binding = SymbolBinding.WEAK
    else:
        binding = SymbolBinding.GLOBAL if kind.isupper() else SymbolBinding.LOCAL
    if kind in "tTwW":
        return binding, SymbolKind.FUNC
    return binding, SymbolKind.OBJECT if kind in "bBdDrRvV" else SymbolKind.UNKNOWN


TAGS = {TypeKind.STRUCT: "struct", TypeKind.UNION: "union", TypeKind.ENUM: "enum"}
"""Kinds whose names have a tag in C."""
KINDS = {
    TypeKind.INT: {"int"},
    TypeKind.BOOL: {"bool"},
    TypeKind.FLOAT: {"float"},
    TypeKind.STRUCT: {"struct"},
    TypeKind.UNION: {"union"},
    TypeKind.ENUM: {"enum"},
    TypeKind.TYPEDEF: {"typedef"},
}
"""drgn's kinds that have names, and ours."""


class Types:
    """Our types as drgn's. Members are made when drgn looks at them, so structs may be circular."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._made: dict[CType, Type] = {}

    def of(self, ctype: CType, deepest: int = DEEPEST) -> Type:
        """Return drgn's type. Raises ``kdump.Damaged`` for a typedef of itself."""
        made = self._made.get(ctype)
        if made is None:
            if deepest == 0:
                raise kdump.Damaged(f"type {ctype.name} leads to itself", 0)
            made = self._made[ctype] = self._make(ctype, deepest - 1)
        return made

    def _make(self, ctype: CType, deepest: int) -> Type:
        prog, kind, target = self._prog, ctype.kind, ctype.target
        if kind in ("struct", "union"):
            return self._compound(ctype)
        if kind == "enum":
            return self._enum(ctype)
        if kind == "int":
            return prog.int_type(ctype.name, ctype.size, ctype.is_signed)
        if kind == "bool":
            return prog.bool_type(ctype.name, ctype.size)
        if kind == "float":
            return prog.float_type(ctype.name, ctype.size)
        if kind == "function":
            # BTF is not asked for parameters.
            return prog.function_type(prog.void_type(), ())
        if target is None:
            return self._declared(ctype.name)
        found = self.of(target, deepest)
        if kind == "pointer":
            return prog.pointer_type(found)
        if kind == "array":
            return prog.array_type(found, ctype.count)
        if kind == "typedef":
            return prog.typedef_type(ctype.name, found)
        return found

    def _declared(self, name: str) -> Type:
        """Return void, or a struct or union that is only declared."""
        tag, _, name = name.partition(" ")
        if name and tag in ("struct", "union"):
            return getattr(self._prog, f"{tag}_type")(name)
        return self._prog.void_type()

    def _compound(self, ctype: CType) -> Type:
        tag, _, name = ctype.name.partition(" ")
        members = [
            drgn.TypeMember(self._member(of, bit_size), name or None, bits)
            for name, of, bits, bit_size in ctype.members
        ]
        return getattr(self._prog, f"{tag}_type")(name or None, ctype.size, members)

    def _member(self, of: CType, bit_size: int | None) -> Callable[[], Type | Object]:
        if bit_size is None:
            return lambda: self.of(of)
        return lambda: Object(self._prog, self.of(of), bit_field_size=bit_size)

    def _enum(self, ctype: CType) -> Type:
        prog, size = self._prog, ctype.size
        _, _, name = ctype.name.partition(" ")
        integers = {1: "char", 2: "short", 4: "int", 8: "long long"}
        integer = integers.get(size, "int")
        if not ctype.is_signed:
            integer = f"unsigned {integer}"
        compatible = prog.int_type(integer, size, ctype.is_signed)
        enumerators = [drgn.TypeEnumerator(*pair) for pair in ctype.enumerators]
        return prog.enum_type(name or None, compatible, enumerators)
