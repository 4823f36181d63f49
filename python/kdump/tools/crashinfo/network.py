"""Network interfaces: when did each transmit and receive last?"""

from __future__ import annotations

from typing import Any

from kdump import Error
from kdump.API import readSU
from kdump.net import Networks
from kdump.tools.crashinfo.result import Result, seconds

#: Places of the packets in a line of /proc/net/dev.
RECEIVED, SENT = 1, 9
SECOND = 10**9


def check(dump: Any) -> Result:
    """Examine the interfaces of the first network namespace."""
    result = Result("Network interfaces")
    interfaces = result.take(dump.section_data("net"))["interfaces"]
    networks = Networks(dump)
    signs = {row.index: row for row in networks.interfaces() if row.namespace.is_first}
    rows = []
    for interface in interfaces:
        sign = signs.get(interface["index"])
        ago = sign.received_ago if sign else None
        interface["last_received_ns"] = None if ago is None else round(ago * SECOND)
        interface["received_by"] = sign.received_by if sign else ""
        timeout = watchdog(networks, interface)
        if timeout:
            watch(result, interface, timeout)
        stopped = sum(queue["is_stopped"] for queue in interface["queues"])
        packets = interface["proc_net_dev"] or [None] * 16
        rows.append(
            [
                interface["name"],
                ",".join(interface["flags"]),
                packets[RECEIVED],
                packets[SENT],
                seconds(interface["last_received_ns"]),
                seconds(interface["last_sent_ns"]),
                f"{stopped}/{len(interface['queues'])}",
                interface["received_by"],
            ]
        )
    names = ["NAME", "FLAGS", ">RECEIVED", ">SENT", ">LAST RX", ">LAST TX", ">STOPPED", "RX BY"]
    result.lines.append("time since the last packet; STOPPED are queues that the driver holds")
    result.table(names, rows)
    result.data = {"interfaces": interfaces}
    result.missing += networks.problems
    return result


def watchdog(networks: Networks, interface: dict[str, Any]) -> int:
    """Return the time in nanoseconds after which dev_watchdog takes a queue for hung; 0: never."""
    clock = networks.clock
    try:
        device = readSU("struct net_device", int(interface["net_device"], 0))
        return round(clock.seconds(device.watchdog_timeo) * SECOND) if clock else 0
    except Error as error:
        networks.problems.append(f"{interface['name']}: watchdog: {error}")
        return 0


def watch(result: Result, interface: dict[str, Any], timeout: int) -> None:
    """Warn of queues that dev_watchdog would take for hung: stopped for longer than its time."""
    if "LOWER_UP" not in interface["flags"]:
        return
    for number, queue in enumerate(interface["queues"]):
        age = queue["last_sent_ns"]
        if queue["is_stopped"] and age is not None and age >= timeout:
            text = f"{interface['name']}: queue {number} is stopped and has sent nothing for "
            text += f"{seconds(age)}; its watchdog's time is {seconds(timeout)}"
            result.warn("critical", text, "net")
