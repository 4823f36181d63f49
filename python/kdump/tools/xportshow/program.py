"""The program."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

import kdump
from kdump.net import Namespace, Networks
from kdump.net.address import Endpoint
from kdump.tools.xportshow import sockets, tables
from kdump.tools.xportshow.choice import Choice
from kdump.tools.xportshow.options import Options, parse


def text(choice: Choice, options: Options) -> Iterator[str]:
    """Yield the lines that the options ask for."""
    for kind, rows in choice.sockets():
        yield from sockets.lines(kind, rows, options.verbose)
    if options.interfaces:
        yield from tables.interfaces(choice.interfaces(), options.verbose)
    if options.routes:
        yield from tables.routes(choice.routes())
    if options.neighbours:
        yield from tables.neighbours(choice.neighbours())
    if options.summary:
        yield from tables.summary(choice)


def data(choice: Choice, options: Options) -> dict[str, Any]:
    """Return the same as data."""
    found: dict[str, Any] = {kind: plain(rows) for kind, rows in choice.sockets()}
    for part in ("interfaces", "routes", "neighbours"):
        if getattr(options, part) or (part == "interfaces" and options.summary):
            found[part] = plain(getattr(choice, part)())
    if options.summary:
        found["summary"] = {
            kind: counts(choice.every_socket(kind)) for kind in ("tcp", "udp", "unix", "raw")
        }
    found["problems"] = choice.networks.problems
    return found


def counts(rows: list[Any]) -> dict[str, int]:
    """Return the number of rows in each state."""
    states = [row.state for row in rows]
    return {state: states.count(state) for state in sorted(set(states))}


def plain(value: Any) -> Any:
    """Return a value as JSON can have it: objects of C are their type and address."""
    if isinstance(value, kdump.StructResult):
        return {"type": kdump.type_of(value).name, "address": f"{int(value):#x}"}
    if isinstance(value, Namespace):
        return str(value)
    if isinstance(value, Endpoint):
        return {"address": value.address, "port": value.port}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        found = {name: plain(getattr(value, name)) for name in names}
        for derived in ("state", "table", "prefix", "flag_names"):
            if hasattr(type(value), derived):
                found[derived] = getattr(value, derived)
        return found
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value


def show(options: Options) -> None:
    """Print what the options ask for."""
    with kdump.open(options.dump, options.vmlinux) as dump:
        networks = Networks(dump)
        choice = Choice(networks, options)
        if options.json:
            print(json.dumps(data(choice, options), indent=1))
        else:
            for line in text(choice, options):
                print(line)
        for problem in networks.problems:
            print(f"xportshow: {problem}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status: 1 if the dump cannot be read."""
    options = parse(arguments)
    try:
        show(options)
        sys.stdout.flush()
    except kdump.Error as error:
        print(f"xportshow: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, such as head, wants no more.
        sys.stderr.close()
    return 0
