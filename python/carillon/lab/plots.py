"""Pictures of what `compare` and `simulate` have found about one channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from .capacity import LabError
from .crossing import conditions_of, cross, lines_of, noise_of, twin_of
from .percentiles import SHARES, highest_carried
from .picture import (
    FAINT,
    STYLES,
    label_axes,
    legend,
    legend_below,
    log_axis,
    new_axes,
    new_panels,
)
from .table import rows_of
from .verdict import SINGLE_RUN_NOISE, judge, milliseconds, more_by, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .crossing import Crossover, Points
    from .picture import Picture
    from .table import Row, Table

_WORDS = {"publish": "a publisher's reply", "delivery": "a delivery", "last": "the last subscriber"}
_ONE_IN = {"p90": "ten", "p99": "a hundred", "p999": "a thousand"}
_TICKS = {
    "p10": "10 %",
    "p50": "50 %\nmedian",
    "p90": "90 %",
    "p99": "99 %\n1 in 100",
    "p999": "99.9 %\n1 in 1,000",
}


def plot_cost(table: Table, *, reads_per_publish: float = 0.0, noise: float | None = None) -> Picture:
    """Draws what a publication costs, by members and strategy, and where writing and reading cross.

    Args:
        table: Rows of `compare` or `Simulation.to_row`, of one transport, rate and share of online members.
            Of several rows for one strategy and size the cheapest counts.
        reads_per_publish: Inbox reads per publication, whose time is added to its cost.
        noise: Relative difference that says nothing; by default `noise_of(table)`.

    Raises:
        LabError: The rows differ in more than strategy and members.
    """
    rows = rows_of(table)
    conditions = conditions_of(rows)
    noise = noise_of(rows) if noise is None else noise
    lines = lines_of(rows, reads_per_publish)
    lines = {name: lines[name] for name in STYLES if name in lines}
    crossing = cross(lines.get("write", []), lines.get("read", []), noise)
    conditions += f"; noise {percent(noise)}"
    picture, axes = new_axes(_cost_finding(lines, crossing, noise), conditions)
    for name, points in lines.items():
        axes.plot(*_columns(points), label=name, **STYLES[name])
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis)
    added = f" and of {reads_per_publish:g} inbox reads" if reads_per_publish else ""
    label_axes(axes, "members of the channel", f"CPU of a publication{added}, µs")
    if crossing is not None and crossing.high is not None:
        label = f"{'the lines cross' if crossing.is_seen else 'no difference beyond the noise'}: {crossing}"
        low = crossing.low or crossing.smallest
        if low < crossing.high:
            axes.axvspan(low, crossing.high, color=FAINT, alpha=0.18, linewidth=0, label=label)
        elif crossing.is_seen:
            axes.axvline(low, color=FAINT, linewidth=1, linestyle=":", label=label)
    legend(axes)
    return picture


def plot_latencies(table: Table, *, of: Literal["delivery", "publish", "last"] = "delivery") -> Picture:
    """Draws the distribution of a time, one curve a row, on a logarithmic axis: what a mean would hide.

    A curve ends at the last percentile that has ten publications beyond it. The slowest of all is a mark of
    its own.

    Args:
        table: Rows of `compare` or `Simulation.to_row`; the columns in which they differ name the curves.
        of: The time to draw: of a `delivery`, of `publish` (until the publisher has its reply) or of the
            `last` subscriber.

    Raises:
        LabError: No row has such times.
    """
    rows = [row for row in rows_of(table) if row.get(f"{of}_p50_ms") is not None]
    if not rows:
        raise LabError(f"of: {of!r}; no row has such times")
    names = _names(rows)
    noise = _twin_noise(rows, f"{of}_p50_ms")
    samples = [row["publications"] for row in rows]
    conditions = f"{conditions_of(rows, is_strict=False)}; {quantity(min(samples))} publications a curve"
    if max(samples) > 1.1 * min(samples):
        conditions += " or more"
    if noise > SINGLE_RUN_NOISE:
        conditions += (
            f"; noise: hybrid is a factor of {quantity(1 + noise)} off the strategy whose work it does"
        )
    picture, axes = new_axes(_latencies_finding(rows, names, of, noise), conditions)
    seen: dict[str, int] = {}
    shown = {key for key, _ in SHARES if any(row.get(f"{of}_{key}_ms") is not None for row in rows)}
    ticks = [(-math.log10(1 - share), _TICKS[key]) for key, share in SHARES if key in shown]
    end = ticks[-1][0] + 0.5
    for name, row in zip(names, rows, strict=True):
        style: dict[str, Any] = dict(STYLES.get(row["strategy"], {"marker": "o"}))
        nth = seen[row["strategy"]] = seen.get(row["strategy"], -1) + 1
        if nth:  # a further row of this strategy is thinner, with hollow marks
            style |= {"linewidth": 1.2, "markerfacecolor": "none", "markersize": 6 + 3 * nth}
        carried = [(key, share) for key, share in SHARES if row.get(f"{of}_{key}_ms") is not None]
        points = [(-math.log10(1 - share), row[f"{of}_{key}_ms"]) for key, share in carried]
        axes.plot(*_columns(points), label=name, **style)
        if row.get(f"{of}_max_ms") is not None:
            axes.plot([end], [row[f"{of}_max_ms"]], label="_slowest", **style)
    log_axis(axes.yaxis)
    ticks.append((end, "slowest"))
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    label_axes(axes, "share that waits no longer", f"time until {_WORDS[of]}, ms")
    legend(axes)
    return picture


def plot_trade_off(table: Table, *, reader: Literal["delivery", "last", "inbox"] = "delivery") -> Picture:
    """Draws who waits, by members and strategy: publishers on the left, readers on the right.

    Args:
        table: Rows of `compare` or `Simulation.to_row`.
        reader: The wait of the readers: for a `delivery`, for the `last` subscriber, or for an `inbox` read.

    Raises:
        LabError: The rows differ in more than strategy and members, or have no such times.
    """
    column = "inbox_read_ms" if reader == "inbox" else f"{reader}_p50_ms"
    rows = [row for row in rows_of(table) if row.get(column) is not None]
    if not rows:
        raise LabError(f"reader: {reader!r}; no row has such times")
    conditions = conditions_of(rows)
    key = "p50" if reader == "inbox" else highest_carried(rows, ("publish", reader))
    column = column.replace("p50", key)
    paths = {name: _of_strategy(rows, name) for name in STYLES}
    paths = {name: path for name, path in paths.items() if path}
    words = {
        "delivery": "a subscriber waits",
        "last": "the last subscriber waits",
        "inbox": "an inbox read takes",
    }
    shown = "median" if key == "p50" else f"p{key[1:]}"
    picture, panels = new_panels(
        _trade_off_finding(paths, key, column),
        ["a publisher waits", words[reader]],
        f"{conditions}; {shown} of each",
        size=(9.5, 4.2),
        share_y=True,
    )
    for axes, shown_column in zip(panels, (f"publish_{key}_ms", column), strict=True):
        for name, path in paths.items():
            axes.plot(
                [row["members"] for row in path],
                [row[shown_column] for row in path],
                label=name,
                **STYLES[name],
            )
        for axis in (axes.xaxis, axes.yaxis):
            log_axis(axis)
    label_axes(panels[0], "members of the channel", f"{shown}, ms")
    label_axes(panels[1], "members of the channel")
    legend_below(picture)
    return picture


# ---- what the pictures are made of


def strategies_of(rows: Sequence[Row]) -> list[str]:
    """The strategies of the rows, in the order of their styles."""
    found = {row["strategy"] for row in rows}
    return [name for name in STYLES if name in found]


def _of_strategy(rows: Sequence[Row], name: str) -> list[Row]:
    return sorted((row for row in rows if row["strategy"] == name), key=lambda row: row["members"])


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _cost_finding(lines: dict[str, Points], crossing: Crossover | None, noise: float) -> str:
    write, read = dict(lines.get("write", [])), dict(lines.get("read", []))
    if not write or not read:
        name, points = next(iter(lines.items()))
        return f"A publication to {points[-1][0]:,} members costs {quantity(points[-1][1])} µs ({name})"
    shared = sorted(write.keys() & read.keys())
    if not shared:
        return "What a publication costs, by members"
    most = shared[-1]
    outcomes = {size: judge(read[size], write[size], noise=noise).outcome for size in shared}
    if outcomes[most] == "same":
        return f"At {most:,} members writing and reading cost about the same"
    # What the dearer one costs more is compared with the noise, and so it is what the title says.
    cheap, dear = ("Reading", "writing") if outcomes[most] == "less" else ("Writing", "reading")
    low, high = sorted((read[most], write[most]))
    costs = f"{dear} costs {more_by(high / low)}"
    if len(set(outcomes.values())) == 1:
        return f"{cheap} is cheaper at every size here: at {most:,} members {costs}"
    if crossing is not None and crossing.high is not None:
        return f"Reading is cheaper above {crossing.named('members')}: at {most:,} {costs}"
    return f"{cheap} is cheaper at {most:,} members, where {costs}; at other sizes it is not"


def _latencies_finding(rows: Sequence[Row], names: Sequence[str], of: str, noise: float) -> str:
    key = highest_carried(list(rows), (of,))
    medians = [row[f"{of}_p50_ms"] for row in rows]
    least, most = (medians.index(end(medians)) for end in (min, max))
    tails = [row[f"{of}_{key}_ms"] / row[f"{of}_p50_ms"] for row in rows]
    tail = judge(max(tails), 1.0, noise=SINGLE_RUN_NOISE)
    if len(rows) == 1:
        if key == "p50":
            return f"The median time until {_WORDS[of]} is {milliseconds(medians[0])}"
        if tail.outcome == "same":
            return f"All but one in {_ONE_IN[key]} wait about as long as the median for {_WORDS[of]}"
        times = quantity(tail.value)
        return f"One in {_ONE_IN[key]} waits {times} times as long as the median for {_WORDS[of]}"
    shortest, longest = milliseconds(medians[least]), milliseconds(medians[most])
    ends = f"{shortest} ({names[least]}) to {longest} ({names[most]})" if shortest != longest else shortest
    if judge(medians[most], medians[least], noise=noise).outcome != "same":
        return f"The median time until {_WORDS[of]}: {ends}"
    found = f"The median time until {_WORDS[of]} is {_alike(noise)}: {ends}"
    if key == "p50" or tail.outcome == "same":
        return found
    worst = tails.index(tail.value)
    return f"{found}; one in {_ONE_IN[key]} waits up to {quantity(tail.value)} times as long ({names[worst]})"


def _twin_noise(rows: Sequence[Row], column: str) -> float:
    """The relative difference of a time between rows that do the same work; at least that of single runs."""
    keys = ("transport", "channels", "members", "online", "publish_rate")
    found: dict[tuple[object, ...], float] = {
        (row["strategy"], *(row.get(key) for key in keys)): row[column] for row in rows if row.get(column)
    }
    apart = [SINGLE_RUN_NOISE]
    for row in rows:
        if row["strategy"] == "hybrid" and row.get(column):
            twin = found.get((twin_of(row), *(row.get(key) for key in keys)))
            if twin:
                low, high = sorted((row[column], twin))
                apart.append(high / low - 1)
    return max(apart)


def _alike(noise: float) -> str:
    is_rough = noise > SINGLE_RUN_NOISE
    return f"the same within the noise, a factor of {quantity(1 + noise)}" if is_rough else "about the same"


def _trade_off_finding(paths: dict[str, list[Row]], key: str, column: str) -> str:
    of_all = [{row["members"]: row for row in path} for path in paths.values()]
    write, read = ({row["members"]: row for row in paths.get(name, [])} for name in ("write", "read"))
    shared = sorted(write.keys() & read.keys())
    if not shared:
        return "How long publishers and readers wait, by members"
    most = shared[-1]
    parts = []
    for who, each in (("publishers wait", f"publish_{key}_ms"), ("readers", column)):
        first, second = write[most][each], read[most][each]
        noise = _twin_noise([path[most] for path in of_all if most in path], each)
        is_same = judge(first, second, noise=noise).outcome == "same"
        parts.append(
            f"{who} {milliseconds(first)} on write and {milliseconds(second)} on read"
            + (f", {_alike(noise)}" if is_same else "")
        )
    return f"At {most:,} members {'; '.join(parts)}"


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
