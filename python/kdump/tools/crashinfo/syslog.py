"""The system's log: does its daemon hang? Every program that logs would wait with it."""

from __future__ import annotations

from functools import partial
from typing import Any

from kdump.API import Addr, addr2sym, list_for_each_entry, readSU
from kdump.net import Networks, UnixSocket
from kdump.tools.crashinfo.result import Result, seconds
from kdump.tools.crashinfo.tasks import path

#: Names of the daemons; a task's name has 15 characters.
DAEMONS = ("syslogd", "rsyslogd", "syslog-ng", "systemd-journal", "metalog", "klogd")
#: Sockets that programs log to, and those that the daemons pass messages on by.
SOCKETS = (
    "/dev/log",
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
    "/run/systemd/journal/syslog",
)
#: States of a daemon that takes no messages.
STATES = {"D": "waits without an end", "T": "is stopped", "t": "is traced", "Z": "is dead"}
#: Functions in which a task waits for room in a unix socket.
FULL = ("unix_wait_for_peer", "unix_stream_sendmsg", "unix_dgram_sendmsg", "sock_wait_for_wmem")
#: Functions that wake a task by ``wait_queue_entry.private``.
WAKERS = ("autoremove_wake_function", "default_wake_function", "woken_wake_function")


def check(dump: Any) -> Result:
    """Examine the daemons, their sockets, and the tasks that wait for these."""
    result = Result("Is syslog hanging?")
    stacks = {
        stack["pid"]: stack["frames"] for stack in dump.section_data("bt -A")["data"]["stacks"]
    }
    tasks = dump.section_data("ps")["data"]["tasks"]
    daemons = [task for task in tasks if is_daemon(task)]
    for task in daemons:
        task["frames"] = stacks.get(task["pid"], [])
        if task["state"] in STATES:
            text = f"{task['comm']} (pid {task['pid']}) {STATES[task['state']]}"
            if task["off_cpu_ns"]:
                text += f", for {seconds(task['off_cpu_ns'])}"
            result.warn("critical", f"{text}: programs that log will wait", "syslog")
    if not daemons:
        result.warn("note", "no daemon takes the system's log", "syslog")
    sockets = log_sockets(dump, result)
    for socket in sockets:
        if socket["is_full"]:
            text = f"{socket['path']} is full: {socket['queued']} messages that nobody reads"
            result.warn("critical", f"{text}; {count(socket['waiting'])} for room", "syslog")
    blocked = [task for task in tasks if waits_for_room(stacks.get(task["pid"], []))]
    show(result, daemons, sockets, blocked, stacks)
    return result


def is_daemon(task: dict[str, Any]) -> bool:
    return not task["is_kernel"] and task["comm"] in DAEMONS and task["pid"] == task["tgid"]


def count(tasks: list[Any]) -> str:
    return f"{len(tasks)} task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"


def named(tasks: list[dict[str, Any]]) -> str:
    return ", ".join(f"{task['comm']} ({task['pid']})" for task in tasks)


def waits_for_room(frames: list[dict[str, Any]]) -> bool:
    """Return true for a task that sleeps on its way through a unix socket's send function."""
    names = [frame["name"] or "" for frame in frames]
    return "schedule" in names and any(name.split(".")[0] in FULL for name in names)


def log_sockets(dump: Any, result: Result) -> list[dict[str, Any]]:
    """Return the sockets that programs log to, with the tasks that wait to send to each."""
    networks, found = Networks(dump), []
    for socket in networks.unix():
        if socket.path in SOCKETS:
            row = networks.attempt(socket.path, partial(row_of, socket))
            found += [row] if row else []
    result.missing += networks.problems
    return found


def row_of(socket: UnixSocket) -> dict[str, Any]:
    sock = socket.object.sk
    queued, limit = sock.sk_receive_queue.qlen, sock.sk_max_ack_backlog
    return {
        "address": hex(int(socket.object)),
        "path": socket.path,
        "queued": queued,
        "limit": limit,
        "is_full": queued > limit,
        "waiting": waiting(socket.object),
    }


def waiting(socket: Any) -> list[dict[str, Any]]:
    """Return the tasks that wait for room in a socket."""
    head = Addr(socket.peer_wq.wait.head)
    found = []
    for entry in list_for_each_entry(head, "struct wait_queue_entry", "entry"):
        if addr2sym(entry.func).split("+")[0] in WAKERS and entry.private:
            task = readSU("struct task_struct", entry.private)
            found.append({"pid": task.pid, "comm": str(task.comm)})
    return found


def show(
    result: Result,
    daemons: list[dict[str, Any]],
    sockets: list[dict[str, Any]],
    blocked: list[dict[str, Any]],
    stacks: dict[int, Any],
) -> None:
    rows = [
        [
            task["pid"],
            task["comm"],
            task["state"],
            seconds(task["off_cpu_ns"]),
            path(task["frames"]),
        ]
        for task in daemons
    ]
    result.lines.append("daemons; SINCE is the time since it last ran")
    result.table([">PID", "DAEMON", "STATE", ">SINCE", "WAITS IN"], rows)
    result.lines.append("sockets that programs log to; WAIT are tasks that wait for room")
    names = ["SOCKET", ">QUEUED", ">LIMIT", "WAIT"]
    rows = [
        [one["path"], one["queued"], one["limit"], named(one["waiting"]) or None] for one in sockets
    ]
    result.table(names, rows)
    if blocked:
        result.lines.append("tasks that wait for room in a unix socket")
        rows = [[task["pid"], task["comm"], path(stacks[task["pid"]])] for task in blocked]
        result.table([">PID", "TASK", "WAITS IN"], rows)
    keep = ("pid", "comm", "state", "off_cpu_ns")
    result.data = {
        "daemons": [{name: task[name] for name in keep} for task in daemons],
        "sockets": sockets,
        "blocked": [{"pid": task["pid"], "comm": task["comm"]} for task in blocked],
    }
