"""The look of every picture of the laboratory: titles, axes, legends, alternative texts."""

from __future__ import annotations

import io
import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter, NullLocator

from .verdict import span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# The colours of Okabe and Ito, which colour-blind readers can tell apart; marker and line differ as well.
# Strategies whose lines mostly lie on those of write or read are thin and hollow, so that both are visible.
STYLES: dict[str, dict[str, Any]] = {
    "write": {"color": "#0072B2", "marker": "o", "linestyle": "-", "linewidth": 2.6, "markersize": 6},
    "read": {"color": "#D55E00", "marker": "s", "linestyle": "--", "linewidth": 2.6, "markersize": 6},
    "hybrid": {
        "color": "#007A58",
        "marker": "D",
        "linestyle": "-",
        "linewidth": 1.2,
        "markersize": 9,
        "markerfacecolor": "none",
    },
    "adaptive": {
        "color": "#A3457F",
        "marker": "^",
        "linestyle": ":",
        "linewidth": 1.4,
        "markersize": 11,
        "markerfacecolor": "none",
    },
}
TRANSPORT_STYLES: dict[str, dict[str, Any]] = {
    "ws": {"color": "#0072B2", "marker": "o", "linestyle": "-", "label": "WebSocket"},
    "sse": {"color": "#007A58", "marker": "^", "linestyle": "--", "label": "SSE"},
    "poll": {"color": "#D55E00", "marker": "s", "linestyle": ":", "label": "long-poll"},
}
INK = "#222222"
FAINT = "#767676"  # a contrast of 4.5 : 1 on white
_GRID = "#E4E4E4"
_DPI = 110
_TITLE_LETTERS_PER_INCH = 9
_CONDITIONS_LETTERS_PER_INCH = 14
_SUBS = (1, 2, 5)
_TICKS_MIN, _TICKS_MAX = 3, 7


@dataclass(frozen=True)
class Picture:
    """A finished picture, which a notebook shows by itself.

    Attributes:
        figure: The figure of matplotlib, for changes.
        finding: The title: what the picture shows, in a sentence.
    """

    figure: Figure
    finding: str

    @property
    def description(self) -> str:
        """The alternative text, for readers who do not see the picture."""
        return _described(self.figure, self.finding)

    def save(self, path: str | Path) -> None:
        """Writes the picture to a file. The ending of the name chooses the format."""
        self.figure.savefig(path, dpi=_DPI, facecolor="white", bbox_inches="tight")

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
        return buffer.getvalue(), {"alt": self.description}


def new_axes(
    finding: str, conditions: str = "", *, size: tuple[float, float] = (7.6, 4.4)
) -> tuple[Picture, Axes]:
    """Creates an empty picture.

    Args:
        finding: Its title: what it shows.
        conditions: The line below the title: the circumstances of the measurement.
        size: Width and height, inches.
    """
    picture, (axes,) = new_panels(finding, [""], conditions, size=size)
    return picture, axes


def new_panels(
    finding: str,
    titles: Sequence[str],
    conditions: str = "",
    *,
    size: tuple[float, float] = (9.5, 3.6),
    rows: int = 1,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Picture, list[Axes]]:
    """Creates a picture with several panels, and one title for all of them.

    Args:
        finding: The title: what the picture shows.
        titles: Title of each panel; the number of titles is the number of panels.
        conditions: The line below the title: the circumstances of the measurement.
        size: Width and height, inches.
        rows: Rows of panels.
        share_x: All panels have the horizontal axis of the first one.
        share_y: All panels have the vertical axis of the first one.
    """
    figure = Figure(figsize=size, layout="constrained")
    columns = math.ceil(len(titles) / rows)
    grid = figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)
    panels: list[Axes] = list(grid.flat)[: len(titles)]
    for axes, title in zip(panels, titles, strict=True):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(FAINT)
        axes.grid(True, which="major", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, which="both", labelsize=10)
        if title:
            axes.set_title(title, loc="left", fontsize=10, color=INK)
    lines = textwrap.wrap(finding, round(size[0] * _TITLE_LETTERS_PER_INCH))
    below_lines = textwrap.wrap(conditions, round(size[0] * _CONDITIONS_LETTERS_PER_INCH))
    height = 0.02 + (0.235 * len(lines) + 0.03 * bool(below_lines) + 0.19 * len(below_lines)) / size[1]
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, 0, 1, 1 - height))
    figure.text(0.01, 0.995, "\n".join(lines), va="top", fontsize=12.5, fontweight="bold", color=INK)
    if conditions:
        below = 0.995 - 0.235 * len(lines) / size[1]
        figure.text(0.01, below, "\n".join(below_lines), va="top", fontsize=9.5, color=FAINT)
    return Picture(figure, finding), panels


class _PlainLogLocator(Locator):
    """Ticks of a logarithmic axis: 1, 2, 5 of each decade; only decades where that is too much.

    An axis of less than a decade that meets fewer than three of them has even steps.
    """

    def __call__(self) -> Any:
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The ticks between two values."""
        if not 0 < vmin < vmax < math.inf:
            return []
        decades = range(math.floor(math.log10(vmin)), math.ceil(math.log10(vmax)) + 1)
        for subs in (_SUBS, (1,)):
            ticks = [sub * 10.0**decade for decade in decades for sub in subs]
            inside = [tick for tick in ticks if vmin * 0.999 <= tick <= vmax * 1.001]
            if len(inside) < _TICKS_MIN and subs == _SUBS:
                return _even_ticks(vmin, vmax)
            if len(inside) <= _TICKS_MAX:
                break
        return inside


def _even_ticks(low: float, high: float) -> list[float]:
    """At least three ticks within a range, in even steps."""
    inside: list[float] = []
    for steps in range(_TICKS_MIN, _TICKS_MAX + 1):
        ticks = MaxNLocator(steps, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        inside = [float(tick) for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= _TICKS_MIN:
            break
    return inside


def log_axis(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Makes an axis logarithmic, with ticks at 1, 2 and 5 of each decade and plain numbers: 50,000 and 0.1.

    Args:
        axis: The `xaxis` or `yaxis` of axes.
        ticks: Values to label instead, for example the sizes that were measured.
    """
    axis._set_axes_scale("log")  # type: ignore[attr-defined]
    if ticks:
        axis.set_ticks(list(ticks))
    else:
        axis.set_major_locator(_PlainLogLocator())
    plain_numbers(axis)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plain_numbers(axis: Axis) -> None:
    """Labels an axis with 50,000 and 0.1, not with powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def label_axes(axes: Axes, across: str, up: str = "") -> None:
    """Names both axes; each name ends with its unit. A logarithmic axis says so, if it already is one."""
    axes.set_xlabel(across + _scale_of(axes.xaxis), color=INK)
    if up:
        axes.set_ylabel(up + _scale_of(axes.yaxis), color=INK)


def _scale_of(axis: Axis) -> str:
    return " (log scale)" if axis.get_scale() == "log" else ""


def legend(axes: Axes, **options: Any) -> None:
    """Adds a legend without a frame beside the axes, where it covers nothing."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        alignment="left",
        handlelength=2.6,
        **options,
    )


def legend_below(picture: Picture, **options: Any) -> None:
    """Adds one legend below all panels, with each label of the panels once."""
    found: dict[str, Any] = {}
    for axes in picture.figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    options = {"handles": list(found.values()), "labels": list(found), "ncols": len(found)} | options
    picture.figure.legend(
        loc="outside lower center", frameon=False, fontsize=10, labelcolor=INK, handlelength=2.6, **options
    )


def _described(figure: Figure, finding: str) -> str:
    parts = [finding.rstrip(".").replace("\u00a0", " ") + "."]
    for axes in figure.axes:
        names = [axis.get_label_text() for axis in (axes.yaxis, axes.xaxis) if axis.get_label_text()]
        title = axes.get_title(loc="left")
        words = ": ".join(filter(None, [title, " by ".join(names)]))
        # Without a name of the axis, heights are places and not values.
        has_values = any(each.get_ylabel() for each in axes.get_shared_y_axes().get_siblings(axes))
        values: dict[str, Any] = {
            str(line.get_label()): line.get_ydata()
            for line in axes.lines
            if has_values
            and line.get_transform() == axes.transData  # others mark a value across the whole axis
        }
        series = []
        for label in axes.get_legend_handles_labels()[1]:
            found = [float(value) for value in values.get(label, ()) if math.isfinite(value)]
            series.append(f"{label} {span(min(found), max(found))}" if len(found) > 1 else label)
        parts.append(words + (f"; {', '.join(series)}." if series else "."))
    return " ".join(part.replace("\n", " ") for part in parts)
