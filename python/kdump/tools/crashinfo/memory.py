"""Memory: is it used up, is it fragmented?"""

from __future__ import annotations

from typing import Any

from kdump.tools.crashinfo.result import Result, mebibytes

#: Bytes of a page.
PAGE = 4096
#: The order of the largest blocks that the kernel asks for without a way round (Linux,
#: ``PAGE_ALLOC_COSTLY_ORDER``).
COSTLY = 3
#: Part of the free pages in blocks below it from which on memory is fragmented.
FRAGMENTED = 0.9
ROWS = (
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Cached",
    "AnonPages",
    "Slab",
    "SwapTotal",
    "SwapFree",
)


def check(dump: Any) -> Result:
    """Examine memory as a whole and zone by zone."""
    result = Result("Memory")
    info = result.take(dump.section_data("kmem -i"))["memory"]["rows"]
    zones = result.take(dump.section_data("kmem -z"))["zones"]["zones"]
    sizes = [f"{name} {mebibytes(info[name])}" for name in ROWS if info.get(name)]
    result.lines.append(", ".join(sizes))
    orders = max((len(zone["free_blocks"]) for zone in zones), default=0)
    columns = [">NODE", "ZONE", ">FREE", ">MIN", *(f">{at}" for at in range(orders)), ">SMALL"]
    rows = []
    for zone in zones:
        small = zone["small"] = small_part(zone["free_blocks"])
        free = [mebibytes(zone[name] * PAGE // 1024) for name in ("free", "min")]
        part = None if small is None else f"{small:.0%}"
        rows.append([zone["node"], zone["name"], *free, *zone["free_blocks"], part])
        if small is not None and small >= FRAGMENTED:
            text = f"zone {zone['name']} is fragmented: {small:.0%} of its free memory is in "
            result.warn("warning", f"{text}blocks of less than {PAGE << COSTLY} bytes", "kmem -z")
    result.lines.append("free blocks by order; SMALL is the part of free memory below order 3")
    result.table(columns, rows)
    result.data = {"memory": info, "zones": zones}
    return result


def small_part(blocks: list[int]) -> float | None:
    """Return the part of free pages in blocks that are too small; None without free pages."""
    pages = [count << order for order, count in enumerate(blocks)]
    return sum(pages[:COSTLY]) / sum(pages) if sum(pages) else None
