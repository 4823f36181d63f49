"""The command line of crashinfo in Python."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import kdump
from kdump.tools.crashinfo import load, memory, network, syslog, tasks
from kdump.tools.crashinfo.result import SEVERITIES, Result

#: The checks by their names, in the order of the report.
CHECKS: dict[str, Callable[[Any], Result]] = {
    "panic": tasks.panic,
    "load": load.check,
    "memory": memory.check,
    "syslog": syslog.check,
    "network": network.check,
    "hung": tasks.hung,
}


def examine(dump: kdump.Dump, names: Sequence[str] = ()) -> dict[str, Result]:
    """Run checks, all without ``names``, on a dump; one that cannot be made has ``missing``."""
    previous, found = kdump._current, {}
    kdump.use(dump)
    try:
        for name in names or CHECKS:
            try:
                found[name] = CHECKS[name](dump)
            except kdump.Error as error:
                found[name] = Result(name.capitalize(), missing=[f"{name}: {error}"])
    finally:
        if previous is not None:
            kdump.use(previous)
    return found


def warnings(results: dict[str, Result]) -> list[Any]:
    """Return the warnings of all checks, each once, the heaviest first."""
    found = dict.fromkeys(one for result in results.values() for one in result.warnings)
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def text(results: dict[str, Result]) -> str:
    """Return the report for people."""
    blocks = ["\n".join(map(str, warnings(results)))]
    for result in results.values():
        if result.lines:
            blocks.append("\n".join([result.title, *(f"  {line}" for line in result.lines)]))
    missing = [line for result in results.values() for line in result.missing]
    blocks.append("\n".join(f"missing: {line}" for line in dict.fromkeys(missing)))
    return "\n\n".join(block for block in blocks if block)


def to_json(dump: kdump.Dump, results: dict[str, Result]) -> str:
    """Return the report for programs."""
    checks = {name: result.json() for name, result in results.items()}
    found = [one for check in checks.values() for one in check["warnings"]]
    return json.dumps({"release": dump.release, "warnings": found, "checks": checks}, indent=2)


def main(words: list[str] | None = None) -> int:
    """Run the tool; 2 if the dump cannot be opened."""
    parser = argparse.ArgumentParser(
        "crashinfo-py", description="The first tests on a dump: conclusions, then the facts."
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("-s", metavar="VMLINUX", help="a file with the kernel's debug information")
    is_open = kdump._current is not None
    if not is_open:
        parser.add_argument("dump", metavar="DUMP", help="a vmcore, a dump disk, a line")
    parser.add_argument("checks", metavar="CHECK", nargs="*", help=", ".join(CHECKS))
    found = parser.parse_args(words)
    unknown = [name for name in found.checks if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]}; there are {', '.join(CHECKS)}")
    try:
        dump = kdump.current() if is_open else kdump.open(found.dump, found.s)
    except kdump.Error as error:
        print(f"crashinfo-py: {error}", file=sys.stderr)
        return 2
    results = examine(dump, found.checks)
    print(to_json(dump, results) if found.json else text(results))
    return 0
