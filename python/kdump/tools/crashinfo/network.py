"""Network interfaces: when did each transmit and receive last?"""

from __future__ import annotations

from typing import Any

from kdump.API import readSU, structSetAttr
from kdump.tools.crashinfo.result import Result, seconds

#: Names of the columns of /proc/net/dev in ``proc_net_dev``.
RECEIVED, SENT = 1, 9


def check(dump: Any) -> Result:
    """Examine the interfaces of the first network namespace."""
    result = Result("Network interfaces")
    interfaces = result.take(dump.section_data("net"))["interfaces"]
    # Drivers of old kernels set it; since Linux 4.10 or so it is gone.
    has_last_received = structSetAttr("struct net_device", "LastReceived", "last_rx")
    structSetAttr("struct net_device", "Timeout", "watchdog_timeo")
    ticks = Ticks(dump)
    rows = []
    for interface in interfaces:
        device = readSU("struct net_device", int(interface["net_device"], 0))
        received = ticks.since(device.LastReceived) if has_last_received else None
        interface["last_received_ns"] = received
        watch(result, interface, ticks.nanoseconds(device.Timeout))
        stopped = sum(queue["is_stopped"] for queue in interface["queues"])
        packets = interface["proc_net_dev"] or [None] * 16
        rows.append(
            [
                interface["name"],
                ",".join(interface["flags"]),
                packets[RECEIVED],
                packets[SENT],
                seconds(received) or "not kept",
                seconds(interface["last_sent_ns"]),
                f"{stopped}/{len(interface['queues'])}",
            ]
        )
    names = ["NAME", "FLAGS", ">RECEIVED", ">SENT", ">LAST RX", ">LAST TX", ">STOPPED"]
    result.lines.append("time since the last packet; STOPPED are queues that the driver holds")
    result.table(names, rows)
    result.data = {"interfaces": interfaces}
    return result


def watch(result: Result, interface: dict[str, Any], timeout: int) -> None:
    """Warn of queues that dev_watchdog would take for hung: stopped for longer than its time."""
    if "LOWER_UP" not in interface["flags"] or not timeout:
        return
    for number, queue in enumerate(interface["queues"]):
        age = queue["last_sent_ns"]
        if queue["is_stopped"] and age is not None and age >= timeout:
            text = f"{interface['name']}: queue {number} is stopped and has sent nothing for "
            text += f"{seconds(age)}; its watchdog's time is {seconds(timeout)}"
            result.warn("critical", text, "net")


class Ticks:
    """The kernel's count of ticks."""

    def __init__(self, dump: Any) -> None:
        self.now = dump.symbol("jiffies_64")
        self.bits = 8 * dump.word_size
        uptime = dump.section_data("sys")["data"]["uptime_ns"] or 0
        # It starts 300 s before its lower half overflows (Linux, INITIAL_JIFFIES).
        self.frequency = min(
            (100, 250, 300, 1000),
            key=lambda hz: abs(self.now - ((1 << 32) - 300 * hz) - uptime * hz // 10**9),
        )

    def nanoseconds(self, ticks: int) -> int:
        """Return the time of a number of ticks."""
        return ticks * 10**9 // self.frequency

    def since(self, tick: int) -> int | None:
        """Return the time since a tick, an ``unsigned long``; None for 0, which is never."""
        return self.nanoseconds((self.now - tick) % (1 << self.bits)) if tick else None
