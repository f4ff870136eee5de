"""Pictures of what `simulate` and `check_model` have found about fleets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capacity import LabError
from .crossing import conditions_of
from .model_check import error_of
from .picture import FAINT, STYLES, label_axes, legend, legend_below, log_axis, new_axes, new_panels
from .plots import strategies_of
from .table import rows_of
from .verdict import counted, judge, listed, milliseconds, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .picture import Picture
    from .table import Row, Table

_LOADS = ("cores", "network", "memory")
_RESOURCES: dict[str, dict[str, Any]] = {
    "cores": {"label": "for cores", "color": "#222222", "marker": "o"},
    "network": {"label": "for network", "color": "#2B8CC4", "marker": "^", "linestyle": "--"},
    "memory": {"label": "for memory", "color": "#B5548C", "marker": "v", "linestyle": "-."},
    "connections": {"label": "for the limit of connections (an input)", "color": FAINT, "linewidth": 1},
}
# Name in the legend, colour and mark of each figure of `check_model`.
_CHECKED = {
    "publish_us": ("CPU of a publication", "#222222", "^"),
    "publish_p50_ms": ("publisher, median", "#B5548C", "o"),
    "publish_p90_ms": ("publisher, p90", "#B5548C", "s"),
    "delivery_p50_ms": ("delivery, median", "#2B8CC4", "o"),
    "delivery_p90_ms": ("delivery, p90", "#2B8CC4", "s"),
    "last_p50_ms": ("last subscriber, median", "#C77C00", "o"),
}


def plot_capacity(table: Table) -> Picture:
    """Draws how many gateways each resource asks for, and how busy the broker is, by connections.

    The number of gateways that `Fleet.connections_max` asks for is an input, not a finding: it is a thin
    line.

    Args:
        table: Rows of `Simulation.to_row`.

    Raises:
        LabError: The rows are not simulations.
    """
    rows = rows_of(table)
    if not rows or "gateways_needed" not in rows[0]:
        raise LabError("table: it has no gateways; give rows of Simulation.to_row")
    paths = {
        name: sorted((row for row in rows if row["strategy"] == name), key=lambda row: row["online"])
        for name in strategies_of(rows)
    }
    last = [path[-1] for path in paths.values()]
    has_broker = any(row["broker_utilisation_max"] is not None for row in rows)
    titles = ["gateways, by what they need (of the strategies the most)"] + [
        "busiest partition of the broker"
    ] * has_broker
    picture, panels = new_panels(
        _capacity_finding(last), titles, conditions_of(rows, is_strict=False), size=(9.5, 4.0)
    )
    sizes = sorted({row["online"] for row in rows})
    for name, style in _RESOURCES.items():
        needs = [max(row[f"gateways_for_{name}"] for row in rows if row["online"] == size) for size in sizes]
        panels[0].plot(sizes, needs, **style)
    if has_broker:
        for name, path in paths.items():
            busy = [(row["online"], row["broker_utilisation_max"]) for row in path]
            busy = [(at, 100 * share) for at, share in busy if share is not None]
            panels[1].plot([at for at, _ in busy], [share for _, share in busy], label=name, **STYLES[name])
        panels[1].axhline(
            100, color="#000000", linewidth=1, linestyle=":", label="all that a partition can do"
        )
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            log_axis(axis)
    label_axes(panels[0], "connections", "gateways")
    if has_broker:
        label_axes(panels[1], "connections", "% busy")
    legend_below(picture, ncols=3)
    return picture


def plot_model_check(table: Table) -> Picture:
    """Draws every time that was measured beside the one that was modelled.

    Args:
        table: What `check_model` has returned, of one rate or with a column `publish_rate`.

    Raises:
        LabError: The rows have no measured and modelled times.
    """
    rows = [row for row in rows_of(table) if row.get("kind") == "time"]
    if not rows:
        raise LabError("table: it has no times; give what check_model has returned")
    rates = sorted({row["publish_rate"] for row in rows})
    picture, axes = new_axes(_check_finding(rows, rates), size=(7.6, 4.6))
    ends = [0.0, 0.0]
    for figure, (name, colour, mark) in _CHECKED.items():
        for rate in rates:
            unit = 1e3 if figure.endswith("_us") else 1.0
            found = [row for row in rows if row["figure"] == figure and row["publish_rate"] == rate]
            points = [(row["measured"] / unit, row["modelled"] / unit) for row in found]
            if not points:
                continue
            label = name + (f", {rate:g} a second" if len(rates) > 1 else "")
            fill = colour if rate == rates[-1] else "white"
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, color=colour, facecolors=fill, marker=mark, s=30, label=label, zorder=3)
            values = [value for point in points for value in point if value > 0]
            ends = [min([ends[0] or values[0], *values]), max([ends[1], *values])]
    ends = [ends[0] / 1.5, ends[1] * 1.5]
    axes.plot(ends, ends, color=FAINT, linewidth=1, label="as measured")
    half, twice = [end / 2 for end in ends], [end * 2 for end in ends]
    axes.fill_between(ends, half, twice, color="#EEEEEE", linewidth=0, label="within a factor of 2")
    for axis in (axes.xaxis, axes.yaxis):
        log_axis(axis)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    label_axes(axes, "measured, ms", "modelled, ms")
    legend(axes)
    return picture


def plot_fleet_waits(table: Table, check: Table) -> Picture:
    """Draws how long publishers and subscribers of fleets wait, with the error of the model.

    Only medians are drawn: `check_model` shows how far higher percentiles of the model are off.

    Args:
        table: Rows of `Simulation.to_row`, one for each strategy.
        check: What `check_model` has returned for the same costs.

    Raises:
        LabError: The rows are not simulations, or the check has no medians.
    """
    rows = rows_of(table)
    if not rows or "gateways_needed" not in rows[0]:
        raise LabError("table: it has no gateways; give rows of Simulation.to_row")
    factor = error_of(check, "p50")
    if factor is None:
        raise LabError("check: it has no medians; give what check_model has returned")
    rows = [next(row for row in rows if row["strategy"] == name) for name in strategies_of(rows)]
    picture, panels = new_panels(
        _waits_finding(rows, factor),
        ["a publisher waits", "a subscriber waits"],
        f"modelled medians; bars: the model's error, a factor of {quantity(factor)}",
        size=(9.5, 2.0 + 0.5 * len(rows)),
        share_y=True,
    )
    for axes, what in zip(panels, ("publish", "delivery"), strict=True):
        for number, row in enumerate(rows):
            middle, style = row[f"{what}_p50_ms"], STYLES[row["strategy"]]
            axes.plot([middle / factor, middle * factor], [number, number], color=style["color"], linewidth=7,
                      alpha=0.3, solid_capstyle="butt")  # fmt: skip
            axes.plot(middle, number, "o", color=style["color"], markersize=8)
            axes.annotate(milliseconds(middle), (middle, number), xytext=(0, 9), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
        log_axis(axes.xaxis)
        axes.margins(x=0.1, y=0.35)
        label_axes(axes, "median, ms")
    panels[0].set_yticks(range(len(rows)), [row["strategy"] for row in rows])
    panels[0].invert_yaxis()
    return picture


def _capacity_finding(last: Sequence[Row]) -> str:
    connections = quantity(last[0]["online"])
    failing = [row for row in last if (row["broker_utilisation_max"] or 0) > 1]
    if failing:
        worst = percent(max(row["broker_utilisation_max"] for row in failing))
        finding = (
            f"At {connections} connections the broker cannot keep up with "
            f"{listed([row['strategy'] for row in failing])}: its busiest partition would be {worst} busy"
        )
        others = [row["broker_utilisation_max"] or 0.0 for row in last if row not in failing]
        names = listed([row["strategy"] for row in last if row not in failing])
        return finding + (f"; on {names} it is {percent(max(others))} busy at most" if others else "")
    needs = {load: max(row[f"gateways_for_{load}"] for row in last) for load in _LOADS}
    load = max(needs, key=lambda name: needs[name])
    gateways, limit = needs[load], last[0]["gateways_for_connections"]
    if limit > gateways:
        return (
            f"The load of {connections} connections needs {counted(gateways, 'gateway')} ({load}); the limit "
            f"of connections per gateway, an input, asks for {limit:,}"
        )
    return f"{connections} connections need {counted(gateways, 'gateway')}; first to run out: {load}"


def _check_finding(rows: Sequence[Row], rates: Sequence[float]) -> str:
    parts = []
    for rate in rates:
        factor = error_of([row for row in rows if row["publish_rate"] == rate], "us")
        if factor is not None:
            parts.append(
                f"CPU by {quantity(factor)}"
                + (f" at {rate:g} publications a second" if len(rates) > 1 else "")
            )
    for key, name in (("p50", "median waits"), ("p90", "p90 waits")):
        factor = error_of(rows, key)
        if factor is not None:
            parts.append(f"{name} by {quantity(factor)}")
    worst = max(row["ratio"] if row["ratio"] > 1 else 1 / row["ratio"] for row in rows if row["ratio"])
    return f"Factors by which the model is off (medians): {', '.join(parts)}; at worst {quantity(worst)}"


def _waits_finding(rows: Sequence[Row], factor: float) -> str:
    connections = quantity(rows[0]["online"])
    ordered = sorted(rows, key=lambda row: row["publish_p50_ms"])
    least, most = ordered[0], ordered[-1]
    verdict = judge(most["publish_p50_ms"], least["publish_p50_ms"], noise=factor - 1)
    if verdict.outcome == "same":
        return (
            f"At {connections} connections publishers wait about as long on every strategy, within the error "
            "of the model"
        )
    return (
        f"At {connections} connections publishers wait longest on {most['strategy']}: "
        f"{milliseconds(most['publish_p50_ms'])} (median), {milliseconds(least['publish_p50_ms'])} on "
        f"{least['strategy']}"
    )
