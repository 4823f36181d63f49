"""Ticks of the kernel, and times since one (Linux, include/linux/jiffies.h)."""

from __future__ import annotations

from kdump import Dump, Error

#: Frequencies that a kernel can be built with (CONFIG_HZ).
FREQUENCIES = (100, 250, 300, 1000)
#: Seconds that the 32-bit count of ticks has left at the boot (INITIAL_JIFFIES).
BEFORE_OVERFLOW = 300


def frequency(ticks: int, uptime_ns: int) -> int:
    """Return the frequency with which the count of ticks fits the time since the boot best.

    The kernel has no variable for it.
    """

    def distance(hz: int) -> int:
        return abs(ticks - ((1 << 32) - BEFORE_OVERFLOW * hz + uptime_ns * hz // 1_000_000_000))

    return min(FREQUENCIES, key=distance)


class Clock:
    """The time at which the kernel died.

    ``now`` is the count of ticks, ``hz`` their number in a second, ``uptime_ns`` the time since
    the boot.
    """

    def __init__(self, now: int, uptime_ns: int, word_size: int) -> None:
        self.now = now
        self.uptime_ns = uptime_ns
        self.hz = frequency(now, uptime_ns)
        self._bits = 8 * word_size

    @classmethod
    def of(cls, dump: Dump) -> Clock:
        """Read the clock of a dump."""
        now = dump.number(dump.address("jiffies_64"), 8)
        uptime = dump.section_data("sys")["data"].get("uptime_ns")
        if uptime is None:
            raise Error("the time since the boot is not known, and so not the length of a tick")
        return cls(now, uptime, dump.word_size)

    def since(self, tick: int, bits: int | None = None) -> float:
        """Return the seconds since a tick, an ``unsigned long`` or a number of ``bits`` bits.

        It is below zero for one that was to come.
        """
        bits = bits or self._bits
        ticks = (self.now - tick) & ((1 << bits) - 1)
        if ticks >> (bits - 1):
            ticks -= 1 << bits
        return ticks / self.hz

    def until(self, tick: int) -> float:
        """Return the seconds up to a tick, as of a timer."""
        return -self.since(tick)

    def since32(self, tick: int) -> float:
        """Return the seconds since a tick of which TCP keeps 32 bits (tcp_jiffies32)."""
        return self.since(tick, 32)

    def seconds(self, ticks: int) -> float:
        """Return the seconds of a number of ticks."""
        return ticks / self.hz
