"""What the benchmarks print: settings, promises, tables."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .serving import machine


@dataclass(frozen=True)
class Promise:
    """A figure that has a bound.

    Attributes:
        text: What it is, with its unit.
        value: As measured.
        bound: The most that it may be.
    """

    text: str
    value: float
    bound: float

    @property
    def is_kept(self) -> bool:
        """Whether the bound holds."""
        return self.value <= self.bound

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"text": self.text, "value": self.value, "bound": self.bound, "is_kept": self.is_kept}

    def row(self) -> list[str]:
        """For a table."""
        return [self.text, f"{self.value:,.6g}", f"≤ {self.bound:,.6g}", "kept" if self.is_kept else "BROKEN"]


def load_average() -> str:
    """Of the last minute, which says how quiet the machine is."""
    return f"{os.getloadavg()[0]:.2f}"


def settings_line(settings: dict[str, object]) -> str:
    """One line of all that a figure depends on."""
    return "; ".join(f"{name}: {value}" for name, value in {**machine(), **settings}.items())


def table(rows: list[list[str]]) -> str:
    """Columns as wide as their cells; the first to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
