"""The table of a comparison."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..loads import NamedLoad

YARDSTICK = "bare"
AGAIN = "bare again"

Report = dict[str, Any]


@dataclass
class Rounds:
    """What one contestant has shown at one load.

    Attributes:
        reports: Of each round, or None where it failed.
        failure: Why it failed, the first time; empty if it did not.
    """

    reports: list[Report | None] = field(default_factory=list)
    failure: str = ""


Comparison = dict[str, dict[str, Rounds]]
"""By load, by contestant."""


def ratios(by_contestant: dict[str, Rounds], name: str, figure: str) -> list[float]:
    """The contestant's figure over the yardstick's, round by round."""
    pairs = zip(by_contestant[name].reports, by_contestant[YARDSTICK].reports, strict=True)
    return [
        float(one[figure]) / float(bare[figure])
        for one, bare in pairs
        if one is not None and bare is not None and one.get(figure) and bare.get(figure)
    ]


HEAD = [
    "load", "server", "CPU ÷ bare: min", "median", "max", "µs per delivery", "user", "deliveries/s",
    "last subscriber p50 ms", "p99 ms", "p50 ÷ bare", "p99 ÷ bare", "bytes per connection",
]  # fmt: skip


def rows_of(load: NamedLoad, by_contestant: dict[str, Rounds], absent: dict[str, str]) -> list[list[str]]:
    """A row per contestant: medians, and where it says so the extremes."""
    rows = []
    for name, rounds in by_contestant.items():
        reports = [report for report in rounds.reports if report is not None]
        if rounds.failure:
            rows.append([load.name, name, rounds.failure])
        if not reports:
            continue

        def median(figure: str, template: str, reports: list[Report] = reports) -> str:
            values = [float(report[figure]) for report in reports if report.get(figure) is not None]
            return template.format(statistics.median(values)) if values else ""

        cpu = ratios(by_contestant, name, "server_us_per_delivery")
        p50 = ratios(by_contestant, name, "last_subscriber_p50_ms")
        p99 = ratios(by_contestant, name, "last_subscriber_p99_ms")
        rows.append(
            [
                load.name,
                name,
                *(f"{pick(cpu):.3f}" if cpu else "" for pick in (min, statistics.median, max)),
                median("server_us_per_delivery", "{:.3f}"),
                median("server_user_us_per_delivery", "{:.3f}"),
                median("deliveries_per_s", "{:,.0f}"),
                median("last_subscriber_p50_ms", "{:.2f}"),
                median("last_subscriber_p99_ms", "{:.2f}"),
                f"{statistics.median(p50):.2f}" if p50 else "",
                f"{statistics.median(p99):.2f}" if p99 else "",
                median("memory_bytes_per_connection", "{:,.0f}"),
            ]
        )
    return rows + [[load.name, name, f"not here: {reason}"] for name, reason in absent.items()]


def render(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head. A short row says in its last cell why it is short."""
    columns = len(rows[0])
    full = [row for row in rows if len(row) == columns]
    widths = [max(len(row[column]) for row in full) for column in range(columns)]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append(f"| {' | '.join([*cells, *(' ' for _ in range(columns - len(row)))])} |")
        if number == 0:
            lines.append(f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join(lines)


def noise(comparison: Comparison) -> str:
    """How far the bare loop strays from itself: what lies inside of that is a tie."""
    parts = []
    for load, by_contestant in comparison.items():
        if AGAIN not in by_contestant or YARDSTICK not in by_contestant:
            continue
        cpu = ratios(by_contestant, AGAIN, "server_us_per_delivery")
        if cpu:
            parts.append(f"{load} {min(cpu):.2f} to {max(cpu):.2f} (median {statistics.median(cpu):.2f})")
    return "Noise of the day, the bare loop against itself: " + ("; ".join(parts) or "not measured")
