"""The result of a check, and its text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: Weights of warnings, the heaviest first.
SEVERITIES = ("critical", "warning", "note")


@dataclass(frozen=True)
class Warning:  # noqa: A001 - the word of crashinfo
    """A conclusion; ``section`` is the check or the section of crashinfo that shows more."""

    severity: str
    text: str
    section: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text} (see: {self.section})"


@dataclass
class Result:
    """What a check has found: conclusions, lines of text, and the same as data."""

    title: str
    warnings: list[Warning] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def warn(self, severity: str, text: str, section: str) -> None:
        """Add a conclusion."""
        self.warnings.append(Warning(severity, text, section))

    def take(self, answer: dict[str, Any]) -> Any:
        """Take the warnings and the missing parts of a section's answer; return its data."""
        for found in answer["warnings"]:
            self.warn(found["severity"], found["text"], found["section"] or self.title)
        self.missing += answer["missing"]
        return answer["data"]

    def table(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add a table; a column whose name begins with ``>`` is aligned to the right."""
        cells = [[name.lstrip(">") for name in names]]
        cells += [["-" if cell is None else str(cell) for cell in row] for row in rows]
        widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
        for row in cells:
            line = [
                cell.rjust(width) if name.startswith(">") else cell.ljust(width)
                for cell, width, name in zip(row, widths, names, strict=True)
            ]
            self.lines.append("  ".join(line).rstrip())

    def json(self) -> dict[str, Any]:
        """Return all but the text."""
        found = asdict(self)
        del found["lines"]
        return found


def seconds(nanoseconds: int | None) -> str | None:
    """Return a time as text, such as ``3.52 s``."""
    return None if nanoseconds is None else f"{nanoseconds / 1e9:.2f} s"


def mebibytes(kibibytes: int | None) -> str | None:
    """Return a size as text, such as ``167.6 MiB``."""
    return None if kibibytes is None else f"{kibibytes / 1024:.1f} MiB"
