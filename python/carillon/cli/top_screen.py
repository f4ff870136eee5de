"""What `carillon top` draws: lines that fit the terminal, and the terminal that shows them in place."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from ..logs import one_line
from ..server_figures import Figures, sum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from ..metrics_page import Histogram

_NONE = "-"
_SHORTEST_NAME = 10
_OBJECTIVES = ("availability", "latency")
_WINDOWS = ("5m", "1h", "6h")
_WITHOUT_ACCENTS = str.maketrans({"µ": "u", "…": "~"})

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # alternate screen, cursor hidden, no wrap
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one server.

    Attributes:
        name: Its name on the screen.
        figures: Its figures; None if it did not answer.
        failure: Why it did not answer; empty if it did.
    """

    name: str
    figures: Figures | None = None
    failure: str = ""


class _Column(NamedTuple):
    title: str
    width: int
    value: Callable[[Figures], str]


def in_thousands(value: float | None) -> str:
    """Returns a number for people: `950`, `1.2k`, `3.4M`."""
    if value is None:
        return _NONE
    if value < 1000 and value == int(value):
        return str(int(value))
    return _scaled(value, ("", "k", "M", "G", "T", "P"))


def in_bytes(value: float | None) -> str:
    """Returns a size for people: `512 B`, `3.4 MB`."""
    if value is None:
        return _NONE
    if round(value) < 1000:
        return f"{value:.0f} B"
    return _scaled(value, (" B", " kB", " MB", " GB", " TB", " PB"))


def in_time(seconds: float | None) -> str:
    """Returns a duration for people: `180 µs`, `1.2 ms`, `3.4 s`, `25 min`."""
    if seconds is None:
        return _NONE
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return _scaled(seconds * 1e6, (" µs", " ms"))
    if seconds < 999.5:
        return _scaled(seconds, (" s",))
    return f"{seconds / 60:.0f} min" if seconds < 59_970 else f"{seconds / 3600:.0f} h"


def _scaled(value: float, units: Sequence[str]) -> str:
    unit = 0
    while round(value) >= 1000 and unit < len(units) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f}{units[unit]}" if value < 9.95 else f"{value:.0f}{units[unit]}"


def _quantile(histogram: Histogram | None, share: float) -> str:
    return in_time(histogram.quantile(share) if histogram else None)


def _total(table: Mapping[str, float] | None) -> str:
    return in_thousands(sum(table.values()) if table is not None else None)


def _state(figures: Figures) -> str:
    if not figures.is_store_up:
        return "store down"
    return "draining" if figures.is_draining else "up"


def _descriptors(figures: Figures) -> str:
    return f"{in_thousands(figures.open_descriptors)}/{in_thousands(figures.max_descriptors)}"


def _burn(objective: str, window: str) -> _Column:
    title = f"{objective} {window}" if window == _WINDOWS[0] else window
    return _Column(
        title,
        max(6, len(title) + 1),
        lambda figures: in_thousands(figures.burn_rates.get(objective, {}).get(window)),
    )


def _budget(objective: str) -> _Column:
    def value(figures: Figures) -> str:
        left = figures.budgets.get(objective)
        return _NONE if left is None else f"{in_thousands(left * 100)}%" if left >= 0 else "spent"

    return _Column("budget", 7, value)


_CLIENTS = (
    _Column("connections", 12, lambda figures: _total(figures.connections)),
    _Column("subscriptions", 14, lambda figures: in_thousands(figures.subscriptions)),
    _Column("channels", 9, lambda figures: in_thousands(figures.channels)),
    _Column("memory", 7, lambda figures: in_bytes(figures.memory_bytes)),
    _Column("descriptors", 12, _descriptors),
    _Column("state", 11, _state),
)
_DELIVERIES = (
    _Column("publications/s", 15, lambda figures: in_thousands(figures.publications_per_s)),
    _Column("deliveries/s", 13, lambda figures: in_thousands(figures.deliveries_per_s)),
    _Column("bytes/s", 8, lambda figures: in_bytes(figures.bytes_per_s)),
    _Column("drops/s", 8, lambda figures: _total(figures.drops_per_s)),
    _Column("latency p50", 12, lambda figures: _quantile(figures.publish_to_socket, 0.5)),
    _Column("p99", 8, lambda figures: _quantile(figures.publish_to_socket, 0.99)),
)
_LOOPS = (
    _Column("behind", 7, lambda figures: in_thousands(figures.slowest_publications)),
    _Column("lag", 8, lambda figures: in_time(figures.slowest_seconds)),
    _Column("cpu", 6, lambda figures: _NONE if figures.cores is None else f"{figures.cores * 100:.0f}%"),
    _Column("turn p50", 9, lambda figures: _quantile(figures.turn, 0.5)),
    _Column("p99", 8, lambda figures: _quantile(figures.turn, 0.99)),
    _Column("loop lag p99", 13, lambda figures: _quantile(figures.loop_lag, 0.99)),
    _Column("store p99", 10, lambda figures: _quantile(figures.store_call, 0.99)),
)
_BUDGETS = tuple(
    column
    for objective in _OBJECTIVES
    for column in (*(_burn(objective, window) for window in _WINDOWS), _budget(objective))
)


def screen(rows: Sequence[Row], columns: int) -> list[str]:
    """Returns the lines of one screen.

    Args:
        rows: The servers.
        columns: Width of the terminal; no line is longer.
    """
    answered = [row.figures for row in rows if row.figures is not None]
    total = sum_of(answered) if answered else None
    lines = _table("clients", rows, total, _CLIENTS, columns, is_first=True)
    if total is None:
        return lines
    lines += ["", *_table("deliveries", rows, total, _DELIVERIES, columns)]
    lines += ["", *_table("slowest and loops", rows, total, _LOOPS, columns)]
    lines += ["", *_table("burn rates", rows, total, _BUDGETS, columns, total_name="worst")]
    lines += ["", _details("connections", total.connections, columns)]
    lines.append(_details("drops/s", total.drops_per_s, columns))
    return lines


def _table(
    title: str,
    rows: Sequence[Row],
    total: Figures | None,
    shown: Sequence[_Column],
    columns: int,
    *,
    is_first: bool = False,
    total_name: str = "sum",
) -> list[str]:
    """A row for each server, and one of all of them. The first table has those that did not answer."""
    room = max(_SHORTEST_NAME, columns - sum(column.width for column in shown))
    names = [title, *(row.name for row in rows)]
    width = min(room, max(len(name) for name in names))

    def line(name: str, values: Sequence[str]) -> str:
        cells = (value.rjust(column.width) for value, column in zip(values, shown, strict=True))
        return _cut(_short(name, width).ljust(width) + "".join(cells), columns)

    def values(figures: Figures) -> list[str]:
        return [column.value(figures) for column in shown]

    lines = [line(title, [column.title for column in shown])]
    for row in rows:
        if row.figures is not None:
            lines.append(line(row.name, values(row.figures)))
        elif is_first:
            name = _short(row.name, width).ljust(width)
            lines.append(_cut(f"{name}  {one_line(row.failure)}", columns))
    if len(rows) > 1 and total is not None:
        lines.append(line(total_name, values(total)))
    return lines


def _details(title: str, table: Mapping[str, float] | None, columns: int) -> str:
    """One line with the parts of a sum that are not 0."""
    parts = {one_line(name): value for name, value in (table or {}).items() if value}
    told = ", ".join(f"{name} {in_thousands(value)}" for name, value in parts.items())
    return _cut(f"{title}: {told or (_NONE if table is None else 'none')}", columns)


def _short(name: str, width: int) -> str:
    """A name with its middle cut out: hosts of one cluster differ at the front, ports at the end."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _cut(line: str, columns: int) -> str:
    line = line.rstrip()
    return line if len(line) <= columns else line[: max(columns - 1, 0)] + "…"


def _as_shown(text: str) -> str:
    """The text in characters that standard output can show, at the same width."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_WITHOUT_ACCENTS).encode(encoding, "replace").decode(encoding)
    return text


def print_screen(rows: Sequence[Row]) -> None:
    """Prints one screen as plain text."""
    for line in screen(rows, shutil.get_terminal_size().columns):
        print(_as_shown(line))


class Terminal:
    """Draws screens in place, on the alternate screen. At the end of the block the earlier one is back."""

    def __init__(self) -> None:
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Shows again what was there before; the next screen takes the terminal once more."""
        if self._is_open:
            self._is_open = False
            _write(_LEAVE)

    def draw(self, rows: Sequence[Row], foot: str) -> None:
        """Draws a screen.

        Args:
            rows: The servers.
            foot: Text of the last line.
        """
        size = shutil.get_terminal_size()
        lines = screen(rows, size.columns)
        room = size.lines - 1
        if len(lines) > room:
            hidden = len(lines) - room + 1
            lines = [
                *lines[: room - 1],
                _cut(f"({hidden} more lines: make the terminal higher)", size.columns),
            ]
        lines.append(_cut(foot, size.columns))
        if not self._is_open:
            self._is_open = True
            _write(_ENTER)
        _write("\x1b[H" + "\r\n".join(f"{_as_shown(line)}\x1b[K" for line in lines) + "\x1b[J")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
