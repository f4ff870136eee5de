"""The picture of what `watch_switch` has found."""

from __future__ import annotations

import math
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from .capacity import LabError
from .picture import FAINT, INK, STYLES, label_axes, legend, log_axis, new_axes
from .table import rows_of
from .verdict import judge, milliseconds, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .picture import Picture
    from .table import Row, Table

_LATE_SLICES = 5
_LATE_NOISE = 1.0  # the tail of single slices differs by a factor of 2 without a reason
_PUBLISHER = "#B5548C"


def plot_switch(table: Table) -> Picture:
    """Draws the timeline of a live channel whose strategy, or whose mode, changes under load.

    The line of a change is at the moment at which it began. The slice that contains it holds publications of
    both modes: it is hatched, and the curves are cut there.

    Args:
        table: What `watch_switch` has returned.
    """
    rows = rows_of(table)
    if not rows or "mode" not in rows[0]:
        raise LabError("table: it has no modes; give what watch_switch has returned")
    width = rows[1]["time_s"] - rows[0]["time_s"] if len(rows) > 1 else 1.0
    members = sorted({row["members"] for row in rows})
    sizes = f"{members[0]:,}" if len(members) == 1 else f"{members[0]:,} to {members[-1]:,}"
    upper = {name: _upper(rows, name) for name in ("delivery", "publish")}
    picture, axes = new_axes(
        _finding(rows, upper["delivery"], width), f"{sizes} members, {rows[0]['online']:,} online"
    )
    stays = [row for row in rows if not row.get("is_mixed")]
    seen = set()
    for mode, phase in groupby(rows, key=lambda row: row["mode"]):
        of_phase = list(phase)
        start, end = of_phase[0]["time_s"], of_phase[-1]["time_s"] + width
        label = None if mode in seen else f"mode: {mode}"
        axes.axvspan(start, end, color=STYLES[mode]["color"], alpha=0.10, linewidth=0, label=label)
        seen.add(mode)
    mixed = [row for row in rows if row.get("is_mixed")]
    for number, row in enumerate(mixed):
        axes.axvspan(
            row["time_s"],
            row["time_s"] + width,
            facecolor="white",
            edgecolor=FAINT,
            hatch="////",
            linewidth=0,
            label=None if number else "both modes in one slice",
        )
    curves: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (f"delivery_{upper['delivery']}_ms", f"delivery, {_word(upper['delivery'])}",
         {"color": INK, "linewidth": 2.0}),
        ("delivery_p50_ms", "delivery, median", {"color": INK, "linewidth": 1.2, "linestyle": "--"}),
        (f"publish_{upper['publish']}_ms", f"publisher's reply, {_word(upper['publish'])}",
         {"color": _PUBLISHER, "linewidth": 2.0}),
    )  # fmt: skip
    for key, name, style in curves:
        values = [math.nan if row in mixed or row[key] is None else row[key] for row in rows]
        axes.plot([row["time_s"] + width / 2 for row in rows], values, label=name, **style)
    log_axis(axes.yaxis)
    for begin_s, row in _changes(rows):
        axes.axvline(begin_s, color=STYLES[row["mode"]]["color"], linewidth=1.5)
        text = f" {row['mode']}" + (f", {row['members']:,}" if len(members) > 1 else "")
        axes.annotate(text, (begin_s, 1.01), xycoords=axes.get_xaxis_transform(), fontsize=9.5,
                      color=STYLES[row["mode"]]["color"])  # fmt: skip
    if stays:
        axes.set_xlim(rows[0]["time_s"], rows[-1]["time_s"] + width)
    label_axes(axes, "time since the first publication, s", "time since a publication was due, ms")
    legend(axes)
    return picture


def _changes(rows: Sequence[Row]) -> list[tuple[float, Row]]:
    """When the channel changed, and a row of the state afterwards; the state at the start is the first."""
    found = [(rows[0]["time_s"], rows[0])]
    for before, after in pairwise(rows):
        if (before["mode"], before["members"]) != (after["mode"], after["members"]):
            begin_s = before.get("change_begin_s")
            found.append((after["time_s"] if begin_s is None else begin_s, after))
    return found


def _upper(rows: Sequence[Row], name: str) -> str:
    """p99 where most slices carry it, else the slowest."""
    filled = [row for row in rows if row[f"{name}_p50_ms"] is not None]
    carried = sum(row[f"{name}_p99_ms"] is not None for row in filled)
    return "p99" if carried >= 0.9 * len(filled) else "max"


def _word(key: str) -> str:
    return "slowest of a slice" if key == "max" else key


def _finding(rows: Sequence[Row], upper: str, width: float) -> str:
    modes = [mode for mode, _ in groupby(row["mode"] for row in rows)]
    deliveries = sum(row["deliveries"] for row in rows)
    what = " → ".join(modes) if len(modes) > 1 else f"{modes[0]} all the time"
    finding = f"{what} under load: {deliveries:,} deliveries, none lost, repeated or out of order"
    return finding + _late(rows, upper, width)


def _late(rows: Sequence[Row], upper: str, width: float) -> str:
    """Whether the last slices are slower than the first ones of the same mode."""
    key = f"delivery_{upper}_ms"
    alike = [
        row
        for row in rows
        if row["mode"] == rows[-1]["mode"] and not row.get("is_mixed") and row[key] is not None
    ]
    if len(alike) < 2 * _LATE_SLICES:
        return ""
    early, late = (median(row[key] for row in part) for part in (alike[:_LATE_SLICES], alike[-_LATE_SLICES:]))
    verdict = judge(late, early, noise=_LATE_NOISE)
    seconds = quantity(_LATE_SLICES * width)
    return verdict.choose(
        same="",
        less=f"; the last {seconds} s are faster than the first ({milliseconds(late)} instead of "
        f"{milliseconds(early)}, {_word(upper)})",
        more=f"; but the last {seconds} s are slower than the first ({milliseconds(late)} instead of "
        f"{milliseconds(early)}, {_word(upper)})",
    )
