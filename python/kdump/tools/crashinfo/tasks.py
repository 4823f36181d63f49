"""Tasks that hang, and the panic."""

from __future__ import annotations

from typing import Any

from kdump.tools.crashinfo.result import Result, seconds

#: Most functions that are shown of a stack.
FUNCTIONS = 6
#: Functions that are left out of it.
SCHEDULING = ("__schedule", "schedule", "schedule_timeout")


def path(frames: list[dict[str, Any]]) -> str:
    """Return the functions of a stack, the innermost first, without those that every wait has."""
    names = [frame["name"] or frame["address"] for frame in frames]
    return " < ".join([name for name in names if name not in SCHEDULING][:FUNCTIONS])


def hung(dump: Any) -> Result:
    """Find tasks that wait without an end."""
    result = Result("Tasks that hang")
    found = result.take(dump.section_data("hung"))
    names = [">PID", "TASK", ">CPU", ">SINCE", "WAITS IN"]
    result.table(
        names,
        [
            [
                task["pid"],
                task["comm"],
                task["cpu"],
                seconds(task["since_ns"]),
                path(task["frames"]),
            ]
            for task in found["tasks"]
        ],
    )
    result.data = found
    return result


def panic(dump: Any) -> Result:
    """Show the panic."""
    result = Result("Panic")
    found = result.take(dump.section_data("panic"))
    who = f"{found['comm']} (pid {found['pid']}) on CPU {found['cpu']}"
    result.lines.append(f"{found['kind']}: {found['message']}, by {who}")
    if found["function"]:
        module = f" [{found['module']}]" if found["module"] else ""
        result.lines.append(f"in {found['function']}{module}")
    if found["stack"]:
        result.lines.append(path(found["stack"]["frames"]))
    result.data = found
    return result
