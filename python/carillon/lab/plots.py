"""Pictures of what `compare`, `simulate` and `watch_switch` have found."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from .capacity import LabError
from .percentiles import SHARES
from .picture import FAINT, INK, STYLES, legend, milliseconds, new_axes, plain_numbers, quantity
from .table import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .picture import Picture
    from .table import Row, Table

Points = list[tuple[float, float]]

_TIE = 1.05  # what lies closer together is noise

_CONDITIONS = ("transport", "publish_rate", "payload", "channels")
_WORDS = {"publish": "the publisher's reply", "delivery": "a delivery", "last": "the last subscriber"}


def plot_cost(table: Table, *, reads_per_publish: float = 0.0) -> Picture:
    """What a publication costs, by members and strategy, with the crossover of writing and reading marked.

    Args:
        table: Rows of `compare` or `Simulation.to_row`, of one transport, rate and share of online members.
        reads_per_publish: Inboxes that are read for each publication, whose time is added.

    Raises:
        LabError: The rows differ in more than strategy and members.
    """
    rows = rows_of(table)
    conditions = _conditions(rows)
    lines = {name: _line(rows, name, reads_per_publish) for name in _strategies(rows)}
    cross = _crossing(lines.get("write", []), lines.get("read", []))
    picture, axes = new_axes(_cost_finding(lines, cross), conditions)
    for name, points in lines.items():
        axes.plot(*_columns(points), label=name, **STYLES[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    axes.set_xlabel("members of the channel", color=INK)
    added = f" and of {reads_per_publish:g} inbox reads" if reads_per_publish else ""
    axes.set_ylabel(f"CPU of a publication{added}, µs", color=INK)
    if cross is not None:
        members, cost = cross
        axes.plot(
            [members], [cost], "o", markersize=15, markerfacecolor="none", color=INK, markeredgewidth=1.5
        )
        axes.axvline(members, color=FAINT, linewidth=1, linestyle=":")
        axes.annotate(
            f"crossover: {quantity(members)} members",
            (members, 0.97),
            xycoords=axes.get_xaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="top",
            color=INK,
            fontsize=10,
        )
    legend(axes)
    return picture


def crossover(table: Table, *, reads_per_publish: float = 0.0) -> float | None:
    """Above how many members reading costs less than writing; None: at no size in the table they cross.

    Args:
        table: As for `plot_cost`, which marks the same place.
        reads_per_publish: Inboxes that are read for each publication, whose time is added.

    Raises:
        LabError: The rows differ in more than strategy and members.
    """
    rows = rows_of(table)
    _conditions(rows)
    cross = _crossing(_line(rows, "write", reads_per_publish), _line(rows, "read", reads_per_publish))
    return cross[0] if cross is not None else None


def plot_latencies(table: Table, *, of: Literal["delivery", "publish", "last"] = "delivery") -> Picture:
    """The distribution of a time, one curve a row, on a logarithmic axis: what a mean would hide.

    Args:
        table: Rows of `compare` or `Simulation.to_row`; what they differ in names the curves.
        of: `delivery`, `publish` (until the publisher has its reply) or `last` (subscriber).

    Raises:
        LabError: No row has such times.
    """
    rows = [row for row in rows_of(table) if row.get(f"{of}_p50_ms") is not None]
    if not rows:
        raise LabError(f"of: {of!r}; no row has such times")
    names = _names(rows)
    tails = [row[f"{of}_p99_ms"] / row[f"{of}_p50_ms"] for row in rows]
    worst = max(range(len(rows)), key=lambda number: tails[number])
    finding = (
        f"One in a hundred waits {quantity(tails[worst])} times as long as the median for {_WORDS[of]}"
        + (f" ({names[worst]})" if len(rows) > 1 else "")
    )
    picture, axes = new_axes(finding, _conditions(rows, is_strict=False))
    seen: dict[str, int] = {}
    for name, row in zip(names, rows, strict=True):
        style: dict[str, Any] = dict(STYLES.get(row["strategy"], {"marker": "o"}))
        shade = seen[row["strategy"]] = seen.get(row["strategy"], -1) + 1
        points = [(-math.log10(1 - share), row[f"{of}_{key}_ms"]) for key, share in SHARES]
        axes.plot(*_columns(points), label=name, alpha=max(0.4, 1 - 0.35 * shade), **style)
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)
    axes.set_xticks(
        [-math.log10(1 - share) for _, share in SHARES],
        ["10 %", "50 %\nmedian", "90 %", "99 %\n1 in 100", "99.9 %\n1 in 1,000"],
    )
    axes.set_xlabel("share that waits no longer", color=INK)
    axes.set_ylabel(f"time until {_WORDS[of]}, ms", color=INK)
    legend(axes)
    return picture


def plot_trade_off(table: Table, *, reader: Literal["delivery", "last", "inbox"] = "delivery") -> Picture:
    """Who waits: the publisher (to the right) or the readers (upwards). One path a strategy, by members.

    Args:
        table: Rows of `compare` or `Simulation.to_row`.
        reader: Upwards is the p99 of a `delivery`, of the `last` subscriber, or of an `inbox` read.

    Raises:
        LabError: The rows differ in more than strategy and members, or have no such times.
    """
    rows = rows_of(table)
    conditions = _conditions(rows)
    column = "inbox_read_p99_ms" if reader == "inbox" else f"{reader}_p99_ms"
    paths = {
        name: [row for row in _of_strategy(rows, name) if row.get(column) is not None]
        for name in _strategies(rows)
    }
    paths = {name: path for name, path in paths.items() if path}
    if not paths:
        raise LabError(f"reader: {reader!r}; no row has such times")
    picture, axes = new_axes(_trade_off_finding(paths, column), conditions)
    labelled: list[tuple[str, tuple[float, float]]] = []
    for name, path in paths.items():
        points = [(row["publish_p99_ms"], row[column]) for row in path]
        axes.plot(*_columns(points), label=name, **STYLES[name])
        first, last = f"{path[0]['members']:,}", f"{path[-1]['members']:,}"
        labels = [(first, points[0]), (last, points[-1])]
        if _are_near(points[0], points[-1]):
            labels = [(f"{first} to {last}" if len(path) > 1 else first, points[-1])]
        for label, point in labels:
            if not any(label in text and _are_near(place, point) for text, place in labelled):
                labelled.append((label, point))
                style: dict[str, Any] = {"xytext": (9, 7), "textcoords": "offset points", "fontsize": 9}
                axes.annotate(label, point, color=STYLES[name]["color"], **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    words = {
        "delivery": "a subscriber waits",
        "last": "the last subscriber waits",
        "inbox": "an inbox read takes",
    }
    axes.set_xlabel("the publisher waits, p99, ms  →", color=INK)
    axes.set_ylabel(f"{words[reader]}, p99, ms  →", color=INK)
    axes.margins(0.15)
    legend(axes, title="numbers: members")
    return picture


def plot_switch(table: Table) -> Picture:
    """The timeline of a live channel whose strategy, or whose mode, changes under load.

    Args:
        table: What `watch_switch` has returned.
    """
    rows = rows_of(table)
    if not rows or "mode" not in rows[0]:
        raise LabError("table: it has no modes; give what watch_switch has returned")
    modes = [
        rows[0]["mode"],
        *(after["mode"] for before, after in pairwise(rows) if before["mode"] != after["mode"]),
    ]
    deliveries = sum(row["deliveries"] for row in rows)
    finding = (
        f"{' → '.join(modes)} under load: {deliveries:,} deliveries, none lost, repeated or out of order"
    )
    members = sorted({row["members"] for row in rows})
    span = f"{members[0]:,}" if len(members) == 1 else f"{members[0]:,} to {members[-1]:,}"
    picture, axes = new_axes(finding, f"{span} members, {rows[0]['online']:,} online")
    width = rows[1]["time_s"] - rows[0]["time_s"] if len(rows) > 1 else 1.0
    for row in rows:
        colour = STYLES[row["mode"]]["color"]
        axes.axvspan(row["time_s"], row["time_s"] + width, color=colour, alpha=0.08, linewidth=0)
    curves: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("delivery_p99_ms", "delivery, p99", {"color": INK, "linewidth": 2.0}),
        ("delivery_p50_ms", "delivery, p50", {"color": INK, "linewidth": 1.2, "linestyle": "--"}),
        ("publish_p99_ms", "publisher's reply, p99", {"color": "#CC79A7", "linewidth": 2.0}),
    )
    for key, name, style in curves:
        points = [(row["time_s"] + width / 2, row[key]) for row in rows if row[key] is not None]
        if points:
            axes.plot(*_columns(points), label=name, **style)
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.08)  # room for what is written at the top
    top = high * (high / low) ** 0.06
    starts = [rows[0], *(after for before, after in pairwise(rows) if before["mode"] != after["mode"])]
    for row in starts:
        axes.axvline(row["time_s"], color=STYLES[row["mode"]]["color"], linewidth=1.5)
        label = f" {row['mode']}" + (f", {row['members']:,}" if len(members) > 1 else "")
        axes.text(row["time_s"], top, label, va="top", fontsize=10, color=STYLES[row["mode"]]["color"])
    axes.set_xlim(rows[0]["time_s"], rows[-1]["time_s"] + width)
    axes.set_xlabel("seconds of publishing", color=INK)
    axes.set_ylabel("time from when it was due, ms", color=INK)
    legend(axes)
    return picture


def plot_capacity(table: Table) -> Picture:
    """How many gateways it takes, by connections and strategy, and what runs out first.

    Args:
        table: Rows of `Simulation.to_row`.

    Raises:
        LabError: The rows are no simulations.
    """
    rows = rows_of(table)
    if not rows or "gateways_needed" not in rows[0]:
        raise LabError("table: it has no gateways; give rows of Simulation.to_row")
    paths = {
        name: sorted((row for row in rows if row["strategy"] == name), key=lambda row: row["online"])
        for name in _strategies(rows)
    }
    last = [path[-1] for path in paths.values()]
    overloaded = [row["strategy"] for row in last if row["bottleneck"] == "broker"]
    cheapest = min(last, key=lambda row: (row["bottleneck"] == "broker", row["gateways_needed"]))
    finding = f"{quantity(cheapest['online'])} connections need {cheapest['gateways_needed']:,} gateways"
    if len(overloaded) < len(last):
        finding += f" (first to run out: {cheapest['bottleneck']})"
    if overloaded:
        finding += f"; the broker cannot keep up with {' and '.join(overloaded)}"
    picture, axes = new_axes(finding, _conditions(rows, is_strict=False))
    for name, path in paths.items():
        points = [(row["online"], row["gateways_needed"]) for row in path]
        axes.plot(*_columns(points), label=name, **STYLES[name])
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    axes.set_xlabel("connections", color=INK)
    axes.set_ylabel("gateways needed", color=INK)
    legend(axes)
    return picture


# ---- what the pictures are made of


def _strategies(rows: Sequence[Row]) -> list[str]:
    found = {row["strategy"] for row in rows}
    return [name for name in STYLES if name in found]


def _of_strategy(rows: Sequence[Row], name: str) -> list[Row]:
    return sorted((row for row in rows if row["strategy"] == name), key=lambda row: row["members"])


def _line(rows: Sequence[Row], name: str, reads_per_publish: float) -> Points:
    return [
        (row["members"], row["publish_us"] + reads_per_publish * 1e3 * (row["inbox_read_ms"] or 0.0))
        for row in _of_strategy(rows, name)
    ]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _crossing(write: Points, read: Points) -> tuple[float, float] | None:
    """Where writing becomes dearer than reading, between two measured sizes, on logarithmic axes."""
    shared = sorted({x for x, _ in write} & {x for x, _ in read})
    costs = [(x, math.log(dict(write)[x]), math.log(dict(read)[x])) for x in shared]
    found = None
    for (x0, write0, read0), (x1, write1, read1) in pairwise(costs):
        gap0, gap1 = write0 - read0, write1 - read1
        if gap0 < 0 <= gap1:
            share = gap0 / (gap0 - gap1)
            x = math.exp(math.log(x0) + share * (math.log(x1) - math.log(x0)))
            found = x, math.exp(write0 + share * (write1 - write0))
    return found


def _cost_finding(lines: dict[str, Points], cross: tuple[float, float] | None) -> str:
    write, read = lines.get("write"), lines.get("read")
    if not write or not read:
        name, points = next(iter(lines.items()))
        return f"A publication to {points[-1][0]:,} members costs {quantity(points[-1][1])} µs ({name})"
    members = max({x for x, _ in write} & {x for x, _ in read}, default=0)
    if not members:
        return "What a publication costs, by members"
    ratio = dict(write)[members] / dict(read)[members]
    if max(ratio, 1 / ratio) < _TIE:
        return f"At {members:,} members writing and reading cost about the same"
    if cross is not None:
        return f"Reading is cheaper above {quantity(cross[0])} members: {_less(ratio)} at {members:,}"
    if ratio > 1:
        return f"Reading is cheaper at every size here: {_less(ratio)} at {members:,}"
    return f"Writing is cheaper at every size here: {_less(1 / ratio)} at {members:,}"


def _are_near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(math.log10(a / b)) < 0.1 for a, b in zip(one, other, strict=True))


def _less(ratio: float) -> str:
    return f"{1 - 1 / ratio:.0%} less" if ratio < 2 else f"{quantity(ratio)} times less"


def _trade_off_finding(paths: dict[str, list[Row]], column: str) -> str:
    if "write" not in paths or "read" not in paths:
        return "Who waits: publishers or readers"
    write, read = paths["write"][-1], paths["read"][-1]
    if write["publish_p99_ms"] > read["publish_p99_ms"] and write[column] < read[column]:
        return (
            f"Writing makes publishers wait ({milliseconds(write['publish_p99_ms'])}), "
            f"reading the readers ({milliseconds(read[column])})"
        )
    return (
        f"At {write['members']:,} members: publisher {milliseconds(write['publish_p99_ms'])} written, "
        f"{milliseconds(read['publish_p99_ms'])} read"
    )


def _conditions(rows: Sequence[Row], *, is_strict: bool = True) -> str:
    """What all rows have in common, in words."""
    if not rows:
        raise LabError("table: it has no rows")
    shared = {}
    for name in _CONDITIONS:
        values = {row.get(name) for row in rows}
        if len(values) == 1:
            shared[name] = values.pop()
        elif is_strict:
            raise LabError(f"table: its rows differ in {name} ({_list(values)}): choose those of one")
    shares = {
        round(row.get("online_share", row["online"] / row["members"]), 2)
        for row in rows
        if row["members"] >= 100
    }
    if len(shares) > 1 and is_strict:
        raise LabError(f"table: its rows differ in the share that is online ({_list(shares)}): choose one")
    words = []
    if len(shares) == 1:
        words.append(f"{shares.pop():.0%} online")
    if "transport" in shared:
        words.append(f"over {shared['transport']}")
    if "publish_rate" in shared:
        words.append(f"{shared['publish_rate']:g} publications a second")
    if "payload" in shared:
        words.append(f"{shared['payload']:,} bytes each")
    if shared.get("channels", 1) not in (1, None):
        words.append(f"{shared['channels']:,} channels")
    return ", ".join(words)


def _names(rows: Sequence[Row]) -> list[str]:
    """What each row is called: by what they differ in."""
    keys = ("strategy", "transport", "members", "online", "channels")
    differing = [key for key in keys if len({row.get(key) for row in rows}) > 1] or ["strategy"]
    if "members" in differing and "online" in differing:
        differing.remove("online")
    return [", ".join(_named(row, key) for key in differing) for row in rows]


def _named(row: Row, key: str) -> str:
    value = row[key]
    return f"{value:,} {key}" if isinstance(value, int) else str(value)


def _list(values: set[object] | set[float]) -> str:
    return ", ".join(sorted(str(value) for value in values))
