"""How every picture of the laboratory looks, and what a notebook shows of it."""

from __future__ import annotations

import io
import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's colours, which the colour-blind can tell apart; marker and line differ as well.
# What mostly lies on one of the first two is thin and hollow, so that both are seen.
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
INK = "#222222"
FAINT = "#767676"  # 4.5 : 1 on white
_GRID = "#E4E4E4"
_DPI = 110
_TITLE_LETTERS = 64  # of a line


@dataclass(frozen=True)
class Picture:
    """A finished picture; a notebook shows it by itself.

    Attributes:
        figure: The figure of matplotlib, for changes.
        finding: What it shows, in a sentence: its title.
    """

    figure: Figure
    finding: str

    def save(self, path: str | Path) -> None:
        """Writes it to a file, in the format that its name ends with."""
        self.figure.savefig(path, dpi=_DPI, facecolor="white", bbox_inches="tight")

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
        return buffer.getvalue()


def new_axes(
    finding: str, conditions: str, *, size: tuple[float, float] = (7.6, 4.4)
) -> tuple[Picture, Axes]:
    """An empty picture with its title, which says the finding, and the conditions under it."""
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.grid(True, which="major", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", labelsize=10)
    title = "\n".join(textwrap.wrap(finding, _TITLE_LETTERS))
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK, pad=24)
    axes.text(0, 1.025, conditions, transform=axes.transAxes, fontsize=9.5, color=FAINT)
    return Picture(figure, finding), axes


def plain_numbers(axis: Axis) -> None:
    """Writes 50,000 and 0.1, not powers of ten, at the decades of a logarithmic axis.

    Where it shows less than two of them, also between: one number is no scale.
    """

    def plain(value: float, _: object) -> str:
        return f"{value:,.10g}"

    def between(value: float, _: object) -> str:
        low, high = sorted(axis.get_view_interval())
        if high < 3 * low:  # matplotlib has set even steps there
            return plain(value, _)
        shown = (2, 3, 5, 7) if high < 10 * low else (2, 5) if high < 100 * low else ()
        return plain(value, _) if round(value / 10 ** math.floor(math.log10(value)), 6) in shown else ""

    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(FuncFormatter(between))


def legend(axes: Axes, **options: Any) -> None:
    """A legend without a frame, beside the picture, where it covers nothing."""
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


def quantity(value: float, digits: int = 2) -> str:
    """A number as a person would say it: 1,234 or 0.37."""
    if value >= 100:
        return f"{round(value, digits - len(str(int(value)))):,.0f}"
    return f"{value:.{digits}g}"


def milliseconds(value: float) -> str:
    """A time: 0.37 ms, 12 ms, 3.4 s."""
    return f"{quantity(value / 1e3)}\u00a0s" if value >= 1_000 else f"{quantity(value)}\u00a0ms"
