"""Words that all parts of the text use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kdump.net.walks import Problems


def struct(found: object) -> str:
    """Return an object of C as crash shows it."""
    return str(found)


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits behind the point; ``?`` if it is not known."""
    return "?" if value is None else f"{value:.{digits}f}"


def ago(seconds: float | None) -> str:
    """Return a time since something that may never have been."""
    return "never" if seconds is None else f"{seconds:.1f} s ago"


def trouble(row: Problems) -> Iterator[str]:
    """Yield a line for each value of a row that could not be read."""
    yield from (f"    !! {problem}" for problem in row.problems)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table with columns as wide as they must be."""
    widths = [max(len(row[place]) for row in [titles, *rows]) for place in range(len(titles))]
    for row in [titles, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
