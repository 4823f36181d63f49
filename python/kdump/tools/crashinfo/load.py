"""Load averages and run queues: is a CPU overloaded, does a real-time task hold it?"""

from __future__ import annotations

from typing import Any

from kdump.API import readSU, structSetAttr
from kdump.tools.crashinfo.result import Result, seconds

#: Priorities below this one are real-time ones (Linux, include/linux/sched/prio.h).
REAL_TIME = 100
#: Tasks for each CPU from which on a load is high.
HIGH = 2.0
#: Names of ``task_struct.policy`` (Linux, include/uapi/linux/sched.h).
POLICIES = {0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE"}


def check(dump: Any) -> Result:
    """Examine the run queues."""
    result = Result("Load averages and run queues")
    system = dump.section_data("sys")["data"]
    queues = result.take(dump.section_data("runq"))["queues"]
    load, online = system["load"], len(system["online_cpus"])
    if load and load[0] >= HIGH * online:
        result.warn("warning", f"load {load[0]:.2f} on {online} CPUs", "runq")
    structSetAttr("struct task_struct", "Policy", "policy")
    runners = [row for queue in queues for row in tasks(dump, queue)]
    for row in runners:
        if row["is_real_time"]:
            where = f"CPU {row['cpu']}: {row['comm']} (pid {row['pid']}, {row['policy']})"
            word = "runs" if row["is_running"] else "waits"
            result.warn("note", f"a real-time task {word} on {where}", "runq")
    text = ", ".join(f"{one:.2f}" for one in load or [])
    result.lines.append(f"load averages {text or 'unknown'}; {online} CPUs online")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(system["tasks"].items()))
    result.lines.append(f"{system['task_count']} tasks: {counts}")
    table(result, queues, runners)
    result.data = {"load": load, "online_cpus": online, "tasks": system["tasks"]}
    result.data["run_queues"] = [
        {"cpu": queue["cpu"], "running": queue["running"]} for queue in queues
    ]
    result.data["runners"] = runners
    return result


def tasks(dump: Any, queue: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the task that runs on a CPU, and those that wait for it."""
    current = [queue["current"]] if queue["current"] else []
    found = []
    for kind, runners in [
        ("running", current),
        ("deadline", queue["deadline"]),
        ("real-time", queue["real_time"]),
        ("fair", queue["fair"]),
    ]:
        for runner in runners:
            policy = readSU("struct task_struct", int(runner["address"], 0)).Policy
            found.append(
                {
                    "cpu": queue["cpu"],
                    "pid": runner["pid"],
                    "comm": runner["comm"],
                    "priority": runner["priority"],
                    "policy": POLICIES.get(policy, str(policy)),
                    "is_running": kind == "running",
                    "is_real_time": runner["priority"] < REAL_TIME,
                    "since_ns": runner["since_ns"],
                }
            )
    return found


def table(result: Result, queues: list[dict[str, Any]], runners: list[dict[str, Any]]) -> None:
    names = [">CPU", ">QUEUED", ">PID", "TASK", "POLICY", ">PRIORITY", "", ">SINCE"]
    queued = {queue["cpu"]: queue["running"] for queue in queues}
    rows = [
        [
            row["cpu"],
            queued[row["cpu"]],
            row["pid"],
            row["comm"],
            row["policy"],
            row["priority"],
            "runs" if row["is_running"] else "waits",
            seconds(row["since_ns"]),
        ]
        for row in runners
    ]
    result.table(names, rows)
